//! Order across a reconnect. A sender numbers its turns: each time its requests begin to leave on another link, it says so
//! on that link. The receiver remembers each sender's latest turn and refuses what it still reads from an older link:
//! nobody waits for that any more, and handing it over would let it be overtaken.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

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

/// The senders that have a link to this silo.
#[derive(Default)]
pub(crate) struct Senders(Mutex<HashMap<(SiloId, u64), Weak<Sender>>>);

/// One life of a sender, held by the readers of its links.
#[derive(Default)]
pub(crate) struct Sender {
    latest: Mutex<u64>,
}

impl Senders {
    pub(crate) fn sender(&self, id: &SiloId, turn: Turn) -> Arc<Sender> {
        let mut senders = self.0.lock().expect("no panic while locked");
        let key = (id.clone(), turn.life);
        if let Some(sender) = senders.get(&key).and_then(Weak::upgrade) {
            return sender;
        }
        // Once for each link at most.
        senders.retain(|_, sender| sender.strong_count() > 0);
        let sender = Arc::new(Sender::default());
        senders.insert(key, Arc::downgrade(&sender));
        sender
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
