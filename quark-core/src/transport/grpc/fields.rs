//! An envelope's fields on the wire, written and read in place. prost does the same from the generated message, to which
//! and from which all would have to be moved; it remains what the tests compare this with.

use bytes::{Buf, BufMut, Bytes};
use prost::encoding::{
    DecodeContext, WireType, check_wire_type, decode_key, decode_varint, encode_key, encode_varint,
    encoded_len_varint, key_len, skip_field,
};

use crate::envelope::{Envelope, EnvelopeKind, Text};
use crate::error::Delivered;
use crate::parcel::Parcel;

/// Takes the fields one after the other. One that is empty or 0 is absent.
trait Sink {
    fn bytes(&mut self, tag: u32, value: &[u8]);
    fn number(&mut self, tag: u32, value: u64);
}

/// Counts bytes.
struct Length(usize);

impl Sink for Length {
    fn bytes(&mut self, tag: u32, value: &[u8]) {
        if !value.is_empty() {
            self.0 += key_len(tag) + encoded_len_varint(value.len() as u64) + value.len();
        }
    }

    fn number(&mut self, tag: u32, value: u64) {
        if value != 0 {
            self.0 += key_len(tag) + encoded_len_varint(value);
        }
    }
}

/// Writes into a buffer.
struct Writer<'a, B>(&'a mut B);

impl<B: BufMut> Sink for Writer<'_, B> {
    fn bytes(&mut self, tag: u32, value: &[u8]) {
        if !value.is_empty() {
            encode_key(tag, WireType::LengthDelimited, self.0);
            encode_varint(value.len() as u64, self.0);
            self.0.put_slice(value);
        }
    }

    fn number(&mut self, tag: u32, value: u64) {
        if value != 0 {
            encode_key(tag, WireType::Varint, self.0);
            encode_varint(value, self.0);
        }
    }
}

fn give(envelope: &Envelope, sink: &mut impl Sink) {
    sink.bytes(1, envelope.message_id.as_bytes());
    sink.bytes(2, envelope.actor_id.as_bytes());
    sink.bytes(3, envelope.actor_type.as_bytes());
    sink.bytes(4, envelope.method_name.as_bytes());
    sink.bytes(5, &envelope.payload);
    sink.bytes(6, envelope.correlation_id.as_bytes());
    sink.number(7, envelope.timestamp.cast_unsigned());
    sink.bytes(8, &envelope.response_payload);
    sink.number(9, envelope.is_error.into());
    sink.bytes(10, envelope.error_message.as_bytes());
    sink.number(12, envelope.kind as u64);
    sink.number(13, envelope.timeout_ms);
    sink.number(14, envelope.one_way.into());
    sink.number(15, envelope.error_code.into());
    sink.number(16, envelope.delivered.map_or(0, |delivered| delivered as u64));
    sink.number(17, envelope.hop_count.into());
    sink.bytes(18, envelope.origin.as_bytes());
    sink.bytes(19, envelope.traceparent.as_bytes());
    sink.number(20, envelope.view_version);
    sink.number(21, envelope.anywhere.into());
    sink.number(22, envelope.retryable.into());
    sink.number(23, envelope.parts_bytes);
}

/// How many bytes [`write`] writes.
pub(super) fn length(envelope: &Envelope) -> usize {
    let mut length = Length(0);
    give(envelope, &mut length);
    length.0
}

/// Writes an envelope into a buffer that has room for it.
pub(super) fn write(envelope: &Envelope, buffer: &mut impl BufMut) {
    give(envelope, &mut Writer(buffer));
}

/// Up to so many bytes of a message its payloads get memory of their own. What they share with others is a buffer that is
/// then not free when the next message comes, so that another is made; and who keeps a small payload would keep all of it.
const SMALL: usize = 1024;

/// Reads an envelope, which is all that is left of a buffer. The payloads of a large one share the buffer's memory.
/// Unknown fields are ignored.
///
/// # Errors
/// What is wrong with the message.
pub(super) fn take(buffer: &mut impl Buf) -> Result<Parcel, String> {
    let length = buffer.remaining();
    if length <= SMALL && buffer.chunk().len() == length {
        let envelope = read(buffer.chunk(), Bytes::copy_from_slice);
        buffer.advance(length);
        return envelope;
    }
    let message = buffer.copy_to_bytes(length);
    read(&message, |payload| message.slice_ref(payload))
}

