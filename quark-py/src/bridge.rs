//! From the runtime to an event loop: a mailbox, whose descriptor the loop watches where it does not drive the runtime itself.

use std::os::fd::RawFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use pyo3::exceptions::{PyException, PyOSError};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::PyList;
use quark_core::host::{self, Held, LoopWait, Mailbox, Waited};
use quark_core::{Request as CoreRequest, Result};
use tokio::task::AbortHandle;

use crate::epoll;
use crate::errors::OrRaise as _;
use crate::foreign;
use crate::handlers::Slot;
use crate::outcome::{Outcome, ended_in_python};
use crate::process;

/// What waits for a loop.
pub(crate) enum Item {
    /// Complete this future.
    Ended(Py<PyAny>, Result<Outcome>),
    /// Start this handler.
    Start(Arc<Slot>, CoreRequest),
}

/// As `quark._loop._run` takes it: a future with its outcome or its error, or none, a handler and its request.
type Parts<'py> = (Option<Py<PyAny>>, Option<Py<PyAny>>, Option<Py<PyAny>>);

impl Item {
    pub(crate) fn is_start(&self) -> bool {
        matches!(self, Self::Start(..))
    }

    fn into_python(self, py: Python<'_>) -> Option<Parts<'_>> {
        match self {
            Self::Ended(future, ended) => Some(match ended_in_python(py, ended) {
                Ok(outcome) => (Some(future), Some(outcome), None),
                Err(error) => (Some(future), None, Some(error)),
            }),
            Self::Start(handler, request) => {
                let (call, request) = handler.open(py, request)?;
                Some((None, Some(call), Some(request.into_any())))
            }
        }
    }
}

impl Item {
    /// What `quark._loop._run` does with several.
    fn run_alone(self, bridge: &Bound<'_, Bridge>, at_once: bool) -> PyResult<()> {
        let py = bridge.py();
        match self {
            Self::Start(handler, request) => match handler.open(py, request) {
                Some((call, request)) => {
                    let begun = foreign::call(call.bind(py), (&request, bridge, at_once)).map(drop);
                    begun.inspect_err(|error| request.get().did_not_begin(error))
                }
                None => Ok(()),
            },
            Self::Ended(future, ended) => {
                let future = future.bind(py);
                if future.call_method0(intern!(py, "done"))?.is_truthy()? {
                    return Ok(());
                }
                let (set, ending) = match ended_in_python(py, ended) {
                    Ok(outcome) => (future.getattr(intern!(py, "set_result"))?, outcome),
                    Err(error) => (future.getattr(intern!(py, "set_exception"))?, error),
                };
                foreign::call(&set, (ending,)).map(drop)
            }
        }
    }
}

/// The way to one event loop. `quark._loop` makes one for each loop and lets the loop watch its descriptor.
#[pyclass(frozen, weakref)]
pub(crate) struct Bridge {
    mailbox: Arc<Mailbox<Item>>,
    /// A weak reference: the loop holds the bridge, and would never go if the bridge held it too.
    event_loop: Py<PyAny>,
    /// `quark._loop._run`: what is many calls from Python to Python is cheaper there.
    run: Py<PyAny>,
    /// What came is being done.
    busy: AtomicBool,
    /// What the loop's tasks have to tell others, from when several were given something to do until they have done it.
    held: Held,
    is_holding: AtomicBool,
    /// How the loop waits, where it drives the runtime meanwhile. Then everything is held until it does.
    waiting: OnceLock<LoopWait<Item>>,
    /// Handlers were started whose tasks may not have begun yet: what comes later must not begin before them.
    late: AtomicBool,
    /// The loop will tell when those that were late before have begun.
    catches_up: AtomicBool,
}

/// What the loop does before it looks at its sockets and timers again, and others get the answers.
const AT_ONCE: usize = 32;
/// So many tasks have their wake-ups held until the last has run, which costs a callback of the loop's.
const SEVERAL: usize = 4;

/// As long as it lives, what came is being done.
struct Busy<'a>(&'a AtomicBool);

impl<'a> Busy<'a> {
    /// None inside another one.
    fn begin(flag: &'a AtomicBool) -> Option<Self> {
        (!flag.swap(true, Ordering::Relaxed)).then(|| Self(flag))
    }
}

impl Drop for Busy<'_> {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Relaxed);
    }
}

