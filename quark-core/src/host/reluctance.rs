//! When a thread of the host's rather leaves the runtime to others, although it has nothing to do: when what it does between
//! two turns takes long, during which whoever drives is missed.

use std::ops::Range;
use std::time::{Duration, Instant};

/// So many short absences make up for a long one. Where they do not make up for two, the next long one counts.
const LONG: u32 = 16;
const MANY_LONG: u32 = 2 * LONG;
/// For how long nobody drives after such absences; twice as long after each that follows soon.
const LASTING: Range<Duration> = Duration::from_millis(10)..Duration::from_secs(1);

#[derive(Default)]
pub(super) struct Reluctance {
    /// Long absences, each as so many short ones that make up for it.
    long: u32,
    until: Option<Instant>,
    lasting: Duration,
}

impl Reluctance {
    pub(super) fn is_felt(&self) -> bool {
        self.until.is_some_and(|then| Instant::now() < then)
    }

    /// An absence took so long. One that was not `short` may have been the system's doing, which let another process run.
    pub(super) fn note(&mut self, elapsed: Duration, short: Duration) {
        if elapsed <= short {
            self.long = self.long.saturating_sub(1);
        } else if self.long < MANY_LONG {
            self.long += LONG;
        } else {
            self.grow();
        }
    }

    /// Whoever drives was missed.
    pub(super) fn grow(&mut self) {
        let now = Instant::now();
        if self.until.is_some_and(|then| now > then + LASTING.end) {
            self.lasting = Duration::ZERO;
        }
        self.lasting = (2 * self.lasting).clamp(LASTING.start, LASTING.end);
        self.until = Some(now + self.lasting);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_third_long_absence_that_short_ones_do_not_make_up_for_counts() {
        let (short, long) = (Duration::ZERO, Duration::from_secs(1));
        let mut reluctance = Reluctance::default();
        let mut note = |lasted: &[Duration]| {
            lasted.iter().for_each(|lasted| reluctance.note(*lasted, short));
            reluctance.is_felt()
        };
        assert!(!note(&[long, long]));
        assert!(!note(&[short; 16]));
        assert!(!note(&[long]), "one of the two was made up for");
        assert!(note(&[long]));
    }

    #[test]
    fn it_lasts_twice_as_long_each_time_and_not_for_ever() {
        let mut reluctance = Reluctance::default();
        for lasting in [10, 20, 40, 80, 160, 320, 640, 1_000, 1_000] {
            reluctance.grow();
            assert_eq!(reluctance.lasting, Duration::from_millis(lasting));
        }
    }
}
