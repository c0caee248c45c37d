//! Settings of silos, clients, memberships and transports.

use std::collections::BTreeMap;
use std::ffi::c_char;
use std::ptr;
use std::sync::Arc;
use std::time::Duration;

use quark_core::{Endpoint, Error, MembershipConfig, Result, SiloConfig, SiloId, TransportConfig};

use crate::callback::{Callback, EndingBatchFn, MembershipFn, RequestFn};
use crate::event_loop::{self, Loop, quark_loop_t};
use crate::ownership::OwnershipFn;
use crate::placement::Placements;
use crate::status::quark_status_t;
use crate::{guard, handle};

/// What a silo, a client, a membership or a transport is told before it starts. Yours until `quark_config_free`; not for
/// two threads at once. One config may start several: they share its callbacks and their `user_data`, whose finalizer
/// runs when the config and everything started from it is freed.
///
/// A setter whose value cannot be used says so by its status. It is no harm to ignore that: the start then fails
/// with the same error, which names the setting and its value.
pub struct quark_config_t {
    silo_id: Option<String>,
    pub(crate) settings: SiloConfig,
    listens: bool,
    pub(crate) callback_threads: usize,
    pub(crate) event_loop: Option<Arc<Loop>>,
    pub(crate) handler: Option<Callback<RequestFn>>,
    pub(crate) handlers: BTreeMap<String, Callback<RequestFn>>,
    pub(crate) placements: Placements,
    pub(crate) on_membership: Option<Callback<MembershipFn>>,
    /// By actor type.
    pub(crate) on_ownership: BTreeMap<Option<String>, Callback<OwnershipFn>>,
    pub(crate) on_endings: Option<Callback<EndingBatchFn>>,
    /// What could not be used, by setting.
    problems: BTreeMap<String, Error>,
}

/// Most threads that may run a silo's callbacks.
const MAX_CALLBACK_THREADS: u32 = 1024;

impl quark_config_t {
    fn check(&self) -> Result<()> {
        self.problems.values().next().map_or(Ok(()), |problem| Err(problem.clone()))
    }

    /// For what is no silo.
    fn check_owns_nothing(&self) -> Result<()> {
        match self.on_ownership.is_empty() {
            true => Ok(()),
            false => Err(Error::invalid("ownership_callback", "", "only a silo owns something")),
        }
    }

    /// The settings of something that has the config's id.
    pub(crate) fn for_silo(&self) -> Result<SiloConfig> {
        self.check()?;
        let mut settings = self.settings.clone();
        settings.silo_id = SiloId::new(self.silo_id.as_deref().unwrap_or_default())?;
        if !self.listens {
            return Err(Error::invalid("listen", "NULL", "only a transport can do without"));
        }
        Ok(settings)
    }

    /// The settings of something whose id does not matter.
    pub(crate) fn for_client(&self) -> Result<SiloConfig> {
        self.check()?;
        if self.handler.is_some() || !self.handlers.is_empty() {
            return Err(Error::invalid("handler", "", "a client hosts nothing"));
        }
        self.check_owns_nothing()?;
        Ok(self.settings.clone())
    }

    /// The id, if there is one, and the settings.
    pub(crate) fn for_membership(&self) -> Result<(Option<SiloId>, SiloConfig)> {
        self.check()?;
        self.check_owns_nothing()?;
        let id = self.silo_id.as_ref().map(SiloId::new).transpose()?;
        Ok((id, self.settings.clone()))
    }

    /// The id, where to listen, and the settings.
    pub(crate) fn for_transport(&self) -> Result<(SiloId, Option<Endpoint>, TransportConfig)> {
        self.check()?;
        let id = SiloId::new(self.silo_id.as_deref().unwrap_or_default())?;
        let listen = self.listens.then(|| self.settings.listen.clone());
        Ok((id, listen, self.settings.transport.clone()))
    }
}

