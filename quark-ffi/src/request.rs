//! A received request.

use std::ffi::c_char;
use std::ptr;
use std::sync::OnceLock;

use quark_core::{Request, Result};

use crate::status::quark_status_t;
use crate::text::Text;
use crate::view::quark_bytes_view_t;
use crate::{guard, handle};

/// A received request. Whoever has it ends it, once, with `quark_request_reply`, `quark_request_fail` or
/// `quark_request_free`: each of them consumes it, and it must not be used afterwards. It may be handed to another
/// thread, but is not for two threads at once. All that it gives lives until it is consumed.
pub struct quark_request_t {
    pub(crate) request: Request,
    /// Apart, and only when one is asked for: the allocator has small pieces at hand, which most requests fit in then.
    texts: OnceLock<Box<Texts>>,
}

const _: () = assert!(size_of::<quark_request_t>() <= 120);

#[derive(Default)]
struct Texts {
    message_id: Text,
    actor_type: Text,
    actor_id: Text,
    method_name: Text,
    correlation_id: Text,
    caller: Text,
    traceparent: Text,
}

impl quark_request_t {
    pub(crate) fn new(request: Request) -> Self {
        Self { request, texts: OnceLock::new() }
    }

    fn texts(&self) -> &Texts {
        self.texts.get_or_init(Box::default)
    }
}

/// Reads a text of a request; NULL for NULL.
///
/// # Safety
/// `request` is NULL or points to a live request.
unsafe fn text(
    request: *const quark_request_t,
    field: impl FnOnce(&quark_request_t) -> *const c_char,
) -> *const c_char {
    // SAFETY: as for this function.
    guard::value(ptr::null(), || unsafe { request.as_ref() }.map_or(ptr::null(), field))
}

/// The actor's type; NULL for NULL, as with all strings of a request.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn quark_request_actor_type(request: *const quark_request_t) -> *const c_char {
    // SAFETY: the header demands NULL or a live request.
    unsafe { text(request, |request| request.texts().actor_type.of(request.request.actor_type())) }
}

/// The actor's id.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn quark_request_actor_id(request: *const quark_request_t) -> *const c_char {
    // SAFETY: the header demands NULL or a live request.
    unsafe { text(request, |request| request.texts().actor_id.of(request.request.actor_id())) }
}

/// The method; may be empty.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn quark_request_method_name(request: *const quark_request_t) -> *const c_char {
    // SAFETY: the header demands NULL or a live request.
    unsafe { text(request, |request| request.texts().method_name.of(request.request.method_name())) }
}

/// The message's id, unique per sender.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn quark_request_message_id(request: *const quark_request_t) -> *const c_char {
    // SAFETY: the header demands NULL or a live request.
    unsafe { text(request, |request| request.texts().message_id.of(&request.request.envelope().message_id)) }
}

/// What ties together messages that belong together. Calls made inside the callback inherit it by themselves.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn quark_request_correlation_id(request: *const quark_request_t) -> *const c_char {
    // SAFETY: the header demands NULL or a live request.
    unsafe { text(request, |request| request.texts().correlation_id.of(request.request.correlation_id())) }
}

/// The id of the silo or client that sent it.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn quark_request_caller(request: *const quark_request_t) -> *const c_char {
    // SAFETY: the header demands NULL or a live request.
    unsafe { text(request, |request| request.texts().caller.of(request.request.caller().as_str())) }
}

/// The W3C traceparent; empty when the sender gave none. Calls made inside the callback inherit it by themselves.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn quark_request_traceparent(request: *const quark_request_t) -> *const c_char {
    // SAFETY: the header demands NULL or a live request.
    unsafe { text(request, |request| request.texts().traceparent.of(request.request.traceparent())) }
}

/// The arguments. The view lives until the request is consumed; it may be given to `quark_request_reply`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn quark_request_payload(request: *const quark_request_t) -> quark_bytes_view_t {
    guard::value(quark_bytes_view_t::EMPTY, || {
        // SAFETY: the header demands NULL or a live request.
        unsafe { request.as_ref() }
            .map_or(quark_bytes_view_t::EMPTY, |request| quark_bytes_view_t::of(request.request.payload()))
    })
}

