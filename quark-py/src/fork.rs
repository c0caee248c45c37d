//! What happens to Quark in a forked child: nothing, and whoever asks is told.

use std::sync::atomic::{AtomicBool, Ordering};

use pyo3::prelude::*;
use quark_core::host;

/// This is a child that was forked after Quark had started.
static FORKED: AtomicBool = AtomicBool::new(false);

/// Runs in every forked child.
#[pyfunction]
pub(crate) fn after_fork_in_child() {
    FORKED.store(host::check_fork().is_err(), Ordering::Relaxed);
}

/// Whether this is such a child. There, dropping what takes locks would wait for a thread that does not exist.
pub(crate) fn is_forked() -> bool {
    FORKED.load(Ordering::Relaxed)
}

/// Whether Quark can be used in this process; a load, unlike asking the system for the process id.
///
/// # Errors
/// `NOT_RUNNING` in a forked child.
pub(crate) fn check() -> quark_core::Result<()> {
    if is_forked() { host::check_fork() } else { Ok(()) }
}
