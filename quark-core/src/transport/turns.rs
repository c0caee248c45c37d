//! Order across a reconnect. A sender numbers its turns: each time its requests begin to leave on another link, it says so
//! on that link. The receiver remembers each sender's latest turn and refuses what it still reads from an older link:
//! nobody waits for that any more, and handing it over would let it be overtaken.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::id::SiloId;

/// The turns of this sender, to all silos.
pub(crate) struct Turns {
    /// Tells two lives of one id apart.
    life: u64,
    last: AtomicU64,
}

/// One turn, as it travels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Turn {
    life: u64,
    pub(crate) number: u64,
}

impl Turns {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self { life: fastrand::u64(..), last: AtomicU64::new(0) })
    }

    pub(crate) fn next(&self) -> Turn {
        Turn { life: self.life, number: self.last.fetch_add(1, Ordering::Relaxed) + 1 }
    }
}

impl Turn {
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let (life, number) = text.split_once('.')?;
        Some(Self { life: u64::from_str_radix(life, 16).ok()?, number: number.parse().ok()? })
    }
}

impl std::fmt::Display for Turn {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:x}.{}", self.life, self.number)
    }
}

/// Lives of one id that are remembered; more can only be there while it restarts again and again.
const LIVES: usize = 8;

/// The senders that have a link to this silo. What is known of one is kept for as long as any link of its id is there: the
/// oldest may be the one that says last which turn it was.
#[derive(Default)]
pub(crate) struct Senders(Mutex<HashMap<SiloId, Lives>>);

#[derive(Default)]
struct Lives {
    links: usize,
    /// The latest last.
    senders: Vec<(u64, Arc<Sender>)>,
}

/// One life of a sender, held by the readers of its links.
#[derive(Default)]
pub(crate) struct Sender {
    latest: Mutex<u64>,
}

/// A link of this id is there, until this is dropped.
pub(crate) struct Present<'a> {
    senders: &'a Senders,
    id: &'a SiloId,
}

impl Senders {
    fn lock(&self) -> MutexGuard<'_, HashMap<SiloId, Lives>> {
        self.0.lock().expect("no panic while locked")
    }

    pub(crate) fn present<'a>(&'a self, id: &'a SiloId) -> Present<'a> {
        self.lock().entry(id.clone()).or_default().links += 1;
        Present { senders: self, id }
    }

    pub(crate) fn sender(&self, id: &SiloId, turn: Turn) -> Arc<Sender> {
        let mut ids = self.lock();
        let lives = &mut ids.entry(id.clone()).or_default().senders;
        if let Some((_, sender)) = lives.iter().find(|(life, _)| *life == turn.life) {
            return sender.clone();
        }
        if lives.len() >= LIVES {
            lives.remove(0);
        }
        let sender = Arc::new(Sender::default());
        lives.push((turn.life, sender.clone()));
        sender
    }
}

#[cfg(any(test, quark_fuzzing))]
impl Senders {
    /// How many lives of an id are remembered.
    pub(crate) fn lives(&self, id: &SiloId) -> usize {
        self.lock().get(id).map_or(0, |lives| lives.senders.len())
    }
}

impl Drop for Present<'_> {
    fn drop(&mut self) {
        let mut ids = self.senders.lock();
        if let Some(lives) = ids.get_mut(self.id) {
            lives.links -= 1;
            if lives.links == 0 {
                ids.remove(self.id);
            }
        }
    }
}

impl Sender {
    /// Its requests come on another link from now on, unless that has been outdated too.
    pub(crate) fn begin(&self, turn: Turn) {
        let mut latest = self.lock();
        *latest = turn.number.max(*latest);
    }

    /// The latest turn. Held while requests are handed over, so that none comes between.
    pub(crate) fn lock(&self) -> MutexGuard<'_, u64> {
        // A handler that panics leaves a number behind that is as good as before.
        self.latest.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_turn_that_is_said_late_is_known_to_be_late_even_when_the_later_link_is_gone() {
        let (senders, id) = (Senders::default(), "a".parse().unwrap());
        let turns = Turns::new();
        let (first, second) = (turns.next(), turns.next());
        let old = senders.present(&id);
        let new = senders.present(&id);
        senders.sender(&id, second).begin(second);
        drop(new);
        let sender = senders.sender(&id, Turn::parse(&first.to_string()).unwrap());
        sender.begin(first);
        assert!(*sender.lock() > first.number);
        drop(old);
        assert!(senders.lock().is_empty());
    }

    #[test]
    fn lives_of_one_id_are_apart_and_few() {
        let (senders, id) = (Senders::default(), "a".parse().unwrap());
        let _present = senders.present(&id);
        for _ in 0..3 * LIVES {
            let turn = Turns::new().next();
            senders.sender(&id, turn).begin(turn);
            assert_eq!(*senders.sender(&id, turn).lock(), 1);
        }
        assert_eq!(senders.lock()[&id].senders.len(), LIVES);
    }
}
