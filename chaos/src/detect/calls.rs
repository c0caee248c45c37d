//! Calls that programs are told to make, one after another at a fixed rate without waiting, and the account of them.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;

use crate::detect::talk::Talk;
use crate::node::ACTOR_TYPE;
use crate::record::now;

/// How long a call may take.
const TIMEOUT: Duration = Duration::from_secs(5);

/// A program that is told to call these actors in turn.
pub(crate) struct Caller {
    pub(crate) talk: Talk,
    pub(crate) actors: Vec<String>,
}

/// A call that has ended; times are milliseconds of the monotonic clock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Call {
    /// The place of its caller among the callers.
    pub(crate) caller: usize,
    pub(crate) made_at: u64,
    pub(crate) ended_at: u64,
    pub(crate) ending: Ending,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    AnsweredBy(String),
    Failed(String),
}

/// Calls that are being made.
pub(crate) struct Calls {
    account: Rc<Account>,
    callers: JoinSet<()>,
}

#[derive(Default)]
struct Account {
    stopped: Cell<bool>,
    ended: RefCell<Vec<Call>>,
}

impl Calls {
    /// Each caller calls every so often, until the [`end`](Self::end).
    pub(crate) fn begin(callers: Vec<Caller>, every: Duration) -> Self {
        let account = Rc::new(Account::default());
        let mut running = JoinSet::new();
        for (number, caller) in callers.into_iter().enumerate() {
            running.spawn_local(keep_calling(account.clone(), number, caller, every));
        }
        Self { account, callers: running }
    }

    /// For each caller, when a call that was made since then was first answered, and by whom it should be.
    pub(crate) fn first_answers(&self, since: u64, by: impl Fn(&str) -> bool) -> Vec<Option<u64>> {
        first_answers(&self.account.ended.borrow(), self.callers.len(), since, by)
    }

    /// For each caller, how the call that ended last did so.
    pub(crate) fn last_endings(&self) -> Vec<Option<Ending>> {
        let ended = self.account.ended.borrow();
        let last = |caller| ended.iter().rfind(|call| call.caller == caller);
        (0..self.callers.len()).map(|caller| last(caller).map(|call| call.ending.clone())).collect()
    }

    /// Makes no more calls, waits until all have ended and gives all of them.
    pub(crate) async fn end(mut self) -> Vec<Call> {
        self.account.stopped.set(true);
        while self.callers.join_next().await.is_some() {}
        self.account.ended.take()
    }
}

async fn keep_calling(account: Rc<Account>, number: usize, caller: Caller, every: Duration) {
    let mut ticks = tokio::time::interval(every);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    let mut under_way = JoinSet::new();
    for actor in caller.actors.iter().cycle() {
        ticks.tick().await;
        if account.stopped.get() {
            break;
        }
        while under_way.try_join_next().is_some() {}
        under_way.spawn_local(call(account.clone(), number, caller.talk.clone(), actor.clone()));
    }
    while under_way.join_next().await.is_some() {}
}

async fn call(account: Rc<Account>, caller: usize, talk: Talk, actor: String) {
    let made_at = now();
    let asked = talk.ask(format!("call {ACTOR_TYPE} {actor} {}", TIMEOUT.as_millis()));
    let (ended_at, ending) = match asked.answer().await {
        Ok(answer) => (answer.at, Ending::read(&answer.found)),
        Err(error) => (now(), Ending::Failed(error.to_string())),
    };
    account.ended.borrow_mut().push(Call { caller, made_at, ended_at, ending });
}

impl Ending {
    /// `found` is what an observed program says of a call.
    fn read(found: &str) -> Self {
        match found.strip_prefix("ok ") {
            Some(by) => Self::AnsweredBy(by.to_owned()),
            None => Self::Failed(found.to_owned()),
        }
    }
}

fn first_answers(ended: &[Call], callers: usize, since: u64, by: impl Fn(&str) -> bool) -> Vec<Option<u64>> {
    let mut first = vec![None; callers];
    for call in ended {
        if call.made_at >= since && matches!(&call.ending, Ending::AnsweredBy(silo) if by(silo)) {
            let first = first[call.caller].get_or_insert(call.ended_at);
            *first = call.ended_at.min(*first);
        }
    }
    first
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_answer_is_the_earliest_by_the_right_silo_to_a_call_made_since() {
        let call = |caller, made_at, ended_at, found| Call {
            caller,
            made_at,
            ended_at,
            ending: Ending::read(found),
        };
        let ended = [
            call(0, 90, 120, "ok b"),
            call(0, 100, 110, "ok a"),
            call(0, 130, 150, "ok b"),
            call(0, 120, 140, "ok b"),
            call(1, 100, 130, "UNREACHABLE no"),
        ];
        assert_eq!(first_answers(&ended, 2, 100, |silo| silo != "a"), [Some(140), None]);
        assert_eq!(first_answers(&ended, 2, 100, |silo| silo == "a"), [Some(110), None]);
    }
}
