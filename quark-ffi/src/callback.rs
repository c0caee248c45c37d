//! C's callbacks: functions with their data, and when that data is let go of. On which threads they run says
//! [`hosting`](crate::hosting).

use std::ffi::{CStr, c_char, c_void};
use std::sync::Arc;

use quark_core::{Error, ErrorKind, Result};

use crate::request::quark_request_t;
use crate::silo_info::quark_silo_info_t;
use crate::status::quark_error_t;
use crate::view::quark_bytes_t;

/// Lets go of the `user_data` of a callback. Runs exactly once for each function that took one, also when that
/// function fails; never before the last callback with that `user_data` has returned. NULL where there is nothing to do.
pub type quark_finalizer_fn = Option<unsafe extern "C" fn(user_data: *mut c_void)>;

/// Takes a request. It is yours: end it with `quark_request_reply`, `quark_request_fail` or `quark_request_free`, now or
/// later, from any thread.
pub type quark_request_fn =
    Option<unsafe extern "C" fn(user_data: *mut c_void, request: *mut quark_request_t)>;

/// Takes the ending of an asynchronous call: `reply` or `error`, the other is NULL. Both are yours: free them.
pub type quark_reply_fn = Option<
    unsafe extern "C" fn(user_data: *mut c_void, reply: *mut quark_bytes_t, error: *mut quark_error_t),
>;

/// Takes requests that came together, 1 to `QUARK_MAX_BATCH`, in order. Each is yours, as in a `quark_request_fn`; the array
/// lives until the callback returns.
pub type quark_request_batch_fn =
    Option<unsafe extern "C" fn(user_data: *mut c_void, requests: *const *mut quark_request_t, count: usize)>;

/// How one asynchronous call ended.
#[repr(C)]
pub struct quark_ending_t {
    /// What the call was given as `user_data`.
    pub user_data: *mut c_void,
    /// The reply, or NULL. Yours: free it.
    pub reply: *mut quark_bytes_t,
    /// The error, or NULL. Yours: free it.
    pub error: *mut quark_error_t,
}

/// Takes the endings of calls that ended together, 1 to `QUARK_MAX_BATCH`, in order. `user_data` is that of
/// `quark_config_set_ending_batch_callback`; the array lives until the callback returns.
pub type quark_ending_batch_fn =
    Option<unsafe extern "C" fn(user_data: *mut c_void, endings: *const quark_ending_t, count: usize)>;

/// The most requests or endings that one callback takes at once.
pub const QUARK_MAX_BATCH: usize = 256;

/// Hears that a silo joined, left or changed (`QUARK_SILO_JOINED` ...). `silo` lives until the callback returns.
pub type quark_membership_fn =
    Option<unsafe extern "C" fn(user_data: *mut c_void, kind: i32, silo: *const quark_silo_info_t)>;

/// A silo came into the view.
pub const QUARK_SILO_JOINED: i32 = 1;
/// A silo went out of the view.
pub const QUARK_SILO_LEFT: i32 = 2;
/// A silo of the view changed: another incarnation, endpoint, status, weight or set of actor types, or
/// it drains.
pub const QUARK_SILO_UPDATED: i32 = 3;

/// Bytes of each of the two texts that a `quark_credentials_fn` writes.
pub const QUARK_CREDENTIAL_BYTES: usize = 4096;

/// Writes a user and a password for Redis, each a string with its NUL in at most `QUARK_CREDENTIAL_BYTES` bytes; both are empty
/// before, and an empty user means the default one. False when there are none; the connection is then tried again later.
pub type quark_credentials_fn =
    Option<unsafe extern "C" fn(user_data: *mut c_void, user: *mut c_char, password: *mut c_char) -> bool>;

/// The pointer that C wants to get back.
#[derive(Clone, Copy)]
pub(crate) struct Pointer(pub(crate) *mut c_void);

// SAFETY: Quark only carries it; the header says on which threads callbacks run.
unsafe impl Send for Pointer {}
// SAFETY: as above.
unsafe impl Sync for Pointer {}

