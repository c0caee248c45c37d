//! The delivery rules, checked over the ledgers of a run. Pure: ledgers and what was done to the processes in, broken
//! rules out.
//!
//! A call ends once, in time, in a way that the contract allows; what its ending says of the delivery is what the
//! handlers' ledgers show; and one sender's calls to one actor start in the order in which they were made.

use std::collections::{HashMap, HashSet};
use std::fmt;

use crate::ledger::{Begin, CallId, Delivered, End, Ledger, Name};

/// How late an ending may be on a loaded machine, in milliseconds, before it counts as late.
const SLACK: u64 = 3_000;

/// What was done to the processes, each named `id:life`.
#[derive(Default)]
pub(crate) struct Interference {
    /// Killed: they could not write down how their calls ended.
    pub(crate) killed: HashSet<String>,
    /// Stopped by a signal from and until; their own clock ran on meanwhile.
    pub(crate) stopped: HashMap<String, Vec<(u64, u64)>>,
}

impl Interference {
    /// How much of a span a process was stopped.
    fn stopped_within(&self, process: &str, from: u64, until: u64) -> u64 {
        let stops = self.stopped.get(process).map_or(&[][..], Vec::as_slice);
        stops.iter().map(|(stop, go)| (*go).min(until).saturating_sub((*stop).max(from))).sum()
    }
}

/// A rule that was broken, and by which call.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Broken {
    pub(crate) rule: Rule,
    call: String,
    detail: String,
}

/// The rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Rule {
    NobodyMadeIt,
    RanTwice,
    RanThoughNotDelivered,
    DidNotRunThoughDelivered,
    RanForAnotherActor,
    NeverEnded,
    EndedTwice,
    EndedLate,
    EndingNotAllowed,
    WrongReply,
    OutOfOrder,
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NobodyMadeIt => "ran, and nobody made it",
            Self::RanTwice => "ran more than once",
            Self::RanThoughNotDelivered => "ran, and its caller was told that it did not",
            Self::DidNotRunThoughDelivered => "did not run, and its caller was told that it did",
            Self::RanForAnotherActor => "ran for another actor",
            Self::NeverEnded => "never ended",
            Self::EndedTwice => "ended more than once",
            Self::EndedLate => "ended late",
            Self::EndingNotAllowed => "ended as the contract does not allow",
            Self::WrongReply => "got the reply to another request",
            Self::OutOfOrder => "started after a later one",
        })
    }
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}: {}", self.call, self.rule, self.detail)
    }
}

/// Everything that is known of one call.
#[derive(Default)]
struct Story<'a> {
    begin: Option<&'a Begin>,
    end: Option<&'a End>,
    endings: u32,
    runs: u32,
}

/// The rules that were broken.
pub(crate) fn check(ledger: &Ledger, interference: &Interference) -> Vec<Broken> {
    let mut stories = HashMap::<CallId, Story<'_>>::with_capacity(ledger.begins.len());
    for begin in &ledger.begins {
        stories.entry(begin.call).or_default().begin = Some(begin);
    }
    for end in &ledger.ends {
        let story = stories.entry(end.call).or_default();
        story.endings += 1;
        story.end = story.end.or(Some(end));
    }
    let mut checker = Checker { ledger, interference, broken: Vec::new() };
    for run in &ledger.runs {
        stories.entry(run.call).or_default().runs += 1;
        if run.actor != run.call.actor {
            let actor = ledger.names.text(run.actor);
            checker.report(Rule::RanForAnotherActor, run.call, actor.to_owned());
        }
    }
    let mut calls: Vec<_> = stories.keys().copied().collect();
    calls.sort_unstable();
    for call in calls {
        checker.check_call(call, &stories[&call]);
    }
    checker.check_order(&stories);
    checker.broken
}

struct Checker<'a> {
    ledger: &'a Ledger,
    interference: &'a Interference,
    broken: Vec<Broken>,
}

