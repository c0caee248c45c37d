//! Python handlers: coroutine functions on the loop that started the silo, plain functions on worker threads.

use std::hash::BuildHasher as _;
use std::sync::Arc;

use pyo3::prelude::*;
use quark_core::host::{Mailbox, Workers, queued, unless_abandoned};
use quark_core::{Handler, Request as CoreRequest};

use crate::bridge::Item;
use crate::request::Request;

/// A coroutine function; `call` is `quark._handlers`' wrapper around it, which starts a task.
pub(crate) struct AsyncHandler {
    pub(crate) call: Arc<Py<PyAny>>,
    pub(crate) mailbox: Arc<Mailbox<Item>>,
}

impl Handler for AsyncHandler {
    fn handle(&self, request: CoreRequest) {
        self.mailbox.push(Item::Start(self.call.clone(), queued(request)));
    }
}

/// Starts a coroutine handler on this thread's loop.
pub(crate) fn start_async(py: Python<'_>, call: &Py<PyAny>, request: Request) -> PyResult<()> {
    call.call1(py, (request,)).map(drop)
}

/// The threads of plain handlers. Each is a lane of its own and an actor has one lane, so that its requests start in
/// order.
pub(crate) struct Lanes {
    hasher: std::hash::RandomState,
    lanes: Vec<Workers<(Arc<Py<PyAny>>, CoreRequest)>>,
}

impl Lanes {
    pub(crate) fn new(threads: usize) -> Self {
        let lane = || {
            Workers::new("quark-handler", 1, |(call, request): (Arc<Py<PyAny>>, CoreRequest)| {
                // Not while the interpreter ends: then the request is dropped, which answers it.
                let _ = Python::try_attach(|py| {
                    let Some(request) = unless_abandoned(request) else { return };
                    let called = call.call1(py, (Request::new(request),));
                    if let Err(error) = called {
                        error.write_unraisable(py, None);
                    }
                });
            })
        };
        Self {
            hasher: std::hash::RandomState::new(),
            lanes: std::iter::repeat_with(lane).take(threads.max(1)).collect(),
        }
    }
}

/// A plain function; `call` is `quark._handlers`' wrapper around it, which answers.
pub(crate) struct PlainHandler {
    pub(crate) call: Arc<Py<PyAny>>,
    pub(crate) lanes: Lanes,
}

impl Handler for PlainHandler {
    fn handle(&self, request: CoreRequest) {
        let lanes = &self.lanes.lanes;
        let lane = match lanes.len() {
            1 => 0,
            n => self.lanes.hasher.hash_one((request.actor_type(), request.actor_id())) as usize % n,
        };
        lanes[lane].push((self.call.clone(), queued(request)));
    }
}
