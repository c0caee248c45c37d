//! The library itself: its versions.

use std::ffi::c_char;

/// The version of the binary interface that this header describes; also the number in the library's SONAME.
pub const QUARK_ABI_VERSION: i32 = 0;

/// The version of the binary interface of the library that was loaded. Compare it with `QUARK_ABI_VERSION`.
#[unsafe(no_mangle)]
pub extern "C" fn quark_abi_version() -> i32 {
    QUARK_ABI_VERSION
}

/// The library's version, `"0.1.0"` for example. Static.
#[unsafe(no_mangle)]
pub extern "C" fn quark_version() -> *const c_char {
    concat!(env!("CARGO_PKG_VERSION"), "\0").as_ptr().cast()
}