#[pymethods]
impl Bridge {
    #[new]
    fn new(event_loop: &Bound<'_, PyAny>, run: Py<PyAny>) -> PyResult<Self> {
        // Before anything takes a lock that a thread of the parent's may have had.
        process::check_fork().or_raise(event_loop.py())?;
        let mailbox = Mailbox::new().map_err(|error| PyOSError::new_err(error.to_string()))?;
        let weak = event_loop.py().import("weakref")?.getattr("ref")?.call1((event_loop,))?;
        Ok(Self {
            mailbox,
            event_loop: weak.unbind(),
            run,
            busy: AtomicBool::new(false),
            held: Held::default(),
            is_holding: AtomicBool::new(false),
            waiting: OnceLock::new(),
            late: AtomicBool::new(false),
            catches_up: AtomicBool::new(false),
        })
    }

    /// The descriptor to watch for reading.
    fn fileno(&self) -> RawFd {
        self.mailbox.descriptor()
    }

    /// The loop; None when it is gone. Asking for the running one costs a system call before CPython 3.12.
    #[pyo3(name = "loop")]
    fn event_loop(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        self.event_loop.call0(py)
    }

    /// Its loop is closed: drops what is there and what comes, which answers requests.
    fn close(&self, py: Python<'_>) {
        let dropped = self.mailbox.close();
        // In a forked child it is the parent's, whose threads may hold what is in it.
        if let Some(waiting) = self.waiting.get().filter(|_| !process::is_forked()) {
            waiting.close();
        }
        py.detach(|| drop(dropped));
    }

    /// Completes and starts what is there; called by the loop, again and again while there is more.
    fn drain(slf: &Bound<'_, Self>) -> PyResult<()> {
        let this = slf.get();
        let busy = Busy::begin(&this.busy);
        let items = this.mailbox.take_at_most(AT_ONCE);
        let count = items.len();
        if let Some(waiting) = this.waiting.get().filter(|_| count > 0) {
            waiting.has_heard();
        }
        let starts = items.iter().any(Item::is_start);
        let at_once = starts && !this.is_late();
        // One batch: whoever is to be woken is woken once. What begins in it, if only by a task factory of the program's, is foreign,
        // and alone it keeps nothing.
        let run = || Self::run(slf, items, at_once);
        let ran = match (this.waiting.get(), starts, count) {
            (Some(waiting), ..) => waiting.run(run),
            (None, true, 1) => run(),
            (None, true, _) => host::batch_of_foreign(run),
            (None, false, _) => host::batch(run),
        };
        drop(busy);
        let ran = if starts && !at_once { ran.and(Self::catch_up(slf)) } else { ran };
        if count >= SEVERAL && this.waiting.get().is_none() && !this.is_holding.swap(true, Ordering::Relaxed)
        {
            // Behind the tasks that go on now.
            let release = slf.getattr(intern!(slf.py(), "release"))?;
            this.event_loop(slf.py())?.call_method1(slf.py(), intern!(slf.py(), "call_soon"), (release,))?;
        }
        ran
    }

    /// From now on the loop [waits](Self::wait) in a way of Quark's; `descriptor` is that of the epoll that it waits with.
    fn waits_with(&self, descriptor: RawFd) -> PyResult<()> {
        let _ = self.waiting.set(LoopWait::new(self.mailbox.clone(), epoll::watch(descriptor)?));
        Ok(())
    }

    /// Waits for so many seconds at most, without end for none, and [drains](Self::drain) what has come; None if the loop is to wait as
    /// ever. Else whether it is to look at its descriptors, without waiting.
    #[pyo3(signature = (timeout))]
    fn wait(slf: &Bound<'_, Self>, timeout: Option<f64>) -> PyResult<Option<bool>> {
        let (this, py) = (slf.get(), slf.py());
        let Some(waiting) = this.waiting.get().filter(|_| !process::is_forked()) else { return Ok(None) };
        // More than a duration can be is without end.
        let limit = timeout.and_then(|seconds| Duration::try_from_secs_f64(seconds.max(0.0)).ok());
        let Waited::For { mailbox, descriptors } = waiting.wait(limit, |drive| py.detach(drive)) else {
            return Ok(None);
        };
        if mailbox {
            // What Ctrl-C raises is not to come out of a handler's first line.
            py.check_signals()?;
            Self::drain(slf)?;
        }
        Ok(Some(descriptors))
    }

    /// Tasks that were made before this was asked for have begun; called by the loop.
    fn caught_up(&self) {
        self.catches_up.store(false, Ordering::Relaxed);
    }

    /// Lets others know what the loop's tasks have done since it was told of something; called by the loop.
    fn release(&self) {
        self.is_holding.store(false, Ordering::Relaxed);
        if !process::is_forked() {
            self.held.give_out();
        }
    }
}