/// Milliseconds until the caller stops waiting; 0 when it has.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn quark_request_deadline_ms_left(request: *const quark_request_t) -> u64 {
    // SAFETY: the header demands NULL or a live request.
    guard::value(0, || unsafe { request.as_ref() }.map_or(0, |request| left(&request.request)))
}

fn left(request: &Request) -> u64 {
    u64::try_from(request.time_left().as_millis()).unwrap_or(u64::MAX)
}

/// The version of the view by which the sender chose this silo; lets a program fence.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn quark_request_view_version(request: *const quark_request_t) -> u64 {
    // SAFETY: the header demands NULL or a live request.
    guard::value(0, || unsafe { request.as_ref() }.map_or(0, |request| request.request.view_version()))
}

/// Whether nobody waits for the answer any more: the caller gave up, its time is over, or its link is gone. Never so for
/// a one-way request. A handler with much work to do looks now and then; it ends the request all the same.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn quark_request_is_abandoned(request: *const quark_request_t) -> bool {
    // SAFETY: the header demands NULL or a live request.
    guard::value(false, || unsafe { request.as_ref() }.is_some_and(|request| request.request.is_abandoned()))
}

/// Whether nobody waits for an answer. A reply to such a request goes nowhere and is no error.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn quark_request_is_one_way(request: *const quark_request_t) -> bool {
    // SAFETY: the header demands NULL or a live request.
    guard::value(false, || unsafe { request.as_ref() }.is_some_and(|request| request.request.is_one_way()))
}

/// Replies and consumes the request, whatever is returned. The payload is copied before this returns and may be the
/// request's own; an empty reply is a reply. Any thread; never blocks.
///
/// `QUARK_PAYLOAD_TOO_LARGE`, which the caller gets too; `QUARK_INVALID_ARGUMENT`, and the caller gets
/// `QUARK_HANDLER_FAILED`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn quark_request_reply(
    request: *mut quark_request_t,
    payload: quark_bytes_view_t,
) -> quark_status_t {
    guard::status(|| {
        // SAFETY: the header demands NULL or a live request that is not used again, and a valid view.
        let (request, payload) = unsafe { (consume(request)?, payload.copy("payload")) };
        let mut request = request;
        let payload = payload.inspect_err(|error| drop(request.request.fail(error.message())))?;
        request.request.reply(payload)
    })
}

/// Fails and consumes the request, whatever is returned: the caller gets `QUARK_HANDLER_FAILED` with this message, which
/// is copied. Any thread; never blocks. `QUARK_INVALID_ARGUMENT` when `message` is NULL or not UTF-8; the caller
/// gets `QUARK_HANDLER_FAILED` even so.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn quark_request_fail(
    request: *mut quark_request_t,
    message: *const c_char,
) -> quark_status_t {
    guard::status(|| {
        // SAFETY: the header demands NULL or a live request that is not used again, and NULL or a string.
        let (mut request, message) = unsafe { (consume(request)?, handle::text(message, "message")) };
        let message = message.inspect_err(|error| drop(request.request.fail(error.message())))?;
        request.request.fail(message)
    })
}

/// Frees a request without an answer: the caller gets `QUARK_HANDLER_FAILED`. NULL is allowed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn quark_request_free(request: *mut quark_request_t) {
    // SAFETY: the header demands NULL or a request that is not used again.
    guard::value((), || drop(unsafe { consume(request) }));
}

/// # Safety
/// `request` is NULL or a live request that is not used again.
unsafe fn consume(request: *mut quark_request_t) -> Result<Box<quark_request_t>> {
    // SAFETY: as for this function.
    let request = unsafe { handle::take(request) }.ok_or_else(|| handle::null("request"))?;
    if let Err(forked) = quark_core::host::check_fork() {
        // An answer would go through the parent's connection.
        std::mem::forget(request);
        return Err(forked);
    }
    Ok(request)
}
