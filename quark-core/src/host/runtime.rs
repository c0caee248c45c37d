//! The one runtime of a process that is no Rust program.
//!
//! One thread at a time, because a link on a one-thread runtime is twice as fast as on a pool: wake-ups across threads are the
//! cost. ARCHITECTURE has the figures.

use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use once_cell::sync::OnceCell;
use tokio::runtime::Handle;

use super::driver::Driver;
use crate::error::{Error, ErrorKind, Result};

struct Process {
    pid: u32,
    driver: Arc<Driver>,
}

static PROCESS: OnceCell<Process> = OnceCell::new();
/// This is a child that was forked after the runtime had started, as far as anybody told.
static FORKED: AtomicBool = AtomicBool::new(false);
/// Each forked child is told. Else the system is asked who we are, which costs a system call each time.
static CHILDREN_ARE_TOLD: AtomicBool = AtomicBool::new(false);

impl Process {
    fn is_parents(&self) -> bool {
        if CHILDREN_ARE_TOLD.load(Ordering::Relaxed) { is_forked() } else { self.pid != std::process::id() }
    }
}

fn process() -> Result<&'static Process> {
    let process = PROCESS.get_or_try_init(|| {
        let failed = |error: std::io::Error| Error::new(ErrorKind::Internal, format!("no runtime: {error}"));
        Ok::<_, Error>(Process { pid: std::process::id(), driver: Driver::start().map_err(failed)? })
    })?;
    if !process.is_parents() {
        return Ok(process);
    }
    Err(Error::new(
        ErrorKind::NotRunning,
        "Quark was started before this process was forked and does not run in the child; start it after the fork, or use spawn",
    ))
}

/// The process-wide runtime; started when it is first asked for.
///
/// # Errors
/// `NOT_RUNNING` in a child that was forked after the start.
pub fn handle() -> Result<&'static Handle> {
    process().map(|process| process.driver.handle())
}

/// Who drives the runtime; nothing before it was started, and in a forked child.
pub(super) fn driver() -> Option<&'static Driver> {
    if is_forked() { None } else { PROCESS.get().map(|process| &*process.driver) }
}

/// Whether this process is the one in which the runtime was started, or it was not started at all.
///
/// # Errors
/// `NOT_RUNNING` in a child that was forked after the start.
pub fn check_fork() -> Result<()> {
    match PROCESS.get() {
        Some(process) if process.is_parents() => self::process().map(drop),
        _ => Ok(()),
    }
}

/// The system calls [`note_fork`] in each child that is forked from now on.
pub fn children_are_told() {
    CHILDREN_ARE_TOLD.store(true, Ordering::Relaxed);
}

/// To be called in each forked child, by the system: takes no lock and no memory.
pub fn note_fork() {
    if PROCESS.get().is_some() {
        FORKED.store(true, Ordering::Relaxed);
    }
}

/// Whether this is a child that was forked after the runtime had started and [`note_fork`] was told; a load, unlike
/// [`check_fork`].
#[must_use]
pub fn is_forked() -> bool {
    FORKED.load(Ordering::Relaxed)
}

/// Whether a blocking call may be made on this thread.
///
/// # Errors
/// `REENTRANT` on the thread that drives the runtime, or when too many callbacks block already; `NOT_RUNNING` in a forked child.
pub fn check_may_block() -> Result<()> {
    process()?;
    if super::driver::drives_here() {
        return Err(Error::new(
            ErrorKind::Reentrant,
            "a blocking call on the thread that drives Quark would wait for itself",
        ));
    }
    super::workers::check_depth()
}

/// Runs a future on the process-wide runtime and blocks until it is done.
///
/// # Errors
/// `REENTRANT` on the thread that drives the runtime, `NOT_RUNNING` in a forked child, and what the future returns.
pub fn run<T: Send + 'static>(future: impl Future<Output = Result<T>> + Send + 'static) -> Result<T> {
    check_may_block()?;
    let (done, waiter) = done_and_waiter();
    handle()?.spawn(async move { done.tell(future.await) });
    waiter.wait()
}

/// What became of a future that was begun on the caller's thread.
pub enum Here<T, F> {
    /// It did not have to wait.
    Ended(T),
    /// It has to; to be driven by the runtime.
    Waits(Pin<Box<F>>),
}

/// Begins a future on this thread, which spares those that need not wait two changes of threads. Not for one that writes
/// to sockets.
///
/// # Errors
/// `NOT_RUNNING` in a forked child.
pub fn begin_here<F: Future>(future: F) -> Result<Here<F::Output, F>> {
    let mut future = Box::pin(future);
    let _within = handle()?.enter();
    Ok(match future.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(output) => Here::Ended(output),
        Poll::Pending => Here::Waits(future),
    })
}

/// What waits for one result on a thread of the host's.
pub struct Waiter<T>(mpsc::Receiver<Result<T>>);

/// What is told the result that a [`Waiter`] waits for.
pub struct Done<T>(mpsc::SyncSender<Result<T>>);

impl<T> Done<T> {
    /// The result is there. Never blocks.
    pub fn tell(self, result: Result<T>) {
        let _ = self.0.send(result);
    }
}

/// What is to be told the result, and what waits for it.
#[must_use]
pub fn done_and_waiter<T: Send + 'static>() -> (Done<T>, Waiter<T>) {
    let (sender, receiver) = mpsc::sync_channel(1);
    (Done(sender), Waiter(receiver))
}

impl<T> Waiter<T> {
    /// Blocks until the result is there. A worker of this crate lets another one take over meanwhile.
    ///
    /// # Errors
    /// The result's own; `NOT_RUNNING` when nobody will give one any more.
    pub fn wait(self) -> Result<T> {
        super::workers::blocking(|| self.0.recv()).unwrap_or_else(|_| Err(crate::transport::not_running()))
    }

    /// Blocks for `limit` at most; `None` when the result is not there yet.
    ///
    /// # Errors
    /// As [`wait`](Self::wait).
    pub fn wait_for(&mut self, limit: Duration) -> Option<Result<T>> {
        match super::workers::blocking(|| self.0.recv_timeout(limit)) {
            Ok(result) => Some(result),
            Err(mpsc::RecvTimeoutError::Timeout) => None,
            Err(mpsc::RecvTimeoutError::Disconnected) => Some(Err(crate::transport::not_running())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_need_not_wait_is_done_here_and_the_rest_by_the_runtime() {
        fn thread() -> std::thread::ThreadId {
            std::thread::current().id()
        }
        let here = thread();
        assert!(matches!(begin_here(async { thread() }).unwrap(), Here::Ended(on) if on == here));
        let waits = async {
            tokio::time::sleep(Duration::from_millis(1)).await;
            Ok(thread())
        };
        let Here::Waits(waits) = begin_here(waits).unwrap() else { panic!("a timer that does not wait") };
        assert_ne!(run(waits).unwrap(), here);
    }
}
