//! Placement by the program: a callback that chooses the silo of each call to actors of a type.

use std::collections::BTreeMap;
use std::ffi::{CStr, c_char, c_void};
use std::sync::{Arc, Mutex, Weak};

use quark_core::{Error, ErrorKind, Placement, PlacementPolicy, Result, SiloConfig, SiloId, View, host};

use crate::callback::{Callback, Unowned, UserData, quark_finalizer_fn};
use crate::config::{quark_config_t, set};
use crate::handle;
use crate::hosting::{Host, call};
use crate::silo_info::quark_silo_list_t;
use crate::status::quark_status_t;
use crate::text::{Text, c_string};

/// Bytes of the text that a `quark_placement_fn` writes.
pub const QUARK_PLACEMENT_BYTES: usize = 1024;

/// Chooses the silo for a call to an actor. `silos` are those that serve the type, at least one; `local_id` is the id of the
/// silo or client that calls. Writes the id of the chosen one to `chosen`, a string with its NUL in at most
/// `QUARK_PLACEMENT_BYTES` bytes, and returns true; an empty text, which is there before, means none. To fail, writes why and returns false.
/// All pointers live until it returns.
pub type quark_placement_fn = Option<
    unsafe extern "C" fn(
        user_data: *mut c_void,
        actor_type: *const c_char,
        actor_id: *const c_char,
        silos: *const quark_silo_list_t,
        local_id: *const c_char,
        chosen: *mut c_char,
    ) -> bool,
>;

pub(crate) type PlacementFn = unsafe extern "C" fn(
    *mut c_void,
    *const c_char,
    *const c_char,
    *const quark_silo_list_t,
    *const c_char,
    *mut c_char,
) -> bool;

/// The callbacks of a config, by actor type.
pub(crate) type Placements = BTreeMap<String, Callback<PlacementFn>>;

/// How actors of a type are placed: `consistent-hash` (the default), `random`, `prefer-local` or `stateless-worker` (in turn,
/// those of the own zone if there are any).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn quark_config_set_placement(
    config: *mut quark_config_t,
    actor_type: *const c_char,
    placement: *const c_char,
) -> quark_status_t {
    // SAFETY: the header demands NULL or a live config, and NULL or strings.
    unsafe {
        set(config, "placement", |config| {
            let actor_type = handle::text(actor_type, "actor_type")?;
            let placement = handle::text(placement, "placement")?.parse()?;
            config.placements.remove(actor_type);
            config.settings.placement.insert(actor_type.to_owned(), placement);
            Ok(())
        })
    }
}

/// Has `callback` choose the silo of each call to actors of a type, in place of `quark_config_set_placement`. It is asked on the
/// thread that calls, inside the call, by several threads at once if several call; what had not been sent when its silo
/// went is asked for once more, on a thread of the callbacks. It should be quick. It may ask for owners and silos; a call that it makes
/// ends with `QUARK_REENTRANT`. It must not free the silo or client.
///
/// A call ends with `QUARK_NO_SILO` when it chooses none, or one that is not in the view or does not serve the type, and with
/// `QUARK_INVALID_ARGUMENT` when it fails.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn quark_config_set_placement_callback(
    config: *mut quark_config_t,
    actor_type: *const c_char,
    callback: quark_placement_fn,
    user_data: *mut c_void,
    finalizer: quark_finalizer_fn,
) -> quark_status_t {
    let data = UserData::new(user_data, finalizer);
    // SAFETY: the header demands NULL or a live config, NULL or a string, and a function that may be called with this data.
    unsafe {
        set(config, "placement_callback", |config| {
            let actor_type = handle::text(actor_type, "actor_type")?;
            let callback = Callback::new(callback, data, "callback")?;
            config.settings.placement.remove(actor_type);
            config.placements.insert(actor_type.to_owned(), callback);
            Ok(())
        })
    }
}

/// Lets the callbacks of a config place the calls of a silo or client.
pub(crate) fn install(host: &Arc<Host>, placements: &Placements, settings: &mut SiloConfig) {
    for (actor_type, callback) in placements {
        host.own(callback);
        let policy = Policy { host: host.clone(), callback: callback.unowned(), serving: Mutex::default() };
        settings.placement.insert(actor_type.clone(), Placement::Custom(Arc::new(policy)));
    }
}

/// Asks a callback.
struct Policy {
    host: Arc<Host>,
    callback: Unowned<PlacementFn>,
    serving: Mutex<Serving>,
}

/// What the callback is shown, and the view that it was made of: once for each.
#[derive(Default)]
struct Serving {
    view: Weak<View>,
    shown: Arc<Shown>,
}

#[derive(Default)]
struct Shown {
    silos: quark_silo_list_t,
    local: Text,
}

impl Policy {
    fn shown(&self, actor_type: &str, view: &Arc<View>) -> Arc<Shown> {
        let mut serving = self.serving.lock().expect("no panic while locked");
        if !std::ptr::eq(serving.view.as_ptr(), Arc::as_ptr(view)) {
            let shown = Shown { silos: quark_silo_list_t::serving(view, actor_type), local: Text::default() };
            *serving = Serving { view: Arc::downgrade(view), shown: Arc::new(shown) };
        }
        serving.shown.clone()
    }
}

impl PlacementPolicy for Policy {
    fn place(
        &self,
        actor_type: &str,
        actor_id: &str,
        view: &Arc<View>,
        local: &SiloId,
    ) -> Result<Option<SiloId>> {
        let token =
            self.host.enter().ok_or_else(|| Error::new(ErrorKind::NotRunning, "the silo is not running"))?;
        let shown = self.shown(actor_type, view);
        let (kind, id) = (c_string(actor_type), c_string(actor_id));
        let mut chosen = [0u8; QUARK_PLACEMENT_BYTES];
        let (mut chose, callback) = (false, self.callback);
        // SAFETY: the header demands a function that may be called with this data, which the token keeps; all that it gets
        // lives until it has returned, and there is room for what it writes.
        call(token, || unsafe {
            let silos = &raw const shown.silos;
            let local = shown.local.of(local.as_str());
            let chosen = chosen.as_mut_ptr().cast();
            chose = (callback.function)(callback.data.0, kind.as_ptr(), id.as_ptr(), silos, local, chosen);
        });
        // It may have forked; what is left of the call is the parent's.
        host::check_fork()?;
        let said = CStr::from_bytes_until_nul(&chosen).ok().and_then(|text| text.to_str().ok());
        let failed = |what: &str| {
            let message = format!("placement: the callback of {actor_type:?} {what}");
            Err(Error::new(ErrorKind::InvalidArgument, message))
        };
        match said {
            None => failed("wrote a text that is too long or not UTF-8"),
            Some(why) if !chose => failed(&format!("failed: {why}")),
            Some("") => Ok(None),
            Some(id) => match SiloId::new(id) {
                Ok(id) => Ok(Some(id)),
                Err(problem) => failed(&format!("chose {}", problem.message())),
            },
        }
    }

    fn ask_again(&self, ask: Box<dyn FnOnce() + Send>) {
        self.host.run_later(ask);
    }
}
