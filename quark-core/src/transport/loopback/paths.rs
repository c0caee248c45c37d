//! The ways between hosts: how long they take, and which are cut.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::sync::futures::Notified;
use tokio::time::Instant;

use crate::id::SiloId;

/// All ways of a network.
pub(super) struct Paths {
    state: Mutex<State>,
    changed: Notify,
}

struct State {
    random: fastrand::Rng,
    delay: (Duration, Duration),
    /// Of single ways, by the two hosts' ids.
    delays: HashMap<(String, String), (Duration, Duration)>,
    /// By the two hosts' ids: since when.
    cuts: HashMap<(String, String), Instant>,
}

impl Default for Paths {
    fn default() -> Self {
        let state = State {
            random: fastrand::Rng::new(),
            delay: Default::default(),
            delays: HashMap::new(),
            cuts: HashMap::new(),
        };
        Self { state: Mutex::new(state), changed: Notify::new() }
    }
}

impl Paths {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no panic while locked")
    }

    pub(super) fn seed(&self, seed: u64) {
        self.lock().random = fastrand::Rng::with_seed(seed);
    }

    pub(super) fn delay(&self, least: Duration, most: Duration) {
        self.lock().delay = (least, most.max(least));
    }

    pub(super) fn delay_way(&self, from: &str, to: &str, least: Duration, most: Duration) {
        self.lock().delays.insert((from.to_owned(), to.to_owned()), (least, most.max(least)));
    }

    pub(super) fn cut(&self, from: &str, to: &str) {
        self.lock().cuts.entry((from.to_owned(), to.to_owned())).or_insert_with(Instant::now);
        self.changed.notify_waiters();
    }

    pub(super) fn heal(&self, from: &str, to: &str) {
        self.lock().cuts.remove(&(from.to_owned(), to.to_owned()));
        self.changed.notify_waiters();
    }

    pub(super) fn heal_all(&self) {
        self.lock().cuts.clear();
        self.changed.notify_waiters();
    }

    /// Since when the way is cut, if it is.
    pub(super) fn cut_since(&self, from: &SiloId, to: &SiloId) -> Option<Instant> {
        let state = self.lock();
        if state.cuts.is_empty() {
            return None;
        }
        state.cuts.get(&(from.to_string(), to.to_string())).copied()
    }

    /// Resolves when some way was cut or healed.
    pub(super) fn changed(&self) -> Notified<'_> {
        self.changed.notified()
    }

    /// When what leaves now arrives.
    pub(super) fn arrival(&self, from: &SiloId, to: &SiloId) -> Instant {
        let mut state = self.lock();
        let own = match state.delays.is_empty() {
            true => None,
            false => state.delays.get(&(from.to_string(), to.to_string())),
        };
        let (least, most) = own.copied().unwrap_or(state.delay);
        let spread = u64::try_from((most - least).as_micros()).unwrap_or(u64::MAX);
        Instant::now() + least + Duration::from_micros(state.random.u64(0..=spread))
    }

    /// Takes as long as a message from one host to the other, for ever while the way is cut.
    pub(super) async fn travel(&self, from: &SiloId, to: &SiloId) {
        tokio::time::sleep_until(self.arrival(from, to)).await;
        loop {
            let changed = self.changed();
            let mut changed = std::pin::pin!(changed);
            changed.as_mut().enable();
            if self.cut_since(from, to).is_none() {
                return;
            }
            changed.await;
        }
    }
}
