//! The lease under which a silo serves: it lapses by itself when this process did not run for a while, for then the
//! others may have put the silo out, and it has to ask before it serves again.
//!
//! The provider takes the lease away when the silo is cut off or told that it is out. Who only looks never waits.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::{Notify, watch};
use tokio::time::Instant;

/// How long it lasts. Shorter than others take to put out a silo that is stopped: two probes of two seconds.
const LENGTH: Duration = Duration::from_secs(3);
/// How often it is renewed.
const RENEWAL: Duration = Duration::from_millis(500);
/// The lease of those whom nobody puts out.
const FOR_EVER: u64 = u64::MAX;

/// Whether this silo may serve now.
pub(crate) struct Lease {
    epoch: Instant,
    /// Microseconds after the epoch.
    until: AtomicU64,
    lapsed: Notify,
    standing: watch::Sender<Standing>,
}

/// What is known of the lease by those who follow it.
#[derive(Clone, Copy)]
pub(crate) struct Standing {
    holds: bool,
    /// How often it ended.
    losses: u64,
}

impl Default for Lease {
    /// One that lasts for ever, until somebody keeps it.
    fn default() -> Self {
        Self {
            epoch: Instant::now(),
            until: AtomicU64::new(FOR_EVER),
            lapsed: Notify::new(),
            standing: watch::Sender::new(Standing { holds: true, losses: 0 }),
        }
    }
}

impl Lease {
    /// Whether it holds now.
    pub(crate) fn holds(&self) -> bool {
        let until = self.until.load(Ordering::Acquire);
        until == FOR_EVER || self.now() < until
    }

    /// It holds again, for its length.
    pub(super) fn grant(&self) {
        if !self.holds() {
            self.ended();
        }
        self.until.store(self.now() + micros(LENGTH), Ordering::Release);
        self.standing.send_if_modified(|standing| !std::mem::replace(&mut standing.holds, true));
    }

    /// It holds no longer.
    pub(super) fn withdraw(&self) {
        self.until.store(0, Ordering::Release);
        self.ended();
    }

    /// Counts that it ended, once for each time, and tells those who follow it.
    fn ended(&self) {
        self.standing.send_if_modified(|standing| {
            let held = std::mem::replace(&mut standing.holds, false);
            standing.losses += u64::from(held);
            held
        });
    }

    /// Wakes when it has ended and when it holds again; a lapse is noticed when this process runs again.
    pub(super) fn watch(&self) -> watch::Receiver<Standing> {
        self.standing.subscribe()
    }

    /// How often it ended so far.
    pub(super) fn losses(&self) -> u64 {
        self.standing.borrow().losses
    }

    /// Resolves now and again while it does not hold: somebody has to look into it.
    pub(super) async fn lapsed(&self) {
        self.lapsed.notified().await;
    }

    /// Renews it for as long as this process runs without a pause.
    pub(super) async fn keep(self: Arc<Self>) {
        loop {
            tokio::time::sleep(RENEWAL).await;
            let until = self.until.load(Ordering::Acquire);
            let renewed = self.now() + micros(LENGTH);
            // Not over a withdrawal that comes in between.
            let renew = || self.until.compare_exchange(until, renewed, Ordering::AcqRel, Ordering::Acquire);
            if self.now() >= until || renew().is_err() {
                self.ended();
                self.lapsed.notify_one();
            }
        }
    }

    fn now(&self) -> u64 {
        micros(self.epoch.elapsed())
    }
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(FOR_EVER - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_lease_that_is_kept_holds_and_one_whose_keeper_did_not_run_lapses_until_it_is_granted() {
        let lease = Arc::new(Lease::default());
        assert!(lease.holds(), "nobody keeps it");
        lease.grant();
        let keeper = tokio::spawn(lease.clone().keep());
        tokio::time::sleep(Duration::from_secs(60)).await;
        assert!(lease.holds());
        keeper.abort();
        tokio::time::sleep(LENGTH).await;
        assert!(!lease.holds());
        tokio::spawn(lease.clone().keep());
        lease.lapsed().await;
        assert!(!lease.holds(), "nobody has looked into it");
        lease.grant();
        tokio::time::sleep(Duration::from_secs(60)).await;
        assert!(lease.holds());
    }

    #[tokio::test(start_paused = true)]
    async fn each_end_of_the_lease_is_counted_once_and_told_as_is_its_return() {
        let lease = Arc::new(Lease::default());
        lease.grant();
        let mut told = lease.watch();
        lease.withdraw();
        lease.withdraw();
        assert_eq!((lease.losses(), told.has_changed().unwrap()), (1, true));
        told.mark_unchanged();
        lease.grant();
        assert!(told.has_changed().unwrap());
        // It lapses, and is granted again before its keeper has noticed.
        told.mark_unchanged();
        tokio::time::sleep(LENGTH).await;
        lease.grant();
        assert_eq!((lease.losses(), told.has_changed().unwrap()), (2, true));
        // Its keeper notices first.
        tokio::time::sleep(LENGTH).await;
        tokio::spawn(lease.clone().keep());
        lease.lapsed().await;
        assert_eq!(lease.losses(), 3, "those who follow it need not wait for its return");
        lease.grant();
        assert_eq!(lease.losses(), 3);
    }

    #[tokio::test(start_paused = true)]
    async fn a_lease_that_was_taken_away_is_not_renewed() {
        let lease = Arc::new(Lease::default());
        lease.grant();
        tokio::spawn(lease.clone().keep());
        lease.withdraw();
        assert!(!lease.holds());
        tokio::time::sleep(Duration::from_secs(60)).await;
        assert!(!lease.holds());
    }
}
