//! The hash ring, usable alone.

use std::ffi::{CString, c_char};
use std::ptr;
use std::sync::{PoisonError, RwLock};

use quark_core::{HashRing, SiloId};

use crate::guard;
use crate::handle::{self, Out};
use crate::status::{quark_error_t, quark_status_t};
use crate::text::c_string;

/// The number of virtual nodes that silos have unless they say otherwise.
pub const QUARK_DEFAULT_VIRTUAL_NODES: u32 = 150;

const _: () = assert!(QUARK_DEFAULT_VIRTUAL_NODES == quark_core::DEFAULT_VIRTUAL_NODES);

/// A consistent hash ring: which silo owns which key. Usable without anything else, from several threads at once; ids
/// that it gives live until their silo is removed or the ring is freed.
pub struct quark_ring_t(RwLock<Ring>);

#[derive(Default)]
struct Ring {
    ring: HashRing,
    /// The ids of the ring as C reads them, in its order.
    ids: Vec<CString>,
}

impl Ring {
    fn id(&self, place: Option<usize>) -> *const c_char {
        place.and_then(|place| self.ids.get(place)).map_or(ptr::null(), |id| id.as_ptr())
    }

    fn place(&self, id: &str) -> Option<usize> {
        self.ring.silos().position(|silo| silo.as_str() == id)
    }
}

impl quark_ring_t {
    fn read<R>(&self, look: impl FnOnce(&Ring) -> R) -> R {
        look(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// A ring that begins as this one.
    pub(crate) fn of(ring: HashRing) -> Self {
        let ids = ring.silos().map(|id| c_string(id.as_str())).collect();
        Self(RwLock::new(Ring { ring, ids }))
    }

    /// The ring as it is now.
    pub(crate) fn snapshot(&self) -> HashRing {
        self.read(|ring| ring.ring.clone())
    }

    /// The ids of some silos of the ring as C reads them.
    pub(crate) fn ids_of(&self, find: impl FnOnce(&HashRing) -> Vec<SiloId>) -> Vec<*const c_char> {
        self.read(|ring| {
            let found = find(&ring.ring);
            found.iter().map(|id| ring.id(ring.place(id.as_str()))).collect()
        })
    }

    fn write<R>(&self, change: impl FnOnce(&mut Ring) -> R) -> R {
        change(&mut self.0.write().unwrap_or_else(PoisonError::into_inner))
    }
}

/// The position of a text on the ring: the first four bytes of the MD5 of its UTF-8, little-endian. 0 for NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn quark_hash(text: *const c_char) -> u32 {
    // SAFETY: the header demands NULL or a string.
    guard::value(0, || unsafe { handle::text(text, "text") }.map_or(0, quark_core::hash))
}

/// The position of an actor on the ring: that of `"{actor_type}:{actor_id}"`. 0 when an argument is NULL or not UTF-8.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn quark_hash_actor(actor_type: *const c_char, actor_id: *const c_char) -> u32 {
    // SAFETY: the header demands NULL or strings.
    guard::value(0, || unsafe {
        match (handle::text(actor_type, "actor_type"), handle::text(actor_id, "actor_id")) {
            (Ok(actor_type), Ok(actor_id)) => quark_core::hash_actor(actor_type, actor_id),
            _ => 0,
        }
    })
}

/// An empty ring.
#[unsafe(no_mangle)]
pub extern "C" fn quark_ring_new() -> *mut quark_ring_t {
    guard::value(ptr::null_mut(), || Box::into_raw(Box::new(quark_ring_t(RwLock::default()))))
}

/// Frees a ring. NULL is allowed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn quark_ring_free(ring: *mut quark_ring_t) {
    // SAFETY: the header demands NULL or a ring that is not used again.
    guard::value((), || drop(unsafe { handle::take(ring) }));
}

/// Adds a silo with so many points (0: the default, 150; at most 100,000). Adding one that is there already changes
/// nothing; `added`, unless it is NULL, says whether it was not.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn quark_ring_add(
    ring: *mut quark_ring_t,
    silo_id: *const c_char,
    virtual_nodes: u32,
    added: *mut bool,
    error: *mut *mut quark_error_t,
) -> quark_status_t {
    // SAFETY: the header demands NULL or valid pointers.
    unsafe {
        guard::status_and_error(error, || {
            let (ring, id) = (handle::borrow(ring, "ring")?, handle::text(silo_id, "silo_id")?);
            let points = if virtual_nodes == 0 { QUARK_DEFAULT_VIRTUAL_NODES } else { virtual_nodes };
            let new = ring.write(|ring| {
                let new = ring.ring.add(id, points)?;
                if new && let Some(place) = ring.place(id) {
                    ring.ids.insert(place, c_string(id));
                }
                Ok::<_, quark_core::Error>(new)
            })?;
            if let Some(added) = Out::optional(added) {
                added.set(new);
            }
            Ok(())
        })
    }
}

