//! How an event loop of the host's waits: while there is something to do it drives the runtime meanwhile, as workers do.
//! [`driver`](super::driver) says why.
//!
//! Such a loop has its own descriptors to wait for, and other threads, signals and timers that end its waiting. A descriptor that
//! stands for all of its own (that of its epoll) is watched by the runtime; and it drives only while messages keep coming. A loop that
//! has had none for a while waits as it ever did, for what comes through the mailbox's descriptor too.

use std::future::poll_fn;
use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout};
use tokio::io::unix::AsyncFd;

use super::Mailbox;
use super::driver::{Driver, Turn};
use super::reluctance::Reluctance;
use crate::batch::{Held, Wake};

/// How long a loop drives without any message. That long a signal may wait, which wakes the system's own ways to wait and
/// not this one.
const PATIENCE: Duration = Duration::from_millis(20);
/// Whoever drives is missed when a loop is away for longer: then the minder lets the stand-in begin.
const SHORT: Duration = Duration::from_millis(1);

/// How the runtime comes to watch a loop's descriptors. Called in the runtime's context.
pub type Watch = Box<dyn Fn() -> io::Result<AsyncFd<Arc<OwnedFd>>> + Send + Sync>;

/// The way in which one loop waits, for the items of its mailbox among others.
pub struct LoopWait<T> {
    mailbox: Arc<Mailbox<T>>,
    /// What the loop's own work has to tell others. It is given out when the loop waits.
    held: Held,
    watch: Watch,
    /// Readable when any descriptor that the loop watches is ready. Only while the loop drives now and then: whoever drives is woken by
    /// each of them.
    descriptors: Mutex<Option<AsyncFd<Arc<OwnedFd>>>>,
    turns: Mutex<Turns>,
}

/// What a loop's turns were like.
#[derive(Default)]
struct Turns {
    /// When there was a message.
    heard: Option<Instant>,
    /// When it last came back from driving.
    left: Option<Instant>,
    reluctance: Reluctance,
}

/// What came of [waiting](LoopWait::wait).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Waited {
    /// Nothing: it is to wait as it does without Quark.
    Not,
    /// It is to go on.
    For {
        /// Its mailbox has something.
        mailbox: bool,
        /// Its descriptors are to be looked at, without waiting.
        descriptors: bool,
    },
}

