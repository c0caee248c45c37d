//! Pointers from C, checked: each becomes a reference, a text or a place to write to, or an error that names it.

use std::ffi::{CStr, c_char};
use std::ptr::NonNull;

use quark_core::{Error, ErrorKind, Result, host};

/// `INVALID_ARGUMENT` for a NULL.
pub(crate) fn null(name: &str) -> Error {
    Error::new(ErrorKind::InvalidArgument, format!("{name}=NULL: must not be NULL"))
}

/// What an argument points to.
///
/// # Safety
/// `pointer` is NULL or points to a `T` that outlives `'a` and is not written meanwhile.
pub(crate) unsafe fn borrow<'a, T>(pointer: *const T, name: &str) -> Result<&'a T> {
    // SAFETY: the caller vouches for it.
    unsafe { pointer.as_ref() }.ok_or_else(|| null(name))
}

/// What an argument points to, to be changed.
///
/// # Safety
/// `pointer` is NULL or points to a `T` that outlives `'a` and that nobody else uses meanwhile.
pub(crate) unsafe fn borrow_mut<'a, T>(pointer: *mut T, name: &str) -> Result<&'a mut T> {
    // SAFETY: the caller vouches for it.
    unsafe { pointer.as_mut() }.ok_or_else(|| null(name))
}

/// A place for a result; what is there before may be anything.
pub(crate) struct Out<T>(NonNull<T>);

impl<T> Out<T> {
    /// # Safety
    /// `pointer` is NULL or valid for writing as long as this lives.
    pub(crate) unsafe fn new(pointer: *mut T, name: &str) -> Result<Self> {
        // SAFETY: as for this function.
        unsafe { Self::optional(pointer) }.ok_or_else(|| null(name))
    }

    /// The same where NULL says that nobody wants the result.
    ///
    /// # Safety
    /// As [`new`](Self::new).
    pub(crate) unsafe fn optional(pointer: *mut T) -> Option<Self> {
        NonNull::new(pointer).map(Self)
    }

    pub(crate) fn set(self, value: T) {
        // SAFETY: valid for writing, as `new` demands.
        unsafe { self.0.write(value) };
    }
}

impl<T> Out<*mut T> {
    /// Gives an object away; C frees it.
    pub(crate) fn give(self, value: T) {
        self.set(Box::into_raw(Box::new(value)));
    }
}

/// A text.
///
/// # Safety
/// `pointer` is NULL or points to a NUL-terminated string that outlives `'a` and is not written meanwhile.
pub(crate) unsafe fn text<'a>(pointer: *const c_char, name: &str) -> Result<&'a str> {
    // SAFETY: as for this function.
    unsafe { optional_text(pointer, name) }?.ok_or_else(|| null(name))
}

/// A text or, for NULL, nothing.
///
/// # Safety
/// As [`text`].
pub(crate) unsafe fn optional_text<'a>(pointer: *const c_char, name: &str) -> Result<Option<&'a str>> {
    if pointer.is_null() {
        return Ok(None);
    }
    // SAFETY: NUL-terminated, as the caller vouches.
    let bytes = unsafe { CStr::from_ptr(pointer) };
    let text = host::text_of(bytes.to_bytes());
    text.map(Some).map_err(|_| Error::invalid(name, bytes, "is not valid UTF-8"))
}

/// Takes back an object that was given away; NULL is nothing.
///
/// # Safety
/// `pointer` is NULL or came from [`Out::give`] or `Box::into_raw` and was not taken back before.
pub(crate) unsafe fn take<T>(pointer: *mut T) -> Option<Box<T>> {
    // SAFETY: the caller vouches for it.
    (!pointer.is_null()).then(|| unsafe { Box::from_raw(pointer) })
}