/// Changes a config, and remembers of each setting whether it can be used.
///
/// # Safety
/// `config` is NULL or points to a live config that nobody else uses meanwhile.
pub(crate) unsafe fn set(
    config: *mut quark_config_t,
    setting: &str,
    change: impl FnOnce(&mut quark_config_t) -> Result<()>,
) -> quark_status_t {
    guard::status(|| {
        // SAFETY: as for this function.
        let config = unsafe { handle::borrow_mut(config, "config") }?;
        let changed = change(config);
        match &changed {
            Ok(()) => config.problems.remove(setting),
            Err(problem) => config.problems.insert(setting.to_owned(), problem.clone()),
        };
        changed
    })
}

/// A duration, or the default for 0.
pub(crate) fn duration(ms: u64, default: Duration) -> Duration {
    if ms == 0 { default } else { Duration::from_millis(ms) }
}

/// A config with all defaults. The id is checked at the start: 1 to 255 bytes of UTF-8 without control characters. It may
/// be NULL for what has none: a client, or a membership that only looks on.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn quark_config_new(silo_id: *const c_char) -> *mut quark_config_t {
    guard::value(ptr::null_mut(), || {
        let mut problems = BTreeMap::new();
        // SAFETY: the header demands NULL or a string.
        let silo_id = unsafe { handle::optional_text(silo_id, "silo_id") }.unwrap_or_else(|problem| {
            problems.insert("silo_id".to_owned(), problem);
            None
        });
        Box::into_raw(Box::new(quark_config_t {
            silo_id: silo_id.map(str::to_owned),
            settings: SiloConfig::new(SiloId::new_client()),
            listens: true,
            callback_threads: 1,
            event_loop: None,
            handler: None,
            handlers: BTreeMap::new(),
            placements: Placements::new(),
            on_membership: None,
            on_ownership: BTreeMap::new(),
            on_endings: None,
            problems,
        }))
    })
}

/// Frees a config; what was started from it goes on. NULL is allowed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn quark_config_free(config: *mut quark_config_t) {
    // SAFETY: the header demands NULL or a config that is not used again.
    guard::value((), || drop(unsafe { handle::take(config) }));
}

/// Who is in the cluster; required for all but a transport: `redis://[user:password@]host[:port][/db]` (also `rediss`,
/// `redis+sentinel` and `redis+cluster`, see docs/REDIS.md),
/// `gossip://bind-host:port?seed=host:port&seed=...`, `static://id@host:port,id@host:port` (the others, possibly none)
/// or `memory://name` (in this process, for tests).
///
/// By gossip a silo's label `quark.gossip` is the address that others give as a seed, with the real port; the silo's own
/// endpoint is another one. A silo whose seeds do not answer within 1.5 s starts alone, keeps trying and is
/// `QUARK_HEALTH_DEGRADED` until it has met one; a client fails.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn quark_config_set_membership(
    config: *mut quark_config_t,
    url: *const c_char,
) -> quark_status_t {
    // SAFETY: the header demands NULL or a live config, and NULL or a string.
    unsafe {
        set(config, "membership", |config| {
            config.settings.membership = Some(handle::text(url, "membership")?.parse()?);
            Ok(())
        })
    }
}

/// Where to listen, `host:port`, an IPv6 host in brackets, port 0 for one that the system chooses. Default
/// `127.0.0.1:0`. NULL, for a transport only: nowhere, it only dials.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn quark_config_set_listen(
    config: *mut quark_config_t,
    endpoint: *const c_char,
) -> quark_status_t {
    // SAFETY: the header demands NULL or a live config, and NULL or a string.
    unsafe {
        set(config, "listen", |config| {
            let endpoint = handle::optional_text(endpoint, "listen")?;
            config.listens = endpoint.is_some();
            if let Some(endpoint) = endpoint {
                config.settings.listen = Endpoint::parse("listen", endpoint)?;
            }
            Ok(())
        })
    }
}

/// What others dial, `host:port`, when it is not what is listened on. Port 0 is the port that is listened on.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn quark_config_set_advertise(
    config: *mut quark_config_t,
    endpoint: *const c_char,
) -> quark_status_t {
    // SAFETY: the header demands NULL or a live config, and NULL or a string.
    unsafe {
        set(config, "advertise", |config| {
            let endpoint = handle::text(endpoint, "advertise")?;
            config.settings.advertise = Some(Endpoint::parse("advertise", endpoint)?);
            Ok(())
        })
    }
}

