//! What a ring says beyond who owns a key: its balance, what a change of it would move, and who would be next.

use std::ffi::{CString, c_char};
use std::ptr;

use quark_core::SiloId;

use crate::guard;
use crate::handle::{self, Out};
use crate::ranges::quark_hash_ranges_t;
use crate::ring::quark_ring_t;
use crate::status::{quark_error_t, quark_status_t};
use crate::text::c_string;

/// What goes from one silo to another when one ring becomes another. Immutable; free it with `quark_ring_moves_free`.
pub struct quark_ring_moves_t(Vec<Move>);

struct Move {
    from: Option<CString>,
    to: Option<CString>,
    share: f64,
}

/// A ring of the same silos, to be changed without changing this one; free it with `quark_ring_free`. NULL for NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn quark_ring_copy(ring: *const quark_ring_t) -> *mut quark_ring_t {
    // SAFETY: the header demands NULL or a live ring.
    guard::value(ptr::null_mut(), || match unsafe { ring.as_ref() } {
        Some(ring) => Box::into_raw(Box::new(quark_ring_t::of(ring.snapshot()))),
        None => ptr::null_mut(),
    })
}

/// How many points a silo has, its weight; 0 when it is not there.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn quark_ring_virtual_nodes(ring: *const quark_ring_t, silo_id: *const c_char) -> u32 {
    // SAFETY: the header demands NULL or a live ring, and NULL or a string.
    guard::value(0, || match unsafe { (ring.as_ref(), handle::text(silo_id, "silo_id")) } {
        (Some(ring), Ok(id)) => ring.snapshot().virtual_nodes(id).unwrap_or(0),
        _ => 0,
    })
}

/// The part of all keys that a silo owns, 0 to 1, and exactly 1 for all silos together; 0 when it is not there.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn quark_ring_share(ring: *const quark_ring_t, silo_id: *const c_char) -> f64 {
    // SAFETY: the header demands NULL or a live ring, and NULL or a string.
    guard::value(0.0, || match unsafe { (ring.as_ref(), handle::text(silo_id, "silo_id")) } {
        (Some(ring), Ok(id)) => ring.snapshot().ranges(id).share(),
        _ => 0.0,
    })
}

/// The positions that a silo owns, none when it is not there: yours, free them with `quark_hash_ranges_free`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn quark_ring_ranges(
    ring: *const quark_ring_t,
    silo_id: *const c_char,
    ranges: *mut *mut quark_hash_ranges_t,
    error: *mut *mut quark_error_t,
) -> quark_status_t {
    // SAFETY: the header demands NULL or valid pointers.
    unsafe {
        guard::status_and_error(error, || {
            let (ring, id) = (handle::borrow(ring, "ring")?, handle::text(silo_id, "silo_id")?);
            Out::new(ranges, "ranges")?.give(quark_hash_ranges_t::new(ring.snapshot().ranges(id)));
            Ok(())
        })
    }
}

/// The next owners of a key such as `"Counter:42"`, into an array of `count` pointers: who owns it when its owner goes,
/// who when that one goes too, and so on; NULL after the last. They live as those of `quark_ring_owner`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn quark_ring_next_owners(
    ring: *const quark_ring_t,
    key: *const c_char,
    owners: *mut *const c_char,
    count: usize,
    error: *mut *mut quark_error_t,
) -> quark_status_t {
    // SAFETY: the header demands NULL or valid pointers, to `count` elements.
    unsafe {
        guard::status_and_error(error, || {
            let (ring, key) = (handle::borrow(ring, "ring")?, handle::text(key, "key")?);
            if count == 0 {
                return Ok(());
            }
            Out::new(owners, "owners")?;
            if count > isize::MAX.unsigned_abs() / size_of::<*const c_char>() {
                return Err(quark_core::Error::invalid("count", count, "is more than there can be"));
            }
            let next = ring.ids_of(|ring| ring.next_owners(key, count).into_iter().cloned().collect());
            for place in 0..count {
                owners.add(place).write(next.get(place).copied().unwrap_or(ptr::null()));
            }
            Ok(())
        })
    }
}

/// What goes from one silo to another when `before` becomes `after`: when a silo joins, leaves, or has another number of
/// virtual nodes. Yours, free it with `quark_ring_moves_free`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn quark_ring_moves(
    before: *const quark_ring_t,
    after: *const quark_ring_t,
    moves: *mut *mut quark_ring_moves_t,
    error: *mut *mut quark_error_t,
) -> quark_status_t {
    // SAFETY: the header demands NULL or valid pointers.
    unsafe {
        guard::status_and_error(error, || {
            let (before, after) = (handle::borrow(before, "before")?, handle::borrow(after, "after")?);
            let moves = Out::new(moves, "moves")?;
            let named = |id: Option<SiloId>| id.map(|id| c_string(id.as_str()));
            let found = before.snapshot().moves(&after.snapshot());
            let found =
                found.into_iter().map(|((from, to), share)| Move { from: named(from), to: named(to), share });
            moves.give(quark_ring_moves_t(found.collect()));
            Ok(())
        })
    }
}

/// How many pairs of silos there are between which something moves; 0 for NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn quark_ring_moves_len(moves: *const quark_ring_moves_t) -> usize {
    // SAFETY: the header demands NULL or live moves.
    guard::value(0, || unsafe { moves.as_ref() }.map_or(0, |moves| moves.0.len()))
}

/// Reads something of one move; `otherwise` for NULL and beyond the end.
///
/// # Safety
/// `moves` is NULL or points to live moves.
unsafe fn read<R: Copy>(
    moves: *const quark_ring_moves_t,
    index: usize,
    otherwise: R,
    field: impl FnOnce(&Move) -> R,
) -> R {
    guard::value(otherwise, || {
        // SAFETY: as for this function.
        unsafe { moves.as_ref() }.and_then(|moves| moves.0.get(index)).map_or(otherwise, field)
    })
}

/// From whom the move at `index`, from 0, goes; NULL when nobody owned it, and beyond the end. Lives until
/// `quark_ring_moves_free`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn quark_ring_moves_from(
    moves: *const quark_ring_moves_t,
    index: usize,
) -> *const c_char {
    // SAFETY: the header demands NULL or live moves.
    unsafe { read(moves, index, ptr::null(), |it| it.from.as_ref().map_or(ptr::null(), |id| id.as_ptr())) }
}

/// To whom it goes; NULL when nobody owns it then, and beyond the end. Lives until `quark_ring_moves_free`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn quark_ring_moves_to(
    moves: *const quark_ring_moves_t,
    index: usize,
) -> *const c_char {
    // SAFETY: the header demands NULL or live moves.
    unsafe { read(moves, index, ptr::null(), |it| it.to.as_ref().map_or(ptr::null(), |id| id.as_ptr())) }
}

/// The part of all keys that goes there, 0 to 1; 0 beyond the end.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn quark_ring_moves_share(moves: *const quark_ring_moves_t, index: usize) -> f64 {
    // SAFETY: the header demands NULL or live moves.
    unsafe { read(moves, index, 0.0, |it| it.share) }
}

/// Frees moves. NULL is allowed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn quark_ring_moves_free(moves: *mut quark_ring_moves_t) {
    // SAFETY: the header demands NULL or moves that are not used again.
    guard::value((), || drop(unsafe { handle::take(moves) }));
}