/// Reads an envelope; `keep` makes its payloads.
fn read(message: &[u8], keep: impl Fn(&[u8]) -> Bytes) -> Result<Parcel, String> {
    let mut envelope = Parcel::default();
    let rest = &mut &*message;
    while !rest.is_empty() {
        let (tag, wire) = key(rest)?;
        match tag {
            1 => envelope.message_id = text(tag, wire, rest)?,
            2 => envelope.actor_id = text(tag, wire, rest)?,
            3 => envelope.actor_type = text(tag, wire, rest)?,
            4 => envelope.method_name = text(tag, wire, rest)?,
            5 => envelope.payload = keep(bytes(tag, wire, rest)?),
            6 => envelope.correlation_id = text(tag, wire, rest)?,
            7 => envelope.timestamp = number(wire, rest)?.cast_signed(),
            8 => envelope.response_payload = keep(bytes(tag, wire, rest)?),
            9 => envelope.is_error = number(wire, rest)? != 0,
            10 => envelope.error_message = text(tag, wire, rest)?,
            12 => envelope.kind = EnvelopeKind::from_number(number(wire, rest)? as i32).unwrap_or_default(),
            13 => envelope.timeout_ms = number(wire, rest)?,
            14 => envelope.one_way = number(wire, rest)? != 0,
            15 => envelope.error_code = number(wire, rest)? as u32,
            16 => envelope.delivered = Delivered::from_number(number(wire, rest)? as i32),
            17 => envelope.hop_count = number(wire, rest)? as u32,
            18 => envelope.origin = text(tag, wire, rest)?,
            19 => envelope.traceparent = text(tag, wire, rest)?,
            20 => envelope.view_version = number(wire, rest)?,
            21 => envelope.anywhere = number(wire, rest)? != 0,
            22 => envelope.retryable = number(wire, rest)? != 0,
            23 => envelope.parts_bytes = number(wire, rest)?,
            _ => skip_field(wire, tag, rest, DecodeContext::default()).map_err(described)?,
        }
    }
    Ok(envelope)
}

fn described(error: prost::DecodeError) -> String {
    error.to_string()
}

/// A key of one byte, as most are; others by prost.
#[inline]
fn key(rest: &mut &[u8]) -> Result<(u32, WireType), String> {
    if let [first @ 8..0x80, others @ ..] = *rest {
        let wire = match first & 7 {
            0 => Some(WireType::Varint),
            2 => Some(WireType::LengthDelimited),
            _ => None,
        };
        if let Some(wire) = wire {
            *rest = others;
            return Ok((u32::from(first >> 3), wire));
        }
    }
    decode_key(rest).map_err(described)
}

/// A number of one byte, as lengths of texts are; others by prost.
#[inline]
fn varint(rest: &mut &[u8]) -> Result<u64, String> {
    if let [first @ ..0x80, others @ ..] = *rest {
        *rest = others;
        return Ok(u64::from(*first));
    }
    decode_varint(rest).map_err(described)
}

fn number(wire: WireType, rest: &mut &[u8]) -> Result<u64, String> {
    check_wire_type(WireType::Varint, wire).map_err(described)?;
    varint(rest)
}

fn bytes<'a>(tag: u32, wire: WireType, rest: &mut &'a [u8]) -> Result<&'a [u8], String> {
    check_wire_type(WireType::LengthDelimited, wire).map_err(described)?;
    let length = usize::try_from(varint(rest)?).unwrap_or(usize::MAX);
    rest.split_off(..length).ok_or_else(|| format!("field {tag} is cut off"))
}

fn text(tag: u32, wire: WireType, rest: &mut &[u8]) -> Result<Text, String> {
    let bytes = bytes(tag, wire, rest)?;
    if bytes.is_ascii() {
        // SAFETY: ASCII is UTF-8.
        return Ok(Text::from(unsafe { str::from_utf8_unchecked(bytes) }));
    }
    let text = str::from_utf8(bytes);
    text.map(Text::from).map_err(|error| format!("field {tag} is no UTF-8: {error}"))
}

#[cfg(test)]
mod tests {
    use prost::Message as _;

    use super::super::generated::EnvelopeMessage;
    use super::*;

