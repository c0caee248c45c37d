//! Statuses and error objects.

use std::ffi::{CString, c_char};
use std::sync::OnceLock;

use quark_core::{Delivered, Error, ErrorKind};

use crate::text::c_string;
use crate::{guard, handle};

/// What a function says of its success: `QUARK_OK` or one of the codes below. The numbers never change.
pub type quark_status_t = i32;

/// It worked.
pub const QUARK_OK: quark_status_t = 0;
/// An argument cannot be used; the message names it and its value.
pub const QUARK_INVALID_ARGUMENT: quark_status_t = 1;
/// Before start, after stop, or in a forked child.
pub const QUARK_NOT_RUNNING: quark_status_t = 2;
/// No silo in the view serves that actor type.
pub const QUARK_NO_SILO: quark_status_t = 3;
/// There was no link to the owner before the deadline.
pub const QUARK_UNREACHABLE: quark_status_t = 4;
/// The link broke after the request was sent.
pub const QUARK_CONNECTION_LOST: quark_status_t = 5;
/// The deadline passed.
pub const QUARK_TIMEOUT: quark_status_t = 6;
/// The caller gave up.
pub const QUARK_CANCELLED: quark_status_t = 7;
/// A bounded queue is full.
pub const QUARK_OVERLOADED: quark_status_t = 8;
/// The payload is over the limit; the message has both sizes.
pub const QUARK_PAYLOAD_TOO_LARGE: quark_status_t = 9;
/// The handler raised, panicked or dropped the request; carries its message.
pub const QUARK_HANDLER_FAILED: quark_status_t = 10;
/// The target has no handler for that actor type.
pub const QUARK_NO_HANDLER: quark_status_t = 11;
/// The target does not own the actor and could not pass the request on.
pub const QUARK_NOT_OWNER: quark_status_t = 12;
/// The membership store cannot be reached at start.
pub const QUARK_MEMBERSHIP_UNAVAILABLE: quark_status_t = 13;
/// TLS or identity was refused, by either side.
pub const QUARK_UNAUTHENTICATED: quark_status_t = 14;
/// The peer sent what cannot be understood.
pub const QUARK_PROTOCOL: quark_status_t = 15;
/// A defect of Quark itself; never used for anything else.
pub const QUARK_INTERNAL: quark_status_t = 16;
/// Another live silo has the id; the message names its endpoint.
pub const QUARK_ID_IN_USE: quark_status_t = 17;
/// The listen address is taken.
pub const QUARK_ADDRESS_IN_USE: quark_status_t = 18;
/// This silo is cut off and does not own anything now.
pub const QUARK_ISOLATED: quark_status_t = 19;
/// Other cluster name, protocol too old, or virtual nodes refused.
pub const QUARK_INCOMPATIBLE: quark_status_t = 20;
/// A blocking operation that would wait for its own callback.
pub const QUARK_REENTRANT: quark_status_t = 21;

/// Of an error: the handler surely did not get the request; it is safe to send it again.
pub const QUARK_DELIVERED_NO: i32 = 1;
/// Of an error: the handler got the request, once.
pub const QUARK_DELIVERED_YES: i32 = 2;
/// Of an error: the handler got the request at most once; nobody can tell.
pub const QUARK_DELIVERED_UNKNOWN: i32 = 3;

/// An error: a code, a message, and whether the handler got the request. Immutable; readable from any thread.
pub struct quark_error_t {
    error: Error,
    message: CString,
}

impl quark_error_t {
    pub(crate) fn new(error: Error) -> *mut Self {
        let message = c_string(error.message());
        Box::into_raw(Box::new(Self { error, message }))
    }

    #[cfg(test)]
    pub(crate) fn error(&self) -> &Error {
        &self.error
    }
}

/// The error's code, `QUARK_TIMEOUT` for example; `QUARK_OK` for NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn quark_error_code(error: *const quark_error_t) -> quark_status_t {
    // SAFETY: the header demands NULL or a live error.
    guard::value(QUARK_OK, || unsafe { error.as_ref() }.map_or(QUARK_OK, |error| error.error.kind().number()))
}

/// The error's message, for people. Lives until `quark_error_free`; an empty string for NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn quark_error_message(error: *const quark_error_t) -> *const c_char {
    // SAFETY: the header demands NULL or a live error.
    guard::value(c"".as_ptr(), || match unsafe { error.as_ref() } {
        Some(error) => error.message.as_ptr(),
        None => c"".as_ptr(),
    })
}

