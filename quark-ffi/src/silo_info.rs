//! What is known of the silos of a cluster.

use std::ffi::c_char;
use std::ptr;
use std::sync::Arc;

use quark_core::{SiloId, SiloInfo, View};

use crate::text::Text;
use crate::{guard, handle};

/// A silo is starting and not yet in the ring.
pub const QUARK_SILO_STATUS_JOINING: i32 = 0;
/// A silo serves and is in the ring.
pub const QUARK_SILO_STATUS_ACTIVE: i32 = 1;
/// A silo finishes what runs and is no longer in the ring.
pub const QUARK_SILO_STATUS_SHUTTING_DOWN: i32 = 2;
/// A silo is gone.
pub const QUARK_SILO_STATUS_DEAD: i32 = 3;

/// One silo as the others see it. Immutable; belongs to a list or to the caller of a callback.
pub struct quark_silo_info_t {
    info: Arc<SiloInfo>,
    id: Text,
    endpoint: Text,
    zone: Text,
    actor_types: Vec<Text>,
    labels: Vec<Text>,
}

/// Silos of one view, sorted by id where nothing else is said. Immutable; free it with `quark_silo_list_free`.
#[derive(Default)]
pub struct quark_silo_list_t {
    silos: Vec<quark_silo_info_t>,
    view_version: u64,
}

impl quark_silo_info_t {
    pub(crate) fn new(info: Arc<SiloInfo>) -> Self {
        let texts = |count: usize| std::iter::repeat_with(Text::default).take(count).collect();
        Self {
            actor_types: texts(info.actor_types.as_ref().map_or(0, Vec::len)),
            labels: texts(info.labels.len()),
            info,
            id: Text::default(),
            endpoint: Text::default(),
            zone: Text::default(),
        }
    }
}

impl quark_silo_list_t {
    pub(crate) fn new(view: &View) -> Self {
        Self {
            silos: view.silos().cloned().map(quark_silo_info_t::new).collect(),
            view_version: view.version(),
        }
    }

    /// Those that serve an actor type.
    pub(crate) fn serving(view: &View, actor_type: &str) -> Self {
        Self::ranked(view, view.ring(actor_type).silos())
    }

    /// These, in their order.
    pub(crate) fn ranked<'a>(view: &View, ids: impl IntoIterator<Item = &'a SiloId>) -> Self {
        let silos = ids.into_iter().filter_map(|id| view.silo(id.as_str()));
        Self { silos: silos.cloned().map(quark_silo_info_t::new).collect(), view_version: view.version() }
    }
}

/// Reads something of an object; `otherwise` for NULL.
///
/// # Safety
/// `object` is NULL or points to a live object.
unsafe fn read<T, R>(object: *const T, otherwise: R, field: impl FnOnce(&T) -> R) -> R
where
    R: Copy,
{
    // SAFETY: as for this function.
    guard::value(otherwise, || unsafe { object.as_ref() }.map_or(otherwise, field))
}

/// How many silos there are; 0 for NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn quark_silo_list_len(silos: *const quark_silo_list_t) -> usize {
    // SAFETY: the header demands NULL or a live list.
    unsafe { read(silos, 0, |silos| silos.silos.len()) }
}

/// The silo at `index`, from 0; NULL beyond the end. Lives until `quark_silo_list_free`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn quark_silo_list_at(
    silos: *const quark_silo_list_t,
    index: usize,
) -> *const quark_silo_info_t {
    // SAFETY: the header demands NULL or a live list.
    unsafe { read(silos, ptr::null(), |silos| silos.silos.get(index).map_or(ptr::null(), ptr::from_ref)) }
}

/// The version of the view that the list is of; 0 for NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn quark_silo_list_view_version(silos: *const quark_silo_list_t) -> u64 {
    // SAFETY: the header demands NULL or a live list.
    unsafe { read(silos, 0, |silos| silos.view_version) }
}

