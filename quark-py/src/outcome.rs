//! One way for everything that takes time: as a future of an event loop, or by blocking the calling thread.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use pyo3::prelude::*;
use pyo3::types::PyBytes;
use quark_core::host::{self, Waiter};
use quark_core::{Result, SiloInfo};

use crate::bridge::{Bridge, Item};
use crate::envelope::Envelope;
use crate::errors::{OrRaise as _, exception};

/// What an operation gives to Python.
pub(crate) enum Outcome {
    Nothing,
    Number(u64),
    Bytes(Bytes),
    Envelope(Box<quark_core::Envelope>),
}

impl Outcome {
    pub(crate) fn into_python(self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        Ok(match self {
            Self::Nothing => py.None(),
            Self::Number(number) => number.into_pyobject(py)?.into_any().unbind(),
            Self::Bytes(bytes) => PyBytes::new(py, &bytes).into_any().unbind(),
            Self::Envelope(envelope) => Py::new(py, Envelope::from(*envelope))?.into_any(),
        })
    }
}

/// Runs a future of the core's: with a bridge, returns a future of its loop; without one, blocks.
pub(crate) fn run(
    py: Python<'_>,
    bridge: Option<&Bridge>,
    work: impl Future<Output = Result<Outcome>> + Send + 'static,
) -> PyResult<Py<PyAny>> {
    match bridge {
        Some(bridge) => {
            let runtime = host::handle().or_raise(py)?;
            let future = bridge.create_future(py)?;
            let (mailbox, completed) = (bridge.mailbox(), future.clone_ref(py));
            runtime.spawn(async move { mailbox.push(Item::Ended(completed, work.await)) });
            Ok(future)
        }
        None => {
            host::check_may_block().or_raise(py)?;
            let runtime = host::handle().or_raise(py)?;
            let (done, waiter) = host::done_and_waiter();
            runtime.spawn(async move { done(work.await) });
            wait(py, waiter, || {})?.into_python(py)
        }
    }
}

/// Blocks without the GIL; Ctrl-C ends it with `KeyboardInterrupt` after `interrupted`.
pub(crate) fn wait(
    py: Python<'_>,
    mut waiter: Waiter<Outcome>,
    interrupted: impl FnOnce(),
) -> PyResult<Outcome> {
    const SLICE: Duration = Duration::from_millis(50);
    loop {
        if let Some(ended) = py.detach(|| waiter.wait_for(SLICE)) {
            return ended.or_raise(py);
        }
        if let Err(signal) = py.check_signals() {
            interrupted();
            return Err(signal);
        }
    }
}

/// Completes a future of the loop that this thread runs, unless it was cancelled.
pub(crate) fn complete(py: Python<'_>, future: &Py<PyAny>, ended: Result<Outcome>) -> PyResult<()> {
    let future = future.bind(py);
    if future.call_method0(pyo3::intern!(py, "done"))?.is_truthy()? {
        return Ok(());
    }
    match ended {
        Ok(outcome) => {
            let value = outcome.into_python(py)?;
            future.call_method1(pyo3::intern!(py, "set_result"), (value,))?;
        }
        Err(error) => {
            let error = exception(py, &error)?;
            future.call_method1(pyo3::intern!(py, "set_exception"), (error,))?;
        }
    }
    Ok(())
}

/// A silo as the arguments of `quark.SiloInfo`.
pub(crate) fn silo_info(py: Python<'_>, info: &SiloInfo) -> PyResult<Py<PyAny>> {
    let arguments = (
        info.silo_id.as_str(),
        info.endpoint.to_string(),
        info.status as u8,
        info.incarnation,
        info.virtual_nodes,
        info.actor_types.clone(),
        info.zone.clone(),
        info.labels.clone(),
        info.protocol_version,
    );
    let make = py.import("quark._types")?.getattr("_silo_info")?;
    Ok(make.call1(arguments)?.unbind())
}

/// The silos of a view, as Python sees them.
pub(crate) fn silo_infos(py: Python<'_>, silos: &[Arc<SiloInfo>]) -> PyResult<Vec<Py<PyAny>>> {
    silos.iter().map(|info| silo_info(py, info)).collect()
}
