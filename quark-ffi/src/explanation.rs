//! Why an actor is where it is, and the rings of a view.

use std::ffi::c_char;
use std::ptr;

use quark_core::{Explanation, HashRing};

use crate::client::quark_client_t;
use crate::guard;
use crate::handle::{self, Out};
use crate::membership::quark_membership_t;
use crate::ring::quark_ring_t;
use crate::silo::quark_silo_t;
use crate::silo_info::quark_silo_info_t;
use crate::status::{quark_error_t, quark_status_t};

/// Where an actor belongs by one view, and where it would go. Immutable; free it with `quark_explanation_free`.
pub struct quark_explanation_t {
    explanation: Explanation,
    owner: Option<quark_silo_info_t>,
    next_owners: Vec<quark_silo_info_t>,
}

impl quark_explanation_t {
    pub(crate) fn new(explanation: Explanation) -> Self {
        Self {
            owner: explanation.owner.clone().map(quark_silo_info_t::new),
            next_owners: explanation.next_owners.iter().cloned().map(quark_silo_info_t::new).collect(),
            explanation,
        }
    }
}

/// Says where an actor belongs by the current view, and where it would go. Yours, free it with `quark_explanation_free`. Never
/// blocks.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn quark_silo_explain(
    silo: *const quark_silo_t,
    actor_type: *const c_char,
    actor_id: *const c_char,
    explanation: *mut *mut quark_explanation_t,
    error: *mut *mut quark_error_t,
) -> quark_status_t {
    // SAFETY: the header demands NULL or valid pointers.
    unsafe {
        guard::status_and_error(error, || {
            handle::borrow(silo, "silo")?.calls().explain(actor_type, actor_id, explanation)
        })
    }
}

/// As `quark_silo_explain`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn quark_client_explain(
    client: *const quark_client_t,
    actor_type: *const c_char,
    actor_id: *const c_char,
    explanation: *mut *mut quark_explanation_t,
    error: *mut *mut quark_error_t,
) -> quark_status_t {
    // SAFETY: the header demands NULL or valid pointers.
    unsafe {
        guard::status_and_error(error, || {
            handle::borrow(client, "client")?.calls().explain(actor_type, actor_id, explanation)
        })
    }
}

/// Reads something of an explanation; `otherwise` for NULL.
///
/// # Safety
/// `explanation` is NULL or points to a live one.
unsafe fn read<R: Copy>(
    explanation: *const quark_explanation_t,
    otherwise: R,
    field: impl FnOnce(&quark_explanation_t) -> R,
) -> R {
    // SAFETY: as for this function.
    guard::value(otherwise, || unsafe { explanation.as_ref() }.map_or(otherwise, field))
}

/// The actor's position on the ring; 0 for NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn quark_explanation_position(explanation: *const quark_explanation_t) -> u32 {
    // SAFETY: the header demands NULL or a live explanation.
    unsafe { read(explanation, 0, |it| it.explanation.position) }
}

/// The version of the view that all of it is by; 0 for NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn quark_explanation_view_version(explanation: *const quark_explanation_t) -> u64 {
    // SAFETY: the header demands NULL or a live explanation.
    unsafe { read(explanation, 0, |it| it.explanation.view_version) }
}

/// The silo that owns the actor; NULL when nobody serves its type. Lives as long as the explanation.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn quark_explanation_owner(
    explanation: *const quark_explanation_t,
) -> *const quark_silo_info_t {
    // SAFETY: the header demands NULL or a live explanation.
    unsafe { read(explanation, ptr::null(), |it| it.owner.as_ref().map_or(ptr::null(), ptr::from_ref)) }
}

/// Who owns the actor when its owner goes (`index` 0), when that one goes too (1), and so on, three at most; NULL beyond
/// the last. Lives as long as the explanation.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn quark_explanation_next_owner(
    explanation: *const quark_explanation_t,
    index: usize,
) -> *const quark_silo_info_t {
    // SAFETY: the header demands NULL or a live explanation.
    unsafe {
        read(explanation, ptr::null(), |it| it.next_owners.get(index).map_or(ptr::null(), ptr::from_ref))
    }
}

/// How many silos serve the actor's type; 0 for NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn quark_explanation_serving(explanation: *const quark_explanation_t) -> usize {
    // SAFETY: the header demands NULL or a live explanation.
    unsafe { read(explanation, 0, |it| it.explanation.serving) }
}

/// Whether the asked silo is the owner and serves; false for NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn quark_explanation_is_owned_here(explanation: *const quark_explanation_t) -> bool {
    // SAFETY: the header demands NULL or a live explanation.
    unsafe { read(explanation, false, |it| it.explanation.is_owned_here) }
}

/// Whether calls from the asked silo go to the owner: the type is placed by the ring alone. False for NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn quark_explanation_is_placed_by_ring(
    explanation: *const quark_explanation_t,
) -> bool {
    // SAFETY: the header demands NULL or a live explanation.
    unsafe { read(explanation, false, |it| it.explanation.is_placed_by_ring) }
}

/// Frees an explanation. NULL is allowed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn quark_explanation_free(explanation: *mut quark_explanation_t) {
    // SAFETY: the header demands NULL or an explanation that is not used again.
    guard::value((), || drop(unsafe { handle::take(explanation) }));
}

/// Gives a copy of a view's ring away.
fn give(ring: &HashRing, out: Out<*mut quark_ring_t>) {
    out.give(quark_ring_t::of(ring.clone()));
}

/// The ring of an actor type in the current view: the silos that own its actors, each with its virtual nodes. A copy, which does
/// not change any more; yours, free it with `quark_ring_free`. Never blocks.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn quark_silo_ring(
    silo: *const quark_silo_t,
    actor_type: *const c_char,
    ring: *mut *mut quark_ring_t,
    error: *mut *mut quark_error_t,
) -> quark_status_t {
    // SAFETY: the header demands NULL or valid pointers.
    unsafe {
        guard::status_and_error(error, || {
            let view = handle::borrow(silo, "silo")?.calls().view()?;
            let (actor_type, ring) = (handle::text(actor_type, "actor_type")?, Out::new(ring, "ring")?);
            give(view.ring(actor_type), ring);
            Ok(())
        })
    }
}

/// As `quark_silo_ring`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn quark_client_ring(
    client: *const quark_client_t,
    actor_type: *const c_char,
    ring: *mut *mut quark_ring_t,
    error: *mut *mut quark_error_t,
) -> quark_status_t {
    // SAFETY: the header demands NULL or valid pointers.
    unsafe {
        guard::status_and_error(error, || {
            let view = handle::borrow(client, "client")?.calls().view()?;
            let (actor_type, ring) = (handle::text(actor_type, "actor_type")?, Out::new(ring, "ring")?);
            give(view.ring(actor_type), ring);
            Ok(())
        })
    }
}

/// As `quark_silo_ring`; after a stop, of the last view.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn quark_membership_ring(
    membership: *const quark_membership_t,
    actor_type: *const c_char,
    ring: *mut *mut quark_ring_t,
    error: *mut *mut quark_error_t,
) -> quark_status_t {
    // SAFETY: the header demands NULL or valid pointers.
    unsafe {
        guard::status_and_error(error, || {
            let view = handle::borrow(membership, "membership")?.core()?.view();
            let (actor_type, ring) = (handle::text(actor_type, "actor_type")?, Out::new(ring, "ring")?);
            give(view.ring(actor_type), ring);
            Ok(())
        })
    }
}
