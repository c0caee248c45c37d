//! From the runtime's thread to an event loop: a mailbox whose descriptor the loop watches.

use std::os::fd::RawFd;
use std::sync::Arc;

use pyo3::exceptions::PyOSError;
use pyo3::prelude::*;
use pyo3::types::PyList;
use quark_core::host::Mailbox;
use quark_core::{Request as CoreRequest, Result};
use tokio::task::AbortHandle;

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
    fn into_python(self, py: Python<'_>) -> Option<Parts<'_>> {
        match self {
            Self::Ended(future, ended) => Some(match ended_in_python(py, ended) {
                Ok(outcome) => (Some(future), Some(outcome), None),
                Err(error) => (Some(future), None, Some(error)),
            }),
            Self::Start(handler, request) => {
                let (call, request) = handler.open(py, request)?;
                Some((None, Some(call), Some(request)))
            }
        }
    }
}

/// The way to one event loop. `quark._loop` makes one for each loop and lets the loop watch its descriptor.
#[pyclass(frozen)]
pub(crate) struct Bridge {
    mailbox: Arc<Mailbox<Item>>,
    /// A weak reference: the loop holds the bridge, and would never go if the bridge held it too.
    event_loop: Py<PyAny>,
    /// `quark._loop._run`: what is many calls from Python to Python is cheaper there.
    run: Py<PyAny>,
}

#[pymethods]
impl Bridge {
    #[new]
    fn new(event_loop: &Bound<'_, PyAny>, run: Py<PyAny>) -> PyResult<Self> {
        let mailbox = Mailbox::new().map_err(|error| PyOSError::new_err(error.to_string()))?;
        let weak = event_loop.py().import("weakref")?.getattr("ref")?.call1((event_loop,))?;
        Ok(Self { mailbox, event_loop: weak.unbind(), run })
    }

    /// The descriptor to watch for reading.
    fn fileno(&self) -> RawFd {
        self.mailbox.descriptor()
    }

    /// Its loop is closed: drops what is there and what comes, which answers requests.
    fn close(&self, py: Python<'_>) {
        let dropped = self.mailbox.close();
        py.detach(|| drop(dropped));
    }

    /// Completes and starts everything that is there; called by the loop.
    fn drain(&self, py: Python<'_>) -> PyResult<()> {
        let items = self.mailbox.take().into_iter().filter_map(|item| item.into_python(py));
        let items = PyList::new(py, items.collect::<Vec<_>>())?;
        // One batch: whoever is to be woken is woken once.
        quark_core::host::batch(|| foreign::call(self.run.bind(py), (items,))).map(drop)
    }
}

impl Bridge {
    pub(crate) fn create_future(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        self.event_loop.call0(py)?.call_method0(py, pyo3::intern!(py, "create_future"))
    }

    pub(crate) fn mailbox(&self) -> Arc<Mailbox<Item>> {
        self.mailbox.clone()
    }
}

impl Drop for Bridge {
    /// Its loop is gone.
    fn drop(&mut self) {
        if !process::is_forked() {
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
