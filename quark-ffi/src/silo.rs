//! Silos.

use std::ffi::{CString, c_char, c_void};
use std::ptr;
use std::time::Duration;

use quark_core::{Caller, Silo, host};

use crate::callback::quark_reply_fn;
use crate::calls::{Asked, Calls, quark_call_t};
use crate::config::quark_config_t;
use crate::envelope::quark_envelope_t;
use crate::guard;
use crate::handle::{self, Out};
use crate::hosting::Host;
use crate::lifecycle::{self, Lifecycle};
use crate::ownership;
use crate::placement;
use crate::silo_info::quark_silo_list_t;
use crate::status::{quark_error_t, quark_status_t};
use crate::text::c_string;
use crate::view::{quark_bytes_t, quark_bytes_view_t};

/// A member of a cluster: hosts handlers, owns part of the ring, calls others. Any thread, several at once, may use it,
/// until `quark_silo_free`.
pub struct quark_silo_t {
    pub(crate) lifecycle: Lifecycle<Silo>,
    pub(crate) calls: Calls,
    id: CString,
    endpoint: CString,
}

impl quark_silo_t {
    pub(crate) fn calls(&self) -> &Calls {
        &self.calls
    }

    pub(crate) fn caller(&self) -> &Caller {
        &self.calls.caller
    }
}

/// Starts a silo: it listens, joins, and is in its own view when this returns. Blocks, for the start timeout of the
/// config at most. The config stays yours, and nothing that is set in it later reaches the silo.
///
/// `QUARK_INVALID_ARGUMENT`, `QUARK_ADDRESS_IN_USE`, `QUARK_MEMBERSHIP_UNAVAILABLE`, `QUARK_ID_IN_USE`,
/// `QUARK_INCOMPATIBLE`, `QUARK_NOT_RUNNING` (in a forked child).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn quark_silo_start(
    config: *const quark_config_t,
    silo: *mut *mut quark_silo_t,
    error: *mut *mut quark_error_t,
) -> quark_status_t {
    // SAFETY: the header demands NULL or valid pointers.
    unsafe {
        guard::status_and_error(error, || {
            let (config, silo) = (handle::borrow(config, "config")?, Out::new(silo, "silo")?);
            let (started, open) = start(config)?;
            silo.give(started);
            // Only now: a handler may use what `silo` points to.
            open();
            Ok(())
        })
    }
}

fn start(config: &quark_config_t) -> quark_core::Result<(quark_silo_t, impl FnOnce() + use<>)> {
    let mut settings = config.for_silo()?;
    let host = Host::new(config);
    placement::install(&host, &config.placements, &mut settings);
    let mut builder = Silo::from_config(settings);
    if let Some(callback) = &config.handler {
        builder = builder.raw_handler(None, host.handler(callback));
    }
    for (actor_type, callback) in &config.handlers {
        builder = builder.raw_handler(Some(actor_type.clone()), host.handler(callback));
    }
    for actor_type in config.on_ownership.keys() {
        host.or_close(builder.check_ownership(actor_type.as_deref()))?;
    }
    let silo = host.or_close(host::run(builder.start_closed()))?;
    if let Some(callback) = &config.on_membership {
        lifecycle::follow(&host, callback, silo.watch())?;
    }
    for (actor_type, callback) in &config.on_ownership {
        let watch = host.or_close(silo.watch_ownership(actor_type.as_deref()))?;
        ownership::follow(&host, callback, watch)?;
    }
    let calls = Calls { caller: silo.caller().clone(), host: host.clone() };
    let (id, endpoint) = (c_string(silo.id().as_str()), c_string(&silo.endpoint().to_string()));
    let open = silo.opener();
    Ok((quark_silo_t { lifecycle: Lifecycle::new(silo, host), calls, id, endpoint }, open))
}

/// Leaves: tells the others, answers what came in, and waits for what runs, ownership callbacks included, `drain_ms` at most (0: not at all). Calls that
/// still wait then end with `QUARK_CONNECTION_LOST` when their request had been sent, else with `QUARK_NOT_RUNNING`, and so do
/// all later ones. Stopping twice has no effect. Blocks; inside a callback of this silo it returns at once and the stop
/// begins when the callback has returned.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn quark_silo_stop(
    silo: *mut quark_silo_t,
    drain_ms: u64,
    error: *mut *mut quark_error_t,
) -> quark_status_t {
    // SAFETY: the header demands NULL or valid pointers.
    unsafe {
        guard::status_and_error(error, || {
            handle::borrow(silo, "silo")?.lifecycle.stop(Duration::from_millis(drain_ms))
        })
    }
}

/// Frees a silo; without a stop before, it ends as a crash would, which the others have to find out. Blocks until the
/// callbacks that run have returned and the finalizers have run; inside a callback of this silo it returns at once and all of that happens when the callback
/// has returned. NULL is allowed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn quark_silo_free(silo: *mut quark_silo_t) {
    // SAFETY: the header demands NULL or a silo that is not used again.
    let taken = || unsafe { handle::take(silo) };
    guard::value((), || {
        if let Some(silo) = taken() {
            let quark_silo_t { lifecycle, calls, .. } = *silo;
            drop(calls);
            lifecycle.free();
        }
    });
}

/// Calls an actor, wherever it lives, and waits for the reply, which is yours. Blocks for `timeout_ms` at most (0: the
/// default timeout); may be called from any thread, from callbacks too, also for the silo itself and the actor whose
/// request is being handled.
///
/// Every code of the list; what the handler failed with comes as `QUARK_HANDLER_FAILED` with its message.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn quark_silo_call(
    silo: *const quark_silo_t,
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
            handle::borrow(silo, "silo")?.calls.call(&message, timeout_ms, reply)
        })
    }
}

