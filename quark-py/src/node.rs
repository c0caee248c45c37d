//! The native half of `quark.Silo` and `quark.Client`, asyncio and blocking alike.

use std::sync::{Arc, Mutex};

use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple};
use quark_core::{
    Caller, Client, Endpoint, Error, ErrorKind, Handler, Health, MembershipUrl, Silo, SiloConfig, SiloId,
    host,
};

use crate::args;
use crate::bridge::{Begun, Bridge};
use crate::envelope::Envelope;
use crate::errors::{OrRaise as _, raise};
use crate::handlers::{self, Given, Slot};
use crate::message::{self, Current, Message, handling};
use crate::options::configure;
use crate::outcome::{Gathering, Outcome, begin, next_view, run, silo_info, silo_infos, view_parts};
use crate::ownership::OwnershipWatch;
use crate::placement::{self, Policy};
use crate::process;
use crate::ring::HashRing;
use crate::testing;

/// What was started.
enum Running {
    Silo(Silo),
    Client(Client),
}

impl Running {
    fn of_silo(&self) -> quark_core::Result<&Silo> {
        match self {
            Self::Silo(silo) => Ok(silo),
            Self::Client(_) => Err(Error::new(ErrorKind::NotRunning, "no silo runs here")),
        }
    }

    fn caller(&self) -> &Caller {
        match self {
            Self::Silo(silo) => silo.caller(),
            Self::Client(client) => client.caller(),
        }
    }
}

/// Status, part, reason, and since when in Unix seconds.
type HealthParts = (&'static str, Option<String>, Option<String>, Option<f64>);

/// A silo or a client.
#[pyclass(frozen, weakref)]
pub(crate) struct Node {
    /// What it is to be, and the threads of each plain handler; taken by the start.
    config: Mutex<Option<(SiloConfig, usize)>>,
    /// Each with its actor type, and whether it is a coroutine function.
    handlers: Vec<(Option<String>, Arc<Slot>, bool)>,
    /// Functions that place actors.
    policies: Vec<Arc<Policy>>,
    is_silo: bool,
    /// The name in `memory://name`, by which `quark.testing` finds it.
    network: Option<String>,
    running: Arc<Mutex<Option<Arc<Running>>>>,
    /// Held by a stop; another one waits for it.
    stopping: Arc<tokio::sync::Mutex<()>>,
    /// Kept after the stop, so that what it knew can still be asked.
    caller: Arc<Mutex<Option<Caller>>>,
    endpoint: Arc<Mutex<Option<Endpoint>>>,
    id: String,
}

impl Node {
    fn caller(&self, py: Python<'_>) -> PyResult<Caller> {
        process::check_fork().or_raise(py)?;
        let caller = self.caller.lock().expect("no panic while locked").clone();
        let what = if self.is_silo { "silo" } else { "client" };
        caller.ok_or_else(|| {
            raise(py, &Error::new(ErrorKind::NotRunning, format!("the {what} was not started")))
        })
    }
}

/// What is asked for a few silos.
type Ask = fn(&Caller, &str, &str, usize) -> quark_core::Result<Vec<SiloId>>;

impl Node {
    fn ranked(&self, py: Python<'_>, ask: Ask, asked: [&Bound<'_, PyAny>; 3]) -> PyResult<Vec<String>> {
        let [actor_type, actor_id, most] = asked;
        let (actor_type, actor_id) =
            (args::text("actor_type", actor_type)?, args::text("actor_id", actor_id)?);
        let most = args::number("most", most)?;
        let silos = ask(&self.caller(py)?, &actor_type, &actor_id, most).or_raise(py)?;
        Ok(silos.iter().map(SiloId::to_string).collect())
    }

    fn silo(&self, py: Python<'_>) -> PyResult<Arc<Running>> {
        self.caller(py)?;
        let running = self.running.lock().expect("no panic while locked").clone();
        running.ok_or_else(|| raise(py, &Error::new(ErrorKind::NotRunning, "the silo was stopped")))
    }
}

