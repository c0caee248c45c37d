//! Who drives the runtime: one thread at a time, and not always the same.
//!
//! What a message costs most is to be handed from the thread that read it to one on another core. So a worker that has
//! nothing to do drives the runtime itself, leaves it to run the callbacks of what came, and comes back. Foreign code
//! never runs inside. `quark-io` stands in where no worker may drive, as soon as a callback blocks in a call of Quark's, and
//! when the [minder](crate::batch) finds that nobody drives and that nobody has since it looked last.

use std::cell::Cell;
use std::future::poll_fn;
use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::task::{Context, Poll};

use nix::sys::signal::{SigSet, SigmaskHow, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use tokio::runtime::{Handle, Runtime};
use tokio::sync::Notify;

use crate::batch::{self, Wake};

#[derive(Clone, Copy, PartialEq, Eq)]
enum Who {
    Nobody,
    StandIn,
    Worker,
}

struct State {
    who: Who,
    /// The stand-in is to begin.
    summoned: bool,
    /// How often anybody has left.
    times_left: u64,
    /// The same at the minder's last look.
    seen: u64,
    /// Workers that would drive in the stand-in's place.
    candidates: Vec<Arc<dyn Wake>>,
}

/// The runtime and who drives it.
pub(super) struct Driver {
    runtime: Runtime,
    state: Mutex<State>,
    summons: Condvar,
    /// Ends the stand-in's turn.
    relief: Notify,
    /// Has those of SIGPIPE that came to a thread while it drove.
    broken_pipes: SignalFd,
}

thread_local! {
    static DRIVES: Cell<bool> = const { Cell::new(false) };
    /// SIGPIPE is blocked here for good.
    static BLOCKS: Cell<bool> = const { Cell::new(false) };
}

/// Whether this thread is driving the runtime.
pub(crate) fn drives_here() -> bool {
    DRIVES.get()
}

impl Driver {
    /// A runtime that its stand-in drives until a worker does, for as long as the process lives.
    pub(super) fn start() -> io::Result<Arc<Self>> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let flags = SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC;
        let driver = Arc::new(Self {
            runtime,
            broken_pipes: SignalFd::with_flags(&sigpipe(), flags)?,
            state: Mutex::new(State {
                who: Who::Nobody,
                summoned: true,
                times_left: 0,
                seen: 0,
                candidates: Vec::new(),
            }),
            summons: Condvar::new(),
            relief: Notify::new(),
        });
        let standing_in = driver.clone();
        std::thread::Builder::new().name("quark-io".to_owned()).spawn(move || standing_in.stand_in())?;
        Ok(driver)
    }

    pub(super) fn handle(&self) -> &Handle {
        self.runtime.handle()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no panic while the driver is locked")
    }

    fn stand_in(&self) {
        block_broken_pipes();
        loop {
            let waits = |state: &mut State| state.who != Who::Nobody || !state.summoned;
            let mut state =
                self.summons.wait_while(self.lock(), waits).expect("no panic while the driver is locked");
            state.who = Who::StandIn;
            state.summoned = false;
            drop(state);
            Turn(self).drive_until(self.relief.notified());
        }
    }

    fn leave(&self) {
        let mut state = self.lock();
        state.who = Who::Nobody;
        state.times_left += 1;
        let candidates = std::mem::take(&mut state.candidates);
        drop(state);
        candidates.into_iter().for_each(|candidate| candidate.wake());
        if !batch::mind() {
            // Nobody would notice that nobody comes back.
            self.summon();
        }
    }

    /// Lets a worker drive if nobody does; it has to. When it is the stand-in that does, that one leaves, and wakes the
    /// worker.
    pub(super) fn take(&self, worker: Arc<dyn Wake>) -> Option<Turn<'_>> {
        let mut state = self.lock();
        match state.who {
            Who::Nobody => Some(self.give(&mut state)),
            Who::StandIn => {
                state.candidates.push(worker);
                if state.candidates.len() == 1 {
                    self.relief.notify_one();
                }
                None
            }
            Who::Worker => None,
        }
    }

    /// Lets a worker drive if nobody does.
    pub(super) fn take_free(&self) -> Option<Turn<'_>> {
        let mut state = self.lock();
        let is_free = state.who == Who::Nobody;
        is_free.then(|| self.give(&mut state))
    }

    fn give(&self, state: &mut State) -> Turn<'_> {
        state.who = Who::Worker;
        state.summoned = false;
        Turn(self)
    }

    /// Lets the stand-in drive, unless somebody does.
    pub(super) fn summon(&self) {
        let mut state = self.lock();
        if state.who == Who::Nobody && !std::mem::replace(&mut state.summoned, true) {
            self.summons.notify_one();
        }
    }

    /// Lets the stand-in drive when nobody has since the last look. Says whether nobody does.
    pub(super) fn look(&self) -> bool {
        let mut state = self.lock();
        let nobody = state.who == Who::Nobody;
        let since_the_last = state.seen == state.times_left;
        state.seen = state.times_left;
        drop(state);
        if nobody && since_the_last {
            self.summon();
        }
        nobody
    }
}