/// The cluster's name, 1 to 64 of the characters `A-Z a-z 0-9 . _ -`. Default `quark`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn quark_config_set_cluster(
    config: *mut quark_config_t,
    name: *const c_char,
) -> quark_status_t {
    // SAFETY: the header demands NULL or a live config, and NULL or a string.
    unsafe {
        set(config, "cluster", |config| {
            let name = handle::text(name, "cluster")?;
            name.clone_into(&mut config.settings.transport.cluster);
            name.clone_into(&mut config.settings.timing.cluster);
            Ok(())
        })
    }
}

/// Points on the ring, 1 to 100,000: the silo's weight. Default 150.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn quark_config_set_virtual_nodes(
    config: *mut quark_config_t,
    virtual_nodes: u32,
) -> quark_status_t {
    // SAFETY: the header demands NULL or a live config.
    unsafe {
        set(config, "virtual_nodes", |config| {
            config.settings.virtual_nodes = virtual_nodes;
            Ok(())
        })
    }
}

/// The timeout of calls that give none, in milliseconds. Default 30,000.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn quark_config_set_default_timeout_ms(
    config: *mut quark_config_t,
    timeout_ms: u64,
) -> quark_status_t {
    // SAFETY: the header demands NULL or a live config.
    unsafe {
        set(config, "default_timeout", |config| {
            let default = TransportConfig::default().default_timeout;
            config.settings.transport.default_timeout = duration(timeout_ms, default);
            Ok(())
        })
    }
}

/// The largest payload of a request or a reply, in bytes, up to 1 GiB. Default 4 MiB.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn quark_config_set_max_payload(
    config: *mut quark_config_t,
    bytes: usize,
) -> quark_status_t {
    // SAFETY: the header demands NULL or a live config.
    unsafe {
        set(config, "max_payload", |config| {
            config.settings.transport.max_payload = bytes;
            Ok(())
        })
    }
}

/// How long the silo's row in the store lives without a heartbeat, in milliseconds. Default 30,000.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn quark_config_set_ttl_ms(config: *mut quark_config_t, ttl_ms: u64) -> quark_status_t {
    // SAFETY: the header demands NULL or a live config.
    unsafe {
        set(config, "ttl", |config| {
            config.settings.timing.ttl = duration(ttl_ms, MembershipConfig::default().ttl);
            Ok(())
        })
    }
}

/// How often the row is rewritten, in milliseconds; less than the TTL. Default 10,000.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn quark_config_set_heartbeat_ms(
    config: *mut quark_config_t,
    heartbeat_ms: u64,
) -> quark_status_t {
    // SAFETY: the header demands NULL or a live config.
    unsafe {
        set(config, "heartbeat", |config| {
            config.settings.timing.heartbeat = duration(heartbeat_ms, MembershipConfig::default().heartbeat);
            Ok(())
        })
    }
}

/// How long a start may take before it fails with `QUARK_MEMBERSHIP_UNAVAILABLE`, in milliseconds. Default 10,000.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn quark_config_set_start_timeout_ms(
    config: *mut quark_config_t,
    timeout_ms: u64,
) -> quark_status_t {
    // SAFETY: the header demands NULL or a live config.
    unsafe {
        set(config, "start_timeout", |config| {
            let default = MembershipConfig::default().start_timeout;
            config.settings.timing.start_timeout = duration(timeout_ms, default);
            Ok(())
        })
    }
}

/// The zone of the silo or client; NULL for none, which is the default.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn quark_config_set_zone(
    config: *mut quark_config_t,
    zone: *const c_char,
) -> quark_status_t {
    // SAFETY: the header demands NULL or a live config, and NULL or a string.
    unsafe {
        set(config, "zone", |config| {
            config.settings.zone = handle::optional_text(zone, "zone")?.map(str::to_owned);
            Ok(())
        })
    }
}

/// A label that others see; NULL as the value takes it away.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn quark_config_set_label(
    config: *mut quark_config_t,
    key: *const c_char,
    value: *const c_char,
) -> quark_status_t {
    // SAFETY: the header demands NULL or a live config, and NULL or strings.
    unsafe {
        set(config, "label", |config| {
            let (key, value) = (handle::text(key, "key")?, handle::optional_text(value, "value")?);
            match value {
                Some(value) => config.settings.labels.insert(key.to_owned(), value.to_owned()),
                None => config.settings.labels.remove(key),
            };
            Ok(())
        })
    }
}

