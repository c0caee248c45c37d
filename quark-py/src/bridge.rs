//! From the runtime's thread to an event loop: a mailbox whose descriptor the loop watches.

use std::os::fd::RawFd;
use std::sync::Arc;

use pyo3::exceptions::PyOSError;
use pyo3::prelude::*;
use quark_core::host::{Mailbox, unless_abandoned};
use quark_core::{Request as CoreRequest, Result};

use crate::handlers;
use crate::outcome::{Outcome, complete};
use crate::request::Request;

/// What waits for a loop.
pub(crate) enum Item {
    /// Complete this future.
    Ended(Py<PyAny>, Result<Outcome>),
    /// Start this handler.
    Start(Arc<Py<PyAny>>, CoreRequest),
}

/// The way to one event loop. `quark._loop` makes one for each loop and lets the loop watch its descriptor.
#[pyclass(frozen)]
pub(crate) struct Bridge {
    mailbox: Arc<Mailbox<Item>>,
    /// A weak reference: the loop holds the bridge, and would never go if the bridge held it too.
    event_loop: Py<PyAny>,
}

#[pymethods]
impl Bridge {
    #[new]
    fn new(event_loop: &Bound<'_, PyAny>) -> PyResult<Self> {
        let mailbox = Mailbox::new().map_err(|error| PyOSError::new_err(error.to_string()))?;
        let weak = event_loop.py().import("weakref")?.getattr("ref")?.call1((event_loop,))?;
        Ok(Self { mailbox, event_loop: weak.unbind() })
    }

    /// The descriptor to watch for reading.
    fn fileno(&self) -> RawFd {
        self.mailbox.descriptor()
    }

    /// Completes and starts everything that is there; called by the loop.
    fn drain(&self, py: Python<'_>) -> PyResult<()> {
        let mut first_error = None;
        // Whatever one of them raises, the others are completed.
        quark_core::host::batch(|| {
            for item in self.mailbox.take() {
                let done = match item {
                    Item::Ended(future, ended) => complete(py, &future, ended),
                    Item::Start(handler, request) => match unless_abandoned(request) {
                        Some(request) => handlers::start_async(py, &handler, Request::new(request)),
                        None => Ok(()),
                    },
                };
                first_error = first_error.take().or(done.err());
            }
        });
        first_error.map_or(Ok(()), Err)
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

/// A call that can be given up.
#[pyclass(frozen)]
pub(crate) struct CallHandle(pub(crate) quark_core::CallHandle);

#[pymethods]
impl CallHandle {
    /// Gives up; says whether the call still waited.
    fn cancel(&self) -> bool {
        self.0.cancel()
    }
}
