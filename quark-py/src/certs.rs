//! `quark certs`.

use pyo3::exceptions::{PyOSError, PyValueError};
use pyo3::prelude::*;
use quark_certs::command::{Failure, run};

/// Runs the command with these words and gives what it says; `ValueError` when it does not understand them, `OSError` when it
/// cannot do it.
#[pyfunction]
pub(crate) fn certs(py: Python<'_>, words: Vec<String>) -> PyResult<String> {
    py.detach(|| run(&words)).map_err(|failure| match failure {
        Failure::Usage(problem) => PyValueError::new_err(problem),
        Failure::Failed(problem) => PyOSError::new_err(problem),
    })
}
