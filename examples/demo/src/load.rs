//! The client's calls: each counter is called again and again, a thousand sessions side by side, until told to stop.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::{Duration, Instant};

use quark_core::Caller;

use crate::rules::Rules;

pub(crate) const COUNTERS: usize = 1000;
/// How long a session thinks between a reply and its next call.
const THINKING: Duration = Duration::from_millis(50);
pub(crate) const TIMEOUT: Duration = Duration::from_secs(10);

/// Where a counter answered last, and when.
#[derive(Clone, Default)]
pub(crate) struct Seen {
    pub(crate) silo: String,
    pub(crate) at: Option<Instant>,
}

/// What the calls have seen so far.
pub(crate) struct Load {
    pub(crate) rules: RefCell<Rules>,
    pub(crate) seen: RefCell<Vec<Seen>>,
    stop: Cell<bool>,
}

impl Load {
    /// Begins to call.
    pub(crate) fn start(caller: &Caller) -> (Rc<Self>, Vec<tokio::task::JoinHandle<()>>) {
        let load = Rc::new(Self {
            rules: RefCell::default(),
            seen: RefCell::new(vec![Seen::default(); COUNTERS]),
            stop: Cell::new(false),
        });
        let session =
            |counter| tokio::task::spawn_local(load.clone().call_until_stopped(caller.clone(), counter));
        let sessions = (0..COUNTERS).map(session).collect();
        (load, sessions)
    }

    pub(crate) fn stop(&self) {
        self.stop.set(true);
    }

    /// A session's calls follow each other and never overlap, so that the counts can be checked.
    async fn call_until_stopped(self: Rc<Self>, caller: Caller, counter: usize) {
        while !self.stop.get() {
            self.call(&caller, counter).await;
            tokio::time::sleep(THINKING).await;
        }
    }

    async fn call(&self, caller: &Caller, counter: usize) {
        let began = Instant::now();
        let ended =
            caller.call(("Counter", format!("counter-{counter}")), "increment", "").timeout(TIMEOUT).await;
        let mut rules = self.rules.borrow_mut();
        match ended {
            Ok(reply) => {
                let reply = String::from_utf8_lossy(&reply);
                match reply.split_once(' ').map(|(silo, count)| (silo, count.parse())) {
                    Some((silo, Ok(count))) => {
                        rules.replied(counter, silo, count);
                        self.seen.borrow_mut()[counter] =
                            Seen { silo: silo.to_owned(), at: Some(Instant::now()) };
                    }
                    _ => rules.broken.push(format!("counter {counter} replied {reply:?}")),
                }
            }
            Err(error) => rules.failed(counter, &error, began.elapsed(), TIMEOUT),
        }
    }

    /// How many counters have answered since `since`.
    pub(crate) fn answered_since(&self, since: Instant, among: &[usize]) -> usize {
        let seen = self.seen.borrow();
        among.iter().filter(|counter| seen[**counter].at.is_some_and(|at| at >= since)).count()
    }

    /// The counters by the silo that answered last.
    pub(crate) fn by_silo(&self) -> BTreeMap<String, Vec<usize>> {
        let mut by_silo = BTreeMap::<String, Vec<usize>>::new();
        for (counter, seen) in self.seen.borrow().iter().enumerate() {
            by_silo.entry(seen.silo.clone()).or_default().push(counter);
        }
        by_silo
    }
}
