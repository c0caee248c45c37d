//! Which of the requests that a link brought nobody waits for any more. It costs an atomic load for each answer until
//! somebody gives up or asks to be told.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard};

/// Requests remembered as given up. Some of them have been answered, the answer and the cancel having crossed; when
/// there are this many, all are forgotten, which only makes cancelling less useful.
const MOST: usize = 16 * 1024;

/// What is done when a caller gives up. Runs on the runtime's thread; must not block.
pub(crate) type OnAbandoned = Box<dyn FnOnce() + Send>;

/// The requests of one link that were given up, and those that are watched.
#[derive(Default)]
pub(crate) struct Abandoned {
    /// How many requests the table has.
    count: AtomicUsize,
    table: Mutex<Table>,
}

#[derive(Default)]
struct Table {
    requests: HashMap<String, Interest>,
    /// The link is over: all are given up.
    all: bool,
}

enum Interest {
    GivenUp,
    Watched(Vec<OnAbandoned>),
}

impl Abandoned {
    fn lock(&self) -> MutexGuard<'_, Table> {
        self.table.lock().expect("no panic while locked")
    }

    /// Whether this request was given up.
    pub(crate) fn contains(&self, message_id: &str) -> bool {
        if self.count.load(Ordering::Acquire) == 0 {
            return false;
        }
        let table = self.lock();
        table.all || matches!(table.requests.get(message_id), Some(Interest::GivenUp))
    }

    /// Does something when this request is given up; at once when it has been.
    pub(crate) fn watch(&self, message_id: &str, then: OnAbandoned) {
        let mut table = self.lock();
        if !table.all {
            let watched = || Interest::Watched(Vec::new());
            match table.requests.entry(message_id.to_owned()).or_insert_with(watched) {
                Interest::Watched(watchers) => {
                    watchers.push(then);
                    self.count.store(table.requests.len(), Ordering::Release);
                    return;
                }
                Interest::GivenUp => {}
            }
        }
        drop(table);
        then();
    }

    /// The caller of this request gave up.
    pub(crate) fn give_up(&self, message_id: &str) {
        let mut table = self.lock();
        if table.requests.len() >= MOST {
            table.requests.retain(|_, interest| matches!(interest, Interest::Watched(_)));
        }
        let before = table.requests.insert(message_id.to_owned(), Interest::GivenUp);
        self.count.store(table.requests.len(), Ordering::Release);
        drop(table);
        tell(before);
    }

    /// This request has been answered.
    pub(crate) fn answered(&self, message_id: &str) {
        if self.count.load(Ordering::Acquire) == 0 {
            return;
        }
        let mut table = self.lock();
        let watched = table.requests.remove(message_id);
        if !table.all {
            self.count.store(table.requests.len(), Ordering::Release);
        }
        drop(table);
        // Dropped, not told: nobody gave up.
        drop(watched);
    }

    /// The link is over: nobody waits for anything.
    pub(crate) fn give_up_all(&self) {
        let mut table = self.lock();
        table.all = true;
        self.count.store(usize::MAX, Ordering::Release);
        let requests = std::mem::take(&mut table.requests);
        drop(table);
        requests.into_values().for_each(|interest| tell(Some(interest)));
    }
}

fn tell(interest: Option<Interest>) {
    if let Some(Interest::Watched(watchers)) = interest {
        watchers.into_iter().for_each(|then| then());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    fn flag() -> (Arc<AtomicUsize>, OnAbandoned) {
        let told = Arc::new(AtomicUsize::new(0));
        let count = told.clone();
        let then = move || {
            count.fetch_add(1, Ordering::Relaxed);
        };
        (told, Box::new(then))
    }

    #[test]
    fn who_watches_a_request_hears_of_it_whenever_it_was_given_up() {
        let abandoned = Abandoned::default();
        let (early, then) = flag();
        abandoned.watch("1", then);
        assert!(!abandoned.contains("1"));
        abandoned.give_up("1");
        assert!(abandoned.contains("1") && !abandoned.contains("2"));
        let (late, then) = flag();
        abandoned.watch("1", then);
        assert_eq!((early.load(Ordering::Relaxed), late.load(Ordering::Relaxed)), (1, 1));
    }

    #[test]
    fn an_answer_ends_the_interest() {
        let abandoned = Abandoned::default();
        let (told, then) = flag();
        abandoned.watch("1", then);
        abandoned.answered("1");
        abandoned.give_up_all();
        assert_eq!((told.load(Ordering::Relaxed), Arc::strong_count(&told)), (0, 1));
        assert!(abandoned.contains("2"), "the link is over");
    }

    #[test]
    fn what_crossed_with_its_answer_does_not_pile_up() {
        let abandoned = Abandoned::default();
        (0..3 * MOST).for_each(|id| abandoned.give_up(&id.to_string()));
        assert!(abandoned.lock().requests.len() <= MOST);
    }
}
