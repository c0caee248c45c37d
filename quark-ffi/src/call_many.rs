//! Many calls made at once.

use std::ffi::{c_char, c_void};

use quark_core::{Endings as _, Error, ErrorKind, Result, host};

use crate::callback::quark_reply_fn;
use crate::calls::{Asked, Calls, timeout};
use crate::client::quark_client_t;
use crate::guard;
use crate::handle;
use crate::silo::quark_silo_t;
use crate::status::quark_status_t;
use crate::view::quark_bytes_view_t;

/// One of many calls that are made at once. What it points to is copied before the function returns.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct quark_message_t {
    /// The actor's type.
    pub actor_type: *const c_char,
    /// The actor's id.
    pub actor_id: *const c_char,
    /// What the actor is to do.
    pub method_name: *const c_char,
    /// What goes with it.
    pub payload: quark_bytes_view_t,
    /// What the callback gets with the ending.
    pub user_data: *mut c_void,
}

impl quark_message_t {
    fn asked(&self) -> Asked {
        let Self { actor_type, actor_id, method_name, payload, .. } = *self;
        Asked { actor_type, actor_id, method_name, payload }
    }
}

/// # Safety
/// `messages` is NULL or points to so many that outlive `'a` and are not written meanwhile.
unsafe fn borrow<'a>(messages: *const quark_message_t, count: usize) -> Result<&'a [quark_message_t]> {
    if count == 0 {
        return Ok(&[]);
    }
    if messages.is_null() {
        let message = format!("messages=NULL: must not be NULL when count={count}");
        return Err(Error::new(ErrorKind::InvalidArgument, message));
    }
    if count > isize::MAX as usize / size_of::<quark_message_t>() {
        return Err(Error::invalid("count", count, "is more than there can be"));
    }
    // SAFETY: not NULL, not too many, and the caller vouches for the rest.
    Ok(unsafe { std::slice::from_raw_parts(messages, count) })
}

impl Calls {
    /// # Safety
    /// As the header demands.
    unsafe fn call_many(
        &self,
        messages: *const quark_message_t,
        count: usize,
        timeout_ms: u64,
        callback: quark_reply_fn,
    ) -> Result<()> {
        host::check_fork()?;
        // SAFETY: as for this function.
        let messages = unsafe { borrow(messages, count) }?;
        let (completions, timeout) = (self.host.completions(callback)?, timeout(timeout_ms));
        let calls = messages.iter().filter_map(|message| {
            let key = message.user_data.expose_provenance();
            // SAFETY: as for this function.
            match unsafe { message.asked().message(timeout) } {
                Ok(message) => Some((key, message)),
                Err(error) => {
                    // Like every other way in which a call can fail.
                    completions.clone().ended(key, Err(error));
                    None
                }
            }
        });
        self.caller.call_many(calls, completions.clone());
        Ok(())
    }
}

/// Makes `count` calls at once, for less than they cost one by one: each as `quark_silo_call_async` with this timeout and
/// this callback, and with no handle to cancel it. Those to one actor keep their order. Never blocks.
///
/// Each call has its own ending, that of a message that cannot be used included. Something else than `QUARK_OK` is returned,
/// and no call is made, only when `silo` is NULL, when `messages` is and `count` is not 0, when there cannot be so many, when there
/// is no callback (`QUARK_INVALID_ARGUMENT`), and in a forked child (`QUARK_NOT_RUNNING`).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn quark_silo_call_many(
    silo: *const quark_silo_t,
    messages: *const quark_message_t,
    count: usize,
    timeout_ms: u64,
    callback: quark_reply_fn,
) -> quark_status_t {
    guard::status(|| {
        // SAFETY: the header demands NULL or valid pointers, and a function that may be called with such data.
        unsafe { handle::borrow(silo, "silo")?.calls.call_many(messages, count, timeout_ms, callback) }
    })
}

/// As `quark_silo_call_many`; the callback runs on a thread of the client's callbacks.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn quark_client_call_many(
    client: *const quark_client_t,
    messages: *const quark_message_t,
    count: usize,
    timeout_ms: u64,
    callback: quark_reply_fn,
) -> quark_status_t {
    guard::status(|| {
        // SAFETY: as for `quark_silo_call_many`.
        unsafe { handle::borrow(client, "client")?.calls.call_many(messages, count, timeout_ms, callback) }
    })
}
