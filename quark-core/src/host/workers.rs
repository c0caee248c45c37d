//! Threads that run the host's callbacks, so that foreign code never runs inside the runtime. While they wait for some they
//! drive it: [`driver`] says why.
//!
//! Items start in the order in which they were pushed, `threads` of them at once. A worker that blocks in a call of
//! Quark's lets another thread take its turn meanwhile; so a handler may call its own silo, even its own actor, and
//! wait for the reply.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, Weak};
use std::task::Context;
use std::thread;
use std::time::{Duration, Instant};

use futures_util::task::AtomicWaker;

use super::driver::{self, Driver, Turn};
use super::reluctance::Reluctance;
use super::together::Together;
use crate::batch::{self, Wake, Wakes};
use crate::error::{Error, ErrorKind, Result};

/// Threads of one pool that may be blocked in calls when one more begins; a handler that calls itself without end stops
/// there.
const MAX_BLOCKED: usize = 256;
/// For how long items are handled before wake-ups for replies, which are kept meanwhile, are given out.
const LONGEST_BATCH: Duration = Duration::from_micros(25);
/// It is missed there when batches take longer.
const SHORT: Duration = Duration::from_micros(400);

/// What surrounds the work of a pool's threads, each a function that calls what it is given once.
pub struct Surroundings {
    /// Around all that a thread does, from its beginning to its end.
    pub thread: fn(&mut (dyn FnMut() + Send)),
    /// Around the items that it finds when it looks.
    pub batch: fn(&mut dyn FnMut()),
    /// Whether SIGPIPE is blocked on its threads for good, because they drive the runtime when they have nothing to do: writing to a
    /// connection that is gone raises it. Else only while they do, which costs: for threads from which the host starts what would
    /// inherit that.
    pub block_broken_pipes: bool,
    /// For how long items are handled before others get the answers, and who drives looks at the runtime again: long enough
    /// for several, so that what surrounds them pays.
    pub longest_batch: Duration,
}

impl Default for Surroundings {
    fn default() -> Self {
        Self {
            thread: |work| work(),
            batch: |work| work(),
            block_broken_pipes: true,
            longest_batch: LONGEST_BATCH,
        }
    }
}

/// A pool of worker threads with a queue. Bounded by what fills it: requests by the inbox, replies by the pending table.
/// Dropping it lets the workers finish what is queued and end.
pub struct Workers<T: Send + 'static>(Arc<Shared<T>>);

/// Takes an item and those that go with it, all of them.
type Run<T> = dyn Fn(&mut Vec<T>) + Send + Sync;

struct Shared<T> {
    this: Weak<Shared<T>>,
    name: String,
    run: Box<Run<T>>,
    together: Together<T>,
    surroundings: Surroundings,
    state: Mutex<State<T>>,
    news: Condvar,
    /// Wakes the thread that drives the runtime, while one does.
    driving: AtomicWaker,
    threads: usize,
}

struct State<T> {
    queue: VecDeque<T>,
    /// Threads that wait for an item.
    idle: usize,
    /// Threads that exist, without those that are blocked in a call.
    active: usize,
    blocked: usize,
    /// A wake-up is under way.
    armed: bool,
    /// One of those that wait drives the runtime.
    drives: bool,
    /// Of its threads to drive, whose callbacks take long or block.
    reluctance: Reluctance,
    closed: bool,
}

/// What a worker does between two looks at the runtime.
struct Away {
    /// Wake-ups that it has to give out.
    kept: Wakes,
    /// When it came from there.
    since: Instant,
}

trait Pool {
    fn blocked(&self) -> usize;
    fn enter_blocking(&self);
    fn leave_blocking(&self);
}

thread_local! {
    /// The pool that this thread works for.
    static POOL: RefCell<Option<Weak<dyn Pool>>> = const { RefCell::new(None) };
}

