//! What a silo owns, and who hears of what it gains and loses.

use std::ffi::{c_char, c_void};
use std::sync::Arc;

use quark_core::{Error, OwnershipChange, OwnershipWatch, Result, host};
use tokio::sync::oneshot;

use crate::callback::{Callback, Unowned, UserData, quark_finalizer_fn};
use crate::config::{quark_config_t, set};
use crate::guard;
use crate::handle::{self, Out};
use crate::hosting::Host;
use crate::job::Job;
use crate::ranges::quark_hash_ranges_t;
use crate::silo::quark_silo_t;
use crate::status::{quark_error_t, quark_status_t};

/// What a silo lost and gained of the ring. First give up what is lost, then take what is gained: positions that were lost
/// and came back, perhaps after another silo had owned them, are in both.
#[repr(C)]
pub struct quark_ownership_change_t {
    /// The version of the view at which it stands.
    pub view_version: u64,
    /// What it owned when the callback heard last, and did not at some time since.
    pub lost: *const quark_hash_ranges_t,
    /// What it owns now and did not when the callback heard last, or did not at some time since.
    pub gained: *const quark_hash_ranges_t,
    /// All that it owns now.
    pub owned: *const quark_hash_ranges_t,
}

/// Hears of what a silo gains and loses. `change` lives until the callback returns, as do its ranges.
pub type quark_ownership_fn =
    Option<unsafe extern "C" fn(user_data: *mut c_void, change: *const quark_ownership_change_t)>;

pub(crate) type OwnershipFn = unsafe extern "C" fn(*mut c_void, *const quark_ownership_change_t);

/// A change that waits to be told, and who waits for that.
pub(crate) struct Telling {
    callback: Unowned<OwnershipFn>,
    change: OwnershipChange,
    _told: oneshot::Sender<()>,
}

impl Telling {
    /// Calls the callback. Its data lives as long as the token of whoever calls this.
    pub(crate) fn tell(self) {
        let OwnershipChange { view_version, lost, gained, owned, .. } = self.change;
        let [lost, gained, owned] = [lost, gained, owned].map(quark_hash_ranges_t::new);
        let change = quark_ownership_change_t {
            view_version,
            lost: &raw const lost,
            gained: &raw const gained,
            owned: &raw const owned,
        };
        // SAFETY: the caller holds the token; what the change points to lives until the callback has returned.
        unsafe { (self.callback.function)(self.callback.data.0, &raw const change) };
    }
}

/// Tells a callback of what is gained and lost, one change at a time: what comes while it runs is told as one.
pub(crate) fn follow(
    host: &Arc<Host>,
    callback: &Callback<OwnershipFn>,
    mut watch: OwnershipWatch,
) -> Result<()> {
    host.own(callback);
    let (host, callback) = (host.clone(), callback.unowned());
    host::handle()?.spawn(async move {
        while let Some(change) = watch.changed().await {
            let (told, is_told) = oneshot::channel();
            let Some(token) = host.enter() else { return };
            host.push(Job::Ownership { telling: Box::new(Telling { callback, change, _told: told }), token });
            let _ = is_told.await;
        }
    });
    Ok(())
}

/// Hears of what a silo gains and loses of the ring of an actor type, beginning with all that it owns: when silos come
/// and go, and when it has to stop serving (it is cut off, put out or leaves), which loses everything, and may serve
/// again. NULL is the type that the silo serves if it serves one, and the types that no silo declares if it has a handler
/// for all; the start fails when that is not clear, and for a type that the silo does not serve. Once for each type. On the same
/// threads as handlers, one change at a time: those that come while the callback runs are told as one.
///
/// What is lost is told when the silo has begun to refuse it or to pass it on, what is gained when it has begun to take it:
/// requests may come before the callback does. `quark_silo_stop` waits, as long as it drains, until the callback that
/// tells that everything is lost has returned.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn quark_config_set_ownership_callback(
    config: *mut quark_config_t,
    actor_type: *const c_char,
    callback: quark_ownership_fn,
    user_data: *mut c_void,
    finalizer: quark_finalizer_fn,
) -> quark_status_t {
    let data = UserData::new(user_data, finalizer);
    // SAFETY: the header demands NULL or a live config, NULL or a string, and a function that may be called with this data.
    unsafe {
        set(config, "ownership_callback", |config| {
            let actor_type = handle::optional_text(actor_type, "actor_type")?.map(str::to_owned);
            let callback = Callback::new(callback, data, "callback")?;
            if config.on_ownership.contains_key(&actor_type) {
                let named = actor_type.as_deref().unwrap_or("NULL");
                return Err(Error::invalid("actor_type", named, "has an ownership callback already"));
            }
            config.on_ownership.insert(actor_type, callback);
            Ok(())
        })
    }
}

/// Whether this silo owns an actor by its current view and serves it: not while it is cut off, was put out or cannot be
/// sure, not when it leaves or has stopped. Never blocks.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn quark_silo_owns(
    silo: *const quark_silo_t,
    actor_type: *const c_char,
    actor_id: *const c_char,
    owns: *mut bool,
    error: *mut *mut quark_error_t,
) -> quark_status_t {
    // SAFETY: the header demands NULL or valid pointers.
    unsafe {
        guard::status_and_error(error, || {
            host::check_fork()?;
            let silo = handle::borrow(silo, "silo")?;
            let actor_type = handle::text(actor_type, "actor_type")?;
            let actor_id = handle::text(actor_id, "actor_id")?;
            let owns = Out::new(owns, "owns")?;
            owns.set(silo.caller().owns(actor_type, actor_id)?);
            Ok(())
        })
    }
}
