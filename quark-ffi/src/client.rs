//! Clients.

use std::ffi::{CString, c_char, c_void};
use std::ptr;
use std::time::Duration;

use quark_core::{Client, host};

use crate::callback::quark_reply_fn;
use crate::calls::{Asked, Calls, quark_call_t};
use crate::config::quark_config_t;
use crate::envelope::quark_envelope_t;
use crate::guard;
use crate::handle::{self, Out};
use crate::hosting::Host;
use crate::lifecycle::{self, Lifecycle};
use crate::placement;
use crate::silo_info::quark_silo_list_t;
use crate::status::{quark_error_t, quark_status_t};
use crate::text::c_string;
use crate::view::{quark_bytes_t, quark_bytes_view_t};

/// Calls actors and hosts nothing: it is in no ring, listens nowhere, sees the view. Any thread, several at once, may use
/// it, until `quark_client_free`.
pub struct quark_client_t {
    lifecycle: Lifecycle<Client>,
    pub(crate) calls: Calls,
    id: CString,
}

impl quark_client_t {
    pub(crate) fn calls(&self) -> &Calls {
        &self.calls
    }
}

/// Starts a client, whose id is `client:` and a UUID: the config needs none. Blocks, for the start timeout of the config
/// at most. The config stays yours.
///
/// `QUARK_INVALID_ARGUMENT`, `QUARK_MEMBERSHIP_UNAVAILABLE`, `QUARK_NOT_RUNNING` (in a forked child).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn quark_client_start(
    config: *const quark_config_t,
    client: *mut *mut quark_client_t,
    error: *mut *mut quark_error_t,
) -> quark_status_t {
    // SAFETY: the header demands NULL or valid pointers.
    unsafe {
        guard::status_and_error(error, || {
            let (config, client) = (handle::borrow(config, "config")?, Out::new(client, "client")?);
            client.give(start(config)?);
            Ok(())
        })
    }
}

fn start(config: &quark_config_t) -> quark_core::Result<quark_client_t> {
    let mut settings = config.for_client()?;
    let host = Host::new(config);
    placement::install(&host, &config.placements, &mut settings);
    let builder = Client::from_config(settings);
    let client = host.or_close(host::run(builder.start()))?;
    if let Some(callback) = &config.on_membership {
        lifecycle::follow(&host, callback, client.watch())?;
    }
    let calls = Calls { caller: client.caller().clone(), host: host.clone() };
    let id = c_string(client.id().as_str());
    Ok(quark_client_t { lifecycle: Lifecycle::new(client, host), calls, id })
}

/// Waits for calls that wait, `drain_ms` at most (0: not at all), then ends: as `quark_silo_stop`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn quark_client_stop(
    client: *mut quark_client_t,
    drain_ms: u64,
    error: *mut *mut quark_error_t,
) -> quark_status_t {
    // SAFETY: the header demands NULL or valid pointers.
    unsafe {
        guard::status_and_error(error, || {
            handle::borrow(client, "client")?.lifecycle.stop(Duration::from_millis(drain_ms))
        })
    }
}

/// Frees a client: as `quark_silo_free`. NULL is allowed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn quark_client_free(client: *mut quark_client_t) {
    // SAFETY: the header demands NULL or a client that is not used again.
    let taken = || unsafe { handle::take(client) };
    guard::value((), || {
        if let Some(client) = taken() {
            let quark_client_t { lifecycle, calls, .. } = *client;
            drop(calls);
            lifecycle.free();
        }
    });
}

/// As `quark_silo_call`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn quark_client_call(
    client: *const quark_client_t,
    actor_type: *const c_char,
    actor_id: *const c_char,
    method_name: *const c_char,
    payload: quark_bytes_view_t,
    timeout_ms: u64,
    reply: *mut *mut quark_bytes_t,
    error: *mut *mut quark_error_t,
) -> quark_status_t {
    let message = Asked { actor_type, actor_id, method_name, payload };
    // SAFETY: the header demands NULL or valid pointers.
    unsafe {
        guard::status_and_error(error, || {
            handle::borrow(client, "client")?.calls.call(&message, timeout_ms, reply)
        })
    }
}

