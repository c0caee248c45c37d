//! Quark's errors as Python exceptions. The classes live in `quark/_errors.py`, one for each code.

use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::PyDict;
use quark_core::{Error, ErrorKind};

/// `quark._errors.error_from_code`.
static MAKE: PyOnceLock<Py<PyAny>> = PyOnceLock::new();

/// The exception for an error.
pub(crate) fn raise(py: Python<'_>, error: &Error) -> PyErr {
    exception(py, error).map_or_else(|problem| problem, PyErr::from_value)
}

/// The exception object for an error.
pub(crate) fn exception<'py>(py: Python<'py>, error: &Error) -> PyResult<Bound<'py, PyAny>> {
    let make = MAKE
        .get_or_try_init(py, || py.import("quark._errors")?.getattr("error_from_code").map(Bound::unbind))?;
    let (delivered, retryable) = (error.delivered().as_str(), error.is_retryable());
    let arguments = (error.kind().number(), error.message(), delivered, retryable, error.view_version());
    make.bind(py).call1(arguments)
}

/// `Result` of the core as one of Python's.
pub(crate) trait OrRaise<T> {
    /// Raises the error.
    fn or_raise(self, py: Python<'_>) -> PyResult<T>;
}

impl<T> OrRaise<T> for quark_core::Result<T> {
    fn or_raise(self, py: Python<'_>) -> PyResult<T> {
        self.map_err(|error| raise(py, &error))
    }
}

/// Every error of the core: its number to its name, its description, and its usual delivery and retryability.
#[pyfunction]
pub(crate) fn error_kinds(py: Python<'_>) -> PyResult<Bound<'_, PyDict>> {
    let kinds = PyDict::new(py);
    for kind in ErrorKind::ALL {
        let usual = Error::new(*kind, "");
        let row = (kind.code(), kind.description().trim(), usual.delivered().as_str(), usual.is_retryable());
        kinds.set_item(kind.number(), row)?;
    }
    Ok(kinds)
}