impl<T: Send + 'static> Workers<T> {
    /// A pool named `name` that runs `run` for each item, on at most `threads` threads at once. Threads are made when
    /// they are first needed.
    pub fn new(name: impl Into<String>, threads: usize, run: impl Fn(T) + Send + Sync + 'static) -> Self {
        Self::surrounded(name, threads, Surroundings::default(), run)
    }

    /// The same, with something around its threads and batches.
    pub fn surrounded(
        name: impl Into<String>,
        threads: usize,
        surroundings: Surroundings,
        run: impl Fn(T) + Send + Sync + 'static,
    ) -> Self {
        let run = move |items: &mut Vec<T>| items.drain(..).for_each(&run);
        Self::make(name.into(), threads, surroundings, Together::none(), run)
    }

    /// A pool that runs `run` for items that go together; it takes all of them out.
    pub fn grouped(
        name: impl Into<String>,
        threads: usize,
        together: Together<T>,
        run: impl Fn(&mut Vec<T>) + Send + Sync + 'static,
    ) -> Self {
        Self::make(name.into(), threads, Surroundings::default(), together, run)
    }

    fn make(
        name: String,
        threads: usize,
        surroundings: Surroundings,
        together: Together<T>,
        run: impl Fn(&mut Vec<T>) + Send + Sync + 'static,
    ) -> Self {
        Self(Arc::new_cyclic(|this| Shared {
            this: this.clone(),
            name,
            run: Box::new(run),
            together,
            surroundings,
            state: Mutex::new(State {
                queue: VecDeque::new(),
                idle: 0,
                active: 0,
                blocked: 0,
                armed: false,
                drives: false,
                reluctance: Reluctance::default(),
                closed: false,
            }),
            news: Condvar::new(),
            driving: AtomicWaker::new(),
            threads: threads.max(1),
        }))
    }

    /// Puts an item at the end, from any thread; never blocks.
    pub fn push(&self, item: T) {
        let mut state = self.0.lock();
        state.queue.push_back(item);
        self.0.attend(state);
    }

    /// How many items wait.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.lock().queue.len()
    }

    /// Whether nothing waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl<T: Send + 'static> Drop for Workers<T> {
    fn drop(&mut self) {
        self.0.lock().closed = true;
        self.0.news.notify_all();
        self.0.driving.wake();
    }
}

