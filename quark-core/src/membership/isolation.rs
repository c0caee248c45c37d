//! Whether this silo is cut off: the store is away, and less than half of the last view answers. Pure.
//!
//! The silo itself counts among those who answer; when exactly half do, the side of the smallest id goes on.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::id::SiloId;

/// What is known while the store is away.
#[derive(Default)]
pub(super) struct Isolation {
    store_away_since: Option<Duration>,
    answered: BTreeMap<SiloId, Duration>,
}

/// For how long an answer counts: three rounds of probes.
const MEMORY: Duration = Duration::from_secs(6);
/// How long the store must be away: everybody is looked at then, and a probe may take two seconds.
const PATIENCE: Duration = Duration::from_millis(2_500);

impl Isolation {
    /// The store answers, or it does not.
    pub(super) fn store(&mut self, now: Duration, is_there: bool) {
        if is_there {
            self.store_away_since = None;
        } else {
            self.store_away_since.get_or_insert(now);
        }
    }

    /// A silo answered this one's probe.
    pub(super) fn answered(&mut self, now: Duration, silo: &SiloId) {
        self.answered.retain(|_, answered| now < *answered + MEMORY);
        self.answered.insert(silo.clone(), now);
    }

    /// Whether it did of late.
    pub(super) fn has_answered(&self, now: Duration, silo: &SiloId) -> bool {
        self.answered.get(silo).is_some_and(|answered| now < *answered + MEMORY)
    }

    /// Whether the store has been away for so long that this silo may be cut off; worth asking before a view is made a list.
    pub(super) fn is_possible(&self, now: Duration) -> bool {
        self.store_away_since.is_some_and(|since| now >= since + PATIENCE)
    }

    /// Whether `myself`, by this last view, is cut off now.
    pub(super) fn is_isolated(&self, now: Duration, myself: &SiloId, view: &[SiloId]) -> bool {
        self.is_possible(now) && !is_enough(myself, view, |id| self.has_answered(now, id))
    }
}

/// Whether those who answer are enough to go on: `myself` counts among them.
pub(super) fn is_enough(myself: &SiloId, view: &[SiloId], answers: impl Fn(&SiloId) -> bool) -> bool {
    let answers = |id: &SiloId| id == myself || answers(id);
    let here = view.iter().filter(|id| answers(id)).count();
    let smallest_is_here = view.iter().min().is_none_or(answers);
    2 * here > view.len() || (2 * here == view.len() && smallest_is_here)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    /// Whether `myself` is cut off when the store has been away for long and these answer.
    fn cut_off(myself: &str, view: &[&str], answering: &[&str]) -> bool {
        let id = |id: &&str| id.parse::<SiloId>().unwrap();
        let mut isolation = Isolation::default();
        isolation.store(at(0), false);
        answering.iter().for_each(|answering| isolation.answered(at(58), &id(answering)));
        let view: Vec<_> = view.iter().map(id).collect();
        isolation.is_isolated(at(60), &id(&myself), &view)
    }

    #[test]
    fn less_than_half_is_cut_off_and_half_is_with_the_smallest_id() {
        let five = &["a", "b", "c", "d", "e"];
        assert!(cut_off("c", five, &["d"]));
        assert!(!cut_off("c", five, &["d", "e"]));
        let four = &["a", "b", "c", "d"];
        assert!(cut_off("c", four, &["d"]));
        assert!(!cut_off("b", four, &["a"]) && !cut_off("a", four, &["b"]));
        assert!(cut_off("b", &["a", "b"], &[]) && !cut_off("a", &["a", "b"], &[]));
        assert!(!cut_off("a", &["a"], &[]), "alone is not cut off");
    }

    #[test]
    fn with_a_store_nobody_is_cut_off_and_its_loss_is_borne_for_a_while() {
        let view = ["a", "b", "c"].map(|id| id.parse::<SiloId>().unwrap());
        let [a, b, _] = view.clone();
        let mut isolation = Isolation::default();
        assert!(!isolation.is_isolated(at(100), &a, &view));
        isolation.store(at(100), false);
        assert!(!isolation.is_isolated(at(102), &a, &view));
        assert!(isolation.is_isolated(at(103), &a, &view));
        isolation.answered(at(107), &b);
        assert!(!isolation.is_isolated(at(108), &a, &view));
        assert!(isolation.is_isolated(at(113), &a, &view), "an answer of long ago");
        isolation.store(at(114), true);
        assert!(!isolation.is_isolated(at(200), &a, &view));
    }
}
