//! Who owns actors next, where their copies belong, and how much a silo owns: its weight, and its drain.

use std::ffi::c_char;

use quark_core::{Caller, Result, SiloId, host};

use crate::calls::Calls;
use crate::client::quark_client_t;
use crate::guard;
use crate::handle::{self, Out};
use crate::silo::quark_silo_t;
use crate::silo_info::quark_silo_list_t;
use crate::status::{quark_error_t, quark_status_t};

/// What a function here asks for.
type Ask = fn(&Caller, &str, &str, usize) -> Result<Vec<SiloId>>;

impl Calls {
    /// # Safety
    /// As the header demands.
    unsafe fn ranked(
        &self,
        ask: Ask,
        actor_type: *const c_char,
        actor_id: *const c_char,
        most: usize,
        silos: *mut *mut quark_silo_list_t,
    ) -> Result<()> {
        host::check_fork()?;
        // SAFETY: as for this function.
        let (actor_type, actor_id, silos) = unsafe {
            (
                handle::text(actor_type, "actor_type")?,
                handle::text(actor_id, "actor_id")?,
                Out::new(silos, "silos")?,
            )
        };
        self.check_running()?;
        let found = ask(&self.caller, actor_type, actor_id, most)?;
        silos.give(quark_silo_list_t::ranked(&self.caller.view(), &found));
        Ok(())
    }
}

/// Who would own an actor if its owner went, then if that one went too, and so on: `most` silos at most, in the order of the
/// ring, whatever their zones. Silos that drain come last, but for those that keep this actor. The list, in this order, is
/// yours: free it with `quark_silo_list_free`. Never blocks.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn quark_silo_next_owners(
    silo: *const quark_silo_t,
    actor_type: *const c_char,
    actor_id: *const c_char,
    most: usize,
    silos: *mut *mut quark_silo_list_t,
    error: *mut *mut quark_error_t,
) -> quark_status_t {
    // SAFETY: the header demands NULL or valid pointers.
    unsafe {
        guard::status_and_error(error, || {
            let silo = handle::borrow(silo, "silo")?;
            silo.calls.ranked(Caller::next_owners, actor_type, actor_id, most, silos)
        })
    }
}

/// The owner of an actor, then the silos after it on the ring, `most` at most, spread over zones: first one of each zone that is
/// not among them yet (silos without a zone count as one), then the others; among both in the order of the ring. Of the silos
/// that drain only the owner is among them. For copies of what the owner keeps; who owns the actor when the owner goes says
/// `quark_silo_next_owners`. The list, in this order, is yours: free it with `quark_silo_list_free`. Never blocks.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn quark_silo_successors(
    silo: *const quark_silo_t,
    actor_type: *const c_char,
    actor_id: *const c_char,
    most: usize,
    silos: *mut *mut quark_silo_list_t,
    error: *mut *mut quark_error_t,
) -> quark_status_t {
    // SAFETY: the header demands NULL or valid pointers.
    unsafe {
        guard::status_and_error(error, || {
            let silo = handle::borrow(silo, "silo")?;
            silo.calls.ranked(Caller::successors, actor_type, actor_id, most, silos)
        })
    }
}

/// As `quark_silo_next_owners`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn quark_client_next_owners(
    client: *const quark_client_t,
    actor_type: *const c_char,
    actor_id: *const c_char,
    most: usize,
    silos: *mut *mut quark_silo_list_t,
    error: *mut *mut quark_error_t,
) -> quark_status_t {
    // SAFETY: the header demands NULL or valid pointers.
    unsafe {
        guard::status_and_error(error, || {
            let client = handle::borrow(client, "client")?;
            client.calls.ranked(Caller::next_owners, actor_type, actor_id, most, silos)
        })
    }
}

/// As `quark_silo_successors`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn quark_client_successors(
    client: *const quark_client_t,
    actor_type: *const c_char,
    actor_id: *const c_char,
    most: usize,
    silos: *mut *mut quark_silo_list_t,
    error: *mut *mut quark_error_t,
) -> quark_status_t {
    // SAFETY: the header demands NULL or valid pointers.
    unsafe {
        guard::status_and_error(error, || {
            let client = handle::borrow(client, "client")?;
            client.calls.ranked(Caller::successors, actor_type, actor_id, most, silos)
        })
    }
}

/// Gives the silo another weight while it runs: 1 to 100,000 points on the ring. Its own view and calls follow when this
/// returns; the others hear of it. Blocks until the store has it.
///
/// `QUARK_INVALID_ARGUMENT`; `QUARK_INCOMPATIBLE` for another number than 150 beside original silos or those of a `static://` list;
/// `QUARK_MEMBERSHIP_UNAVAILABLE` when the store cannot be told now: it is when it can; `QUARK_NOT_RUNNING`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn quark_silo_set_virtual_nodes(
    silo: *mut quark_silo_t,
    virtual_nodes: u32,
    error: *mut *mut quark_error_t,
) -> quark_status_t {
    // SAFETY: the header demands NULL or valid pointers.
    unsafe {
        guard::status_and_error(error, || {
            let core = handle::borrow(silo, "silo")?.lifecycle.core();
            host::run(async move { core.set_virtual_nodes(virtual_nodes).await })
        })
    }
}

/// Drains the silo: it keeps the hash ranges that it owns now and gets nothing new. What would fall to it when others go falls to
/// the next silo on the ring that does not drain; a silo that joins takes its part of its ranges as always. Policies other
/// than the ring's do not choose it, as long as there are others; a placement callback is shown it
/// (`quark_silo_info_is_draining`) and decides. Until `quark_silo_resume`, or its stop. A second time has no effect. Its own view and
/// calls follow when this returns; the others hear of it. Blocks until the store has it.
///
/// `QUARK_INVALID_ARGUMENT` when there are more ranges than gossip carries; `QUARK_MEMBERSHIP_UNAVAILABLE` when the store cannot be
/// told now: it is when it can; `QUARK_NOT_RUNNING`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn quark_silo_drain(
    silo: *mut quark_silo_t,
    error: *mut *mut quark_error_t,
) -> quark_status_t {
    // SAFETY: the header demands NULL or valid pointers.
    unsafe {
        guard::status_and_error(error, || {
            let core = handle::borrow(silo, "silo")?.lifecycle.core();
            host::run(async move { core.drain().await })
        })
    }
}

/// Ends a `quark_silo_drain`: the silo gets its whole part of the ring. Without one it has no effect. Blocks as that does.
///
/// `QUARK_MEMBERSHIP_UNAVAILABLE`, `QUARK_NOT_RUNNING`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn quark_silo_resume(
    silo: *mut quark_silo_t,
    error: *mut *mut quark_error_t,
) -> quark_status_t {
    // SAFETY: the header demands NULL or valid pointers.
    unsafe {
        guard::status_and_error(error, || {
            let core = handle::borrow(silo, "silo")?.lifecycle.core();
            host::run(async move { core.resume().await })
        })
    }
}
