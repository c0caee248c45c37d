//! What was hashed lately. A program calls the same actors again and again, and MD5 is a good part of what a call costs.

use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};

/// How many actors are remembered, 16 bytes each. Two that share a place push each other out.
const PLACES: usize = 8 * 1024;

/// Positions of actors. Readers and writers never wait.
struct Memo {
    keys: RandomState,
    places: Box<[Place]>,
}

/// A position, and the key of its actor mixed with it: what two writers at once leave behind matches no key.
#[derive(Default)]
struct Place {
    mixed: AtomicU64,
    position: AtomicU64,
}

/// Set with each position, so that an empty place has none.
const THERE: u64 = 1 << 32;

impl Memo {
    fn new() -> Self {
        Self { keys: RandomState::new(), places: (0..PLACES).map(|_| Place::default()).collect() }
    }

    /// Of 64 bits under a secret of this process: no two actors have the same, and nobody can look for two that do.
    fn key(&self, actor_type: &str, actor_id: &str) -> u64 {
        let mut hasher = self.keys.build_hasher();
        hasher.write(actor_type.as_bytes());
        // In no text of UTF-8.
        hasher.write_u8(0xFF);
        hasher.write(actor_id.as_bytes());
        hasher.finish()
    }

    fn get(&self, actor_type: &str, actor_id: &str, make: impl FnOnce() -> u32) -> u32 {
        let key = self.key(actor_type, actor_id);
        let place = &self.places[key as usize % PLACES];
        let position = place.position.load(Ordering::Relaxed);
        if position & THERE != 0 && place.mixed.load(Ordering::Relaxed) ^ position == key {
            return position as u32;
        }
        let made = make();
        let position = u64::from(made) | THERE;
        place.position.store(position, Ordering::Relaxed);
        place.mixed.store(key ^ position, Ordering::Relaxed);
        made
    }
}

/// The position of an actor, which `make` finds if it is not remembered.
pub(super) fn position(actor_type: &str, actor_id: &str, make: impl FnOnce() -> u32) -> u32 {
    static MEMO: LazyLock<Memo> = LazyLock::new(Memo::new);
    MEMO.get(actor_type, actor_id, make)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_found_once_is_remembered_until_another_takes_its_place() {
        let memo = Memo::new();
        assert_eq!(memo.get("T", "1", || 7), 7);
        assert_eq!(memo.get("T", "1", || unreachable!("it is remembered")), 7);
        // Other actors, though their texts are the same when put together.
        assert_eq!(memo.get("T1", "", || 8), 8);
        assert_eq!(memo.get("", "T1", || 9), 9);
        for id in 0..20 * PLACES as u32 {
            memo.get("T", &id.to_string(), || id);
        }
        assert_eq!(memo.get("T1", "", || 10), 10, "it was pushed out");
    }

    #[test]
    fn threads_that_write_into_the_same_places_read_what_is_right() {
        let memo = Memo::new();
        let work = || {
            for turn in 0..200_000u32 {
                let id = fastrand::u32(..4 * PLACES as u32);
                assert_eq!(memo.get("T", &id.to_string(), || id), id, "in turn {turn}");
            }
        };
        std::thread::scope(|threads| (0..4).for_each(|_| drop(threads.spawn(work))));
    }
}
