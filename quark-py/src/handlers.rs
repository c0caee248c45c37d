//! Python handlers: coroutine functions on the loop that started the silo, plain functions on worker threads.

use std::hash::BuildHasher as _;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use pyo3::exceptions::PyTypeError;
use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::prelude::*;
use quark_core::host::{Mailbox, Surroundings, Workers, queued, unless_abandoned};
use quark_core::{Handler, Request as CoreRequest};

use crate::bridge::{Bridge, Item};
use crate::foreign;
use crate::process;
use crate::request::Request;

/// A handler as Python gives it: its actor type or None, `quark._handlers`' wrapper, whether that starts a coroutine.
pub(crate) type Given = (Option<String>, Py<PyAny>, bool);

/// The one reference to a handler's wrapper. Whatever runs it shares this, so that Python's garbage collector sees the
/// reference where it visits the owner, and can take it away.
pub(crate) struct Slot(Mutex<Option<Py<PyAny>>>);

impl Slot {
    pub(crate) fn new(call: Py<PyAny>) -> Arc<Self> {
        Arc::new(Self(Mutex::new(Some(call))))
    }

    pub(crate) fn get(&self, py: Python<'_>) -> Option<Py<PyAny>> {
        self.0.lock().expect("no panic while locked").as_ref().map(|call| call.clone_ref(py))
    }

    pub(crate) fn visit(&self, visit: &PyVisit<'_>) -> Result<(), PyTraverseError> {
        // Nobody holds the lock for longer than a clone takes, and that with the GIL, which is held here.
        match self.0.try_lock() {
            Ok(call) => call.as_ref().map_or(Ok(()), |call| visit.call(call)),
            Err(_) => Ok(()),
        }
    }

    pub(crate) fn clear(&self) {
        let call = self.0.lock().expect("no panic while locked").take();
        drop(call);
    }

    /// The handler and a request for it; drops the request, which answers it, when its caller or the handler is gone. When
    /// the interpreter ends neither happens.
    pub(crate) fn open(&self, py: Python<'_>, request: CoreRequest) -> Option<(Py<PyAny>, Py<Request>)> {
        if process::is_ending() {
            std::mem::forget(request);
            return None;
        }
        let call = self.get(py)?;
        let request = Py::new(py, Request::new(unless_abandoned(request)?)).ok()?;
        Some((call, request))
    }

    fn call(&self, py: Python<'_>, request: CoreRequest) -> PyResult<()> {
        match self.open(py, request) {
            Some((call, request)) => foreign::call(call.bind(py), (request,)).map(drop),
            None => Ok(()),
        }
    }
}

/// A handler that the core can call: on the bridge's loop when it is a coroutine function, else on `threads` threads.
///
/// # Errors
/// `TypeError` for a coroutine function without a loop.
pub(crate) fn make(
    slot: &Arc<Slot>,
    is_async: bool,
    bridge: Option<&Bound<'_, Bridge>>,
    threads: usize,
) -> PyResult<Arc<dyn Handler>> {
    let slot = slot.clone();
    match (is_async, bridge) {
        (true, Some(bridge)) => Ok(Arc::new(AsyncHandler { slot, mailbox: bridge.get().mailbox() })),
        (true, None) => {
            let problem =
                "handler: a coroutine function needs an event loop; use quark.Silo or a plain function";
            Err(PyTypeError::new_err(problem))
        }
        // Each has threads of its own, so that one that never returns holds up no other type's.
        (false, _) => Ok(Arc::new(PlainHandler { slot, lanes: Lanes::new(threads) })),
    }
}

/// A coroutine function, on a loop.
struct AsyncHandler {
    slot: Arc<Slot>,
    mailbox: Arc<Mailbox<Item>>,
}

impl Handler for AsyncHandler {
    fn handle(&self, request: CoreRequest) {
        self.mailbox.push(Item::Start(self.slot.clone(), queued(request)));
    }
}

/// A state of the interpreter's for as long as the thread lives: making one for each request costs, and may hang a child
/// that is forked meanwhile (CPython before 3.12). One crossing for all that is there.
pub(crate) fn surroundings() -> Surroundings {
    Surroundings {
        thread: |work| {
            let _ = Python::try_attach(|py| py.detach(work));
        },
        batch: |work| {
            let _ = Python::try_attach(|_| work());
        },
        block_broken_pipes: false,
        longest_batch: Duration::from_micros(200),
    }
}

/// The threads of plain handlers. Each is a lane of its own and an actor has one lane, so that its requests start in
/// order.
struct Lanes {
    hasher: std::hash::RandomState,
    lanes: Vec<Workers<(Arc<Slot>, CoreRequest)>>,
}

impl Lanes {
    fn new(threads: usize) -> Self {
        let lane = || {
            let run = |(slot, request): (Arc<Slot>, CoreRequest)| {
                if process::is_ending() {
                    return std::mem::forget(request);
                }
                let _ = Python::try_attach(|py| {
                    if let Err(error) = slot.call(py, request) {
                        error.write_unraisable(py, None);
                    }
                });
            };
            Workers::surrounded("quark-handler", 1, surroundings(), run)
        };
        Self {
            hasher: std::hash::RandomState::new(),
            lanes: std::iter::repeat_with(lane).take(threads.max(1)).collect(),
        }
    }
}

/// A plain function, on threads.
struct PlainHandler {
    slot: Arc<Slot>,
    lanes: Lanes,
}

impl Handler for PlainHandler {
    fn handle(&self, request: CoreRequest) {
        let lanes = &self.lanes.lanes;
        let lane = match lanes.len() {
            1 => 0,
            n => self.lanes.hasher.hash_one((request.actor_type(), request.actor_id())) as usize % n,
        };
        lanes[lane].push((self.slot.clone(), queued(request)));
    }
}
