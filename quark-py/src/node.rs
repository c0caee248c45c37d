//! The native half of `quark.Silo` and `quark.Client`, asyncio and blocking alike.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::types::PyDict;
use quark_core::{
    Caller, Client, Endpoint, Envelope as CoreEnvelope, Error, ErrorKind, Handler, Health, Silo, SiloConfig,
    SiloId, host,
};

use crate::args;
use crate::bridge::{Bridge, CallHandle, Item};
use crate::envelope::Envelope;
use crate::errors::{OrRaise as _, raise};
use crate::handlers::{AsyncHandler, Lanes, PlainHandler};
use crate::outcome::{Outcome, run, silo_infos, wait};

/// This is a child that was forked after Quark had started.
static FORKED: AtomicBool = AtomicBool::new(false);

/// Runs in every forked child.
#[pyfunction]
pub(crate) fn after_fork_in_child() {
    FORKED.store(host::check_fork().is_err(), Ordering::Relaxed);
}

/// Whether Quark can be used in this process; a load, unlike asking the system for the process id.
///
/// # Errors
/// `NOT_RUNNING` in a forked child.
pub(crate) fn check_fork() -> quark_core::Result<()> {
    if FORKED.load(Ordering::Relaxed) { host::check_fork() } else { Ok(()) }
}

/// What was started.
enum Running {
    Silo(Silo),
    Client(Client),
}

impl Running {
    fn caller(&self) -> &Caller {
        match self {
            Self::Silo(silo) => silo.caller(),
            Self::Client(client) => client.caller(),
        }
    }
}

/// A handler as Python gives it: its actor type or None, the wrapper to call, whether it is a coroutine function.
type PyHandler = (Option<String>, Py<PyAny>, bool);

