//! Large payloads in parts: how they are cut, and put together again. Pure.
//!
//! One link sends the parts of one request and of one response at a time, so there is one of these for each. A transfer
//! that was given up is followed by the beginning of another.

use std::ops::Range;

use bytes::Bytes;

use crate::error::{Error, ErrorKind, Result};

/// A payload above this many bytes leaves in parts, of this size while small messages go beside it.
pub(crate) const PART_BYTES: usize = 64 * 1024;
/// The largest part: of a payload that has the link for itself.
pub(crate) const LARGEST_PART: usize = 4 * PART_BYTES;

/// The next part of a payload of which `sent` bytes have left, at most `most` bytes; nothing when what is left is the last
/// piece, of [`PART_BYTES`] at most, which leaves with the message itself.
pub(crate) fn next(payload: &Bytes, sent: usize, most: usize) -> Option<Range<usize>> {
    let before_last = payload.len().saturating_sub(sent + 1) / PART_BYTES * PART_BYTES;
    (before_last > 0).then(|| sent..sent + before_last.min(most))
}

/// The parts of one payload.
#[derive(Default)]
pub(crate) struct Parts {
    message_id: String,
    bytes: Vec<u8>,
    /// How long it is so far, also where it is over the limit and its bytes are let go.
    length: u64,
}

/// A payload, or its length when that is over the limit.
pub(crate) type Whole = Result<Bytes, u64>;

impl Parts {
    /// Adds a part.
    ///
    /// # Errors
    /// `PROTOCOL` when it does not follow the part before it.
    pub(crate) fn add(&mut self, message_id: &str, part: &Bytes, offset: u64, limit: usize) -> Result<()> {
        if offset == 0 {
            *self = Self { message_id: message_id.to_owned(), ..Self::default() };
        }
        self.check(message_id, offset)?;
        self.length += part.len() as u64;
        if self.length > limit as u64 {
            self.bytes = Vec::new();
        } else {
            self.bytes.extend_from_slice(part);
        }
        Ok(())
    }

    /// Takes the payload whose last part this is.
    ///
    /// # Errors
    /// `PROTOCOL` when it does not follow the part before it.
    pub(crate) fn complete(
        &mut self,
        message_id: &str,
        last: &Bytes,
        offset: u64,
        limit: usize,
    ) -> Result<Whole> {
        if offset > 0 {
            self.add(message_id, last, offset, limit)?;
            let Self { bytes, length, .. } = std::mem::take(self);
            return Ok(if length > limit as u64 { Err(length) } else { Ok(bytes.into()) });
        }
        let length = last.len() as u64;
        Ok(if length > limit as u64 { Err(length) } else { Ok(last.clone()) })
    }

    /// Lets go of what came of this message.
    pub(crate) fn forget(&mut self, message_id: &str) {
        if self.message_id == message_id {
            *self = Self::default();
        }
    }

    /// How much memory the payload so far takes.
    #[cfg(any(test, quark_fuzzing))]
    pub(crate) fn held(&self) -> usize {
        self.bytes.capacity()
    }

    fn check(&self, message_id: &str, offset: u64) -> Result<()> {
        if self.message_id == message_id && self.length == offset {
            return Ok(());
        }
        let message = format!(
            "a part of message {message_id:?} at byte {offset} does not follow byte {} of {:?}",
            self.length, self.message_id
        );
        Err(Error::new(ErrorKind::Protocol, message))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(text: &'static str) -> Bytes {
        Bytes::from_static(text.as_bytes())
    }

    #[test]
    fn a_payload_is_cut_into_parts_and_a_small_last_piece() {
        let sizes = |length: usize, most| {
            let (payload, mut sent, mut sizes) = (Bytes::from(vec![0; length]), 0, vec![]);
            while let Some(part) = next(&payload, sent, most) {
                assert_eq!(part.start, sent);
                sizes.push(part.len() / PART_BYTES);
                sent = part.end;
            }
            (sizes, length - sent)
        };
        assert_eq!(sizes(0, PART_BYTES), (vec![], 0));
        assert_eq!(sizes(PART_BYTES, PART_BYTES), (vec![], PART_BYTES));
        assert_eq!(sizes(PART_BYTES + 1, LARGEST_PART), (vec![1], 1));
        assert_eq!(sizes(3 * PART_BYTES, PART_BYTES), (vec![1, 1], PART_BYTES));
        assert_eq!(sizes(9 * PART_BYTES + 5, LARGEST_PART), (vec![4, 4, 1], 5));
    }

    #[test]
    fn parts_become_a_payload() {
        let mut parts = Parts::default();
        parts.add("1", &bytes("abc"), 0, 10).unwrap();
        parts.add("1", &bytes("def"), 3, 10).unwrap();
        assert_eq!(parts.complete("1", &bytes("g"), 6, 10).unwrap(), Ok(bytes("abcdefg")));
        assert_eq!(parts.complete("2", &bytes("whole"), 0, 10).unwrap(), Ok(bytes("whole")));
    }

    #[test]
    fn a_transfer_may_be_given_up_for_another_or_begin_again() {
        let mut parts = Parts::default();
        parts.add("1", &bytes("abc"), 0, 10).unwrap();
        parts.add("2", &bytes("x"), 0, 10).unwrap();
        parts.add("2", &bytes("y"), 0, 10).unwrap();
        assert_eq!(parts.complete("2", &bytes("z"), 1, 10).unwrap(), Ok(bytes("yz")));
    }

    #[test]
    fn what_is_missing_is_noticed() {
        let mut parts = Parts::default();
        parts.add("1", &bytes("abc"), 0, 10).unwrap();
        assert_eq!(parts.add("1", &bytes("x"), 4, 10).unwrap_err().kind(), ErrorKind::Protocol);
        assert_eq!(parts.complete("2", &bytes("x"), 3, 10).unwrap_err().kind(), ErrorKind::Protocol);
        parts.forget("1");
        assert!(parts.complete("1", &bytes("x"), 3, 10).is_err());
    }

    #[test]
    fn what_is_over_the_limit_is_measured_and_not_kept() {
        let mut parts = Parts::default();
        parts.add("1", &bytes("abc"), 0, 4).unwrap();
        parts.add("1", &bytes("def"), 3, 4).unwrap();
        assert_eq!(parts.bytes.capacity(), 0);
        assert_eq!(parts.complete("1", &bytes("g"), 6, 4).unwrap(), Err(7));
        assert_eq!(parts.complete("2", &bytes("12345"), 0, 4).unwrap(), Err(5));
        assert_eq!(parts.complete("3", &bytes("1234"), 0, 4).unwrap(), Ok(bytes("1234")));
    }
}