impl<T: Send + 'static> LoopWait<T> {
    /// For a loop that watches the mailbox's descriptor. What `watch` gives, of the process-wide [runtime](super::handle), is readable
    /// when any that the loop watches is ready.
    #[must_use]
    pub fn new(mailbox: Arc<Mailbox<T>>, watch: Watch) -> Self {
        Self { mailbox, held: Held::default(), watch, descriptors: Mutex::default(), turns: Mutex::default() }
    }

    /// Runs `work`, a part of what the loop does, as a batch. What it has to tell others is told when the loop waits, or after a
    /// millisecond or so.
    pub fn run<R>(&self, work: impl FnOnce() -> R) -> R {
        self.held.run(work)
    }

    /// The loop has taken something from its mailbox.
    pub fn has_heard(&self) {
        self.turns().heard = Some(Instant::now());
    }

    /// The loop is closed: its descriptors are watched no longer.
    pub fn close(&self) {
        self.descriptors().take();
    }

    /// Waits for `limit` at most, or until something has come. To be called by the loop whenever it would wait or look at its
    /// descriptors, from the thread on which it runs. What may take time is given to `away`, which calls it: without the host's locks.
    pub fn wait(&self, limit: Option<Duration>, away: impl FnOnce(&mut (dyn FnMut() + Send))) -> Waited {
        let Some(driver) = super::runtime::driver() else { return Waited::Not };
        let now = Instant::now();
        let looks = limit.is_some_and(|limit| limit.is_zero()) || self.mailbox.has_items();
        let Some(turn) = self.turn(driver, now, looks) else {
            self.held.give_out();
            return self.wait_as_ever(looks);
        };
        let (mut turn, mut descriptors) = (Some(turn), false);
        away(&mut || {
            let Some(turn) = turn.take() else { return };
            descriptors = if looks {
                turn.drive_until(self.look())
            } else {
                let until = now + limit.map_or(PATIENCE, |limit| limit.min(PATIENCE));
                turn.drive_until(self.until_wanted(until.into()))
            };
        });
        self.mailbox.is_looked_at();
        self.turns().left = Some(Instant::now());
        Waited::For { mailbox: self.mailbox.has_items(), descriptors }
    }

    fn turns(&self) -> MutexGuard<'_, Turns> {
        self.turns.lock().expect("no panic while a loop's turns are locked")
    }

    fn descriptors(&self) -> MutexGuard<'_, Option<AsyncFd<Arc<OwnedFd>>>> {
        self.descriptors.lock().expect("no panic while a loop's descriptors are locked")
    }

    /// The loop's turn to drive, if it is one.
    fn turn<'a>(&self, driver: &'a Driver, now: Instant, looks: bool) -> Option<Turn<'a>> {
        let mut turns = self.turns();
        let left = turns.left.take();
        if let Some(left) = left {
            turns.reluctance.note(now.duration_since(left), SHORT);
        }
        let listens = turns.heard.is_some_and(|heard| now.duration_since(heard) < PATIENCE);
        let may_drive = listens && !turns.reluctance.is_felt();
        drop(turns);
        if !(may_drive && self.are_descriptors_watched(driver)) {
            self.close();
            if left.is_some() {
                driver.summon();
            }
            return None;
        }
        if looks {
            return driver.take_free();
        }
        // Who drives now may leave at once, which this loop is told by the descriptor.
        self.mailbox.is_watched();
        driver.take(Arc::new(Recall(self.mailbox.clone())))
    }

    /// From now on they are, if that is possible.
    fn are_descriptors_watched(&self, driver: &Driver) -> bool {
        let mut descriptors = self.descriptors();
        if descriptors.is_none() {
            let _within = driver.handle().enter();
            *descriptors = (self.watch)().ok();
        }
        descriptors.is_some()
    }

    fn wait_as_ever(&self, looks: bool) -> Waited {
        if !looks {
            if !self.mailbox.is_watched() {
                return Waited::Not;
            }
            self.mailbox.is_looked_at();
        }
        Waited::For { mailbox: self.mailbox.has_items(), descriptors: true }
    }

    /// Lets the runtime do what there is. Says whether a descriptor is ready.
    async fn look(&self) -> bool {
        self.held.give_out();
        tokio::task::yield_now().await;
        poll_fn(|cx| Poll::Ready(self.has_descriptors(cx))).await
    }

    /// Waits until the loop has something to do. Says whether a descriptor is ready.
    async fn until_wanted(&self, until: tokio::time::Instant) -> bool {
        self.held.give_out();
        let mut over = std::pin::pin!(tokio::time::sleep_until(until));
        poll_fn(|cx| {
            let has_items = self.mailbox.is_driven(cx);
            let descriptors = self.has_descriptors(cx);
            if descriptors || has_items {
                return Poll::Ready(descriptors);
            }
            over.as_mut().poll(cx).map(|()| false)
        })
        .await
    }

    /// Whether a descriptor is ready; whoever waits is woken when that changes.
    fn has_descriptors(&self, cx: &mut Context<'_>) -> bool {
        let descriptors = self.descriptors();
        let Some(descriptors) = &*descriptors else { return true };
        loop {
            match descriptors.poll_read_ready(cx) {
                Poll::Pending => return false,
                Poll::Ready(Err(_)) => return true,
                // The runtime is told when one becomes ready, and not when none is any more.
                Poll::Ready(Ok(mut ready)) => {
                    if is_readable(ready.get_inner()) {
                        return true;
                    }
                    ready.clear_ready();
                }
            }
        }
    }
}

fn is_readable(descriptor: &OwnedFd) -> bool {
    let mut asked = [PollFd::new(descriptor.as_fd(), PollFlags::POLLIN)];
    // Whatever an error means, the loop finds out.
    !matches!(nix::poll::poll(&mut asked, PollTimeout::ZERO), Ok(0))
}

/// Tells a loop that it may drive now.
struct Recall<T>(Arc<Mailbox<T>>);

