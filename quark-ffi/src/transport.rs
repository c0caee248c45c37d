//! The transport, usable alone.

use std::ffi::{CString, c_char};
use std::ptr;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use quark_core::{Endpoint, Handler, Request, Result, SiloId, SiloInfo, Transport, host};

use crate::calls;
use crate::config::quark_config_t;
use crate::envelope::quark_envelope_t;
use crate::guard;
use crate::handle::{self, Out};
use crate::hosting::Host;
use crate::lifecycle::Lifecycle;
use crate::status::{quark_error_t, quark_status_t};
use crate::text::c_string;

/// Sends envelopes to silos whose endpoint it was told, and hands received requests to a handler; knows nothing of rings
/// and views. Any thread, several at once, may use it, until `quark_transport_free`.
pub struct quark_transport_t {
    lifecycle: Lifecycle<Transport>,
    id: CString,
    endpoint: OnceLock<CString>,
    default_timeout: Duration,
}

/// Answers for a transport that was given no handler.
struct NoHandler;

impl Handler for NoHandler {
    fn handle(&self, mut request: Request) {
        let _ = request.fail("this transport has no handler");
    }
}

/// A transport with the config's id, listen address, cluster, payload limit, default timeout and handler; what else is in
/// the config does not concern it. Nothing happens before `quark_transport_start`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn quark_transport_new(
    config: *const quark_config_t,
    transport: *mut *mut quark_transport_t,
    error: *mut *mut quark_error_t,
) -> quark_status_t {
    // SAFETY: the header demands NULL or valid pointers.
    unsafe {
        guard::status_and_error(error, || {
            host::check_fork()?;
            let (config, transport) = (handle::borrow(config, "config")?, Out::new(transport, "transport")?);
            transport.give(new(config)?);
            Ok(())
        })
    }
}

fn new(config: &quark_config_t) -> Result<quark_transport_t> {
    let (id, listen, settings) = config.for_transport()?;
    let default_timeout = settings.default_timeout;
    let host = Host::new(config);
    let handler = match &config.handler {
        Some(callback) => host.handler(callback),
        None => Arc::new(NoHandler),
    };
    let transport = host.or_close(Transport::new(id, listen, settings, handler))?;
    Ok(quark_transport_t {
        id: c_string(transport.local_silo_id().as_str()),
        lifecycle: Lifecycle::new(transport, host),
        endpoint: OnceLock::new(),
        default_timeout,
    })
}

impl quark_transport_t {
    fn core(&self) -> Result<Arc<Transport>> {
        host::check_fork()?;
        Ok(self.lifecycle.core())
    }
}

/// Begins to listen. Once. Blocks. `QUARK_ADDRESS_IN_USE`; `QUARK_NOT_RUNNING` on a second start.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn quark_transport_start(
    transport: *mut quark_transport_t,
    error: *mut *mut quark_error_t,
) -> quark_status_t {
    // SAFETY: the header demands NULL or valid pointers.
    unsafe {
        guard::status_and_error(error, || {
            let core = handle::borrow(transport, "transport")?.core()?;
            host::run(async move { core.start().await })
        })
    }
}

/// Answers what came in and waits for what was sent, `drain_ms` at most, then closes every link. Stopping twice, or
/// before the start, has no effect. Blocks; inside a callback of this transport it returns at once and the stop begins when the callback has
/// returned.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn quark_transport_stop(
    transport: *mut quark_transport_t,
    drain_ms: u64,
    error: *mut *mut quark_error_t,
) -> quark_status_t {
    // SAFETY: the header demands NULL or valid pointers.
    unsafe {
        guard::status_and_error(error, || {
            handle::borrow(transport, "transport")?.lifecycle.stop(Duration::from_millis(drain_ms))
        })
    }
}

/// Frees a transport: as `quark_silo_free`. NULL is allowed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn quark_transport_free(transport: *mut quark_transport_t) {
    // SAFETY: the header demands NULL or a transport that is not used again.
    let taken = || unsafe { handle::take(transport) };
    guard::value((), || {
        if let Some(transport) = taken() {
            transport.lifecycle.free();
        }
    });
}

