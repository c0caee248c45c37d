//! The verbs that silos and clients share. What they export is in `silo` and `client`.

use std::ffi::{c_char, c_void};
use std::future::IntoFuture as _;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use quark_core::{Call, CallHandle, Caller, Envelope, Error, ErrorKind, Health, Message, Result, View, host};

use crate::callback::quark_reply_fn;
use crate::envelope::quark_envelope_t;
use crate::explanation::quark_explanation_t;
use crate::fork;
use crate::guard;
use crate::handle::{self, Out};
use crate::hosting::Host;
use crate::silo_info::quark_silo_list_t;
use crate::text::c_string;
use crate::view::{quark_bytes_t, quark_bytes_view_t};

/// Who calls: a silo's or a client's half of the work.
pub(crate) struct Calls {
    pub(crate) caller: Caller,
    pub(crate) host: Arc<Host>,
}

/// An asynchronous call, to be cancelled. Free it at any time; that alone changes nothing.
pub struct quark_call_t(CallHandle);

/// A timeout as C gives it.
pub(crate) fn timeout(ms: u64) -> Option<Duration> {
    (ms > 0).then(|| Duration::from_millis(ms))
}

/// What names an actor's method, with its arguments, as C gives it.
pub(crate) struct Asked {
    pub(crate) actor_type: *const c_char,
    pub(crate) actor_id: *const c_char,
    pub(crate) method_name: *const c_char,
    pub(crate) payload: quark_bytes_view_t,
}

impl Asked {
    /// # Safety
    /// As the header demands of the four arguments.
    pub(crate) unsafe fn message(&self, timeout: Option<Duration>) -> Result<Message> {
        // SAFETY: as for this function.
        let (actor_type, actor_id, method, payload) = unsafe {
            (
                handle::text(self.actor_type, "actor_type")?,
                handle::text(self.actor_id, "actor_id")?,
                handle::text(self.method_name, "method_name")?,
                self.payload.copy("payload")?,
            )
        };
        let message = Message::new((actor_type, actor_id), method, payload);
        Ok(match timeout {
            Some(timeout) => message.timeout(timeout),
            None => message,
        })
    }

    /// # Safety
    /// As [`message`](Self::message).
    unsafe fn call(&self, caller: &Caller, timeout_ms: u64) -> Result<Call> {
        // SAFETY: as for this function.
        Ok(caller.call_message(unsafe { self.message(timeout(timeout_ms)) }?))
    }
}

/// Begins on this thread, where a placement callback may be asked, and waits for the outcome.
fn begun_here<T: Send + 'static>(work: impl Future<Output = Result<T>> + Send + 'static) -> Result<T> {
    match host::begin_here(host::inheriting(work))? {
        host::Here::Ended(ended) => ended,
        host::Here::Waits(work) => host::run(work),
    }
}

impl Calls {
    /// # Safety
    /// As the header demands.
    pub(crate) unsafe fn call(
        &self,
        message: &Asked,
        timeout_ms: u64,
        reply: *mut *mut quark_bytes_t,
    ) -> Result<()> {
        // SAFETY: as for this function.
        let (call, reply) = unsafe { (message.call(&self.caller, timeout_ms)?, Out::new(reply, "reply")?) };
        host::check_may_block()?;
        let (done, waiter) = host::done_and_waiter::<Bytes>();
        let call = call.with(|ended| done.tell(ended));
        let result = waiter.wait();
        drop(call);
        reply.give(quark_bytes_t(result?));
        Ok(())
    }

    /// # Safety
    /// As the header demands.
    pub(crate) unsafe fn call_async(
        &self,
        message: &Asked,
        timeout_ms: u64,
        callback: quark_reply_fn,
        user_data: *mut c_void,
        call: *mut *mut quark_call_t,
    ) -> Result<()> {
        host::check_fork()?;
        let completion = self.host.completion(callback, user_data)?;
        // SAFETY: as for this function.
        let made = match unsafe { message.call(&self.caller, timeout_ms) } {
            Ok(call) => Some(call.with(move |result| completion.complete(result))),
            Err(error) => {
                // Like every other way in which a call can fail.
                completion.complete(Err(error));
                None
            }
        };
        // SAFETY: as for this function. Who does not want a handle says NULL.
        if let Some(call) = unsafe { Out::optional(call) } {
            call.set(made.map_or(std::ptr::null_mut(), |made| Box::into_raw(Box::new(quark_call_t(made)))));
        }
        Ok(())
    }

    /// # Safety
    /// As the header demands.
    pub(crate) unsafe fn notify(&self, message: &Asked, timeout_ms: u64) -> Result<()> {
        // SAFETY: as for this function.
        let call = unsafe { message.call(&self.caller, timeout_ms) }?;
        begun_here(call.one_way().into_future())
    }

    fn post(&self, envelope: Envelope, timeout_ms: u64) -> Result<()> {
        let caller = self.caller.clone();
        let posted = async move { caller.post(envelope, timeout(timeout_ms)).await };
        begun_here(posted)
    }