/// Status, part, reason, and since when in Unix seconds.
type HealthParts = (&'static str, Option<String>, Option<String>, Option<f64>);

/// A silo or a client.
#[pyclass(frozen, weakref)]
pub(crate) struct Node {
    config: Mutex<Option<(SiloConfig, Vec<PyHandler>, usize)>>,
    is_silo: bool,
    running: Arc<Mutex<Option<Arc<Running>>>>,
    /// Kept after the stop, so that what it knew can still be asked.
    caller: Arc<Mutex<Option<Caller>>>,
    endpoint: Arc<Mutex<Option<Endpoint>>>,
    id: String,
}

impl Node {
    fn caller(&self, py: Python<'_>) -> PyResult<Caller> {
        check_fork().or_raise(py)?;
        let caller = self.caller.lock().expect("no panic while locked").clone();
        let what = if self.is_silo { "silo" } else { "client" };
        caller.ok_or_else(|| {
            raise(py, &Error::new(ErrorKind::NotRunning, format!("the {what} was not started")))
        })
    }

    fn envelope(
        actor_type: &Bound<'_, PyAny>,
        actor_id: &Bound<'_, PyAny>,
        method: &Bound<'_, PyAny>,
        payload: &Bound<'_, PyAny>,
        inherited: (Option<String>, Option<String>),
    ) -> PyResult<CoreEnvelope> {
        let envelope = CoreEnvelope::request(
            args::text("actor_type", actor_type)?,
            args::text("actor_id", actor_id)?,
            args::text("method", method)?,
            args::payload("payload", payload)?,
        );
        let (correlation_id, traceparent) = inherited;
        Ok(envelope
            .with_correlation_id(correlation_id.unwrap_or_default())
            .with_traceparent(traceparent.unwrap_or_default()))
    }
}

#[pymethods]
impl Node {
    /// `silo_id` is None for a client.
    #[new]
    fn new(
        silo_id: Option<&Bound<'_, PyAny>>,
        options: &Bound<'_, PyDict>,
        handlers: Vec<PyHandler>,
    ) -> PyResult<Self> {
        let py = options.py();
        let is_silo = silo_id.is_some();
        let id = match silo_id {
            Some(id) => SiloId::new(args::text("silo_id", id)?).or_raise(py)?,
            None => SiloId::new_client(),
        };
        let mut config = SiloConfig::new(id.clone());
        let mut threads = 4;
        for (name, value) in options.iter() {
            let name = args::text("option", &name)?;
            if !value.is_none() {
                configure(&mut config, &mut threads, &name, &value)?;
            }
        }
        Ok(Self {
            config: Mutex::new(Some((config, handlers, threads))),
            is_silo,
            running: Arc::default(),
            caller: Arc::default(),
            endpoint: Arc::default(),
            id: id.to_string(),
        })
    }

    /// Starts; coroutine handlers run on the bridge's loop.
    fn start(&self, py: Python<'_>, bridge: Option<&Bridge>) -> PyResult<Py<PyAny>> {
        check_fork().or_raise(py)?;
        let taken = self.config.lock().expect("no panic while locked").take();
        let Some((config, handlers, threads)) = taken else {
            return Err(raise(py, &Error::new(ErrorKind::NotRunning, "it was started before")));
        };
        let mut given: Vec<(Option<String>, Arc<dyn Handler>)> = Vec::new();
        for (actor_type, call, is_async) in handlers {
            let call = Arc::new(call);
            given.push((actor_type, match (is_async, bridge) {
                (true, Some(bridge)) => Arc::new(AsyncHandler { call, mailbox: bridge.mailbox() }),
                (true, None) => {
                    let problem = "handler: a coroutine function needs an event loop; use quark.Silo or a plain function";
                    return Err(PyTypeError::new_err(problem));
                }
                (false, _) => {
                    // Each has threads of its own, so that one that never returns holds up no other type's.
                    Arc::new(PlainHandler { call, lanes: Lanes::new(threads) })
                }
            }));
        }
        let (running, caller, bound) = (self.running.clone(), self.caller.clone(), self.endpoint.clone());
        let is_silo = self.is_silo;
        run(py, bridge, async move {
            let started = if is_silo {
                let mut builder = Silo::from_config(config);
                for (actor_type, handler) in given {
                    builder = builder.raw_handler(actor_type, handler);
                }
                let silo = builder.start_closed().await?;
                *bound.lock().expect("no panic while locked") = Some(silo.endpoint().clone());
                Running::Silo(silo)
            } else {
                Running::Client(Client::from_config(config).start().await?)
            };
            *caller.lock().expect("no panic while locked") = Some(started.caller().clone());
            let open = match &started {
                Running::Silo(silo) => Some(silo.opener()),
                Running::Client(_) => None,
            };
            *running.lock().expect("no panic while locked") = Some(Arc::new(started));
            // Only now: a handler may use its silo.
            if let Some(open) = open {
                open();
            }
            Ok(Outcome::Nothing)
        })
    }

    /// Leaves: see `quark.Silo.stop`.
    fn stop(&self, py: Python<'_>, bridge: Option<&Bridge>, drain: &Bound<'_, PyAny>) -> PyResult<Py<PyAny>> {
        check_fork().or_raise(py)?;
        let drain = args::duration("drain", drain)?;
        let running = self.running.lock().expect("no panic while locked").take();
        run(py, bridge, async move {
            match running.as_deref() {
                Some(Running::Silo(silo)) => silo.stop(drain).await,
                Some(Running::Client(client)) => client.stop(drain).await,
                None => {}
            }
            Ok(Outcome::Nothing)
        })
    }

    /// Stops without waiting for it; from inside a handler, which is part of what a stop waits for.
    fn stop_soon(&self, py: Python<'_>, drain: &Bound<'_, PyAny>) -> PyResult<()> {
        check_fork().or_raise(py)?;
        let drain = args::duration("drain", drain)?;
        let Some(running) = self.running.lock().expect("no panic while locked").take() else { return Ok(()) };
        host::handle().or_raise(py)?.spawn(async move {
            match &*running {
                Running::Silo(silo) => silo.stop(drain).await,
                Running::Client(client) => client.stop(drain).await,
            }
        });
        Ok(())
    }

    /// Ends at once and tells nobody.
    fn abort(&self, py: Python<'_>) {
        if FORKED.load(Ordering::Relaxed) {
            return;
        }
        let running = self.running.lock().expect("no panic while locked").take();
        py.detach(|| drop(running));
    }

    /// Begins a call: (future, handle).
    #[allow(clippy::too_many_arguments)]
    fn call(
        &self,
        py: Python<'_>,
        bridge: &Bridge,
        actor_type: &Bound<'_, PyAny>,
        actor_id: &Bound<'_, PyAny>,
        method: &Bound<'_, PyAny>,
        payload: &Bound<'_, PyAny>,
        timeout: &Bound<'_, PyAny>,
        inherited: (Option<String>, Option<String>),
    ) -> PyResult<(Py<PyAny>, CallHandle)> {
        let caller = self.caller(py)?;
        let envelope = Self::envelope(actor_type, actor_id, method, payload, inherited)?;
        let timeout = args::timeout("timeout", timeout)?;
        let future = bridge.create_future(py)?;
        let (mailbox, completed) = (bridge.mailbox(), future.clone_ref(py));
        let handle = caller.call_with(envelope, timeout, move |ended| {
            mailbox.push(Item::Ended(completed, ended.map(Outcome::Bytes)));
        });
        Ok((future, CallHandle(handle)))
    }

    /// Calls and blocks.
    #[allow(clippy::too_many_arguments)]
    fn call_blocking(
        &self,
        py: Python<'_>,
        actor_type: &Bound<'_, PyAny>,
        actor_id: &Bound<'_, PyAny>,
        method: &Bound<'_, PyAny>,
        payload: &Bound<'_, PyAny>,
        timeout: &Bound<'_, PyAny>,
        inherited: (Option<String>, Option<String>),
    ) -> PyResult<Py<PyAny>> {
        let caller = self.caller(py)?;
        let envelope = Self::envelope(actor_type, actor_id, method, payload, inherited)?;
        let timeout = args::timeout("timeout", timeout)?;
        host::check_may_block().or_raise(py)?;
        let (done, waiter) = host::done_and_waiter();
        let handle = caller.call_with(envelope, timeout, move |ended| done(ended.map(Outcome::Bytes)));
        wait(py, waiter, || {
            handle.cancel();
        })?
        .into_python(py)
    }

    /// Sends one way.
    #[allow(clippy::too_many_arguments)]
    fn notify(
        &self,
        py: Python<'_>,
        bridge: Option<&Bridge>,
        actor_type: &Bound<'_, PyAny>,
        actor_id: &Bound<'_, PyAny>,
        method: &Bound<'_, PyAny>,
        payload: &Bound<'_, PyAny>,
        timeout: &Bound<'_, PyAny>,
        inherited: (Option<String>, Option<String>),
    ) -> PyResult<Py<PyAny>> {
        let caller = self.caller(py)?;
        let envelope = Self::envelope(actor_type, actor_id, method, payload, inherited)?;
        let timeout = args::timeout("timeout", timeout)?;
        run(py, bridge, async move { caller.post(envelope, timeout).await.map(|()| Outcome::Nothing) })
    }

    /// Sends an envelope and gives the response envelope.
    fn send(
        &self,
        py: Python<'_>,
        bridge: Option<&Bridge>,
        envelope: &Envelope,
        timeout: &Bound<'_, PyAny>,
    ) -> PyResult<Py<PyAny>> {
        let caller = self.caller(py)?;
        let timeout = args::timeout("timeout", timeout)?;
        let envelope = envelope.to_core();
        run(py, bridge, async move { Ok(Outcome::Envelope(Box::new(caller.send(envelope, timeout).await?))) })
    }

    /// Waits for a view with another version than this one, and gives its version.
    fn next_view(&self, py: Python<'_>, bridge: Option<&Bridge>, version: u64) -> PyResult<Py<PyAny>> {
        let mut views = self.caller(py)?.watch();
        run(py, bridge, async move {
            let changed = views.wait_for(|view| view.version() != version).await;
            let view = changed.map_err(|_| Error::new(ErrorKind::NotRunning, "it was stopped"))?;
            Ok(Outcome::Number(view.version()))
        })
    }

    fn owner(
        &self,
        py: Python<'_>,
        actor_type: &Bound<'_, PyAny>,
        actor_id: &Bound<'_, PyAny>,
    ) -> PyResult<Option<String>> {
        let (actor_type, actor_id) =
            (args::text("actor_type", actor_type)?, args::text("actor_id", actor_id)?);
        let owner = self.caller(py)?.owner(&actor_type, &actor_id).or_raise(py)?;
        Ok(owner.map(|id| id.to_string()))
    }

    fn silos(&self, py: Python<'_>) -> PyResult<Vec<Py<PyAny>>> {
        silo_infos(py, &self.caller(py)?.silos())
    }

    fn view_version(&self, py: Python<'_>) -> PyResult<u64> {
        Ok(self.caller(py)?.view_version())
    }

    /// The parts of a `quark.Health`.
    fn health(&self, py: Python<'_>) -> PyResult<HealthParts> {
        let health = self.caller(py)?.health();
        let since = health.since().and_then(|since| since.duration_since(std::time::UNIX_EPOCH).ok());
        let (part, reason) = match &health {
            Health::Degraded { part, reason, .. } => (Some(part.clone()), Some(reason.clone())),
            _ => (None, None),
        };
        Ok((health.as_str(), part, reason, since.map(|since| since.as_secs_f64())))
    }

    #[getter]
    fn is_running(&self) -> bool {
        let caller = self.caller.lock().expect("no panic while locked");
        caller.as_ref().is_some_and(Caller::is_running) && check_fork().is_ok()
    }

    #[getter]
    fn id(&self) -> &str {
        &self.id
    }

    #[getter]
    fn endpoint(&self, py: Python<'_>) -> PyResult<String> {
        let endpoint = self.endpoint.lock().expect("no panic while locked").clone();
        let not_started = || raise(py, &Error::new(ErrorKind::NotRunning, "the silo was not started"));
        endpoint.map(|endpoint| endpoint.to_string()).ok_or_else(not_started)
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        if FORKED.load(Ordering::Relaxed) {
            // Dropping takes locks, and the thread that held one at the fork does not exist here.
            std::mem::forget(self.running.lock().ok().and_then(|mut running| running.take()));
        }
    }
}

/// One keyword argument of `quark.Silo` and `quark.Client`.
pub(crate) fn configure(
    config: &mut SiloConfig,
    threads: &mut usize,
    name: &str,
    value: &Bound<'_, PyAny>,
) -> PyResult<()> {
    let py = value.py();
    let text = || args::text(name, value);
    let timeout = || Ok::<_, PyErr>(args::timeout(name, value)?.unwrap_or_default());
    match name {
        "membership" => config.membership = Some(text()?.parse().or_raise(py)?),
        "listen" => config.listen = Endpoint::parse(name, &text()?).or_raise(py)?,
        "advertise" => config.advertise = Some(Endpoint::parse(name, &text()?).or_raise(py)?),
        "cluster" => {
            config.transport.cluster = text()?;
            config.timing.cluster.clone_from(&config.transport.cluster);
        }
        "virtual_nodes" => config.virtual_nodes = args::number(name, value)?,
        "allow_plaintext" => config.allow_plaintext = args::flag(name, value)?,
        "default_timeout" => config.transport.default_timeout = timeout()?,
        "max_payload" => config.transport.max_payload = args::number(name, value)?,
        "inbox_capacity" => config.inbox_capacity = args::number(name, value)?,
        "inbox_bytes" => config.inbox_bytes = args::number(name, value)?,
        "outbox_capacity" => config.transport.outbox_capacity = args::number(name, value)?,
        "max_pending" => config.transport.max_pending = args::number(name, value)?,
        "answer_capacity" => config.transport.answer_capacity = args::number(name, value)?,
        "zone" => config.zone = Some(text()?),
        "labels" => config.labels = args::pairs(name, value)?.into_iter().collect(),
        "ttl" => config.timing.ttl = timeout()?,
        "heartbeat" => config.timing.heartbeat = timeout()?,
        "start_timeout" => config.timing.start_timeout = timeout()?,
        "placement" => {
            for (actor_type, placement) in args::pairs(name, value)? {
                config.placement.insert(actor_type, placement.parse().or_raise(py)?);
            }
        }
        "handler_threads" => {
            *threads = args::number(name, value)?;
            if !(1..=256).contains(threads) {
                return Err(raise(py, &Error::invalid(name, *threads, "must be 1 to 256")));
            }
        }
        _ => return Err(PyTypeError::new_err(format!("unknown option {name}"))),
    }
    Ok(())
}
