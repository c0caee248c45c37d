//! Short texts, eight bytes at a time. The standard library's ways are made for long ones; a message has up to five names, each of
//! which is looked at wherever it comes in.

use std::str::{self, Utf8Error};

/// The text that these bytes are. Most are ASCII, which is seen sooner than that they are any UTF-8.
///
/// # Errors
/// Why they are no UTF-8.
pub fn text(bytes: &[u8]) -> Result<&str, Utf8Error> {
    if all(bytes, |eight| eight & TOP == 0) {
        // SAFETY: ASCII is UTF-8.
        return Ok(unsafe { str::from_utf8_unchecked(bytes) });
    }
    str::from_utf8(bytes)
}

/// Whether all are printable characters of ASCII.
pub(crate) fn is_printable(bytes: &[u8]) -> bool {
    all(bytes, |eight| {
        // The top bit of a byte is set where it is below a space or, in the second, above a tilde. What a byte borrows from the
        // next or carries over to it only adds to what is wrong already.
        let below = eight.wrapping_sub(EACH * 0x20) & !eight;
        let above = eight.wrapping_add(EACH) | eight;
        (below | above) & TOP == 0
    })
}

const EACH: u64 = u64::from_ne_bytes([1; 8]);
/// The top bit of each byte.
const TOP: u64 = EACH << 7;

/// Whether that is so of all bytes, in numbers of eight. Where there are not as many left, some are looked at twice.
#[inline]
fn all(bytes: &[u8], is_so: impl Fn(u64) -> bool) -> bool {
    if let Some(last) = bytes.last_chunk() {
        let (eights, _) = bytes.as_chunks();
        return eights.iter().all(|eight| is_so(u64::from_ne_bytes(*eight)))
            && is_so(u64::from_ne_bytes(*last));
    }
    if let (Some(first), Some(last)) = (bytes.first_chunk(), bytes.last_chunk()) {
        let (first, last) = (u32::from_ne_bytes(*first), u32::from_ne_bytes(*last));
        return is_so(u64::from(first) << 32 | u64::from(last));
    }
    bytes.iter().all(|byte| is_so(u64::from_ne_bytes([*byte; 8])))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_byte_counts_wherever_it_stands() {
        for length in [1, 3, 4, 5, 7, 8, 9, 15, 16, 17] {
            for (place, byte) in (0..length).flat_map(|place| (0..=u8::MAX).map(move |byte| (place, byte))) {
                for other in [b' ', b'~'] {
                    let mut bytes = vec![other; length];
                    bytes[place] = byte;
                    assert_eq!(is_printable(&bytes), matches!(byte, b' '..=b'~'), "{bytes:?}");
                    assert_eq!(text(&bytes), str::from_utf8(&bytes));
                }
            }
        }
        assert!(is_printable(b""));
        assert_eq!(text(b""), Ok(""));
        assert_eq!(text("größer als acht".as_bytes()), Ok("größer als acht"));
    }
}
