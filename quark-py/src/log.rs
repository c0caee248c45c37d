//! Quark's log in Python's `logging`.

use pyo3::prelude::*;
use quark_core::host::{self, LogSink};

use crate::errors::OrRaise as _;
use crate::foreign;

/// Gives messages of this level (1 error … 5 trace) and graver ones to `emit(level, target, message)`; 0 ends that. On
/// a thread of its own, never on the runtime's.
#[pyfunction]
pub(crate) fn set_log_level(py: Python<'_>, level: i32, emit: Py<PyAny>) -> PyResult<()> {
    let sink = (level > 0).then(|| {
        Box::new(move |level: i32, target: &str, message: &str| {
            // Not while the interpreter ends.
            let _ = Python::try_attach(|py| {
                if let Err(error) = foreign::call(emit.bind(py), (level, target, message)) {
                    error.write_unraisable(py, None);
                }
            });
        }) as LogSink
    });
    py.detach(|| host::set_log_sink(level, sink)).or_raise(py)
}
