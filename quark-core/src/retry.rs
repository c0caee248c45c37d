//! Backoff: how long to wait before trying again, everywhere in Quark.

use std::time::Duration;

/// Exponential backoff with full jitter in its upper half. Pure: it says how long, the caller waits.
#[derive(Clone, Debug)]
pub(crate) struct Backoff {
    first: Duration,
    most: Duration,
    attempts: u32,
}

impl Backoff {
    /// Waits `first` at the beginning and never more than `most`.
    pub(crate) const fn new(first: Duration, most: Duration) -> Self {
        Self { first, most, attempts: 0 }
    }

    /// For links: 20 ms growing to 2 s.
    pub(crate) const fn for_links() -> Self {
        Self::new(Duration::from_millis(20), Duration::from_secs(2))
    }

    /// For the membership store: 100 ms growing to 5 s.
    pub(crate) const fn for_stores() -> Self {
        Self::new(Duration::from_millis(100), Duration::from_secs(5))
    }

    /// The next wait. Jittered between half and the whole, so that a crowd does not come back at once.
    pub(crate) fn next_wait(&mut self) -> Duration {
        let doubled = self.first.saturating_mul(1 << self.attempts.min(20));
        self.attempts = self.attempts.saturating_add(1);
        doubled.min(self.most).mul_f64(0.5 + fastrand::f64() / 2.0)
    }

    /// How often it has been asked since the last success.
    pub(crate) fn attempts(&self) -> u32 {
        self.attempts
    }

    /// It worked: begin anew next time.
    pub(crate) fn reset(&mut self) {
        self.attempts = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_to_the_most_and_begin_anew_after_success() {
        let mut backoff = Backoff::new(Duration::from_millis(10), Duration::from_millis(100));
        let waits: Vec<_> = (0..50).map(|_| backoff.next_wait()).collect();
        assert!(waits[0] <= Duration::from_millis(10));
        assert!(waits[20..].iter().all(|w| (50..=100).contains(&w.as_millis())), "{waits:?}");
        backoff.reset();
        assert!(backoff.next_wait() <= Duration::from_millis(10));
    }
}