impl<T: Send + 'static> Wake for Recall<T> {
    fn wake(&self) {
        self.0.wake();
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::os::fd::BorrowedFd;
    use std::os::unix::net::UnixStream;
    use std::thread;

    use tokio::io::Interest;

    use super::*;

    /// So that a wake-up that is lost fails the test.
    const LIMIT: Duration = Duration::from_secs(30);

    /// A loop that watches a mailbox and a descriptor of its own.
    struct Loop {
        wait: LoopWait<u32>,
        own: UnixStream,
    }

    /// What a round of it found.
    #[derive(Debug, PartialEq, Eq)]
    struct Found {
        items: Vec<u32>,
        own: bool,
    }

    impl Loop {
        /// The other end writes to its own descriptor.
        fn with_others() -> (Self, UnixStream) {
            crate::host::handle().unwrap();
            let (own, others) = UnixStream::pair().unwrap();
            own.set_nonblocking(true).unwrap();
            let watched = Arc::new(OwnedFd::from(own.try_clone().unwrap()));
            let watch = move || {
                // SAFETY: whoever has it closes it when it is no longer registered.
                let watched = unsafe { AsyncFd::register_with_interest(watched.clone(), Interest::READABLE) };
                watched.map_err(|error| error.into_parts().1)
            };
            let wait = LoopWait::new(Mailbox::new().unwrap(), Box::new(watch));
            (Self { wait, own }, others)
        }

        fn mailbox(&self) -> Arc<Mailbox<u32>> {
            self.wait.mailbox.clone()
        }

        /// It drives when it waits, or waits as ever.
        fn is_busy(&self, busy: bool) {
            self.wait.turns().heard = busy.then(|| Instant::now() + LIMIT);
        }

        /// Waits and says what there is, three items at most.
        fn round(&self) -> Found {
            let looks_at = |limit: Duration| {
                // SAFETY: it is the mailbox's, which lives.
                let mailbox = unsafe { BorrowedFd::borrow_raw(self.wait.mailbox.descriptor()) };
                let asked = |fd| PollFd::new(fd, PollFlags::POLLIN);
                let mut asked = [asked(mailbox), asked(self.own.as_fd())];
                let limit = PollTimeout::try_from(limit).unwrap();
                assert!(
                    nix::poll::poll(&mut asked, limit).unwrap() > 0 || limit == PollTimeout::ZERO,
                    "{LIMIT:?}"
                );
                asked.map(|asked| asked.any().unwrap())
            };
            let [mailbox, own] = match self.wait.wait(None, |drive| drive()) {
                Waited::Not => looks_at(LIMIT),
                Waited::For { mailbox, descriptors } => [mailbox, descriptors && looks_at(Duration::ZERO)[1]],
            };
            Found { items: if mailbox { self.wait.mailbox.take_at_most(3) } else { Vec::new() }, own }
        }

        /// The first round in which there is something.
        fn next(&self) -> Found {
            let begun = Instant::now();
            loop {
                let found = self.round();
                if found.own || !found.items.is_empty() {
                    return found;
                }
                assert!(begun.elapsed() < LIMIT, "nothing has come");
            }
        }
    }

    fn soon(work: impl FnOnce() + Send + 'static) {
        thread::spawn(move || {
            thread::sleep(Duration::from_millis(2));
            work();
        });
    }

    #[test]
    fn whoever_it_comes_from_it_is_seen() {
        for busy in [false, true] {
            let (event_loop, others) = Loop::with_others();
            let came = |items: &[u32], own| {
                event_loop.is_busy(busy);
                assert_eq!(event_loop.next(), Found { items: items.to_vec(), own }, "busy: {busy}");
            };
            let mailbox = event_loop.mailbox();
            crate::host::handle().unwrap().spawn(async move {
                tokio::time::sleep(Duration::from_millis(2)).await;
                mailbox.push(1);
            });
            came(&[1], false);
            let mailbox = event_loop.mailbox();
            soon(move || mailbox.push(2));
            came(&[2], false);
            let mut writer = others.try_clone().unwrap();
            soon(move || writer.write_all(&[0; 2]).unwrap());
            for _ in 0..2 {
                came(&[], true);
                // As long as something is left there.
                assert_eq!((&event_loop.own).read(&mut [0]).unwrap(), 1);
            }
            let mailbox = event_loop.mailbox();
            (3..8).for_each(|item| mailbox.push(item));
            came(&[3, 4, 5], false);
            came(&[6, 7], false);
        }
    }

    #[test]
    fn what_comes_while_it_drives_ends_that() {
        let (event_loop, _others) = Loop::with_others();
        // It ends by itself in a while: one that ended earlier is looked for.
        let is_woken = || {
            event_loop.is_busy(true);
            let mailbox = event_loop.mailbox();
            soon(move || mailbox.push(1));
            let begun = Instant::now();
            let found = event_loop.round();
            let was_early = begun.elapsed() < PATIENCE && event_loop.wait.turns().left.is_some();
            if found.items.is_empty() {
                event_loop.next();
                return false;
            }
            was_early
        };
        assert!((0..200).any(|_| is_woken()));
    }

    #[test]
    fn one_that_has_messages_drives_and_a_quiet_one_waits_as_ever() {
        let (event_loop, _others) = Loop::with_others();
        assert_eq!(event_loop.wait.wait(None, |drive| drive()), Waited::Not);
        let begun = Instant::now();
        // The stand-in leaves, and says so by the mailbox's descriptor; other tests may drive too.
        while event_loop.wait.turns().left.is_none() {
            event_loop.is_busy(true);
            event_loop.wait.wait(Some(Duration::from_millis(1)), |drive| drive());
            assert!(begun.elapsed() < LIMIT, "never its turn");
        }
        event_loop.is_busy(false);
        assert_eq!(event_loop.wait.wait(None, |drive| drive()), Waited::Not);
    }

    #[test]
    fn nothing_is_lost_however_it_waits() {
        const EACH: u32 = 10_000;
        let (event_loop, _others) = Loop::with_others();
        let pushing = [false, true].map(|batched| {
            let mailbox = event_loop.mailbox();
            thread::spawn(move || {
                for some in 0..EACH / 10 {
                    let push = || (0..10).for_each(|item| mailbox.push(some * 10 + item));
                    match batched {
                        true => crate::batch::run(push),
                        false => push(),
                    }
                    // So that the loop waits now and then.
                    thread::sleep(Duration::from_micros(10));
                }
            })
        });
        let (mut seen, mut rounds) = (0, 0);
        while seen < 2 * EACH {
            rounds += 1;
            event_loop.is_busy(rounds % 7 < 4);
            seen += u32::try_from(event_loop.next().items.len()).unwrap();
        }
        pushing.into_iter().for_each(|thread| thread.join().unwrap());
        assert!(event_loop.wait.mailbox.take().is_empty());
    }
}
