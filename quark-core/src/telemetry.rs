//! The names under which Quark speaks of itself, in one place.
//!
//! Events go through `tracing` with targets `quark::silo`, `quark::membership`, `quark::link` and `quark::handler`; when
//! nobody subscribes they cost a load and a branch. Fields: `silo` (an id), `endpoint`, `incarnation`, `code` and
//! `error` (an error's code and message), `actor_type`, `actor_id`, `method`. README lists the events.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::Instant;

use crate::health::Health;
use crate::membership::MembershipEvent;

/// What is only counted.
#[derive(Default)]
pub(crate) struct Counters {
    pub(crate) late_responses: AtomicU64,
    pub(crate) answers_without_link: AtomicU64,
    pub(crate) unknown_messages: AtomicU64,
    pub(crate) one_way_refused: AtomicU64,
}

/// The counters at one moment. They only grow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct CounterValues {
    /// Responses to calls that had ended before.
    pub late_responses: u64,
    /// Answers whose link was gone.
    pub answers_without_link: u64,
    /// Messages that could not be understood.
    pub unknown_messages: u64,
    /// One-way requests that no handler got.
    pub one_way_refused: u64,
}

impl Counters {
    pub(crate) fn values(&self) -> CounterValues {
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        CounterValues {
            late_responses: get(&self.late_responses),
            answers_without_link: get(&self.answers_without_link),
            unknown_messages: get(&self.unknown_messages),
            one_way_refused: get(&self.one_way_refused),
        }
    }
}

/// What strangers can make happen as often as they like is said aloud once in a while.
#[derive(Default)]
pub(crate) struct Seldom(Mutex<(Option<Instant>, u64)>);

impl Seldom {
    const PAUSE: Duration = Duration::from_secs(10);

    /// Whether to say it now: how often it happened since it was said, this time not counted.
    pub(crate) fn now(&self) -> Option<u64> {
        let mut state = self.0.lock().expect("no panic while locked");
        let (said, unsaid) = &mut *state;
        if said.is_some_and(|said| said.elapsed() < Self::PAUSE) {
            *unsaid += 1;
            return None;
        }
        *said = Some(Instant::now());
        Some(std::mem::take(unsaid))
    }
}

/// Target of events about silos and clients.
pub const SILO: &str = "quark::silo";
/// Target of events about the view.
pub const MEMBERSHIP: &str = "quark::membership";
/// Target of events about links between silos.
pub const LINK: &str = "quark::link";
/// Target of events about handlers.
pub const HANDLER: &str = "quark::handler";

/// A silo or client fares better or worse.
pub(crate) fn health_changed(health: &Health) {
    match health {
        Health::Healthy => tracing::info!(target: SILO, "healthy again"),
        _ => tracing::warn!(target: SILO, %health, "not healthy"),
    }
}

/// A silo came, went or changed.
pub(crate) fn membership_event(event: &MembershipEvent) {
    let info = event.silo();
    let (silo, endpoint, incarnation) = (&info.silo_id, &info.endpoint, info.incarnation);
    match event {
        MembershipEvent::Joined(_) => {
            tracing::info!(target: MEMBERSHIP, %silo, %endpoint, incarnation, "silo joined");
        }
        MembershipEvent::Left(_) => {
            tracing::info!(target: MEMBERSHIP, %silo, %endpoint, incarnation, "silo left");
        }
        MembershipEvent::Updated(_) => {
            tracing::info!(target: MEMBERSHIP, %silo, %endpoint, incarnation, status = ?info.status, "silo changed");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_happens_all_the_time_is_said_seldom_and_counted() {
        let seldom = Seldom::default();
        assert_eq!(seldom.now(), Some(0));
        assert_eq!((seldom.now(), seldom.now()), (None, None));
        tokio::time::advance(Seldom::PAUSE).await;
        assert_eq!(seldom.now(), Some(2));
        assert_eq!(seldom.now(), None);
    }
}