    /// # Safety
    /// As the header demands.
    pub(crate) unsafe fn send(
        &self,
        envelope: *const quark_envelope_t,
        timeout_ms: u64,
        response: *mut *mut quark_envelope_t,
    ) -> Result<()> {
        // SAFETY: as for this function.
        let (envelope, response) =
            unsafe { (handle::borrow(envelope, "envelope")?, Out::new(response, "response")?) };
        let envelope = envelope.envelope().clone();
        if envelope.one_way {
            self.post(envelope, timeout_ms)?;
            response.set(std::ptr::null_mut());
            return Ok(());
        }
        let caller = self.caller.clone();
        let sent = async move { caller.send(envelope, timeout(timeout_ms)).await };
        let answer = begun_here(sent)?;
        response.give(quark_envelope_t::new(answer));
        Ok(())
    }

    /// # Safety
    /// As the header demands.
    pub(crate) unsafe fn owner(
        &self,
        actor_type: *const c_char,
        actor_id: *const c_char,
        owner: *mut *mut c_char,
    ) -> Result<()> {
        host::check_fork()?;
        // SAFETY: as for this function.
        let (actor_type, actor_id, owner) = unsafe {
            (
                handle::text(actor_type, "actor_type")?,
                handle::text(actor_id, "actor_id")?,
                Out::new(owner, "owner")?,
            )
        };
        self.check_running()?;
        let found = self.caller.owner(actor_type, actor_id)?;
        owner.set(found.map_or(std::ptr::null_mut(), |id| c_string(id.as_str()).into_raw()));
        Ok(())
    }

    /// # Safety
    /// As the header demands.
    pub(crate) unsafe fn explain(
        &self,
        actor_type: *const c_char,
        actor_id: *const c_char,
        explanation: *mut *mut quark_explanation_t,
    ) -> Result<()> {
        host::check_fork()?;
        // SAFETY: as for this function.
        let (actor_type, actor_id, explanation) = unsafe {
            (
                handle::text(actor_type, "actor_type")?,
                handle::text(actor_id, "actor_id")?,
                Out::new(explanation, "explanation")?,
            )
        };
        self.check_running()?;
        explanation.give(quark_explanation_t::new(self.caller.explain(actor_type, actor_id)?));
        Ok(())
    }

    /// The current view.
    pub(crate) fn view(&self) -> Result<Arc<View>> {
        host::check_fork()?;
        self.check_running()?;
        Ok(self.caller.view())
    }

    /// # Safety
    /// As the header demands.
    pub(crate) unsafe fn silos(&self, silos: *mut *mut quark_silo_list_t) -> Result<()> {
        host::check_fork()?;
        // SAFETY: as for this function.
        let silos = unsafe { Out::new(silos, "silos") }?;
        self.check_running()?;
        silos.give(quark_silo_list_t::new(&self.caller.view()));
        Ok(())
    }

    pub(crate) fn view_version(&self) -> u64 {
        if fork::is_child() { 0 } else { self.caller.view_version() }
    }

    pub(crate) fn is_running(&self) -> bool {
        !fork::is_child() && self.caller.is_running()
    }

    pub(crate) fn check_running(&self) -> Result<()> {
        if self.is_running() { Ok(()) } else { Err(Error::new(ErrorKind::NotRunning, "it was stopped")) }
    }
}

/// All is well.
pub const QUARK_HEALTH_HEALTHY: i32 = 1;
/// It works, by what it knew last; something that it needs does not.
pub const QUARK_HEALTH_DEGRADED: i32 = 2;
/// It is cut off and owns nothing until that is over; requests for its actors get `QUARK_ISOLATED`.
pub const QUARK_HEALTH_ISOLATED: i32 = 3;

impl Calls {
    /// # Safety
    /// As the header demands.
    pub(crate) unsafe fn health(
        &self,
        health: *mut i32,
        since_ms: *mut i64,
        reason: *mut *mut c_char,
    ) -> Result<()> {
        host::check_fork()?;
        // SAFETY: as for this function.
        let health = unsafe { Out::new(health, "health") }?;
        self.check_running()?;
        let now = self.caller.health();
        let since = now.since().and_then(|since| since.duration_since(std::time::UNIX_EPOCH).ok());
        let since = since.map_or(0, |since| i64::try_from(since.as_millis()).unwrap_or(i64::MAX));
        health.set(match &now {
            Health::Healthy => QUARK_HEALTH_HEALTHY,
            Health::Isolated { .. } => QUARK_HEALTH_ISOLATED,
            _ => QUARK_HEALTH_DEGRADED,
        });
        // SAFETY: as for this function; both are optional.
        unsafe {
            if let Some(out) = Out::optional(since_ms) {
                out.set(since);
            }
            if let Some(out) = Out::optional(reason) {
                out.set(c_string(&now.to_string()).into_raw());
            }
        }
        Ok(())
    }
}

/// Gives up a call: its callback gets `QUARK_CANCELLED`, unless the call has ended before or its ending is on the way.
/// Says whether it still waited. Any thread; never blocks. False for NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn quark_call_cancel(call: *mut quark_call_t) -> bool {
    guard::value(false, || {
        // SAFETY: the header demands NULL or a live call.
        host::check_fork().is_ok() && unsafe { call.as_ref() }.is_some_and(|call| call.0.cancel())
    })
}

/// Frees the handle of a call, which goes on if it still waits. NULL is allowed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn quark_call_free(call: *mut quark_call_t) {
    // SAFETY: the header demands NULL or a call that is not used again.
    guard::value((), || drop(unsafe { handle::take(call) }));
}
