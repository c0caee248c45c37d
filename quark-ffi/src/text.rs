//! Texts that go out to C: NUL-terminated UTF-8, owned or borrowed.

use std::ffi::{CString, c_char};
use std::sync::OnceLock;

use crate::guard;

/// A text for C. A NUL inside, which only a peer's message can have, becomes U+FFFD.
pub(crate) fn c_string(text: &str) -> CString {
    CString::new(text).unwrap_or_else(|_| CString::new(text.replace('\0', "\u{FFFD}")).unwrap_or_default())
}

/// A text for C, made when it is first asked for.
#[derive(Default)]
pub(crate) struct Text(OnceLock<CString>);

impl Text {
    pub(crate) fn of(&self, text: &str) -> *const c_char {
        self.0.get_or_init(|| c_string(text)).as_ptr()
    }
}

/// Frees a string that a function gave as `char **`. NULL is allowed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn quark_string_free(string: *mut c_char) {
    guard::value((), || {
        if !string.is_null() {
            // SAFETY: came from `CString::into_raw` and is not used again, as the header demands.
            drop(unsafe { CString::from_raw(string) });
        }
    });
}