/// A thread's turn. Its end is that of this.
pub(super) struct Turn<'a>(&'a Driver);

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        DRIVES.set(false);
        self.0.leave();
    }
}

impl Turn<'_> {
    /// Drives until that is over, which is awaited inside.
    pub(super) fn drive_until<T>(self, is_over: impl Future<Output = T>) -> T {
        let _none = BrokenPipes::held_back(&self.0.broken_pipes);
        DRIVES.set(true);
        // What the runtime keeps would wait for the end of what this thread does, of which driving is a part.
        batch::aside(|| self.0.runtime.block_on(is_over))
    }

    /// Drives until `is_over`, which is looked at when the context it is given was woken. `first` is done inside.
    pub(super) fn drive(self, first: impl FnOnce(), is_over: impl Fn(&Context<'_>) -> bool) {
        let mut first = Some(first);
        self.drive_until(poll_fn(|cx| {
            if let Some(first) = first.take() {
                first();
            }
            if is_over(cx) { Poll::Ready(()) } else { Poll::Pending }
        }));
    }

    /// Does `first` inside, and what there is to do then.
    pub(super) fn drive_once(self, first: impl FnOnce()) {
        let again = Cell::new(false);
        self.drive(first, |cx| {
            cx.waker().wake_by_ref();
            again.replace(true)
        });
    }
}

fn sigpipe() -> SigSet {
    let mut signals = SigSet::empty();
    signals.add(Signal::SIGPIPE);
    signals
}

/// Writing to a connection that is gone raises SIGPIPE, which ends a C program that did not say otherwise. Blocked on
/// threads that drive, it does nothing, and the program's own are left as they are. For good, because one that came
/// meanwhile would wait for the end; on threads of Quark's from which the host starts nothing that would inherit that.
pub(super) fn block_broken_pipes() {
    match sigpipe().thread_block() {
        Ok(()) => BLOCKS.set(true),
        Err(error) => tracing::warn!(target: crate::telemetry::SILO, %error, "cannot block SIGPIPE"),
    }
}

/// The same on any other thread, while it drives.
struct BrokenPipes<'a> {
    came: &'a SignalFd,
    before: SigSet,
}

impl<'a> BrokenPipes<'a> {
    /// None where they are blocked anyway.
    fn held_back(came: &'a SignalFd) -> Option<Self> {
        if BLOCKS.get() {
            return None;
        }
        let before = sigpipe().thread_swap_mask(SigmaskHow::SIG_BLOCK).ok()?;
        (!before.contains(Signal::SIGPIPE)).then_some(Self { came, before })
    }
}

impl Drop for BrokenPipes<'_> {
    fn drop(&mut self) {
        while matches!(self.came.read_signal(), Ok(Some(_))) {}
        if let Err(error) = self.before.thread_set_mask() {
            tracing::warn!(target: crate::telemetry::SILO, %error, "SIGPIPE stays blocked");
        }
    }
}

#[cfg(test)]
mod tests {
    use nix::sys::signal::raise;

    use super::*;

    fn is_blocked() -> bool {
        SigSet::thread_get_mask().unwrap().contains(Signal::SIGPIPE)
    }

    #[test]
    fn a_broken_pipe_is_held_back_while_a_thread_drives_and_kept_from_it_for_good() {
        let driver = Driver::start().unwrap();
        let drive = |work: &dyn Fn()| {
            let begun = std::time::Instant::now();
            // The stand-in has to have begun, and to leave.
            struct Nothing;
            impl Wake for Nothing {
                fn wake(&self) {}
            }
            loop {
                if let Some(turn) = driver.take(Arc::new(Nothing)) {
                    return turn.drive_once(work);
                }
                assert!(begun.elapsed().as_secs() < 30, "never its turn");
                std::thread::yield_now();
            }
        };
        drive(&|| {
            assert!(is_blocked());
            raise(Signal::SIGPIPE).unwrap();
            assert!(driver.broken_pipes.read_signal().unwrap().is_some(), "what came is to be found there");
            raise(Signal::SIGPIPE).unwrap();
        });
        assert!(!is_blocked());
        assert!(driver.broken_pipes.read_signal().unwrap().is_none());
        block_broken_pipes();
        drive(&|| assert!(is_blocked()));
        assert!(is_blocked(), "for good");
    }
}
