//! Callbacks for programs with an event loop of their own: they wait here until the program runs them, and a descriptor
//! says that there are some. No thread of Quark's then ever calls the program.

use std::cell::Cell;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard};

use quark_core::host::{self, Mailbox, Together};
use quark_core::{Error, ErrorKind};

use crate::fork;
use crate::guard;
use crate::handle::{self, Out};
use crate::job::Job;
use crate::status::{quark_error_t, quark_status_t};

/// Where the callbacks of silos, clients, memberships and transports wait for an event loop of the program's own: see
/// `quark_config_set_loop`. Several may share one.
pub struct quark_loop_t(pub(crate) Arc<Loop>);

/// What is due, in order.
pub(crate) struct Loop {
    mailbox: Arc<Mailbox<Job>>,
    /// What was taken and not run yet.
    due: Mutex<VecDeque<Job>>,
}

thread_local! {
    /// How many runs of what is due are under way on this thread, one inside the other.
    static RUNS: Cell<usize> = const { Cell::new(0) };
}

impl Loop {
    pub(crate) fn push(&self, job: Job) {
        self.mailbox.push(job);
    }

    fn due(&self) -> MutexGuard<'_, VecDeque<Job>> {
        self.due.lock().expect("no panic while locked")
    }

    /// Takes the next callback's jobs, `at_most` of them; says how many.
    fn next(&self, at_most: usize, jobs: &mut Vec<Job>) -> usize {
        let together = Job::together();
        Together { most: together.most.min(at_most), ..together }.take(&mut self.due(), jobs);
        jobs.len()
    }

    /// The same as [`run_due`](Self::run_due) for the program, which gets nothing inside a callback.
    fn run(&self, at_most: usize) -> usize {
        // In a forked child what is due, and the descriptor that says so, are the parent's.
        if RUNS.get() > 0 || fork::is_child() { 0 } else { self.run_due(at_most) }
    }

    /// Runs what is due now, `at_most` of it; says how much that was.
    pub(crate) fn run_due(&self, at_most: usize) -> usize {
        RUNS.set(RUNS.get() + 1);
        let came = self.mailbox.take();
        self.due().extend(came);
        let mut count = self.due().len().min(at_most);
        let mut left = count;
        let mut jobs = Vec::new();
        host::batch_of_foreign(|| {
            while left > 0 {
                let taken = self.next(left, &mut jobs);
                if taken == 0 {
                    break;
                }
                left -= taken;
                // Not while locked: a callback may free what is due.
                Job::run(&mut jobs);
                if host::is_forked() {
                    count = 0;
                    break;
                }
            }
        });
        RUNS.set(RUNS.get() - 1);
        if host::is_forked() {
            return count;
        }
        if !self.due().is_empty() {
            self.mailbox.wake();
        }
        count
    }
}

/// A loop without anything that is due. `QUARK_INTERNAL` when there are no descriptors left.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn quark_loop_new(
    event_loop: *mut *mut quark_loop_t,
    error: *mut *mut quark_error_t,
) -> quark_status_t {
    // SAFETY: the header demands NULL or valid pointers.
    unsafe {
        guard::status_and_error(error, || {
            let event_loop = Out::new(event_loop, "event_loop")?;
            let failed = |error: std::io::Error| Error::new(ErrorKind::Internal, error.to_string());
            let mailbox = Mailbox::new().map_err(failed)?;
            event_loop.give(quark_loop_t(Arc::new(Loop { mailbox, due: Mutex::default() })));
            Ok(())
        })
    }
}

/// Frees a loop. What still uses it goes on, and what is due there runs while that is stopped or freed. NULL is allowed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn quark_loop_free(event_loop: *mut quark_loop_t) {
    // SAFETY: the header demands NULL or a loop that is not used again.
    guard::value((), || drop(unsafe { handle::take(event_loop) }));
}

/// The descriptor to poll for reading (`poll`, `epoll`, libuv, asio ...): it is readable when something is due. It stays the
/// loop's: neither read nor close it. -1 for NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn quark_loop_descriptor(event_loop: *const quark_loop_t) -> i32 {
    // SAFETY: the header demands NULL or a live loop.
    guard::value(-1, || unsafe { event_loop.as_ref() }.map_or(-1, |it| it.0.mailbox.descriptor()))
}

/// Runs the callbacks that are due, `at_most` of them (0: all that are due now), on this thread, and says how many that
/// were. Does not wait. Call it on one thread at a time. Inside a callback that it runs, and in a forked child, it does
/// nothing; 0 for NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn quark_loop_run(event_loop: *mut quark_loop_t, at_most: usize) -> usize {
    let limit = if at_most == 0 { usize::MAX } else { at_most };
    // SAFETY: the header demands NULL or a live loop. Kept, because a callback may free it.
    guard::value(0, || unsafe { event_loop.as_ref() }.map(|it| it.0.clone()).map_or(0, |it| it.run(limit)))
}

/// The loop that C named; nothing for NULL.
///
/// # Safety
/// `event_loop` is NULL or alive.
pub(crate) unsafe fn of(event_loop: *const quark_loop_t) -> Option<Arc<Loop>> {
    // SAFETY: the caller vouches for NULL or a live loop.
    unsafe { event_loop.as_ref() }.map(|it| it.0.clone())
}