/// As `quark_silo_call_async`; the callback runs on a thread of the client's callbacks.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn quark_client_call_async(
    client: *const quark_client_t,
    actor_type: *const c_char,
    actor_id: *const c_char,
    method_name: *const c_char,
    payload: quark_bytes_view_t,
    timeout_ms: u64,
    callback: quark_reply_fn,
    user_data: *mut c_void,
    call: *mut *mut quark_call_t,
) -> quark_status_t {
    let message = Asked { actor_type, actor_id, method_name, payload };
    guard::status(|| {
        // SAFETY: the header demands NULL or valid pointers, and a function that may be called with this data.
        unsafe {
            handle::borrow(client, "client")?
                .calls
                .call_async(&message, timeout_ms, callback, user_data, call)
        }
    })
}

/// As `quark_silo_notify`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn quark_client_notify(
    client: *const quark_client_t,
    actor_type: *const c_char,
    actor_id: *const c_char,
    method_name: *const c_char,
    payload: quark_bytes_view_t,
    timeout_ms: u64,
    error: *mut *mut quark_error_t,
) -> quark_status_t {
    let message = Asked { actor_type, actor_id, method_name, payload };
    // SAFETY: the header demands NULL or valid pointers.
    unsafe {
        guard::status_and_error(error, || {
            handle::borrow(client, "client")?.calls.notify(&message, timeout_ms)
        })
    }
}

/// As `quark_silo_send`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn quark_client_send(
    client: *const quark_client_t,
    envelope: *const quark_envelope_t,
    timeout_ms: u64,
    response: *mut *mut quark_envelope_t,
    error: *mut *mut quark_error_t,
) -> quark_status_t {
    // SAFETY: the header demands NULL or valid pointers.
    unsafe {
        guard::status_and_error(error, || {
            handle::borrow(client, "client")?.calls.send(envelope, timeout_ms, response)
        })
    }
}

/// As `quark_silo_owner`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn quark_client_owner(
    client: *const quark_client_t,
    actor_type: *const c_char,
    actor_id: *const c_char,
    owner: *mut *mut c_char,
    error: *mut *mut quark_error_t,
) -> quark_status_t {
    // SAFETY: the header demands NULL or valid pointers.
    unsafe {
        guard::status_and_error(error, || {
            handle::borrow(client, "client")?.calls.owner(actor_type, actor_id, owner)
        })
    }
}

/// As `quark_silo_silos`; the client itself is in no view.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn quark_client_silos(
    client: *const quark_client_t,
    silos: *mut *mut quark_silo_list_t,
    error: *mut *mut quark_error_t,
) -> quark_status_t {
    // SAFETY: the header demands NULL or valid pointers.
    unsafe { guard::status_and_error(error, || handle::borrow(client, "client")?.calls.silos(silos)) }
}

/// The version of the current view; it grows by one with each. 0 for NULL and in a forked child.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn quark_client_view_version(client: *const quark_client_t) -> u64 {
    // SAFETY: the header demands NULL or a live client.
    guard::value(0, || unsafe { client.as_ref() }.map_or(0, |client| client.calls.view_version()))
}

/// How it fares: `health` is set to `QUARK_HEALTH_HEALTHY`, `QUARK_HEALTH_DEGRADED` or `QUARK_HEALTH_ISOLATED`, `since_ms` to when that began (Unix
/// milliseconds, 0 when it is healthy), `reason` to a text, which is yours: free it with `quark_string_free`. The last two
/// may be NULL. Never waits.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn quark_client_health(
    client: *const quark_client_t,
    health: *mut i32,
    since_ms: *mut i64,
    reason: *mut *mut c_char,
) -> quark_status_t {
    // SAFETY: the header demands NULL or a live client, and places to write to.
    guard::status(|| unsafe { handle::borrow(client, "client")?.calls.health(health, since_ms, reason) })
}

/// Whether it was started and not stopped. False for NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn quark_client_is_running(client: *const quark_client_t) -> bool {
    // SAFETY: the header demands NULL or a live client.
    guard::value(false, || unsafe { client.as_ref() }.is_some_and(|client| client.calls.is_running()))
}

/// Its id. Lives as long as the client; NULL for NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn quark_client_id(client: *const quark_client_t) -> *const c_char {
    // SAFETY: the header demands NULL or a live client.
    guard::value(ptr::null(), || match unsafe { client.as_ref() } {
        Some(client) => client.id.as_ptr(),
        None => ptr::null(),
    })
}
