//! The delivery rules, checked over what both sides of a run have seen. Pure.

use std::collections::BTreeMap;
use std::time::Duration;

use quark_core::{Delivered, ErrorKind};

/// One life of a silo.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Life {
    pub(crate) silo: &'static str,
    pub(crate) number: u32,
}

/// What the caller saw of a call.
#[derive(Clone, Debug)]
pub(crate) struct Call {
    pub(crate) caller: Life,
    pub(crate) actor: usize,
    /// The version of the caller's view when it made the call.
    pub(crate) view: u64,
    pub(crate) payload: usize,
    pub(crate) timeout: Duration,
    /// The caller dropped the call; there is no ending then.
    pub(crate) given_up: bool,
    pub(crate) one_way: bool,
    pub(crate) endings: Vec<(Duration, Ending)>,
}

/// How a call ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    /// The reply named this call, as it should, or another one.
    Reply {
        of: usize,
    },
    Error {
        kind: ErrorKind,
        delivered: Delivered,
    },
}

/// What a handler saw.
#[derive(Clone, Debug)]
pub(crate) struct Execution {
    pub(crate) call: usize,
    pub(crate) silo: Life,
    pub(crate) hops: u32,
    pub(crate) view: u64,
    pub(crate) payload: usize,
}

/// Everything that was seen, in the order in which it happened.
#[derive(Default)]
pub(crate) struct Seen {
    pub(crate) calls: Vec<Call>,
    pub(crate) executions: Vec<Execution>,
}

/// How much later than its timeout a call may end.
const SLACK: Duration = Duration::from_millis(5);

impl Seen {
    /// Every rule that was broken.
    pub(crate) fn broken(&self) -> Vec<String> {
        let mut runs = vec![0usize; self.calls.len()];
        for execution in &self.executions {
            runs[execution.call] += 1;
        }
        let mut broken = Vec::new();
        for (id, (call, runs)) in self.calls.iter().zip(&runs).enumerate() {
            check_endings(call, &mut |what| broken.push(format!("call {id} {what}: {call:?}")));
            check_runs(id, call, *runs, &mut |what| broken.push(format!("call {id} {what}: {call:?}")));
        }
        self.check_executions(&mut |what| broken.push(what));
        broken
    }

    fn check_executions(&self, broken: &mut dyn FnMut(String)) {
        let mut last = BTreeMap::new();
        for execution in &self.executions {
            let Execution { call: id, silo, hops, view, payload } = execution;
            let call = &self.calls[*id];
            if *payload != call.payload {
                broken(format!("call {id} came with {payload} bytes: {call:?}"));
            }
            if *hops > 1 {
                broken(format!("call {id} was passed on {hops} times"));
            }
            // When ownership moves requests may overtake: those that were passed on, or that their sender sent elsewhere
            // by a view that came after the call was made.
            if *hops == 0 && *view == call.view {
                let before = last.insert((call.caller, call.actor, *silo, *view), *id);
                if let Some(before) = before.filter(|before| before > id) {
                    broken(format!("call {id} was handed over after call {before} by {silo:?}: {call:?}"));
                }
            }
        }
    }
}

fn check_endings(call: &Call, broken: &mut dyn FnMut(String)) {
    match (call.given_up, call.endings.len()) {
        (true, 0) | (false, 1) => {}
        (true, n) => broken(format!("was given up and ended {n} times")),
        (false, n) => broken(format!("ended {n} times")),
    }
    for (took, _) in &call.endings {
        if *took > call.timeout + SLACK {
            broken(format!("ended after {took:?}"));
        }
    }
}

fn check_runs(id: usize, call: &Call, runs: usize, broken: &mut dyn FnMut(String)) {
    let (least, most) = match call.endings.first().map(|(_, ending)| ending) {
        Some(Ending::Reply { of }) if !call.one_way => {
            if *of != id {
                broken(format!("got the reply to call {of}"));
            }
            (1, 1)
        }
        Some(Ending::Error { kind, delivered }) => {
            if !is_allowed(*kind, *delivered) {
                broken("ended with an error that there must not be".to_owned());
            }
            match delivered {
                Delivered::Yes => (1, 1),
                Delivered::No => (0, 0),
                Delivered::Unknown => (0, 1),
            }
        }
        _ => (0, 1),
    };
    if !(least..=most).contains(&runs) {
        broken(format!("ran {runs} times"));
    }
}

