//! The delivery rules, checked against what the client sees: each call ends once and by its deadline, with a reply or
//! with an error that the rules allow there; and a counter never counts more than it was called.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use quark_core::{Delivered, Error, ErrorKind};

/// How late an ending may be on a loaded machine before it counts as no ending.
const SLACK: Duration = Duration::from_secs(2);

/// What one life of a counter on one silo has counted.
#[derive(Default)]
struct Counted {
    last: u64,
    /// Calls since the last reply whose handler may have run.
    unknown: u64,
}

/// Everything that was seen.
#[derive(Default)]
pub(crate) struct Rules {
    pub(crate) replies: u64,
    pub(crate) errors: BTreeMap<&'static str, u64>,
    pub(crate) broken: Vec<String>,
    counted: HashMap<(String, usize), Counted>,
    unknown: HashMap<usize, u64>,
}

impl Rules {
    /// A call to a counter was answered by `silo`, which had counted `count`.
    pub(crate) fn replied(&mut self, counter: usize, silo: &str, count: u64) {
        self.replies += 1;
        let unknown = *self.unknown.entry(counter).or_default();
        let counted = self.counted.entry((silo.to_owned(), counter)).or_default();
        // One more than last time, plus those of which nobody could say whether they ran.
        let most = counted.last + 1 + (unknown - counted.unknown);
        if count <= counted.last || count > most {
            let expected = counted.last + 1;
            self.broken
                .push(format!("counter {counter} on {silo} said {count}, expected {expected} to {most}"));
        }
        *counted = Counted { last: count, unknown };
    }

    /// A call ended with an error after `took`.
    pub(crate) fn failed(&mut self, counter: usize, error: &Error, took: Duration, timeout: Duration) {
        *self.errors.entry(error.kind().code()).or_default() += 1;
        if error.delivered() != Delivered::No {
            *self.unknown.entry(counter).or_default() += 1;
        }
        let allowed = matches!(
            (error.kind(), error.delivered()),
            (ErrorKind::ConnectionLost, Delivered::Unknown)
                | (ErrorKind::Timeout, Delivered::No | Delivered::Unknown)
                | (
                    ErrorKind::Unreachable | ErrorKind::NotOwner | ErrorKind::Overloaded | ErrorKind::NoSilo,
                    Delivered::No
                )
        );
        if !allowed {
            self.broken.push(format!("counter {counter}: {error:?}"));
        }
        if took > timeout + SLACK {
            self.broken.push(format!(
                "counter {counter}: ended {took:?} after it was made, its timeout was {timeout:?}"
            ));
        }
    }

    pub(crate) fn calls(&self) -> u64 {
        self.replies + self.errors.values().sum::<u64>()
    }
}