#[pymethods]
impl Node {
    /// `silo_id` is None for a client.
    #[new]
    fn new(
        silo_id: Option<&Bound<'_, PyAny>>,
        options: &Bound<'_, PyDict>,
        handlers: Vec<Given>,
    ) -> PyResult<Self> {
        let py = options.py();
        let is_silo = silo_id.is_some();
        let id = match silo_id {
            Some(id) => SiloId::new(args::text("silo_id", id)?).or_raise(py)?,
            None => SiloId::new_client(),
        };
        let mut config = SiloConfig::new(id.clone());
        let (mut threads, mut policies) = (4, Vec::new());
        for (name, value) in options.iter() {
            let name = args::text("option", &name)?;
            if name == "placement" && !value.is_none() {
                policies = placement::configure(&mut config, &value)?;
            } else if !value.is_none() {
                configure(&mut config, &mut threads, &name, &value)?;
            }
        }
        let network = match &config.membership {
            Some(MembershipUrl::Memory { name, .. }) => Some(name.clone()),
            _ => None,
        };
        Ok(Self {
            config: Mutex::new(Some((config, threads))),
            handlers: handlers
                .into_iter()
                .map(|(name, call, is_async)| (name, Slot::new(call), is_async))
                .collect(),
            policies,
            is_silo,
            network,
            running: Arc::default(),
            stopping: Arc::default(),
            caller: Arc::default(),
            endpoint: Arc::default(),
            id: id.to_string(),
        })
    }

    /// Starts; coroutine handlers run on the bridge's loop.
    fn start<'py>(
        &self,
        py: Python<'py>,
        bridge: Option<&Bound<'py, Bridge>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        process::check_fork().or_raise(py)?;
        let taken = self.config.lock().expect("no panic while locked").take();
        let Some((mut config, threads)) = taken else {
            return Err(raise(
                py,
                &Error::new(ErrorKind::NotRunning, "it was started before; make a new one"),
            ));
        };
        let mut given: Vec<(Option<String>, Arc<dyn Handler>)> = Vec::new();
        for (actor_type, slot, is_async) in &self.handlers {
            given.push((actor_type.clone(), handlers::make(slot, *is_async, bridge, threads)?));
        }
        let network = testing::network_of(&mut config);
        let (running, caller, bound) = (self.running.clone(), self.caller.clone(), self.endpoint.clone());
        let is_silo = self.is_silo;
        run(py, bridge, async move {
            let started = if is_silo {
                let mut builder = Silo::from_config(config);
                for (actor_type, handler) in given {
                    builder = builder.raw_handler(actor_type, handler);
                }
                if let Some(network) = &network {
                    builder = builder.network(network);
                }
                let silo = builder.start_closed().await?;
                *bound.lock().expect("no panic while locked") = Some(silo.endpoint().clone());
                Running::Silo(silo)
            } else {
                let builder = Client::from_config(config);
                let builder = match &network {
                    Some(network) => builder.network(network),
                    None => builder,
                };
                Running::Client(builder.start().await?)
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
    fn stop<'py>(
        &self,
        py: Python<'py>,
        bridge: Option<&Bound<'py, Bridge>>,
        drain: &Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, PyAny>> {
        process::check_fork().or_raise(py)?;
        let drain = args::duration("drain", drain)?;
        let running = self.running.lock().expect("no panic while locked").take();
        let stopping = self.stopping.clone();
        run(py, bridge, async move {
            let _stopping = stopping.lock().await;
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
        process::check_fork().or_raise(py)?;
        let drain = args::duration("drain", drain)?;
        let Some(running) = self.running.lock().expect("no panic while locked").take() else { return Ok(()) };
        let stopping = self.stopping.clone();
        host::handle().or_raise(py)?.spawn(async move {
            let _stopping = stopping.lock().await;
            match &*running {
                Running::Silo(silo) => silo.stop(drain).await,
                Running::Client(client) => client.stop(drain).await,
            }
        });
        Ok(())
    }

    /// Ends at once and tells nobody.
    fn abort(&self, py: Python<'_>) {
        if process::is_forked() {
            return;
        }
        let running = self.running.lock().expect("no panic while locked").take();
        py.detach(|| drop(running));
    }

    /// Calls; the reply is a memoryview when `view` says so.
    fn call<'py>(
        &self,
        py: Python<'py>,
        bridge: Option<&Bound<'py, Bridge>>,
        message: Message<'py>,
        timeout: &Bound<'py, PyAny>,
        view: bool,
        current: Current<'_, 'py>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let caller = self.caller(py)?;
        let envelope = message::envelope(message, current)?;
        let timeout = args::timeout("timeout", timeout)?;
        let outcome = if view { Outcome::View } else { Outcome::Bytes };
        begin(py, bridge, |ending| {
            handling(current, || {
                caller.call_with(envelope, timeout, move |ended| ending.tell(ended.map(outcome))).into()
            })
        })
    }

    /// Makes many calls at once; gives a list of what became of each, in their order.
    fn call_many<'py>(
        &self,
        py: Python<'py>,
        bridge: Option<&Bound<'py, Bridge>>,
        calls: &Bound<'py, PyAny>,
        timeout: &Bound<'py, PyAny>,
        current: Current<'_, 'py>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let caller = self.caller(py)?;
        let envelopes = message::envelopes(calls, current)?;
        let timeout = args::timeout("timeout", timeout)?;
        begin(py, bridge, |ending| {
            if envelopes.is_empty() {
                ending.tell(Ok(Outcome::Many(Vec::new())));
                return Begun::from_iter([]);
            }
            let gathering = Arc::new(Mutex::new(Gathering::new(envelopes.len(), ending)));
            let call = |(place, envelope)| {
                let gathering = gathering.clone();
                caller.call_with(envelope, timeout, move |ended| {
                    gathering.lock().expect("no panic while locked").ended(place, ended);
                })
            };
            // One batch: whoever is to be woken is woken once.
            let make = || envelopes.into_iter().enumerate().map(call).collect();
            handling(current, || host::batch(make))
        })
    }

    /// Sends one way; gives None when that is done, as it is unless there is no link or no room.
    fn notify<'py>(
        &self,
        py: Python<'py>,
        bridge: Option<&Bound<'py, Bridge>>,
        message: Message<'py>,
        timeout: &Bound<'py, PyAny>,
        current: Current<'_, 'py>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let caller = self.caller(py)?;
        let envelope = message::envelope(message, current)?;
        let timeout = args::timeout("timeout", timeout)?;
        let posted = async move { caller.post(envelope, timeout).await.map(|()| Outcome::Nothing) };
        match host::begin_here(handling(current, || host::inheriting(posted))).or_raise(py)? {
            host::Here::Ended(posted) => posted.or_raise(py).map(|_| py.None().into_bound(py)),
            host::Here::Waits(posted) => run(py, bridge, posted),
        }
    }

    /// Sends an envelope and gives the response envelope.
    fn send<'py>(
        &self,
        py: Python<'py>,
        bridge: Option<&Bound<'py, Bridge>>,
        envelope: &Bound<'py, PyAny>,
        timeout: &Bound<'py, PyAny>,
        current: Current<'_, 'py>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let caller = self.caller(py)?;
        let timeout = args::timeout("timeout", timeout)?;
        let envelope = Envelope::of("envelope", envelope)?;
        let sent = async move { Ok(Outcome::Envelope(Box::new(caller.send(envelope, timeout).await?))) };
        // Begun here, where a function may be asked for the placement.
        match host::begin_here(handling(current, || host::inheriting(sent))).or_raise(py)? {
            host::Here::Ended(sent) => begin(py, bridge, |ending| {
                ending.tell(sent);
                Begun::from_iter([])
            }),
            host::Here::Waits(sent) => run(py, bridge, sent),
        }
    }

    /// The view that [`next_view`](Self::next_view) goes on from; calls may still follow the one before.
    fn latest_view<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let view = self.caller(py)?.watch().borrow().clone();
        view_parts(py, &view)
    }