/// Whether an error may say this of delivery.
fn is_allowed(kind: ErrorKind, delivered: Delivered) -> bool {
    use ErrorKind as K;
    match kind {
        K::NotRunning | K::NoSilo | K::Unreachable | K::NotOwner => delivered == Delivered::No,
        K::Overloaded => delivered != Delivered::Unknown,
        K::ConnectionLost => delivered == Delivered::Unknown,
        K::Timeout | K::Cancelled => delivered != Delivered::Yes,
        K::HandlerFailed => delivered == Delivered::Yes,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIFE: Life = Life { silo: "a", number: 1 };

    fn call(ending: Ending) -> Call {
        Call {
            caller: LIFE,
            actor: 0,
            view: 1,
            payload: 0,
            timeout: Duration::from_secs(1),
            given_up: false,
            one_way: false,
            endings: vec![(Duration::from_millis(10), ending)],
        }
    }

    fn run(call: usize) -> Execution {
        Execution { call, silo: LIFE, hops: 0, view: 1, payload: 0 }
    }

    fn error(kind: ErrorKind, delivered: Delivered) -> Call {
        call(Ending::Error { kind, delivered })
    }

    fn broken(calls: Vec<Call>, executions: Vec<Execution>) -> usize {
        Seen { calls, executions }.broken().len()
    }

    #[test]
    fn what_keeps_the_rules_is_left_alone() {
        let calls = vec![
            call(Ending::Reply { of: 0 }),
            error(ErrorKind::Unreachable, Delivered::No),
            error(ErrorKind::ConnectionLost, Delivered::Unknown),
            error(ErrorKind::ConnectionLost, Delivered::Unknown),
            error(ErrorKind::HandlerFailed, Delivered::Yes),
        ];
        assert_eq!(broken(calls, vec![run(0), run(2), run(4)]), 0);
    }

    #[test]
    fn every_broken_rule_is_noticed() {
        let reply = || call(Ending::Reply { of: 0 });
        let with = |change: fn(&mut Call)| {
            let mut call = reply();
            change(&mut call);
            vec![call]
        };
        assert_eq!(broken(vec![reply()], vec![]), 1, "a reply to what did not run");
        assert_eq!(broken(vec![reply()], vec![run(0), run(0)]), 1, "ran twice");
        assert_eq!(broken(vec![call(Ending::Reply { of: 7 })], vec![run(0)]), 1, "the reply of another");
        let not_delivered = error(ErrorKind::Unreachable, Delivered::No);
        assert_eq!(broken(vec![not_delivered], vec![run(0)]), 1, "ran and was said not to");
        let failed = error(ErrorKind::HandlerFailed, Delivered::Yes);
        assert_eq!(broken(vec![failed], vec![]), 1, "was said to run and did not");
        let unknown = error(ErrorKind::ConnectionLost, Delivered::Unknown);
        assert_eq!(broken(vec![unknown], vec![run(0), run(0)]), 1, "ran twice");
        let internal = error(ErrorKind::Internal, Delivered::Unknown);
        assert_eq!(broken(vec![internal], vec![]), 1, "there must be no such error");
        assert_eq!(broken(with(|call| call.endings.clear()), vec![run(0)]), 1, "never ended");
        assert_eq!(broken(with(|call| call.endings.push(call.endings[0].clone())), vec![run(0)]), 1, "twice");
        assert_eq!(broken(with(|call| call.endings[0].0 = Duration::from_secs(2)), vec![run(0)]), 1, "late");
        assert_eq!(broken(with(|call| call.payload = 5), vec![run(0)]), 1, "another payload");
        assert_eq!(broken(vec![reply()], vec![Execution { hops: 2, ..run(0) }]), 1, "passed on twice");
        let two = vec![reply(), call(Ending::Reply { of: 1 })];
        assert_eq!(broken(two, vec![run(1), run(0)]), 1, "overtaken");
    }
}
