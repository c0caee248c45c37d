//! An envelope's fields on the wire, written and read in place. prost does the same from the generated message, to which
//! and from which all would have to be moved; it remains what the tests compare this with.

use std::fmt;

use bytes::buf::UninitSlice;
use bytes::{Buf, BufMut, Bytes};
use prost::DecodeError;
use prost::encoding::{DecodeContext, WireType, decode_key, decode_varint, skip_field};

use crate::ascii;
use crate::envelope::{Envelope, EnvelopeKind, Text};
use crate::error::Delivered;
use crate::parcel::Parcel;

/// What the keys, numbers and lengths of all fields take at most.
const FRAME_BYTES: usize = 23 * (2 + 10);

/// How many bytes [`write`] writes, at most.
pub(super) fn most(envelope: &Envelope) -> usize {
    let texts = [
        &envelope.message_id,
        &envelope.actor_id,
        &envelope.actor_type,
        &envelope.method_name,
        &envelope.correlation_id,
        &envelope.error_message,
        &envelope.origin,
        &envelope.traceparent,
    ];
    FRAME_BYTES + envelope.payload_len() + texts.iter().map(|text| text.len()).sum::<usize>()
}

/// Writes an envelope into a buffer that has room in one piece for the [`most`] that it takes.
pub(super) fn write(envelope: &Envelope, buffer: &mut impl BufMut) {
    let mut writer = Writer { free: buffer.chunk_mut(), written: 0 };
    writer.bytes(1, envelope.message_id.as_bytes());
    writer.bytes(2, envelope.actor_id.as_bytes());
    writer.bytes(3, envelope.actor_type.as_bytes());
    writer.bytes(4, envelope.method_name.as_bytes());
    writer.bytes(5, &envelope.payload);
    writer.bytes(6, envelope.correlation_id.as_bytes());
    writer.number(7, envelope.timestamp.cast_unsigned());
    writer.bytes(8, &envelope.response_payload);
    writer.number(9, envelope.is_error.into());
    writer.bytes(10, envelope.error_message.as_bytes());
    writer.number(12, envelope.kind as u64);
    writer.number(13, envelope.timeout_ms);
    writer.number(14, envelope.one_way.into());
    writer.number(15, envelope.error_code.into());
    writer.number(16, envelope.delivered.map_or(0, |delivered| delivered as u64));
    writer.number(17, envelope.hop_count.into());
    writer.bytes(18, envelope.origin.as_bytes());
    writer.bytes(19, envelope.traceparent.as_bytes());
    writer.number(20, envelope.view_version);
    writer.number(21, envelope.anywhere.into());
    writer.number(22, envelope.retryable.into());
    writer.number(23, envelope.parts_bytes);
    let written = writer.written;
    // SAFETY: all of these bytes were written, one after the other.
    unsafe { buffer.advance_mut(written) };
}

/// Writes fields one after the other into free memory, because a buffer that sees to its room again for each of their pieces takes
/// twice as long. A field that is empty or 0 is absent.
struct Writer<'a> {
    free: &'a mut UninitSlice,
    written: usize,
}

impl Writer<'_> {
    #[inline]
    fn bytes(&mut self, tag: u32, value: &[u8]) {
        if value.is_empty() {
            return;
        }
        self.key(tag, WireType::LengthDelimited);
        self.varint(value.len() as u64);
        let end = self.written + value.len();
        self.free[self.written..end].copy_from_slice(value);
        self.written = end;
    }

    #[inline]
    fn number(&mut self, tag: u32, value: u64) {
        if value != 0 {
            self.key(tag, WireType::Varint);
            self.varint(value);
        }
    }

    #[inline]
    fn key(&mut self, tag: u32, wire: WireType) {
        self.varint(u64::from(tag << 3 | wire as u32));
    }

    #[inline]
    fn varint(&mut self, mut value: u64) {
        while value > 0x7F {
            self.byte(value as u8 | 0x80);
            value >>= 7;
        }
        self.byte(value as u8);
    }

    #[inline]
    fn byte(&mut self, byte: u8) {
        self.free.write_byte(self.written, byte);
        self.written += 1;
    }
}

/// Up to so many bytes of a message its payloads get memory of their own. What they share with others is a buffer that is
/// then not free when the next message comes, so that another is made; and who keeps a small payload would keep all of it.
const SMALL: usize = 1024;