/// A callback's data, with what lets go of it.
pub(crate) struct UserData {
    pointer: Pointer,
    finalizer: quark_finalizer_fn,
}

impl UserData {
    /// Takes it over: from here on the finalizer runs, whatever happens.
    pub(crate) fn new(pointer: *mut c_void, finalizer: quark_finalizer_fn) -> Arc<Self> {
        Arc::new(Self { pointer: Pointer(pointer), finalizer })
    }

    pub(crate) fn pointer(&self) -> *mut c_void {
        self.pointer.0
    }
}

impl Drop for UserData {
    fn drop(&mut self) {
        if let Some(finalizer) = self.finalizer {
            // SAFETY: the header demands a function that may be called once with this data, from any thread.
            unsafe { finalizer(self.pointer.0) };
        }
    }
}

/// A function of C's with its data; `F` is one of the function types above without its `Option`.
#[derive(Clone)]
pub(crate) struct Callback<F> {
    function: F,
    data: Arc<UserData>,
}

impl<F: Copy> Callback<F> {
    /// # Errors
    /// `INVALID_ARGUMENT` for a NULL function.
    pub(crate) fn new(function: Option<F>, data: Arc<UserData>, name: &str) -> Result<Self> {
        Ok(Self { function: function.ok_or_else(|| crate::handle::null(name))?, data })
    }

    /// The same without owning the data: only to be called while somebody holds a token.
    pub(crate) fn unowned(&self) -> Unowned<F> {
        Unowned { function: self.function, data: self.data.pointer }
    }

    /// What keeps the data.
    pub(crate) fn data(&self) -> Arc<UserData> {
        self.data.clone()
    }
}

impl Callback<CredentialsFn> {
    /// Asks for a user, `None` for the default one, and a password.
    ///
    /// # Errors
    /// `MEMBERSHIP_UNAVAILABLE` when the callback gave none that can be used.
    pub(crate) fn credentials(&self) -> Result<(Option<String>, String)> {
        let failed = |problem: &str| Err(Error::new(ErrorKind::MembershipUnavailable, problem));
        let mut texts = [vec![0u8; QUARK_CREDENTIAL_BYTES], vec![0u8; QUARK_CREDENTIAL_BYTES]];
        let [user, password] = &mut texts;
        // SAFETY: the header demands a function that may be called with this data, and room for both texts is there.
        let gave = unsafe {
            (self.function)(self.data.pointer(), user.as_mut_ptr().cast(), password.as_mut_ptr().cast())
        };
        if !gave {
            return failed("the callback gave none");
        }
        let [user, password] = texts.map(|text| {
            let text = CStr::from_bytes_until_nul(&text).ok().and_then(|text| text.to_str().ok());
            text.map(str::to_owned)
        });
        match (user, password) {
            (Some(user), Some(password)) if !password.is_empty() => {
                Ok((Some(user).filter(|user| !user.is_empty()), password))
            }
            _ => failed("the callback gave a text that is empty, too long or not UTF-8"),
        }
    }
}

#[derive(Clone, Copy)]
pub(crate) struct Unowned<F> {
    pub(crate) function: F,
    pub(crate) data: Pointer,
}

/// Takes requests, one or several at a time.
#[derive(Clone, Copy)]
pub(crate) enum RequestFn {
    Each(unsafe extern "C" fn(*mut c_void, *mut quark_request_t)),
    Batch(unsafe extern "C" fn(*mut c_void, *const *mut quark_request_t, usize)),
}

pub(crate) type EndingBatchFn = unsafe extern "C" fn(*mut c_void, *const quark_ending_t, usize);
pub(crate) type ReplyFn = unsafe extern "C" fn(*mut c_void, *mut quark_bytes_t, *mut quark_error_t);
pub(crate) type CredentialsFn = unsafe extern "C" fn(*mut c_void, *mut c_char, *mut c_char) -> bool;
pub(crate) type MembershipFn = unsafe extern "C" fn(*mut c_void, i32, *const quark_silo_info_t);
