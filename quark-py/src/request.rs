//! `quark.Request`.

use std::sync::Mutex;

use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyMemoryView};
use quark_core::Request as CoreRequest;
use quark_core::host::Handling;

use crate::args;
use crate::bridge::Bridge;
use crate::buffer;
use crate::errors::OrRaise as _;

/// A received request. A handler answers by what it returns or raises.
#[pyclass(frozen, module = "quark")]
pub(crate) struct Request(Mutex<CoreRequest>);

impl Request {
    pub(crate) fn new(request: CoreRequest) -> Self {
        Self(Mutex::new(request))
    }

    /// What calls made while it is handled inherit.
    pub(crate) fn handling(&self) -> Handling {
        self.with(Handling::of)
    }

    pub(crate) fn has_trace(&self) -> bool {
        self.with(|request| !request.traceparent().is_empty())
    }

    /// Its handler was to begin, and this was raised; whoever holds what was raised would keep its caller waiting.
    pub(crate) fn did_not_begin(&self, raised: &PyErr) {
        // Before the lock: its text is made by Python code, which may ask the request something.
        let message = raised.to_string();
        let mut request = self.0.lock().expect("no panic while a request is locked");
        if !request.is_answered() {
            let _ = request.fail(message.trim_end_matches(": "));
        }
    }

    fn with<T>(&self, read: impl FnOnce(&CoreRequest) -> T) -> T {
        read(&self.0.lock().expect("no panic while a request is locked"))
    }
}

#[pymethods]
impl Request {
    /// The actor's type.
    #[getter]
    fn actor_type(&self) -> String {
        self.with(|request| request.actor_type().to_owned())
    }

    /// The actor's id.
    #[getter]
    fn actor_id(&self) -> String {
        self.with(|request| request.actor_id().to_owned())
    }

    /// The method.
    #[getter]
    fn method_name(&self) -> String {
        self.with(|request| request.method_name().to_owned())
    }

    /// The arguments.
    #[getter]
    fn payload<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        self.with(|request| PyBytes::new(py, request.payload()))
    }

    /// The arguments as a read-only memoryview, without a copy. They live as long as it and what is made of it.
    fn view<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyMemoryView>> {
        buffer::view_of(py, self.with(|request| request.payload().clone()))
    }

    /// The message id.
    #[getter]
    fn message_id(&self) -> String {
        self.with(|request| request.envelope().message_id.to_string())
    }

    /// The correlation id; calls made while handling inherit it.
    #[getter]
    fn correlation_id(&self) -> String {
        self.with(|request| request.correlation_id().to_owned())
    }

    /// The W3C traceparent, or an empty string; calls made while handling inherit it.
    #[getter]
    fn traceparent(&self) -> String {
        self.with(|request| request.traceparent().to_owned())
    }

    /// The id of the silo or client that sent it.
    #[getter]
    fn caller(&self) -> String {
        self.with(|request| request.caller().to_string())
    }

    /// Seconds until the caller stops waiting; 0.0 when it has.
    #[getter]
    fn time_left(&self) -> f64 {
        self.with(|request| request.time_left().as_secs_f64())
    }

    /// Whether it was answered.
    #[getter]
    fn is_answered(&self) -> bool {
        self.with(CoreRequest::is_answered)
    }

    /// Whether nobody waits for the answer any more: the caller gave up, its time is over, or its link is gone.
    #[getter]
    fn is_abandoned(&self) -> bool {
        self.with(CoreRequest::is_abandoned)
    }

    /// The version of the view by which the sender chose this silo.
    #[getter]
    fn view_version(&self) -> u64 {
        self.with(CoreRequest::view_version)
    }

    /// Whether nobody waits for an answer.
    #[getter]
    fn is_one_way(&self) -> bool {
        self.with(CoreRequest::is_one_way)
    }

    /// Replies with a bytes-like object. With the bridge of the loop that runs here a caller on the same loop gets it at
    /// once.
    #[pyo3(signature = (payload, bridge = None))]
    fn _reply<'py>(
        &self,
        py: Python<'py>,
        payload: &Bound<'py, PyAny>,
        bridge: Option<&Bound<'py, Bridge>>,
    ) -> PyResult<()> {
        let payload = args::payload("reply", payload)?;
        let reply = || self.0.lock().expect("no panic while a request is locked").reply(payload);
        let (replied, ran) = match bridge {
            Some(bridge) => Bridge::at_home(bridge, |_| true, reply),
            None => (reply(), Ok(())),
        };
        replied.or_raise(py).and(ran)
    }

    /// Fails with a message.
    fn _fail(&self, py: Python<'_>, message: String) -> PyResult<()> {
        self.0.lock().expect("no panic while a request is locked").fail(message).or_raise(py)
    }

    fn __repr__(&self) -> String {
        self.with(|request| {
            format!(
                "<quark.Request {}/{}.{} {} bytes from {}>",
                request.actor_type(),
                request.actor_id(),
                request.method_name(),
                request.payload().len(),
                request.caller()
            )
        })
    }
}