/// Gives a silo so many points (1 to 100,000) in place of those that it has. One that drains goes on to, and gets nothing by it.
/// `found`, unless it is NULL, says whether it is there.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn quark_ring_set_virtual_nodes(
    ring: *mut quark_ring_t,
    silo_id: *const c_char,
    virtual_nodes: u32,
    found: *mut bool,
    error: *mut *mut quark_error_t,
) -> quark_status_t {
    // SAFETY: the header demands NULL or valid pointers.
    unsafe {
        guard::status_and_error(error, || {
            let (ring, id) = (handle::borrow(ring, "ring")?, handle::text(silo_id, "silo_id")?);
            let there = ring.write(|ring| ring.ring.set_virtual_nodes(id, virtual_nodes))?;
            if let Some(found) = Out::optional(found) {
                found.set(there);
            }
            Ok(())
        })
    }
}

/// Removes a silo; `removed`, unless it is NULL, says whether it was there.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn quark_ring_remove(
    ring: *mut quark_ring_t,
    silo_id: *const c_char,
    removed: *mut bool,
    error: *mut *mut quark_error_t,
) -> quark_status_t {
    // SAFETY: the header demands NULL or valid pointers.
    unsafe {
        guard::status_and_error(error, || {
            let (ring, id) = (handle::borrow(ring, "ring")?, handle::text(silo_id, "silo_id")?);
            let there = ring.write(|ring| {
                let place = ring.place(id);
                let there = ring.ring.remove(id);
                // Last: the id that was given may be this one.
                place.map(|place| ring.ids.remove(place));
                there
            });
            if let Some(removed) = Out::optional(removed) {
                removed.set(there);
            }
            Ok(())
        })
    }
}

/// The owner of a key such as `"Counter:42"` (type, colon, id); NULL when the ring is empty.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn quark_ring_owner(
    ring: *const quark_ring_t,
    key: *const c_char,
    owner: *mut *const c_char,
    error: *mut *mut quark_error_t,
) -> quark_status_t {
    // SAFETY: the header demands NULL or valid pointers.
    unsafe {
        guard::status_and_error(error, || {
            let (ring, key) = (handle::borrow(ring, "ring")?, handle::text(key, "key")?);
            Out::new(owner, "owner")?
                .set(ring.read(|ring| ring.id(ring.ring.place_at(quark_core::hash(key)))));
            Ok(())
        })
    }
}

/// The owners of `count` keys, in their order, into an array of as many pointers.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn quark_ring_owners(
    ring: *const quark_ring_t,
    keys: *const *const c_char,
    count: usize,
    owners: *mut *const c_char,
    error: *mut *mut quark_error_t,
) -> quark_status_t {
    // SAFETY: the header demands NULL or valid pointers, to `count` elements each.
    unsafe {
        guard::status_and_error(error, || {
            let ring = handle::borrow(ring, "ring")?;
            if count == 0 {
                return Ok(());
            }
            handle::borrow(keys, "keys")?;
            Out::new(owners, "owners")?;
            if count > isize::MAX.unsigned_abs() / size_of::<*const c_char>() {
                return Err(quark_core::Error::invalid("count", count, "is more than there can be"));
            }
            let keys = std::slice::from_raw_parts(keys, count);
            let mut texts: Vec<&str> = Vec::with_capacity(count);
            for key in keys {
                // Its name only when it is needed.
                let text =
                    handle::text(*key, "").or_else(|_| handle::text(*key, &format!("keys[{}]", texts.len())));
                texts.push(text?);
            }
            ring.read(|ring| {
                let mut next = owners;
                ring.ring.each_owner(texts, |place| {
                    next.write(ring.id(place));
                    next = next.add(1);
                });
            });
            Ok(())
        })
    }
}

/// How many silos there are; 0 for NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn quark_ring_len(ring: *const quark_ring_t) -> usize {
    // SAFETY: the header demands NULL or a live ring.
    guard::value(0, || unsafe { ring.as_ref() }.map_or(0, |ring| ring.read(|ring| ring.ring.len())))
}

/// The id of the silo at `index`, from 0, in the bytewise order of their ids; NULL beyond the end.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn quark_ring_silo(ring: *const quark_ring_t, index: usize) -> *const c_char {
    // SAFETY: the header demands NULL or a live ring.
    guard::value(ptr::null(), || match unsafe { ring.as_ref() } {
        Some(ring) => ring.read(|ring| ring.id(Some(index))),
        None => ptr::null(),
    })
}
