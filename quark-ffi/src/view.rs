//! Bytes: borrowed views, and owned buffers for replies.

use bytes::Bytes;
use quark_core::{Error, ErrorKind, Result};

use crate::{guard, handle};

/// Bytes that belong to somebody else. As an argument they are copied before the function returns; as a result the
/// function's comment says how long they stay. `data` may be NULL when `len` is 0.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct quark_bytes_view_t {
    /// The first byte.
    pub data: *const u8,
    /// How many there are.
    pub len: usize,
}

impl quark_bytes_view_t {
    /// No bytes.
    pub(crate) const EMPTY: Self = Self { data: c"".as_ptr().cast(), len: 0 };

    /// A view of `bytes`; as long as they live.
    pub(crate) fn of(bytes: &[u8]) -> Self {
        // An empty slice may point anywhere; C rather sees an address that can be read.
        if bytes.is_empty() { Self::EMPTY } else { Self { data: bytes.as_ptr(), len: bytes.len() } }
    }

    /// The bytes.
    ///
    /// # Safety
    /// `data` is NULL or valid for reading `len` bytes that outlive `'a` and are not written meanwhile.
    pub(crate) unsafe fn slice<'a>(self, name: &str) -> Result<&'a [u8]> {
        if self.len == 0 {
            return Ok(&[]);
        }
        if self.data.is_null() {
            let message = format!("{name}.data=NULL: must not be NULL when {name}.len={}", self.len);
            return Err(Error::new(ErrorKind::InvalidArgument, message));
        }
        if isize::try_from(self.len).is_err() {
            return Err(Error::invalid(&format!("{name}.len"), self.len, "is more than there can be"));
        }
        // SAFETY: not NULL, not too long, and the caller vouches for the rest.
        Ok(unsafe { std::slice::from_raw_parts(self.data, self.len) })
    }

    /// A copy of the bytes.
    ///
    /// # Safety
    /// As [`slice`](Self::slice), for the time of the call.
    pub(crate) unsafe fn copy(self, name: &str) -> Result<Bytes> {
        // SAFETY: as for this function.
        unsafe { self.slice(name) }.map(Bytes::copy_from_slice)
    }
}

/// Bytes that are yours: a reply. Immutable; free them with `quark_bytes_free`.
pub struct quark_bytes_t(pub(crate) Bytes);

/// The first byte; never NULL unless `bytes` is. Lives until `quark_bytes_free`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn quark_bytes_data(bytes: *const quark_bytes_t) -> *const u8 {
    // SAFETY: the header demands NULL or live bytes.
    guard::value(std::ptr::null(), || match unsafe { bytes.as_ref() } {
        Some(bytes) => quark_bytes_view_t::of(&bytes.0).data,
        None => std::ptr::null(),
    })
}

/// How many bytes there are; 0 for NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn quark_bytes_len(bytes: *const quark_bytes_t) -> usize {
    // SAFETY: the header demands NULL or live bytes.
    guard::value(0, || unsafe { bytes.as_ref() }.map_or(0, |bytes| bytes.0.len()))
}

/// The bytes as a view that lives until `quark_bytes_free`. Empty for NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn quark_bytes_view(bytes: *const quark_bytes_t) -> quark_bytes_view_t {
    guard::value(quark_bytes_view_t::EMPTY, || {
        // SAFETY: the header demands NULL or live bytes.
        unsafe { bytes.as_ref() }.map_or(quark_bytes_view_t::EMPTY, |bytes| quark_bytes_view_t::of(&bytes.0))
    })
}

/// Frees bytes. NULL is allowed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn quark_bytes_free(bytes: *mut quark_bytes_t) {
    // SAFETY: the header demands NULL or bytes that are not used again.
    guard::value((), || drop(unsafe { handle::take(bytes) }));
}