    fn generated(envelope: &Envelope) -> EnvelopeMessage {
        let envelope = envelope.clone();
        EnvelopeMessage {
            message_id: envelope.message_id.into(),
            actor_id: envelope.actor_id.into(),
            actor_type: envelope.actor_type.into(),
            method_name: envelope.method_name.into(),
            payload: envelope.payload,
            correlation_id: envelope.correlation_id.into(),
            timestamp: envelope.timestamp,
            response_payload: envelope.response_payload,
            is_error: envelope.is_error,
            error_message: envelope.error_message.into(),
            kind: envelope.kind as i32,
            timeout_ms: envelope.timeout_ms,
            one_way: envelope.one_way,
            error_code: envelope.error_code,
            delivered: envelope.delivered.map_or(0, |delivered| delivered as i32),
            hop_count: envelope.hop_count,
            origin: envelope.origin.into(),
            traceparent: envelope.traceparent.into(),
            view_version: envelope.view_version,
            anywhere: envelope.anywhere,
            retryable: envelope.retryable,
            parts_bytes: envelope.parts_bytes,
        }
    }

    /// What a reader makes of numbers that it does not know.
    fn known(mut message: EnvelopeMessage) -> EnvelopeMessage {
        message.kind = EnvelopeKind::from_number(message.kind).unwrap_or_default() as i32;
        message.delivered = Delivered::from_number(message.delivered).map_or(0, |delivered| delivered as i32);
        message
    }

    /// With every field.
    fn full() -> Envelope {
        let text = |length| Text::from("ä".repeat(length));
        Envelope {
            message_id: text(1),
            actor_id: text(2),
            actor_type: text(3),
            method_name: text(4),
            payload: vec![5; 300].into(),
            correlation_id: text(6),
            timestamp: -7,
            response_payload: vec![8; 20_000].into(),
            is_error: true,
            error_message: text(10),
            kind: EnvelopeKind::Response,
            timeout_ms: u64::MAX,
            one_way: true,
            error_code: u32::MAX,
            delivered: Some(Delivered::Unknown),
            hop_count: 17,
            origin: text(18),
            traceparent: text(19),
            view_version: 1 << 40,
            anywhere: true,
            retryable: true,
            parts_bytes: 23,
        }
    }

    #[test]
    fn what_is_written_is_what_the_generated_code_writes() {
        for envelope in [Envelope::default(), Envelope::request("T", "1", "m", "x"), full()] {
            let mut written = Vec::new();
            write(&envelope, &mut written);
            assert_eq!(written, generated(&envelope).encode_to_vec());
            assert_eq!(written.len(), length(&envelope));
            assert_eq!(*take(&mut &*written).unwrap(), envelope);
        }
    }

    #[test]
    fn a_small_payload_leaves_the_buffer_alone_and_a_large_one_shares_it() {
        for (length, shares) in [(10, false), (2 * SMALL, true)] {
            let envelope = Envelope::request("T", "1", "m", vec![1; length]);
            let mut written = Vec::new();
            write(&envelope, &mut written);
            let buffer = Bytes::from(written);
            let read = take(&mut buffer.clone()).unwrap();
            assert_eq!(read.payload, envelope.payload);
            assert_eq!(buffer.as_ptr_range().contains(&read.payload.as_ptr()), shares);
            assert_eq!(buffer.is_unique(), !shares, "the next message would not find it free");
        }
    }

    /// On whatever bytes: the envelope of a mutated message, or that it is none.
    #[test]
    fn what_is_read_is_what_the_generated_code_reads() {
        let mut random = fastrand::Rng::with_seed(7);
        let short = Envelope { response_payload: Bytes::from_static(b"reply"), ..full() };
        let seeds = [short, Envelope::request("Device", "1", "Echo", "payload")];
        let seeds = seeds.map(|envelope| generated(&envelope).encode_to_vec());
        let mut envelopes = 0;
        for turn in 0..20_000 {
            let mut bytes = seeds[turn % 2].clone();
            for _ in 0..random.usize(0..4) {
                let at = random.usize(..bytes.len());
                match random.u8(0..4) {
                    0 => bytes.truncate(at + 1),
                    1 => bytes[at] = random.u8(..),
                    2 => bytes[at] ^= 1 << random.u8(0..8),
                    _ => bytes.insert(at, random.u8(..)),
                }
            }
            let bytes = Bytes::from(bytes);
            match (take(&mut bytes.clone()), EnvelopeMessage::decode(bytes.clone())) {
                (Ok(ours), Ok(theirs)) => assert_eq!(generated(&ours), known(theirs), "{bytes:?}"),
                (ours, theirs) => assert_eq!(ours.is_ok(), theirs.is_ok(), "{bytes:?}"),
            }
            envelopes += usize::from(take(&mut bytes.clone()).is_ok());
        }
        assert!((1_000..19_000).contains(&envelopes), "{envelopes} of 20000 were envelopes");
    }
}