/// How many requests one handler may have at once, queued or running, before further ones get `QUARK_OVERLOADED`.
/// Default 65,536.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn quark_config_set_inbox_capacity(
    config: *mut quark_config_t,
    requests: usize,
) -> quark_status_t {
    // SAFETY: the header demands NULL or a live config.
    unsafe {
        set(config, "inbox_capacity", |config| {
            config.settings.inbox_capacity = requests;
            Ok(())
        })
    }
}

/// Bytes of payloads that one handler may have at once before further requests get `QUARK_OVERLOADED`; a single request may
/// always come. Default 256 MiB.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn quark_config_set_inbox_bytes(
    config: *mut quark_config_t,
    bytes: usize,
) -> quark_status_t {
    // SAFETY: the header demands NULL or a live config.
    unsafe {
        set(config, "inbox_bytes", |config| {
            config.settings.inbox_bytes = bytes;
            Ok(())
        })
    }
}

/// How much may wait to be sent to one silo: requests, each KiB of payload counting as one more. Beyond it callers wait
/// until their deadline. Default 16,384; large requests have as much again.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn quark_config_set_outbox_capacity(
    config: *mut quark_config_t,
    requests: u32,
) -> quark_status_t {
    // SAFETY: the header demands NULL or a live config.
    unsafe {
        set(config, "outbox_capacity", |config| {
            config.settings.transport.outbox_capacity = requests;
            Ok(())
        })
    }
}

/// Calls of this silo or client that may wait for their ending at once. Beyond it callers wait until their deadline.
/// Default 262,144.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn quark_config_set_max_pending(
    config: *mut quark_config_t,
    calls: usize,
) -> quark_status_t {
    // SAFETY: the header demands NULL or a live config.
    unsafe {
        set(config, "max_pending", |config| {
            config.settings.transport.max_pending = calls;
            Ok(())
        })
    }
}

/// Bytes of answers that may wait for one peer to read them; while there are more, its requests get `QUARK_OVERLOADED`.
/// Default 64 MiB.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn quark_config_set_answer_capacity(
    config: *mut quark_config_t,
    bytes: usize,
) -> quark_status_t {
    // SAFETY: the header demands NULL or a live config.
    unsafe {
        set(config, "answer_capacity", |config| {
            config.settings.transport.answer_capacity = bytes;
            Ok(())
        })
    }
}

/// How many requests of one handler may run at once, 1 to 1,024, and how many replies and events. Default 1: then the
/// requests of a handler run one after the other, in order, and so do replies and events; but while one waits in a blocking
/// call of Quark's, the next one runs, on another thread. What a handler keeps across such a call needs a lock. With more
/// they start in order and may overlap. Handlers of different actor types run beside each other: one that never returns
/// holds up its own only.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn quark_config_set_callback_threads(
    config: *mut quark_config_t,
    threads: u32,
) -> quark_status_t {
    // SAFETY: the header demands NULL or a live config.
    unsafe {
        set(config, "callback_threads", |config| {
            if threads == 0 || threads > MAX_CALLBACK_THREADS {
                return Err(Error::invalid("callback_threads", threads, "must be 1 to 1024"));
            }
            config.callback_threads = threads as usize;
            Ok(())
        })
    }
}

/// Has all callbacks, and the finalizers of what is started from now on, run in `quark_loop_run` of this loop instead of on
/// threads of Quark's, one at a time and in order; NULL takes that back. `callback_threads` then says nothing. The loop
/// stays yours.
///
/// What blocks on the loop's thread keeps callbacks waiting: make calls with the `_async` functions there. The `_stop` and
/// `_free` functions run what is due while they wait; call them on the loop's thread.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn quark_config_set_loop(
    config: *mut quark_config_t,
    event_loop: *const quark_loop_t,
) -> quark_status_t {
    // SAFETY: the header demands NULL or a live config, and NULL or a live loop.
    unsafe {
        set(config, "loop", |config| {
            config.event_loop = event_loop::of(event_loop);
            Ok(())
        })
    }
}