/// Learns where a silo is (`host:port`) and links to it; it is taken to speak the networks that this transport speaks. The silo stays known when that fails: later sends try again.
/// Blocks for 3 seconds at most. `QUARK_UNREACHABLE`, `QUARK_INCOMPATIBLE`, `QUARK_NOT_RUNNING`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn quark_transport_connect(
    transport: *mut quark_transport_t,
    silo_id: *const c_char,
    endpoint: *const c_char,
    error: *mut *mut quark_error_t,
) -> quark_status_t {
    // SAFETY: the header demands NULL or valid pointers.
    unsafe {
        guard::status_and_error(error, || {
            let transport = handle::borrow(transport, "transport")?;
            let id = SiloId::new(handle::text(silo_id, "silo_id")?)?;
            let endpoint = Endpoint::parse("endpoint", handle::text(endpoint, "endpoint")?)?;
            let core = transport.core()?;
            let mut info = SiloInfo::new(id, endpoint);
            info.transports = core.transports();
            host::run(async move { core.connect(&info).await })
        })
    }
}

/// Forgets a silo: no link to it is made any more, and requests that were not sent end with `QUARK_UNREACHABLE`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn quark_transport_disconnect(
    transport: *mut quark_transport_t,
    silo_id: *const c_char,
    error: *mut *mut quark_error_t,
) -> quark_status_t {
    // SAFETY: the header demands NULL or valid pointers.
    unsafe {
        guard::status_and_error(error, || {
            let transport = handle::borrow(transport, "transport")?;
            let id = handle::text(silo_id, "silo_id")?.to_owned();
            let core = transport.core()?;
            host::run(async move {
                core.disconnect(&id);
                Ok(())
            })
        })
    }
}

/// Sends a request envelope, which is copied, and waits for the response envelope, which is yours. An error that the
/// handler gave is a response here (`QUARK_ENVELOPE_IS_ERROR`). A one-way envelope gives NULL as soon as it is queued.
/// Blocks for `timeout_ms` at most (0: the config's default timeout).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn quark_transport_send(
    transport: *const quark_transport_t,
    target: *const c_char,
    envelope: *const quark_envelope_t,
    timeout_ms: u64,
    response: *mut *mut quark_envelope_t,
    error: *mut *mut quark_error_t,
) -> quark_status_t {
    // SAFETY: the header demands NULL or valid pointers.
    unsafe {
        guard::status_and_error(error, || {
            let transport = handle::borrow(transport, "transport")?;
            let target = handle::text(target, "target")?.to_owned();
            let envelope = handle::borrow(envelope, "envelope")?.envelope().clone();
            let response = Out::new(response, "response")?;
            let timeout = calls::timeout(timeout_ms).unwrap_or(transport.default_timeout);
            let one_way = envelope.one_way;
            let core = transport.core()?;
            let sent = async move { core.send(&target, envelope, timeout).await };
            let answer = host::run(host::inheriting(sent))?;
            if one_way {
                response.set(ptr::null_mut());
            } else {
                response.give(quark_envelope_t::new(answer));
            }
            Ok(())
        })
    }
}

/// This end's id. Lives as long as the transport; NULL for NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn quark_transport_local_silo_id(transport: *const quark_transport_t) -> *const c_char {
    // SAFETY: the header demands NULL or a live transport.
    guard::value(ptr::null(), || match unsafe { transport.as_ref() } {
        Some(transport) => transport.id.as_ptr(),
        None => ptr::null(),
    })
}

/// Where it listens, with the real port; NULL before the start, when it only dials, and for NULL. Lives as long as the
/// transport.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn quark_transport_local_endpoint(
    transport: *const quark_transport_t,
) -> *const c_char {
    guard::value(ptr::null(), || {
        // SAFETY: the header demands NULL or a live transport.
        let Some(transport) = (unsafe { transport.as_ref() }) else { return ptr::null() };
        match transport.lifecycle.core().local_endpoint() {
            Some(endpoint) => transport.endpoint.get_or_init(|| c_string(&endpoint.to_string())).as_ptr(),
            None => ptr::null(),
        }
    })
}