/// Reads an envelope, which is all that is left of a buffer. The payloads of a large one share the buffer's memory.
/// Unknown fields are ignored.
///
/// # Errors
/// What is wrong with the message.
pub(super) fn take(buffer: &mut impl Buf) -> Result<Parcel, Wrong> {
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
fn read(message: &[u8], keep: impl Fn(&[u8]) -> Bytes) -> Result<Parcel, Wrong> {
    let mut envelope = Parcel::default();
    let rest = &mut &*message;
    while !rest.is_empty() {
        let (tag, wire) = key(rest)?;
        match tag {
            1 => text(tag, wire, rest, &mut envelope.message_id)?,
            2 => text(tag, wire, rest, &mut envelope.actor_id)?,
            3 => text(tag, wire, rest, &mut envelope.actor_type)?,
            4 => text(tag, wire, rest, &mut envelope.method_name)?,
            5 => envelope.payload = keep(bytes(tag, wire, rest)?),
            6 => text(tag, wire, rest, &mut envelope.correlation_id)?,
            7 => envelope.timestamp = number(wire, rest)?.cast_signed(),
            8 => envelope.response_payload = keep(bytes(tag, wire, rest)?),
            9 => envelope.is_error = number(wire, rest)? != 0,
            10 => text(tag, wire, rest, &mut envelope.error_message)?,
            12 => envelope.kind = EnvelopeKind::from_number(number(wire, rest)? as i32).unwrap_or_default(),
            13 => envelope.timeout_ms = number(wire, rest)?,
            14 => envelope.one_way = number(wire, rest)? != 0,
            15 => envelope.error_code = number(wire, rest)? as u32,
            16 => envelope.delivered = Delivered::from_number(number(wire, rest)? as i32),
            17 => envelope.hop_count = number(wire, rest)? as u32,
            18 => text(tag, wire, rest, &mut envelope.origin)?,
            19 => text(tag, wire, rest, &mut envelope.traceparent)?,
            20 => envelope.view_version = number(wire, rest)?,
            21 => envelope.anywhere = number(wire, rest)? != 0,
            22 => envelope.retryable = number(wire, rest)? != 0,
            23 => envelope.parts_bytes = number(wire, rest)?,
            _ => skip_field(wire, tag, rest, DecodeContext::default())?,
        }
    }
    Ok(envelope)
}

/// What is wrong with a message.
#[derive(Debug)]
pub(super) struct Wrong(Box<str>);

impl Wrong {
    #[cold]
    fn new(what: String) -> Self {
        Self(what.into_boxed_str())
    }
}

impl From<DecodeError> for Wrong {
    #[cold]
    fn from(error: DecodeError) -> Self {
        Self::new(error.to_string())
    }
}

impl fmt::Display for Wrong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A key of one byte, as most are; others by prost.
#[inline(always)]
fn key(rest: &mut &[u8]) -> Result<(u32, WireType), Wrong> {
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
    other_key(rest)
}

#[cold]
fn other_key(rest: &mut &[u8]) -> Result<(u32, WireType), Wrong> {
    Ok(decode_key(rest)?)
}

/// A number of one byte, as lengths of texts are; others by prost.
#[inline(always)]
fn varint(rest: &mut &[u8]) -> Result<u64, Wrong> {
    if let [first @ ..0x80, others @ ..] = *rest {
        *rest = others;
        return Ok(u64::from(*first));
    }
    long_varint(rest)
}

#[inline(never)]
fn long_varint(rest: &mut &[u8]) -> Result<u64, Wrong> {
    Ok(decode_varint(rest)?)
}

#[inline(always)]
fn check(expected: WireType, wire: WireType) -> Result<(), Wrong> {
    if wire == expected { Ok(()) } else { Err(other_wire(expected, wire)) }
}

#[cold]
fn other_wire(expected: WireType, wire: WireType) -> Wrong {
    Wrong::new(format!("a field of {wire:?} where one of {expected:?} is expected"))
}

#[inline(always)]
fn number(wire: WireType, rest: &mut &[u8]) -> Result<u64, Wrong> {
    check(WireType::Varint, wire)?;
    varint(rest)
}

#[inline(always)]
fn bytes<'a>(tag: u32, wire: WireType, rest: &mut &'a [u8]) -> Result<&'a [u8], Wrong> {
    check(WireType::LengthDelimited, wire)?;
    let length = usize::try_from(varint(rest)?).unwrap_or(usize::MAX);
    rest.split_off(..length).ok_or_else(|| cut_off(tag))
}

#[cold]
fn cut_off(tag: u32) -> Wrong {
    Wrong::new(format!("field {tag} is cut off"))
}

fn text(tag: u32, wire: WireType, rest: &mut &[u8], into: &mut Text) -> Result<(), Wrong> {
    let bytes = bytes(tag, wire, rest)?;
    let no_text = |error| Wrong::new(format!("field {tag} is no UTF-8: {error}"));
    *into = Text::from(ascii::text(bytes).map_err(no_text)?);
    Ok(())
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
            let mut written = Vec::with_capacity(most(&envelope));
            write(&envelope, &mut written);
            assert_eq!(written, generated(&envelope).encode_to_vec());
            assert_eq!(*take(&mut &*written).unwrap(), envelope);
        }
    }

    #[test]
    fn a_small_payload_leaves_the_buffer_alone_and_a_large_one_shares_it() {
        for (length, shares) in [(10, false), (2 * SMALL, true)] {
            let envelope = Envelope::request("T", "1", "m", vec![1; length]);
            let mut written = Vec::with_capacity(most(&envelope));
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
