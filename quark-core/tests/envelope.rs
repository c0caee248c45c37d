//! Envelopes on the wire, against bytes that another protobuf implementation made.

use bytes::Bytes;
use proptest::prelude::*;
use quark_core::{Envelope, ErrorKind};
use serde_json::Value;

fn bytes_of(hex: &str) -> Bytes {
    (0..hex.len()).step_by(2).map(|i| u8::from_str_radix(&hex[i..i + 2], 16).unwrap()).collect()
}

fn envelope_of(fields: &Value) -> Envelope {
    let text = |name: &str| fields[name].as_str().unwrap_or_default().to_owned();
    let mut envelope = Envelope::default();
    envelope.message_id = text("message_id").into();
    envelope.actor_id = text("actor_id").into();
    envelope.actor_type = text("actor_type").into();
    envelope.method_name = text("method_name").into();
    envelope.payload = bytes_of(&text("payload"));
    envelope.correlation_id = text("correlation_id").into();
    envelope.timestamp = match &fields["timestamp"] {
        Value::String(text) => text.parse().unwrap(),
        number => number.as_i64().unwrap_or_default(),
    };
    envelope.response_payload = bytes_of(&text("response_payload"));
    envelope.is_error = fields["is_error"].as_bool().unwrap_or_default();
    envelope.error_message = text("error_message").into();
    envelope
}

#[test]
fn the_ten_original_fields_are_byte_for_byte_those_of_the_vectors() {
    let vectors: Value = serde_json::from_str(include_str!("../../testdata/envelopes.json")).unwrap();
    let cases = vectors["cases"].as_array().unwrap();
    assert!(cases.len() >= 9);
    for case in cases {
        let bytes = bytes_of(case["bytes"].as_str().unwrap());
        let envelope = envelope_of(&case["fields"]);
        assert_eq!(Envelope::decode(bytes.clone()).unwrap(), envelope, "{}", case["name"]);
        assert_eq!(envelope.encode(), bytes, "{}", case["name"]);
    }
}

#[test]
fn what_is_no_envelope_is_a_protocol_error() {
    for bytes in ["ff", "0a05", "0a01ff", "ffffffffffffffffffffff01"] {
        assert_eq!(Envelope::decode(bytes_of(bytes)).unwrap_err().kind(), ErrorKind::Protocol, "{bytes}");
    }
}

#[test]
fn unknown_fields_and_field_eleven_are_ignored() {
    // message_id "m", then field 11 as a varint and field 99 as bytes.
    let bytes = bytes_of("0a016d5801").into_iter().chain(bytes_of("9a060161")).collect::<Bytes>();
    let envelope = Envelope::decode(bytes).unwrap();
    assert_eq!(envelope, Envelope::default().with_message_id("m"));
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_bytes_decode_or_fail_and_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        if let Ok(envelope) = Envelope::decode(&bytes[..]) {
            prop_assert_eq!(Envelope::decode(envelope.encode()).unwrap(), envelope);
        }
    }
}