impl Checker<'_> {
    fn report(&mut self, rule: Rule, call: CallId, detail: String) {
        self.broken.push(Broken { rule, call: self.ledger.shown(call), detail });
    }

    fn check_call(&mut self, call: CallId, story: &Story<'_>) {
        let Some(begin) = story.begin else {
            return self.report(Rule::NobodyMadeIt, call, self.runs_of(call));
        };
        if story.runs > 1 {
            self.report(Rule::RanTwice, call, self.runs_of(call));
        }
        if story.endings > 1 {
            self.report(Rule::EndedTwice, call, format!("{} endings", story.endings));
        }
        let caller = self.ledger.names.text(call.caller);
        match story.end {
            Some(end) => self.check_ending(begin, end, story.runs),
            None if self.interference.killed.contains(caller) => {}
            None => self.report(Rule::NeverEnded, call, format!("made at {}", begin.at)),
        }
    }

    fn check_ending(&mut self, begin: &Begin, end: &End, runs: u32) {
        let call = begin.call;
        let outcome = self.ledger.names.text(end.outcome);
        let said = format!("{outcome}, delivered {:?}, at {}", end.delivered, end.at);
        if !is_allowed(outcome, end.delivered) {
            self.report(Rule::EndingNotAllowed, call, said.clone());
        }
        let took = end.at.saturating_sub(begin.at);
        let caller = self.ledger.names.text(call.caller);
        let stopped = self.interference.stopped_within(caller, begin.at, end.at);
        if took > begin.timeout + SLACK + stopped {
            let detail = format!(
                "after {took} ms, its timeout was {} ms, its caller was stopped {stopped} ms; {said}",
                begin.timeout
            );
            self.report(Rule::EndedLate, call, detail);
        }
        // That a one-way request is queued says nothing of what becomes of it.
        let surely_ran = end.delivered == Delivered::Yes || (outcome == "ok" && !begin.one_way);
        if surely_ran && runs == 0 {
            self.report(Rule::DidNotRunThoughDelivered, call, said.clone());
        }
        if end.delivered == Delivered::No && runs > 0 {
            self.report(Rule::RanThoughNotDelivered, call, format!("{said}; {}", self.runs_of(call)));
        }
        if outcome == "ok" && !begin.one_way {
            let expected = format!("{}/{}", self.ledger.shown(call), begin.size);
            if *end.reply != *expected {
                self.report(Rule::WrongReply, call, format!("{:?}, expected {expected:?}", end.reply));
            }
        }
    }

    /// Within one life of a silo, one sender's calls to one actor start in the order in which they were made, unless
    /// ownership moved. It did not for those that came by the very view by which they were made: one that waited and was
    /// sent elsewhere, or was passed on, names another.
    fn check_order(&mut self, stories: &HashMap<CallId, Story<'_>>) {
        let mut latest = HashMap::<(Name, Name, Name, u64), u32>::new();
        for run in &self.ledger.runs {
            let CallId { caller, actor, number } = run.call;
            let Some(Story { begin: Some(begin), end: Some(end), .. }) = stories.get(&run.call) else {
                continue;
            };
            if begin.view != run.view {
                continue;
            }
            let latest = latest.entry((run.on, caller, actor, begin.view)).or_insert(number);
            if *latest <= number {
                *latest = number;
                continue;
            }
            let later = CallId { number: *latest, ..run.call };
            // A one-way request is sent when its ending says so, not when it was begun.
            let made_before = stories[&later].begin.is_some_and(|later| !begin.one_way || end.at < later.at);
            if made_before {
                let on = self.ledger.names.text(run.on);
                self.report(
                    Rule::OutOfOrder,
                    run.call,
                    format!("on {on} at {}, after {}", run.at, later.number),
                );
            }
        }
    }

    fn runs_of(&self, call: CallId) -> String {
        let runs = self.ledger.runs.iter().filter(|run| run.call == call);
        let shown = runs.map(|run| format!("on {} at {}", self.ledger.names.text(run.on), run.at));
        shown.collect::<Vec<_>>().join(", ")
    }
}

/// Whether a call of this load may end like this: the codes of the contract, without those that it gives no reason for.
fn is_allowed(outcome: &str, delivered: Delivered) -> bool {
    use Delivered::{No, Unknown, Unsaid, Yes};
    matches!(
        (outcome, delivered),
        ("ok", Unsaid)
            | ("NOT_RUNNING" | "NO_SILO" | "UNREACHABLE" | "OVERLOADED" | "NOT_OWNER" | "ISOLATED", No)
            | ("CONNECTION_LOST", Unknown)
            | ("TIMEOUT" | "CANCELLED", No | Unknown)
            | ("HANDLER_FAILED", Yes)
    )
}

#[cfg(test)]
mod tests;
