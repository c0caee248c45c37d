//! Where texts stand on the ring.

use md5::{Digest as _, Md5};

use super::md5_lanes::{self, LANES, LONGEST, Lanes};
use super::memo;

/// The position of `text` on the ring.
#[must_use]
pub fn hash(text: &str) -> u32 {
    hash_parts(&[text.as_bytes()])
}

/// The position of an actor: `hash("{actor_type}:{actor_id}")`. Those of some thousand actors are remembered.
#[must_use]
pub fn hash_actor(actor_type: &str, actor_id: &str) -> u32 {
    memo::position(actor_type, actor_id, || hash_parts(&[actor_type.as_bytes(), b":", actor_id.as_bytes()]))
}

fn hash_parts(parts: &[&[u8]]) -> u32 {
    if parts.iter().map(|part| part.len()).sum::<usize>() <= LONGEST {
        return md5_lanes::first_word(parts);
    }
    let mut md5 = Md5::new();
    for part in parts {
        md5.update(part);
    }
    let digest = md5.finalize();
    u32::from_le_bytes([digest[0], digest[1], digest[2], digest[3]])
}

/// Gives the positions of many texts to `take`, in their order; several are hashed in the time of one.
pub(super) fn hash_each<T: AsRef<str>>(texts: impl IntoIterator<Item = T>, mut take: impl FnMut(u32)) {
    let mut texts = texts.into_iter();
    let mut lanes = Lanes::new();
    loop {
        let (mut count, mut long) = (0, [None; LANES]);
        for text in texts.by_ref().take(LANES) {
            let text = text.as_ref();
            if text.len() > LONGEST {
                long[count] = Some(hash(text));
            } else {
                lanes.put(count, text.as_bytes());
            }
            count += 1;
        }
        if count == 0 {
            return;
        }
        let short = lanes.first_words();
        (0..count).for_each(|lane| take(long[lane].unwrap_or(short[lane])));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_are_hashed_as_each_would_be() {
        for count in [0, 1, LANES - 1, LANES, LANES + 1, 1000] {
            let texts: Vec<String> =
                (0..count).map(|i| format!("Counter:{i}{}", "x".repeat(i % 100))).collect();
            let mut found = Vec::new();
            hash_each(&texts, |position| found.push(position));
            assert_eq!(found, texts.iter().map(|text| hash(text)).collect::<Vec<_>>());
        }
    }
}