/// Calls an actor without waiting: `callback` gets the ending, exactly once, on a thread of the silo's callbacks, whatever
/// goes wrong, an argument that cannot be used included. `call`, unless it is NULL, gets a handle to cancel the call
/// with, to be freed, or NULL when an argument cannot be used; the callback may run before it is written. Never blocks.
///
/// NULL as the callback gives the ending, with `user_data`, to that of `quark_config_set_ending_batch_callback`.
///
/// Something else than `QUARK_OK` is returned, and no callback is called, only when `silo` is NULL or there is no callback
/// (`QUARK_INVALID_ARGUMENT`), and in a forked child (`QUARK_NOT_RUNNING`).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn quark_silo_call_async(
    silo: *const quark_silo_t,
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
            handle::borrow(silo, "silo")?.calls.call_async(&message, timeout_ms, callback, user_data, call)
        }
    })
}

/// Sends a one-way request: returns when it is queued on a live link to the owner or in the own inbox. The handler gets it
/// at most once, and nobody hears of what becomes of it. Blocks for `timeout_ms` at most (0: the default timeout).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn quark_silo_notify(
    silo: *const quark_silo_t,
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
        guard::status_and_error(error, || handle::borrow(silo, "silo")?.calls.notify(&message, timeout_ms))
    }
}

/// Sends a request envelope of your making, which is copied, and waits for the response envelope, which is yours; for a
/// correlation id, a message id or a trace of your own. An error that the handler gave is a response here
/// (`QUARK_ENVELOPE_IS_ERROR`). A one-way envelope is sent like `quark_silo_notify` and gives NULL. Blocks for
/// `timeout_ms` at most (0: the default timeout).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn quark_silo_send(
    silo: *const quark_silo_t,
    envelope: *const quark_envelope_t,
    timeout_ms: u64,
    response: *mut *mut quark_envelope_t,
    error: *mut *mut quark_error_t,
) -> quark_status_t {
    // SAFETY: the header demands NULL or valid pointers.
    unsafe {
        guard::status_and_error(error, || {
            handle::borrow(silo, "silo")?.calls.send(envelope, timeout_ms, response)
        })
    }
}

/// The id of the silo that owns an actor on the ring of the current view: yours, free it with `quark_string_free`; NULL when
/// nobody serves the type. Never blocks.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn quark_silo_owner(
    silo: *const quark_silo_t,
    actor_type: *const c_char,
    actor_id: *const c_char,
    owner: *mut *mut c_char,
    error: *mut *mut quark_error_t,
) -> quark_status_t {
    // SAFETY: the header demands NULL or valid pointers.
    unsafe {
        guard::status_and_error(error, || {
            handle::borrow(silo, "silo")?.calls.owner(actor_type, actor_id, owner)
        })
    }
}

/// The silos of the current view, this one included. Yours, free it with `quark_silo_list_free`. Never blocks.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn quark_silo_silos(
    silo: *const quark_silo_t,
    silos: *mut *mut quark_silo_list_t,
    error: *mut *mut quark_error_t,
) -> quark_status_t {
    // SAFETY: the header demands NULL or valid pointers.
    unsafe { guard::status_and_error(error, || handle::borrow(silo, "silo")?.calls.silos(silos)) }
}

/// The version of the current view; it grows by one with each. 0 for NULL and in a forked child.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn quark_silo_view_version(silo: *const quark_silo_t) -> u64 {
    // SAFETY: the header demands NULL or a live silo.
    guard::value(0, || unsafe { silo.as_ref() }.map_or(0, |silo| silo.calls.view_version()))
}

/// How it fares: `health` is set to `QUARK_HEALTH_HEALTHY`, `QUARK_HEALTH_DEGRADED` or `QUARK_HEALTH_ISOLATED`, `since_ms` to when that began (Unix
/// milliseconds, 0 when it is healthy), `reason` to a text, which is yours: free it with `quark_string_free`. The last two
/// may be NULL. Never waits.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn quark_silo_health(
    silo: *const quark_silo_t,
    health: *mut i32,
    since_ms: *mut i64,
    reason: *mut *mut c_char,
) -> quark_status_t {
    // SAFETY: the header demands NULL or a live silo, and places to write to.
    guard::status(|| unsafe { handle::borrow(silo, "silo")?.calls.health(health, since_ms, reason) })
}

/// Whether it was started and not stopped. False for NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn quark_silo_is_running(silo: *const quark_silo_t) -> bool {
    // SAFETY: the header demands NULL or a live silo.
    guard::value(false, || unsafe { silo.as_ref() }.is_some_and(|silo| silo.calls.is_running()))
}

/// Its id. Lives as long as the silo; NULL for NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn quark_silo_id(silo: *const quark_silo_t) -> *const c_char {
    // SAFETY: the header demands NULL or a live silo.
    guard::value(ptr::null(), || match unsafe { silo.as_ref() } {
        Some(silo) => silo.id.as_ptr(),
        None => ptr::null(),
    })
}

/// Where others dial it, with the real port. Lives as long as the silo; NULL for NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn quark_silo_endpoint(silo: *const quark_silo_t) -> *const c_char {
    // SAFETY: the header demands NULL or a live silo.
    guard::value(ptr::null(), || match unsafe { silo.as_ref() } {
        Some(silo) => silo.endpoint.as_ptr(),
        None => ptr::null(),
    })
}
