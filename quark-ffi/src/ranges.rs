//! Parts of the ring as ranges of positions.

use std::ffi::c_char;
use std::ptr;

use quark_core::HashRanges;

use crate::{guard, handle};

/// Positions of the ring, from `first` to `last`, both of them in it; `first` is never behind `last`.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct quark_hash_range_t {
    /// The first position that is in it.
    pub first: u32,
    /// The last position that is in it.
    pub last: u32,
}

/// A part of the ring: ranges that are sorted and neither overlap nor touch. Immutable; readable from any thread.
pub struct quark_hash_ranges_t {
    ranges: HashRanges,
    /// The same as C reads them.
    seen: Vec<quark_hash_range_t>,
}

impl quark_hash_ranges_t {
    pub(crate) fn new(ranges: HashRanges) -> Self {
        let seen = ranges.iter().map(|range| quark_hash_range_t { first: range.first, last: range.last });
        Self { seen: seen.collect(), ranges }
    }
}

/// The ranges, in order, as many as `quark_hash_ranges_len` says. Lives as long as `ranges`; NULL for NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn quark_hash_ranges_data(
    ranges: *const quark_hash_ranges_t,
) -> *const quark_hash_range_t {
    // SAFETY: the header demands NULL or live ranges.
    guard::value(ptr::null(), || match unsafe { ranges.as_ref() } {
        Some(ranges) => ranges.seen.as_ptr(),
        None => ptr::null(),
    })
}

/// How many ranges there are; 0 for NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn quark_hash_ranges_len(ranges: *const quark_hash_ranges_t) -> usize {
    // SAFETY: the header demands NULL or live ranges.
    guard::value(0, || unsafe { ranges.as_ref() }.map_or(0, |ranges| ranges.seen.len()))
}

/// Whether a position, see `quark_hash`, is in one of them; false for NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn quark_hash_ranges_contain(
    ranges: *const quark_hash_ranges_t,
    position: u32,
) -> bool {
    // SAFETY: the header demands NULL or live ranges.
    guard::value(false, || unsafe { ranges.as_ref() }.is_some_and(|ranges| ranges.ranges.contains(position)))
}

/// Whether an actor's position is in one of them; false when an argument is NULL or not UTF-8.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn quark_hash_ranges_contain_actor(
    ranges: *const quark_hash_ranges_t,
    actor_type: *const c_char,
    actor_id: *const c_char,
) -> bool {
    guard::value(false, || {
        // SAFETY: the header demands NULL or live ranges, and NULL or strings.
        let (ranges, actor_type, actor_id) = unsafe {
            (ranges.as_ref(), handle::text(actor_type, "actor_type"), handle::text(actor_id, "actor_id"))
        };
        match (ranges, actor_type, actor_id) {
            (Some(ranges), Ok(actor_type), Ok(actor_id)) => {
                ranges.ranges.contains_actor(actor_type, actor_id)
            }
            _ => false,
        }
    })
}

/// The part of all keys that is in them, 0 to 1; 0 for NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn quark_hash_ranges_share(ranges: *const quark_hash_ranges_t) -> f64 {
    // SAFETY: the header demands NULL or live ranges.
    guard::value(0.0, || unsafe { ranges.as_ref() }.map_or(0.0, |ranges| ranges.ranges.share()))
}

/// The same ranges, to be kept: yours, free them with `quark_hash_ranges_free`. NULL for NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn quark_hash_ranges_copy(
    ranges: *const quark_hash_ranges_t,
) -> *mut quark_hash_ranges_t {
    // SAFETY: the header demands NULL or live ranges.
    guard::value(ptr::null_mut(), || match unsafe { ranges.as_ref() } {
        Some(ranges) => Box::into_raw(Box::new(quark_hash_ranges_t::new(ranges.ranges.clone()))),
        None => ptr::null_mut(),
    })
}

/// Frees ranges that are yours. NULL is allowed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn quark_hash_ranges_free(ranges: *mut quark_hash_ranges_t) {
    // SAFETY: the header demands NULL or ranges that are not used again.
    guard::value((), || drop(unsafe { handle::take(ranges) }));
}
