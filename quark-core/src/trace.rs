//! W3C Trace Context: what a `traceparent` looks like, and new ones. Quark passes traces on and records nothing itself.

use crate::envelope::Text;
use crate::error::{Error, Result};

/// A traceparent of a new trace, marked as sampled, so that tracers further on that follow their parent record it.
#[must_use]
pub fn new_traceparent() -> Text {
    let mut text = *b"00-................................-................-01";
    // Neither id may be zero.
    for (place, number) in [(3, fastrand::u64(..)), (19, fastrand::u64(1..)), (36, fastrand::u64(1..))] {
        for (digit, shift) in text[place..place + 16].iter_mut().zip((0..16).rev()) {
            *digit = b"0123456789abcdef"[(number >> (4 * shift) & 15) as usize];
        }
    }
    Text::from_utf8(text).expect("digits are ASCII")
}

/// # Errors
/// `INVALID_ARGUMENT` naming `traceparent`; an empty one is none, and fine.
pub(crate) fn check(traceparent: &str) -> Result<()> {
    if traceparent.is_empty() || is_valid(traceparent) {
        return Ok(());
    }
    let form = "is no W3C traceparent, as in 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    Err(Error::invalid("traceparent", traceparent, form))
}

/// Whether it is a traceparent. One of a version to come may say more after what this one has.
pub(crate) fn is_valid(text: &str) -> bool {
    let bytes = text.as_bytes();
    if bytes.len() < 55 || !text.is_ascii() {
        return false;
    }
    let fields = [&bytes[..2], &bytes[3..35], &bytes[36..52], &bytes[53..55]];
    let hex = |field: &&[u8]| field.iter().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    let not_zero = |field: &[u8]| field.iter().any(|byte| *byte != b'0');
    let whole = match fields[0] {
        b"ff" => false,
        b"00" => bytes.len() == 55,
        _ => bytes.len() == 55 || bytes[55] == b'-',
    };
    whole
        && fields.iter().all(hex)
        && [2, 35, 52].iter().all(|dash| bytes[*dash] == b'-')
        && not_zero(fields[1])
        && not_zero(fields[2])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_traceparent_is_one() {
        let traceparent = new_traceparent();
        assert!(is_valid(&traceparent), "{traceparent}");
        assert_ne!(traceparent, new_traceparent());
    }

    #[test]
    fn what_is_no_traceparent_is_refused_and_named() {
        let good = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        let later = format!("cc-{}-what-comes", &good[3..]);
        for fine in ["", good, later.as_str(), &later[..55]] {
            assert!(check(fine).is_ok(), "{fine}");
        }
        let bad = [
            "x".to_owned(),
            good.to_uppercase(),
            format!("{good}-more"),
            later[..54].to_owned(),
            format!("ff{}", &good[2..]),
            good.replace("0af7651916cd43dd8448eb211c80319c", &"0".repeat(32)),
            good.replace("b7ad6b7169203331", &"0".repeat(16)),
            good.replace('-', "_"),
            "é".repeat(28),
        ];
        for bad in bad {
            let error = check(&bad).unwrap_err();
            assert!(error.message().starts_with("traceparent="), "{error}");
        }
    }
}