impl<T: Send + 'static> Shared<T> {
    fn lock(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().expect("no panic while a pool is locked")
    }

    /// Sees to it that somebody looks at the queue.
    fn attend(&self, mut state: MutexGuard<'_, State<T>>) {
        if state.queue.is_empty() {
            return;
        }
        if state.idle > 0 {
            if !std::mem::replace(&mut state.armed, true) {
                drop(state);
                if let Some(this) = self.this.upgrade() {
                    batch::wake(this);
                }
            }
        } else if state.active < self.threads {
            state.active += 1;
            drop(state);
            self.add_thread();
        }
    }

    fn add_thread(&self) {
        let Some(this) = self.this.upgrade() else { return };
        let spawned = thread::Builder::new()
            .name(self.name.clone())
            .spawn(move || (this.surroundings.thread)(&mut || this.work()));
        if let Err(error) = spawned {
            // Others go on; without any, the items wait for the next push.
            self.lock().active -= 1;
            tracing::error!(target: crate::telemetry::HANDLER, %error, "no thread for callbacks");
        }
    }

    fn work(&self) {
        let pool: Weak<dyn Pool> = self.this.clone();
        POOL.set(Some(pool));
        if self.surroundings.block_broken_pipes {
            driver::block_broken_pipes();
        }
        let mut away = Away { kept: Wakes::default(), since: Instant::now() };
        let mut items = Vec::new();
        while self.wait_for_items(&mut away) {
            let begun = Instant::now();
            (self.surroundings.batch)(&mut || {
                away.kept = batch::gather_foreign(|| self.run_items(&mut items));
            });
            self.note_batch(begun.elapsed());
        }
        away.kept.give_out();
        // It may have been the one that drove.
        summon_driver();
    }

    /// Runs what there is, for so long; `items` is empty before and after.
    fn run_items(&self, items: &mut Vec<T>) {
        let begun = Instant::now();
        while self.next(items) {
            (self.run)(items);
            if super::is_forked() || begun.elapsed() > self.surroundings.longest_batch {
                break;
            }
        }
    }

    /// A batch took so long, with the wait for its beginning.
    fn note_batch(&self, elapsed: Duration) {
        if !super::is_forked() {
            self.lock().reluctance.note(elapsed, SHORT);
        }
    }

    /// Takes the next items; says whether there are any.
    fn next(&self, items: &mut Vec<T>) -> bool {
        let mut state = self.lock();
        // After blocking there may be one thread too many.
        if state.active <= self.threads {
            self.together.take(&mut state.queue, items);
        }
        !items.is_empty()
    }

    /// Waits until there is something to do; false when this thread is not needed any more. Gives out what its last batch
    /// has kept.
    fn wait_for_items(&self, away: &mut Away) -> bool {
        // A callback forked and came back in the child. What waits is the parent's; this thread is the only one there,
        // and with it the child ends.
        if super::is_forked() {
            return false;
        }
        let mut state = self.lock();
        loop {
            if state.active > self.threads || (state.closed && state.queue.is_empty()) {
                state.active -= 1;
                return false;
            }
            if !state.queue.is_empty() {
                let others = state.queue.len() > 1;
                let one_more = others && state.idle == 0 && state.active < self.threads;
                if others && state.idle > 0 {
                    self.news.notify_one();
                }
                state.active += usize::from(one_more);
                drop(state);
                if one_more {
                    self.add_thread();
                }
                self.look_in(away);
                return true;
            }
            state.idle += 1;
            state = match self.turn(&state) {
                Some(turn) => {
                    state.drives = true;
                    drop(state);
                    turn.drive(|| away.kept.give_out(), |cx| self.is_wanted(cx));
                    self.lock()
                }
                None if away.kept.is_empty() => {
                    self.news.wait(state).expect("no panic while a pool is locked")
                }
                None => {
                    drop(state);
                    away.kept.give_out();
                    self.lock()
                }
            };
            away.since = Instant::now();
            state.idle -= 1;
            state.armed = false;
        }
    }

    /// This thread's turn to drive the runtime, if it is one. Else somebody else drives, or is to come back, or is summoned.
    fn turn(&self, state: &State<T>) -> Option<Turn<'static>> {
        let driver = super::runtime::driver()?;
        if state.reluctance.is_felt() {
            driver.summon();
            return None;
        }
        driver.take(self.this.upgrade()?)
    }

    /// Gives out what the last batch has kept although more is to be done, and lets the runtime do what there is when
    /// nobody has driven it for long.
    fn look_in(&self, away: &mut Away) {
        let is_long = away.since.elapsed() > self.surroundings.longest_batch * 6 / 5;
        let turn = super::runtime::driver()
            .filter(|_| is_long && !self.lock().reluctance.is_felt())
            .and_then(Driver::take_free);
        let Some(turn) = turn else { return away.kept.give_out() };
        turn.drive_once(|| away.kept.give_out());
        away.since = Instant::now();
    }

    /// Whether the thread that drives is wanted here; it is told when that changes.
    fn is_wanted(&self, cx: &Context<'_>) -> bool {
        self.driving.register(cx.waker());
        let mut state = self.lock();
        let is_wanted = !state.queue.is_empty() || state.closed || state.active > self.threads;
        if is_wanted {
            // Before anybody else can have the turn.
            state.drives = false;
        } else {
            // Another thread has taken what this one was woken for.
            state.armed = false;
        }
        is_wanted
    }
}

impl<T: Send + 'static> Wake for Shared<T> {
    fn wake(&self) {
        if self.lock().drives {
            self.driving.wake();
        } else {
            self.news.notify_one();
        }
    }
}

impl<T: Send + 'static> Pool for Shared<T> {
    fn blocked(&self) -> usize {
        self.lock().blocked
    }

    fn enter_blocking(&self) {
        let mut state = self.lock();
        state.blocked += 1;
        state.active -= 1;
        state.reluctance.grow();
        self.attend(state);
        // What it waits for comes through the runtime.
        summon_driver();
    }

    fn leave_blocking(&self) {
        let mut state = self.lock();
        state.blocked -= 1;
        state.active += 1;
    }
}

/// Lets somebody else drive the runtime, unless somebody does.
fn summon_driver() {
    if let Some(driver) = super::runtime::driver() {
        driver.summon();
    }
}

/// The pool that this thread works for.
fn pool_here() -> Option<Arc<dyn Pool>> {
    POOL.with_borrow(|pool| pool.as_ref().and_then(Weak::upgrade))
}

/// Blocks in `wait`; a worker lets another thread take its turn meanwhile, always: who waits in slices comes here often,
/// and what it waits for may be behind it in the queue.
pub(super) fn blocking<R>(wait: impl FnOnce() -> R) -> R {
    let pool = pool_here();
    match &pool {
        Some(pool) => pool.enter_blocking(),
        // It may be an event loop's thread, which drove just now.
        None => summon_driver(),
    }
    batch::flush();
    let result = wait();
    if let Some(pool) = pool {
        pool.leave_blocking();
    }
    result
}