/// Whether the handler got the request: one of `QUARK_DELIVERED_...`; 0 for NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn quark_error_delivered(error: *const quark_error_t) -> i32 {
    // SAFETY: the header demands NULL or a live error.
    guard::value(0, || unsafe { error.as_ref() }.map_or(0, |error| error.error.delivered() as i32))
}

/// Whether the same call may succeed if it is made again, without the risk of running twice; false for NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn quark_error_retryable(error: *const quark_error_t) -> bool {
    // SAFETY: the header demands NULL or a live error.
    guard::value(false, || unsafe { error.as_ref() }.is_some_and(|error| error.error.is_retryable()))
}

/// With `QUARK_NOT_OWNER`, the version of the view by which the silo that refused is not the owner: one of that silo's own views,
/// whose versions only grow. 0 for other errors and for NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn quark_error_view_version(error: *const quark_error_t) -> u64 {
    // SAFETY: the header demands NULL or a live error.
    guard::value(0, || unsafe { error.as_ref() }.and_then(|error| error.error.view_version()).unwrap_or(0))
}

/// Frees an error. NULL is allowed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn quark_error_free(error: *mut quark_error_t) {
    // SAFETY: the header demands NULL or an error that is not used again.
    guard::value((), || drop(unsafe { handle::take(error) }));
}

/// The name of a status, `"TIMEOUT"` for example, `"OK"` for `QUARK_OK`; NULL for a number that is none. Static.
#[unsafe(no_mangle)]
pub extern "C" fn quark_status_name(status: quark_status_t) -> *const c_char {
    static NAMES: OnceLock<Vec<CString>> = OnceLock::new();
    guard::value(std::ptr::null(), || {
        let names = NAMES.get_or_init(|| {
            std::iter::once("OK").chain(ErrorKind::ALL.iter().map(|kind| kind.code())).map(c_string).collect()
        });
        let name = usize::try_from(status).ok().and_then(|number| names.get(number));
        name.map_or(std::ptr::null(), |name| name.as_ptr())
    })
}

// The numbers of C and of the core are the same by construction of the build.
const _: () = {
    assert!(Delivered::No as i32 == QUARK_DELIVERED_NO);
    assert!(Delivered::Yes as i32 == QUARK_DELIVERED_YES);
    assert!(Delivered::Unknown as i32 == QUARK_DELIVERED_UNKNOWN);
    assert!(ErrorKind::InvalidArgument as i32 == QUARK_INVALID_ARGUMENT);
    assert!(ErrorKind::NotRunning as i32 == QUARK_NOT_RUNNING);
    assert!(ErrorKind::NoSilo as i32 == QUARK_NO_SILO);
    assert!(ErrorKind::Unreachable as i32 == QUARK_UNREACHABLE);
    assert!(ErrorKind::ConnectionLost as i32 == QUARK_CONNECTION_LOST);
    assert!(ErrorKind::Timeout as i32 == QUARK_TIMEOUT);
    assert!(ErrorKind::Cancelled as i32 == QUARK_CANCELLED);
    assert!(ErrorKind::Overloaded as i32 == QUARK_OVERLOADED);
    assert!(ErrorKind::PayloadTooLarge as i32 == QUARK_PAYLOAD_TOO_LARGE);
    assert!(ErrorKind::HandlerFailed as i32 == QUARK_HANDLER_FAILED);
    assert!(ErrorKind::NoHandler as i32 == QUARK_NO_HANDLER);
    assert!(ErrorKind::NotOwner as i32 == QUARK_NOT_OWNER);
    assert!(ErrorKind::MembershipUnavailable as i32 == QUARK_MEMBERSHIP_UNAVAILABLE);
    assert!(ErrorKind::Unauthenticated as i32 == QUARK_UNAUTHENTICATED);
    assert!(ErrorKind::Protocol as i32 == QUARK_PROTOCOL);
    assert!(ErrorKind::Internal as i32 == QUARK_INTERNAL);
    assert!(ErrorKind::IdInUse as i32 == QUARK_ID_IN_USE);
    assert!(ErrorKind::AddressInUse as i32 == QUARK_ADDRESS_IN_USE);
    assert!(ErrorKind::Isolated as i32 == QUARK_ISOLATED);
    assert!(ErrorKind::Incompatible as i32 == QUARK_INCOMPATIBLE);
    assert!(ErrorKind::Reentrant as i32 == QUARK_REENTRANT);
    assert!(ErrorKind::ALL.len() == 21);
};
