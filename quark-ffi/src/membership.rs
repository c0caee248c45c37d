//! Membership, usable alone.

use std::ffi::c_char;
use std::ptr;
use std::sync::Arc;

use quark_core::{Error, Membership, Result, Role, SiloConfig, SiloId, SiloInfo, host};

use crate::config::quark_config_t;
use crate::guard;
use crate::handle::{self, Out};
use crate::hosting::Host;
use crate::lifecycle::{self, Lifecycle};
use crate::silo_info::quark_silo_list_t;
use crate::status::{quark_error_t, quark_status_t};
use crate::text::c_string;

/// Who is in a cluster, without a silo: takes part for a program that has a transport of its own, or only looks on. Any
/// thread, several at once, may use it, until `quark_membership_free`.
pub struct quark_membership_t {
    lifecycle: Lifecycle<Membership>,
    role: Role,
}

/// A membership of the config's URL. With an id in the config it takes part as that silo, at the endpoint that the config
/// says by advertise or listen, with its weight, zone, labels and the types of its handlers; without, it only looks
/// on. The config's membership callback hears of every change. Nothing happens before `quark_membership_start`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn quark_membership_new(
    config: *const quark_config_t,
    membership: *mut *mut quark_membership_t,
    error: *mut *mut quark_error_t,
) -> quark_status_t {
    // SAFETY: the header demands NULL or valid pointers.
    unsafe {
        guard::status_and_error(error, || {
            host::check_fork()?;
            let config = handle::borrow(config, "config")?;
            let membership = Out::new(membership, "membership")?;
            membership.give(new(config)?);
            Ok(())
        })
    }
}

fn new(config: &quark_config_t) -> Result<quark_membership_t> {
    let (id, settings) = config.for_membership()?;
    let role = match id {
        Some(id) => Role::Member(member(id, &settings, config)?),
        None => Role::Observer(SiloId::new_client()),
    };
    let url = settings.membership.ok_or_else(|| {
        Error::invalid("membership", "", "is required, as in redis://localhost or gossip://127.0.0.1:0")
    })?;
    let membership = Membership::new(&url, settings.timing)?;
    let host = Host::new(config);
    if let Some(callback) = &config.on_membership {
        lifecycle::follow(&host, callback, membership.watch())?;
    }
    Ok(quark_membership_t { lifecycle: Lifecycle::new(membership, host), role })
}

/// The silo as which the config takes part.
fn member(id: SiloId, settings: &SiloConfig, config: &quark_config_t) -> Result<SiloInfo> {
    let endpoint = settings.advertise.as_ref().unwrap_or(&settings.listen);
    if endpoint.port() == 0 {
        let problem = "a membership opens no port; say by advertise where the silo can be reached";
        return Err(Error::invalid("advertise", endpoint, problem));
    }
    let mut info = SiloInfo::new(id, endpoint.clone());
    info.virtual_nodes = settings.virtual_nodes;
    info.transports = settings.transport.transport;
    info.zone.clone_from(&settings.zone);
    info.labels.clone_from(&settings.labels);
    if config.handler.is_none() && !config.handlers.is_empty() {
        info.actor_types = Some(config.handlers.keys().cloned().collect());
    }
    Ok(info)
}

/// Joins, or begins to look on; the first view is there when this returns. Once. Blocks, for the start timeout of the
/// config at most.
///
/// `QUARK_MEMBERSHIP_UNAVAILABLE`, `QUARK_ID_IN_USE`, `QUARK_INCOMPATIBLE`; `QUARK_NOT_RUNNING` on a second start.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn quark_membership_start(
    membership: *mut quark_membership_t,
    error: *mut *mut quark_error_t,
) -> quark_status_t {
    // SAFETY: the header demands NULL or valid pointers.
    unsafe {
        guard::status_and_error(error, || {
            let membership = handle::borrow(membership, "membership")?;
            let (core, role) = (membership.core()?, membership.role.clone());
            host::run(async move { core.start(role).await.map(drop) })
        })
    }
}

/// Leaves. Stopping twice, or before the start, has no effect. Blocks; inside a callback of this membership it returns at
/// once and the stop begins when the callback has returned.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn quark_membership_stop(
    membership: *mut quark_membership_t,
    error: *mut *mut quark_error_t,
) -> quark_status_t {
    // SAFETY: the header demands NULL or valid pointers.
    unsafe {
        guard::status_and_error(error, || {
            handle::borrow(membership, "membership")?.lifecycle.stop(std::time::Duration::ZERO)
        })
    }
}

/// Frees a membership: as `quark_silo_free`. NULL is allowed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn quark_membership_free(membership: *mut quark_membership_t) {
    // SAFETY: the header demands NULL or a membership that is not used again.
    let taken = || unsafe { handle::take(membership) };
    guard::value((), || {
        if let Some(membership) = taken() {
            membership.lifecycle.free();
        }
    });
}

impl quark_membership_t {
    pub(crate) fn core(&self) -> Result<Arc<Membership>> {
        host::check_fork()?;
        Ok(self.lifecycle.core())
    }
}

/// The silos of the current view, or of the last one after a stop; none before the start. Yours, free it with `quark_silo_list_free`. Never blocks.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn quark_membership_silos(
    membership: *const quark_membership_t,
    silos: *mut *mut quark_silo_list_t,
    error: *mut *mut quark_error_t,
) -> quark_status_t {
    // SAFETY: the header demands NULL or valid pointers.
    unsafe {
        guard::status_and_error(error, || {
            let membership = handle::borrow(membership, "membership")?;
            let silos = Out::new(silos, "silos")?;
            silos.give(quark_silo_list_t::new(&membership.core()?.view()));
            Ok(())
        })
    }
}

/// The id of the silo that owns an actor by the current view: yours, free it with `quark_string_free`; NULL when nobody
/// serves the type. Never blocks.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn quark_membership_owner(
    membership: *const quark_membership_t,
    actor_type: *const c_char,
    actor_id: *const c_char,
    owner: *mut *mut c_char,
    error: *mut *mut quark_error_t,
) -> quark_status_t {
    // SAFETY: the header demands NULL or valid pointers.
    unsafe {
        guard::status_and_error(error, || {
            let membership = handle::borrow(membership, "membership")?;
            let actor_type = handle::text(actor_type, "actor_type")?;
            let actor_id = handle::text(actor_id, "actor_id")?;
            let owner = Out::new(owner, "owner")?;
            let found = membership.core()?.owner(actor_type, actor_id);
            owner.set(found.map_or(ptr::null_mut(), |id| c_string(id.as_str()).into_raw()));
            Ok(())
        })
    }
}

/// The version of the current view; 0 before the start, in a forked child, and for NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn quark_membership_view_version(membership: *const quark_membership_t) -> u64 {
    // SAFETY: the header demands NULL or a live membership.
    guard::value(0, || match unsafe { membership.as_ref() } {
        Some(membership) => membership.core().map_or(0, |core| core.view().version()),
        None => 0,
    })
}
