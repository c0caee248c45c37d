//! What a call says, from the arguments of Python's verbs to an envelope.

use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyTuple};
use quark_core::{Envelope, host};

use crate::args;
use crate::request::Request;

/// Actor type, actor id, method, payload, and what the call says itself of its correlation id and trace.
pub(crate) type Message<'py> = (
    Bound<'py, PyAny>,
    Bound<'py, PyAny>,
    Bound<'py, PyAny>,
    Bound<'py, PyAny>,
    Option<Bound<'py, PyAny>>,
    Option<Bound<'py, PyAny>>,
);

/// The request that is being handled where a call is made, if any.
pub(crate) type Current<'a, 'py> = Option<&'a Bound<'py, Request>>;

/// The envelope of one call.
pub(crate) fn envelope(message: Message<'_>, current: Current<'_, '_>) -> PyResult<Envelope> {
    let (actor_type, actor_id, method, payload, correlation_id, traceparent) = message;
    let mut envelope = request(&actor_type, &actor_id, &method, &payload)?;
    if let Some(correlation_id) = correlation_id {
        envelope.correlation_id = args::borrowed_text("correlation_id", &correlation_id)?.into();
    }
    if let Some(traceparent) = traceparent {
        envelope.traceparent = args::borrowed_text("traceparent", &traceparent)?.into();
    }
    begin_trace(&mut envelope, current);
    Ok(envelope)
}

/// The envelopes of many calls: each a tuple of actor type, actor id, method and, if it likes, payload. One that is not
/// is named by its place, and then none is made.
pub(crate) fn envelopes(calls: &Bound<'_, PyAny>, current: Current<'_, '_>) -> PyResult<Vec<Envelope>> {
    let mut envelopes = Vec::with_capacity(calls.len().unwrap_or(0));
    let empty = PyBytes::new(calls.py(), b"").into_any();
    let iterator = calls.try_iter().map_err(|_| args::wrong_type("calls", calls, "an iterable of tuples"))?;
    for (place, call) in iterator.enumerate() {
        let call = call?;
        let form = || {
            let wanted = "a tuple (actor_type, actor_id, method) or (actor_type, actor_id, method, payload)";
            match call.cast::<PyTuple>() {
                Ok(tuple) => PyTypeError::new_err(format!(
                    "calls[{place}] has {} items: must be {wanted}",
                    tuple.len()
                )),
                Err(_) => args::wrong_type(&format!("calls[{place}]"), &call, wanted),
            }
        };
        let call = call.cast::<PyTuple>().map_err(|_| form())?;
        let named = |error: PyErr| match error.is_instance_of::<PyTypeError>(calls.py()) {
            true => PyTypeError::new_err(format!("calls[{place}]: {}", error.value(calls.py()))),
            false => error,
        };
        let mut parts = call.iter();
        let (Some(actor_type), Some(actor_id), Some(method)) = (parts.next(), parts.next(), parts.next())
        else {
            return Err(form());
        };
        let payload = parts.next().unwrap_or_else(|| empty.clone());
        if parts.next().is_some() {
            return Err(form());
        }
        let mut envelope = request(&actor_type, &actor_id, &method, &payload).map_err(named)?;
        begin_trace(&mut envelope, current);
        envelopes.push(envelope);
    }
    Ok(envelopes)
}

fn request(
    actor_type: &Bound<'_, PyAny>,
    actor_id: &Bound<'_, PyAny>,
    method: &Bound<'_, PyAny>,
    payload: &Bound<'_, PyAny>,
) -> PyResult<Envelope> {
    Ok(Envelope::request(
        args::borrowed_text("actor_type", actor_type)?,
        args::borrowed_text("actor_id", actor_id)?,
        args::borrowed_text("method", method)?,
        args::payload("payload", payload)?,
    ))
}

/// A call that neither says a trace nor inherits one begins one.
fn begin_trace(envelope: &mut Envelope, current: Current<'_, '_>) {
    if envelope.traceparent.is_empty() && current.is_none_or(|request| !request.get().has_trace()) {
        envelope.traceparent = host::new_traceparent();
    }
}

/// Makes calls as the code of that request's handler, so that they inherit from it.
pub(crate) fn handling<T>(current: Current<'_, '_>, work: impl FnOnce() -> T) -> T {
    match current {
        Some(request) => request.get().handling().run(work),
        None => work(),
    }
}