/// Frees a list with all its silos. NULL is allowed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn quark_silo_list_free(silos: *mut quark_silo_list_t) {
    // SAFETY: the header demands NULL or a list that is not used again.
    guard::value((), || drop(unsafe { handle::take(silos) }));
}

/// The silo's id. Lives as long as `silo`; NULL for NULL, as with all strings below.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn quark_silo_info_id(silo: *const quark_silo_info_t) -> *const c_char {
    // SAFETY: the header demands NULL or a live object.
    unsafe { read(silo, ptr::null(), |silo| silo.id.of(silo.info.silo_id.as_str())) }
}

/// Where others dial it, `"127.0.0.1:40000"` for example.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn quark_silo_info_endpoint(silo: *const quark_silo_info_t) -> *const c_char {
    // SAFETY: the header demands NULL or a live object.
    unsafe { read(silo, ptr::null(), |silo| silo.endpoint.of(&silo.info.endpoint.to_string())) }
}

/// One of `QUARK_SILO_STATUS_...`; -1 for NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn quark_silo_info_status(silo: *const quark_silo_info_t) -> i32 {
    // SAFETY: the header demands NULL or a live object.
    unsafe { read(silo, -1, |silo| silo.info.status as i32) }
}

/// Which life of the id this is; higher is later, 0 when it does not say.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn quark_silo_info_incarnation(silo: *const quark_silo_info_t) -> u64 {
    // SAFETY: the header demands NULL or a live object.
    unsafe { read(silo, 0, |silo| silo.info.incarnation) }
}

/// How many points it has on the ring.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn quark_silo_info_virtual_nodes(silo: *const quark_silo_info_t) -> u32 {
    // SAFETY: the header demands NULL or a live object.
    unsafe { read(silo, 0, |silo| silo.info.virtual_nodes) }
}

/// Whether it drains: it keeps what it has and gets nothing new. False for NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn quark_silo_info_is_draining(silo: *const quark_silo_info_t) -> bool {
    // SAFETY: the header demands NULL or a live object.
    unsafe { read(silo, false, |silo| silo.info.is_draining()) }
}

/// Its zone; NULL when it has none.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn quark_silo_info_zone(silo: *const quark_silo_info_t) -> *const c_char {
    // SAFETY: the header demands NULL or a live object.
    unsafe {
        read(silo, ptr::null(), |silo| match &silo.info.zone {
            Some(zone) => silo.zone.of(zone),
            None => ptr::null(),
        })
    }
}

/// Whether it serves actors of this type. False when `actor_type` is NULL or not UTF-8.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn quark_silo_info_serves(
    silo: *const quark_silo_info_t,
    actor_type: *const c_char,
) -> bool {
    // SAFETY: the header demands NULL or live objects.
    unsafe {
        read(silo, false, |silo| {
            handle::text(actor_type, "actor_type").is_ok_and(|actor_type| silo.info.serves(actor_type))
        })
    }
}

/// The actor type at `index`, from 0, of those that it declares; NULL beyond the last. A silo that declares none serves
/// all.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn quark_silo_info_actor_type(
    silo: *const quark_silo_info_t,
    index: usize,
) -> *const c_char {
    // SAFETY: the header demands NULL or a live object.
    unsafe {
        read(silo, ptr::null(), |silo| {
            let named = silo.info.actor_types.as_ref().and_then(|types| types.get(index));
            named.map_or(ptr::null(), |name| silo.actor_types[index].of(name))
        })
    }
}

/// The value of one of its labels; NULL when it has no such label.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn quark_silo_info_label(
    silo: *const quark_silo_info_t,
    key: *const c_char,
) -> *const c_char {
    // SAFETY: the header demands NULL or live objects.
    unsafe {
        read(silo, ptr::null(), |silo| {
            let Ok(key) = handle::text(key, "key") else { return ptr::null() };
            let found = silo.info.labels.iter().position(|(name, _)| name == key);
            found.map_or(ptr::null(), |place| silo.labels[place].of(&silo.info.labels[key]))
        })
    }
}