    /// Waits for a view with another version than this one, and gives it: its version, and its silos.
    fn next_view<'py>(
        &self,
        py: Python<'py>,
        bridge: Option<&Bound<'py, Bridge>>,
        version: u64,
    ) -> PyResult<Bound<'py, PyAny>> {
        next_view(py, bridge, self.caller(py)?.watch(), version)
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

    fn owns(
        &self,
        py: Python<'_>,
        actor_type: &Bound<'_, PyAny>,
        actor_id: &Bound<'_, PyAny>,
    ) -> PyResult<bool> {
        let (actor_type, actor_id) =
            (args::borrowed_text("actor_type", actor_type)?, args::borrowed_text("actor_id", actor_id)?);
        self.caller(py)?.owns(actor_type, actor_id).or_raise(py)
    }

    fn watch_ownership(
        &self,
        py: Python<'_>,
        actor_type: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<OwnershipWatch> {
        let actor_type = actor_type.map(|name| args::borrowed_text("actor_type", name)).transpose()?;
        self.caller(py)?.watch_ownership(actor_type).or_raise(py).map(OwnershipWatch::from)
    }

    /// The parts of a `quark.Explanation` that follow the actor.
    fn explain<'py>(
        &self,
        py: Python<'py>,
        actor_type: &Bound<'py, PyAny>,
        actor_id: &Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let (actor_type, actor_id) =
            (args::borrowed_text("actor_type", actor_type)?, args::borrowed_text("actor_id", actor_id)?);
        let why = self.caller(py)?.explain(actor_type, actor_id).or_raise(py)?;
        let owner = why.owner.as_deref().map(|info| silo_info(py, info)).transpose()?;
        let next = PyTuple::new(py, silo_infos(py, &why.next_owners)?)?;
        let (here, by_ring) = (why.is_owned_here, why.is_placed_by_ring);
        Ok((why.position, why.view_version, owner, next, why.serving, here, by_ring)
            .into_pyobject(py)?
            .into_any())
    }

    /// The ring of an actor type, with what draining silos keep; a copy. `""`, which is no type, has that of all types that no
    /// silo declares.
    fn ring(&self, py: Python<'_>, actor_type: &Bound<'_, PyAny>) -> PyResult<HashRing> {
        let actor_type = args::text("actor_type", actor_type)?;
        Ok(self.caller(py)?.view().ring(&actor_type).clone().into())
    }

    /// Who owns an actor next, as many as `most`.
    fn next_owners(
        &self,
        py: Python<'_>,
        actor_type: &Bound<'_, PyAny>,
        actor_id: &Bound<'_, PyAny>,
        most: &Bound<'_, PyAny>,
    ) -> PyResult<Vec<String>> {
        self.ranked(py, Caller::next_owners, [actor_type, actor_id, most])
    }

    /// The owner and the silos for copies, as many as `most`.
    fn successors(
        &self,
        py: Python<'_>,
        actor_type: &Bound<'_, PyAny>,
        actor_id: &Bound<'_, PyAny>,
        most: &Bound<'_, PyAny>,
    ) -> PyResult<Vec<String>> {
        self.ranked(py, Caller::successors, [actor_type, actor_id, most])
    }

    fn drain<'py>(
        &self,
        py: Python<'py>,
        bridge: Option<&Bound<'py, Bridge>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let silo = self.silo(py)?;
        run(py, bridge, async move { silo.of_silo()?.drain().await.map(|()| Outcome::Nothing) })
    }

    fn resume<'py>(
        &self,
        py: Python<'py>,
        bridge: Option<&Bound<'py, Bridge>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let silo = self.silo(py)?;
        run(py, bridge, async move { silo.of_silo()?.resume().await.map(|()| Outcome::Nothing) })
    }

    fn set_virtual_nodes<'py>(
        &self,
        py: Python<'py>,
        bridge: Option<&Bound<'py, Bridge>>,
        virtual_nodes: &Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let virtual_nodes = args::number("virtual_nodes", virtual_nodes)?;
        let silo = self.silo(py)?;
        run(py, bridge, async move {
            silo.of_silo()?.set_virtual_nodes(virtual_nodes).await.map(|()| Outcome::Nothing)
        })
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
        if process::is_forked() {
            return false;
        }
        let caller = self.caller.lock().expect("no panic while locked");
        caller.as_ref().is_some_and(Caller::is_running)
    }

    #[getter]
    fn id(&self) -> &str {
        &self.id
    }

    #[getter]
    fn network(&self) -> Option<&str> {
        self.network.as_deref()
    }

    #[getter]
    fn endpoint(&self, py: Python<'_>) -> PyResult<String> {
        let endpoint = self.endpoint.lock().expect("no panic while locked").clone();
        let not_started = || raise(py, &Error::new(ErrorKind::NotRunning, "the silo was not started"));
        endpoint.map(|endpoint| endpoint.to_string()).ok_or_else(not_started)
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        self.handlers.iter().try_for_each(|(_, slot, _)| slot.visit(&visit))?;
        self.policies.iter().try_for_each(|policy| policy.visit(&visit))
    }

    /// Nobody but its own handlers knows of it any more.
    fn __clear__(&self) {
        self.handlers.iter().for_each(|(_, slot, _)| slot.clear());
        self.policies.iter().for_each(|policy| policy.clear());
        if !process::is_forked() {
            drop(self.running.lock().expect("no panic while locked").take());
        }
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        if process::is_forked() {
            std::mem::forget(self.running.lock().ok().and_then(|mut running| running.take()));
        } else {
            // Here, with the GIL, and not on the runtime's thread, whoever there lets go of them last.
            self.handlers.iter().for_each(|(_, slot, _)| slot.clear());
            self.policies.iter().for_each(|policy| policy.clear());
        }
    }
}