impl Bridge {
    /// Does these; handlers may begin at once where nobody's task runs.
    fn run(slf: &Bound<'_, Self>, mut items: Vec<Item>, at_once: bool) -> PyResult<()> {
        let py = slf.py();
        if items.len() < 2 {
            return items.pop().map_or(Ok(()), |item| item.run_alone(slf, at_once));
        }
        let items = items.into_iter().filter_map(|item| item.into_python(py));
        let items = PyList::new(py, items.collect::<Vec<_>>())?;
        foreign::call(slf.get().run.bind(py), (items, slf, at_once)).map(drop)
    }

    fn is_late(&self) -> bool {
        self.late.load(Ordering::Relaxed) || self.catches_up.load(Ordering::Relaxed)
    }

    /// Handlers were started whose tasks begin when the loop comes to them: has it tell when it has. Not for each that a call from
    /// the loop starts, which would cost every call a callback: those are late until something comes from elsewhere.
    fn catch_up(slf: &Bound<'_, Self>) -> PyResult<()> {
        let (this, py) = (slf.get(), slf.py());
        if this.catches_up.swap(true, Ordering::Relaxed) {
            // It will tell too early for these.
            this.late.store(true, Ordering::Relaxed);
            return Ok(());
        }
        this.late.store(false, Ordering::Relaxed);
        // Behind them.
        let caught_up = slf.getattr(intern!(py, "caught_up"))?;
        this.event_loop(py)?.call_method1(py, intern!(py, "call_soon"), (caught_up,)).map(drop)
    }

    /// Does something on the loop's own thread; what it leaves for the loop, and is wanted, is done there at once, without
    /// waking it. Not inside of that: a program's tasks may begin at once, and what comes first is to begin first.
    ///
    /// Beside what it gave stands what was raised and is no `Exception`: the program's signal handlers run there too.
    pub(crate) fn at_home<T>(
        slf: &Bound<'_, Self>,
        is_wanted: impl Fn(&Item) -> bool,
        work: impl FnOnce() -> T,
    ) -> (T, PyResult<()>) {
        let batch = || {
            let done = work();
            let Some(_busy) = Busy::begin(&slf.get().busy) else { return (done, Ok(())) };
            let left = slf.get().mailbox.take_first(is_wanted);
            if left.iter().any(Item::is_start) {
                slf.get().late.store(true, Ordering::Relaxed);
            }
            let ran = Self::run(slf, left, false).or_else(|error| {
                match error.is_instance_of::<PyException>(slf.py()) {
                    true => {
                        error.write_unraisable(slf.py(), Some(slf.as_any()));
                        Ok(())
                    }
                    false => Err(error),
                }
            });
            (done, ran)
        };
        let this = slf.get();
        match this.waiting.get() {
            Some(waiting) => waiting.run(batch),
            None if this.is_holding.load(Ordering::Relaxed) => this.held.run(batch),
            None => host::batch(batch),
        }
    }

    pub(crate) fn create_future(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        self.event_loop(py)?.call_method0(py, intern!(py, "create_future"))
    }

    pub(crate) fn mailbox(&self) -> Arc<Mailbox<Item>> {
        self.mailbox.clone()
    }
}

impl Drop for Bridge {
    /// Its loop is gone.
    fn drop(&mut self) {
        if process::is_forked() {
            // The epoll is the parent's too.
            std::mem::forget(self.waiting.take());
        } else {
            drop(self.mailbox.close());
        }
    }
}

/// What was begun and can be given up.
#[pyclass(frozen)]
pub(crate) struct Begun(What);

enum What {
    Call(quark_core::CallHandle),
    Calls(Vec<quark_core::CallHandle>),
    Task(AbortHandle),
}

#[pymethods]
impl Begun {
    /// Gives it up; no effect on what has ended.
    pub(crate) fn cancel(&self) {
        match &self.0 {
            What::Call(call) => {
                call.cancel();
            }
            What::Calls(calls) => calls.iter().for_each(|call| {
                call.cancel();
            }),
            What::Task(task) => task.abort(),
        }
    }
}

impl From<quark_core::CallHandle> for Begun {
    fn from(call: quark_core::CallHandle) -> Self {
        Self(What::Call(call))
    }
}

impl FromIterator<quark_core::CallHandle> for Begun {
    fn from_iter<I: IntoIterator<Item = quark_core::CallHandle>>(calls: I) -> Self {
        Self(What::Calls(calls.into_iter().collect()))
    }
}

impl From<AbortHandle> for Begun {
    fn from(task: AbortHandle) -> Self {
        Self(What::Task(task))
    }
}