/// Whether this thread runs a callback and so many of its pool block already that one more could wait for itself.
///
/// # Errors
/// `REENTRANT`.
pub(super) fn check_depth() -> Result<()> {
    if pool_here().is_some_and(|pool| pool.blocked() >= MAX_BLOCKED) {
        return Err(Error::new(
            ErrorKind::Reentrant,
            format!(
                "{MAX_BLOCKED} callbacks block in calls already; a handler seems to call itself without end"
            ),
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;

    #[test]
    fn items_start_in_order_on_one_thread() {
        let (sender, receiver) = mpsc::channel();
        let workers = Workers::new("test", 1, move |i| sender.send(i).unwrap());
        (0..1000).for_each(|i| workers.push(i));
        assert_eq!(
            (0..1000).map(|_| receiver.recv().unwrap()).collect::<Vec<_>>(),
            (0..1000).collect::<Vec<_>>()
        );
    }

    #[test]
    fn a_blocked_worker_lets_another_take_its_turn() {
        let (sender, receiver) = mpsc::channel();
        let (inner, outer) = mpsc::channel::<()>();
        let outer = Mutex::new(outer);
        let workers = Workers::new("test", 1, move |first: bool| {
            if first {
                blocking(|| outer.lock().unwrap().recv().unwrap());
                sender.send("first").unwrap();
            } else {
                sender.send("second").unwrap();
                inner.send(()).unwrap();
            }
        });
        workers.push(true);
        workers.push(false);
        assert_eq!([receiver.recv().unwrap(), receiver.recv().unwrap()], ["second", "first"]);
        // One thread is one too many now; the pool still works with one.
        workers.push(false);
        assert_eq!(receiver.recv().unwrap(), "second");
    }

    #[test]
    fn who_blocks_lets_another_take_its_turn_however_many_block() {
        let (sender, receiver) = mpsc::channel();
        let (inner, outer) = mpsc::channel::<()>();
        let outer = Mutex::new(outer);
        let workers = Workers::new("test", 1, move |first: bool| {
            if first {
                let heard = blocking(|| outer.lock().unwrap().recv_timeout(Duration::from_secs(20)));
                sender.send(heard.is_ok()).unwrap();
            } else {
                inner.send(()).unwrap();
            }
        });
        workers.0.lock().blocked = MAX_BLOCKED;
        workers.push(true);
        workers.push(false);
        assert!(receiver.recv().unwrap());
    }

    /// A pool whose thread waits for an item, so that the next one has to wake it, and what it has run.
    fn waiting_pool() -> (Workers<&'static str>, mpsc::Receiver<&'static str>) {
        let (sender, receiver) = mpsc::channel();
        let pool = Workers::new("other", 1, move |item| sender.send(item).unwrap());
        pool.push("first");
        receiver.recv().unwrap();
        while pool.0.lock().idle == 0 {
            thread::yield_now();
        }
        (pool, receiver)
    }

    #[test]
    fn what_a_callback_has_done_does_not_wait_for_the_next_callback() {
        let (other, heard) = waiting_pool();
        let heard = Mutex::new(heard);
        let (sender, receiver) = mpsc::channel();
        let workers = Workers::new("test", 1, move |waits: bool| {
            if waits {
                let got = heard.lock().unwrap().recv_timeout(Duration::from_secs(20));
                sender.send(got).unwrap();
            } else {
                other.push("second");
            }
        });
        batch::run(|| [false, true].map(|waits| workers.push(waits)));
        assert_eq!(receiver.recv().unwrap(), Ok("second"));
    }

    #[test]
    fn what_a_callback_does_happens_while_it_waits_in_its_own_way() {
        let (other, heard) = waiting_pool();
        let heard = Mutex::new(heard);
        let (sender, receiver) = mpsc::channel();
        let workers = Workers::new("test", 1, move |()| {
            other.push("second");
            sender.send(heard.lock().unwrap().recv_timeout(Duration::from_secs(20))).unwrap();
        });
        workers.push(());
        assert_eq!(receiver.recv().unwrap(), Ok("second"));
    }

    #[test]
    fn dropping_the_pool_finishes_what_is_queued() {
        let (sender, receiver) = mpsc::channel();
        let workers = Workers::new("test", 2, move |i: u32| sender.send(i).unwrap());
        (0..10).for_each(|i| workers.push(i));
        drop(workers);
        assert_eq!(receiver.iter().count(), 10);
    }
}
