//! What becomes of Quark when its process is forked or ends, and in a second interpreter.

use std::sync::atomic::{AtomicBool, Ordering};

use pyo3::exceptions::PyImportError;
use pyo3::ffi;
use pyo3::prelude::*;
use quark_core::host;

use crate::errors::OrRaise as _;

/// This is a child that was forked after Quark had started.
static FORKED: AtomicBool = AtomicBool::new(false);
/// The interpreter ends.
static ENDING: AtomicBool = AtomicBool::new(false);

/// Runs in every forked child.
#[pyfunction]
pub(crate) fn after_fork_in_child() {
    let is_forked = host::check_fork().is_err();
    FORKED.store(is_forked, Ordering::Relaxed);
    if is_forked {
        host::note_fork();
    }
}

/// Whether this is such a child. There, dropping what takes locks would wait for a thread that does not exist.
#[pyfunction]
pub(crate) fn is_forked() -> bool {
    FORKED.load(Ordering::Relaxed)
}

/// Raises `NotRunningError` in a forked child.
#[pyfunction(name = "check_fork")]
pub(crate) fn raise_if_forked(py: Python<'_>) -> PyResult<()> {
    check_fork().or_raise(py)
}

/// Whether Quark can be used in this process; a load, unlike asking the system for the process id.
///
/// # Errors
/// `NOT_RUNNING` in a forked child.
pub(crate) fn check_fork() -> quark_core::Result<()> {
    if is_forked() { host::check_fork() } else { Ok(()) }
}

/// Runs at exit: from now on no request is handed over and none is answered. Whoever waits for an answer learns of the end
/// when the system closes the links; a thread that waits here for one never runs Python code again, and needs none.
#[pyfunction]
pub(crate) fn begin_to_end() {
    ENDING.store(true, Ordering::Relaxed);
}

/// Whether the interpreter ends.
#[pyfunction]
pub(crate) fn is_ending() -> bool {
    ENDING.load(Ordering::Relaxed)
}

/// Refuses an interpreter that is not the first: what the native half keeps belongs to that one.
#[pyfunction]
pub(crate) fn check_interpreter() -> PyResult<()> {
    // SAFETY: the GIL is held, so there is a current interpreter.
    if unsafe { ffi::PyInterpreterState_GetID(ffi::PyInterpreterState_Get()) } == 0 {
        return Ok(());
    }
    Err(PyImportError::new_err("quark cannot be used in a subinterpreter, only in the main interpreter"))
}
