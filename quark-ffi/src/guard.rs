//! The border that no panic crosses, around every exported function.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Once;

use quark_core::{Error, ErrorKind, Result};

use crate::status::{QUARK_OK, quark_error_t, quark_status_t};

thread_local! {
    static INSIDE: Cell<bool> = const { Cell::new(false) };
}

/// Runs `work`; a panic gives `on_panic`.
pub(crate) fn value<T>(on_panic: T, work: impl FnOnce() -> T) -> T {
    caught(work).unwrap_or(on_panic)
}

/// Runs `work` for a function that returns a status and has no room for more.
pub(crate) fn status(work: impl FnOnce() -> Result<()>) -> quark_status_t {
    // SAFETY: NULL asks for no error object.
    unsafe { status_and_error(std::ptr::null_mut(), work) }
}

/// Runs `work` for a function that returns a status and an error object.
///
/// # Safety
/// `error` is NULL or valid for writing.
pub(crate) unsafe fn status_and_error(
    error: *mut *mut quark_error_t,
    work: impl FnOnce() -> Result<()>,
) -> quark_status_t {
    let result = caught(work).unwrap_or_else(|message| {
        Err(Error::new(ErrorKind::Internal, format!("a defect of Quark: {message}")))
    });
    match result {
        Ok(()) => QUARK_OK,
        Err(failure) => {
            let code = failure.kind().number();
            if !error.is_null() {
                // SAFETY: the caller vouches for it.
                unsafe { error.write(quark_error_t::new(failure)) };
            }
            code
        }
    }
}

fn caught<T>(work: impl FnOnce() -> T) -> Result<T, String> {
    silence_panics();
    let outermost = !INSIDE.replace(true);
    let result = catch_unwind(AssertUnwindSafe(work));
    if outermost {
        INSIDE.set(false);
    }
    result.map_err(|panic| {
        let text = panic
            .downcast_ref::<&str>()
            .copied()
            .or_else(|| panic.downcast_ref::<String>().map(String::as_str));
        text.unwrap_or("a panic without a message").to_owned()
    })
}

/// The library never prints: its panics go to the log instead of stderr. Those of the program around it stay as they are.
fn silence_panics() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            let ours =
                INSIDE.get() || std::thread::current().name().is_some_and(|name| name.starts_with("quark-"));
            if ours {
                tracing::error!(target: quark_core::SILO, %panic, "a defect of Quark");
            } else {
                before(panic);
            }
        }));
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_becomes_internal() {
        assert_eq!(status(|| panic!("oops")), ErrorKind::Internal.number());
        assert_eq!(value(7, || panic!("oops")), 7);
        let mut error = std::ptr::null_mut();
        // SAFETY: `error` is a place for one pointer.
        unsafe {
            status_and_error(&raw mut error, || panic!("oops {}", 1));
            assert!((*error).error().message().contains("oops 1"));
            crate::status::quark_error_free(error);
        }
    }
}
