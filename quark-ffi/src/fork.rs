//! Forks: what was started before one does not run in the child.

use std::ffi::c_int;
use std::sync::Once;

use quark_core::host;

unsafe extern "C" {
    /// Of every libc with threads; not worth a crate.
    fn pthread_atfork(
        prepare: Option<unsafe extern "C" fn()>,
        parent: Option<unsafe extern "C" fn()>,
        child: Option<unsafe extern "C" fn()>,
    ) -> c_int;
}

unsafe extern "C" fn in_child() {
    host::note_fork();
}

/// From now on a forked child knows what it is, without asking the system in each function and after each callback. When
/// there is no memory for that, the functions ask.
pub(crate) fn watch() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        // SAFETY: the function may be called in a child, and stays: the library is never unloaded.
        if unsafe { pthread_atfork(None, None, Some(in_child)) } == 0 {
            host::children_are_told();
        }
    });
}

/// Whether objects may be asked; in a forked child their locks may be held by threads that are not there.
pub(crate) fn is_child() -> bool {
    host::check_fork().is_err()
}
