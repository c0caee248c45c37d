//! [`Silo`] and [`Client`]: the composition, the only place that knows every part.

use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;

use crate::caller::Caller;
use crate::config::SiloConfig;
use crate::context;
use crate::endpoint::Endpoint;
use crate::error::{Error, ErrorKind, Result};
use crate::handler::{AsyncHandler, Handler, Handlers};
use crate::id::{MAX_ACTOR_NAME_BYTES, SiloId, check_name};
use crate::inbox::Inbox;
use crate::membership::{Membership, MembershipConfig, MembershipUrl, Role};
use crate::ownership::whose_ring;
use crate::placement::{Placement, Placements};
use crate::request::Capacity;
use crate::request::Request;
use crate::router::Router;
use crate::silo_info::{SiloInfo, SiloStatus};
use crate::telemetry::SILO;
use crate::tls::Tls;
use crate::transport::{Carrier, Engine, LoopbackNetwork, Networks, Receive};
use crate::transports::Transports;

/// A member of the cluster: hosts handlers, owns part of the ring, calls others.
///
/// Runs on the tokio runtime on which it was started. Dropping it without [`stop`](Self::stop) ends it without a word to
/// the others, as a crash would.
pub struct Silo {
    caller: Caller,
    endpoint: Endpoint,
}

/// Calls actors and hosts nothing: it is in no ring, listens nowhere, sees the view.
pub struct Client {
    caller: Caller,
}

impl Silo {
    /// Begins to describe a silo.
    pub fn builder(silo_id: impl AsRef<str>) -> SiloBuilder {
        SiloBuilder::new(SiloId::new(silo_id))
    }

    /// A builder from a whole configuration.
    pub fn from_config(config: SiloConfig) -> SiloBuilder {
        SiloBuilder { config: Ok(config), handlers: Handlers::default(), network: None }
    }

    /// Where others dial it, with the real port.
    #[must_use]
    pub fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// What lets requests in, after [`SiloBuilder::start_closed`].
    pub fn opener(&self) -> impl FnOnce() + Send + use<> {
        let router = self.caller.0.clone();
        move || router.inbox().open()
    }

    /// The handle that calls; for handlers and tasks, which then do not keep the silo alive.
    #[must_use]
    pub fn caller(&self) -> &Caller {
        &self.caller
    }

    /// Gives this silo another weight while it runs; see [`Membership::set_virtual_nodes`].
    ///
    /// # Errors
    /// `INVALID_ARGUMENT`, `INCOMPATIBLE`, `NOT_RUNNING`, `MEMBERSHIP_UNAVAILABLE`, as there.
    pub async fn set_virtual_nodes(&self, virtual_nodes: u32) -> Result<()> {
        self.caller.0.change(|membership| membership.set_virtual_nodes(virtual_nodes)).await
    }

    /// Drains this silo: it keeps what it owns and gets nothing new, until [`resume`](Self::resume) or its stop; see
    /// [`Membership::drain`].
    ///
    /// # Errors
    /// `NOT_RUNNING`, `INVALID_ARGUMENT`, `MEMBERSHIP_UNAVAILABLE`, as there.
    pub async fn drain(&self) -> Result<()> {
        self.caller.0.change(Membership::drain).await
    }

    /// Ends a [`drain`](Self::drain). Without one it has no effect.
    ///
    /// # Errors
    /// `NOT_RUNNING`, `MEMBERSHIP_UNAVAILABLE`.
    pub async fn resume(&self) -> Result<()> {
        self.caller.0.change(Membership::resume).await
    }

    /// Leaves: tells the others, answers what came in, waits for what runs, and for those who watch what the silo owns to
    /// have done with the loss of it, `drain` at most, then ends. Calls that still wait end with `CONNECTION_LOST` when their request had been sent, else with `NOT_RUNNING`. A second stop has no
    /// effect.
    ///
    /// From inside an async handler it returns at once and the stop happens when the handler has returned.
    pub async fn stop(&self, drain: Duration) {
        stop(self.caller.0.clone(), drain).await;
    }
}

impl Client {
    /// Begins to describe a client.
    pub fn builder() -> ClientBuilder {
        ClientBuilder(SiloBuilder::new(Ok(SiloId::new_client())))
    }

    /// A builder from a whole configuration, whose id is replaced by one of a client unless it is one.
    pub fn from_config(mut config: SiloConfig) -> ClientBuilder {
        if !config.silo_id.is_client() {
            config.silo_id = SiloId::new_client();
        }
        ClientBuilder(Silo::from_config(config))
    }

    /// The handle that calls.
    #[must_use]
    pub fn caller(&self) -> &Caller {
        &self.caller
    }

    /// Waits for what was sent, `drain` at most, then ends. Calls that still wait end as with [`Silo::stop`].
    pub async fn stop(&self, drain: Duration) {
        stop(self.caller.0.clone(), drain).await;
    }
}

impl Deref for Silo {
    type Target = Caller;
    fn deref(&self) -> &Caller {
        &self.caller
    }
}

impl Deref for Client {
    type Target = Caller;
    fn deref(&self) -> &Caller {
        &self.caller
    }
}

impl Drop for Silo {
    fn drop(&mut self) {
        self.caller.0.abort();
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        self.caller.0.abort();
    }
}

async fn stop(router: Arc<Router>, drain: Duration) {
    if !router.engine().is_running() {
        return;
    }
    let leaving = leave(router.clone(), drain);
    if context::is_in_handler() {
        // The handler is part of what the stop waits for.
        tokio::spawn(leaving);
    } else {
        leaving.await;
    }
}

/// How long a stop waits for handlers before it says so.
const PATIENCE: Duration = Duration::from_secs(1);

async fn leave(router: Arc<Router>, drain: Duration) {
    let engine = router.engine();
    let deadline = Instant::now() + drain.min(crate::config::MAX_TIMEOUT);
    let id = engine.local();
    router.set_leaving();
    tracing::info!(target: SILO, silo = %id, "leaving");
    // The others are told first, so that what they send next goes to the new owners.
    let told =
        tokio::time::timeout_at(deadline, router.membership().announce(SiloStatus::ShuttingDown)).await;
    if let Ok(Err(error)) = told {
        tracing::warn!(target: SILO, silo = %id, %error, "could not announce the leave");
    }
    engine.drain(deadline).await;
    let mut look = tokio::time::interval(Duration::from_millis(2));
    let mut say_at = Some(Instant::now() + PATIENCE);
    while !(router.inbox().is_idle() && router.is_handed_over()) && Instant::now() < deadline {
        look.tick().await;
        if say_at.is_some_and(|at| Instant::now() >= at) {
            say_at = None;
            let (requests, left) = (router.inbox().requests(), deadline.duration_since(Instant::now()));
            let handed_over = router.is_handed_over();
            tracing::warn!(target: SILO, silo = %id, requests, handed_over, ?left, "the stop waits for its host");
        }
    }
    const FAREWELL: Duration = Duration::from_secs(2);
    match tokio::time::timeout(FAREWELL, router.membership().stop()).await {
        Ok(Err(error)) => tracing::warn!(target: SILO, silo = %id, %error, "could not say farewell"),
        Err(_) => {
            tracing::warn!(target: SILO, silo = %id, "the membership did not take the farewell in time");
        }
        Ok(Ok(())) => {}
    }
    engine.stop().await;
    router.abort();
    tracing::info!(target: SILO, silo = %id, "stopped");
}

/// Describes a silo. The first setting that cannot be used is reported by [`start`](Self::start).
#[must_use = "a builder does nothing before start"]
pub struct SiloBuilder {
    config: Result<SiloConfig>,
    handlers: Handlers,
    network: Option<LoopbackNetwork>,
}

impl SiloBuilder {
    fn new(id: Result<SiloId>) -> Self {
        Self { config: id.map(SiloConfig::new), handlers: Handlers::default(), network: None }
    }

    /// Who is in the cluster; required.
    pub fn membership(self, url: MembershipUrl) -> Self {
        self.configure(|config| config.membership = Some(url))
    }

    /// Where to listen. Default `127.0.0.1:0`.
    pub fn listen(self, endpoint: Endpoint) -> Self {
        self.configure(|config| config.listen = endpoint)
    }

    /// The cluster's name. Default `quark`.
    pub fn cluster(self, name: impl Into<String>) -> Self {
        let name = name.into();
        self.configure(|config| {
            config.transport.cluster.clone_from(&name);
            config.timing.cluster = name;
        })
    }

    /// Which networks to listen on and to dial by. HTTP/3 needs [`tls`](Self::tls). Default HTTP/2.
    pub fn transport(self, transports: Transports) -> Self {
        self.configure(|config| config.transport.transport = transports)
    }

    /// Speaks TLS, with these certificates, and nothing else. Default none.
    pub fn tls(self, tls: Tls) -> Self {
        self.configure(|config| config.transport.tls = Some(tls))
    }

    /// Whether to speak without TLS beyond this machine. Default no.
    pub fn allow_plaintext(self, allow: bool) -> Self {
        self.configure(|config| config.set_allow_plaintext(allow))
    }

    /// How actors of this type are placed. Default consistent hash.
    pub fn placement(self, actor_type: impl Into<String>, placement: Placement) -> Self {
        self.configure(|config| drop(config.placement.insert(actor_type.into(), placement)))
    }

    /// The zone: `stateless-worker` prefers silos of the caller's, and [`Caller::successors`] are spread over zones. Default none.
    pub fn zone(self, zone: impl Into<String>) -> Self {
        self.configure(|config| config.zone = Some(zone.into()))
    }

    /// Speaks over a network inside this process instead of a real one; for tests and simulations.
    pub fn network(mut self, network: &LoopbackNetwork) -> Self {
        self.network = Some(network.clone());
        self
    }

    /// Changes any other setting.
    pub fn configure(mut self, change: impl FnOnce(&mut SiloConfig)) -> Self {
        if let Ok(config) = &mut self.config {
            change(config);
        }
        self
    }

    /// The async function for requests of every type that has no handler of its own.
    pub fn handler<F, Fut, R>(self, function: F) -> Self
    where
        F: Fn(Request) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<R>> + Send + 'static,
        R: Into<Bytes> + Send + 'static,
    {
        self.raw_handler(None, Arc::new(AsyncHandler::new(function)))
    }

    /// The async function for requests of one actor type. A silo with such handlers only declares their types and owns
    /// no actor of another one.
    pub fn handler_for<F, Fut, R>(self, actor_type: impl Into<String>, function: F) -> Self
    where
        F: Fn(Request) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<R>> + Send + 'static,
        R: Into<Bytes> + Send + 'static,
    {
        self.raw_handler(Some(actor_type.into()), Arc::new(AsyncHandler::new(function)))
    }

    /// A handler that answers when it likes, for one actor type or for all others.
    pub fn raw_handler(mut self, actor_type: Option<String>, handler: Arc<dyn Handler>) -> Self {
        let taken = match actor_type {
            None => self
                .handlers
                .catch_all
                .replace(handler)
                .map(|_| Error::invalid("handler", "", "was given twice")),
            Some(actor_type) => {
                let checked = check_name("actor_type", &actor_type, MAX_ACTOR_NAME_BYTES).err();
                let twice =
                    || Error::invalid("handlers", &actor_type, "the actor type has a handler already");
                let replaced = self.handlers.by_type.insert(actor_type.clone(), handler).map(|_| twice());
                checked.or(replaced)
            }
        };
        if let (Some(error), Ok(_)) = (taken, &self.config) {
            self.config = Err(error);
        }
        self
    }

    /// Whether the silo, once started, can be asked to [`watch_ownership`](Caller::watch_ownership) of this type: for those
    /// who would rather not start then.
    ///
    /// # Errors
    /// Those of [`watch_ownership`](Caller::watch_ownership).
    pub fn check_ownership(&self, actor_type: Option<&str>) -> Result<()> {
        whose_ring(actor_type, self.handlers.actor_types().as_deref()).map(drop)
    }

    /// Starts: listens, joins, and returns when the silo is in its own view. On the current tokio runtime.
    ///
    /// # Errors
    /// `INVALID_ARGUMENT`, `ADDRESS_IN_USE`, `MEMBERSHIP_UNAVAILABLE`, `ID_IN_USE`, `INCOMPATIBLE`.
    pub async fn start(self) -> Result<Silo> {
        let silo = self.start_closed().await?;
        silo.opener()();
        Ok(silo)
    }

    /// As [`start`](Self::start), but requests wait until what [`Silo::opener`] gives is called: for those who must put
    /// the silo somewhere before their handlers may look for it.
    ///
    /// # Errors
    /// Those of [`start`](Self::start).
    pub async fn start_closed(self) -> Result<Silo> {
        let config = self.config?;
        config.validate()?;
        let (router, guard) = assemble(&config, self.handlers, self.network)?;
        let engine = router.engine().clone();
        let receiver: Arc<dyn Receive> = router.clone();
        engine.start(Arc::downgrade(&receiver), Some(config.listen.clone())).await?;
        let bound = engine.endpoint().cloned().unwrap_or(config.listen);
        let endpoint = match &config.advertise {
            None => bound,
            // "advertise this host" leaves the port to the system too.
            Some(advertise) if advertise.port() == 0 => advertise.with_port(bound.port()),
            Some(advertise) => advertise.clone(),
        };
        let mut info = SiloInfo::new(config.silo_id, endpoint.clone());
        info.virtual_nodes = config.virtual_nodes;
        info.actor_types = guard.actor_types.clone();
        info.zone = config.zone;
        info.labels = config.labels;
        info.transports = config.transport.transport;
        router.inbox().start(&tokio::runtime::Handle::current());
        join(&router, Role::Member(info)).await?;
        guard.disarm();
        tracing::info!(target: SILO, silo = %router.engine().local(), %endpoint, "started");
        Ok(Silo { caller: Caller(router), endpoint })
    }
}

/// Describes a client.
#[must_use = "a builder does nothing before start"]
pub struct ClientBuilder(SiloBuilder);

impl ClientBuilder {
    /// Who is in the cluster; required.
    pub fn membership(self, url: MembershipUrl) -> Self {
        Self(self.0.membership(url))
    }

    /// The cluster's name. Default `quark`.
    pub fn cluster(self, name: impl Into<String>) -> Self {
        Self(self.0.cluster(name))
    }

    /// Which networks to dial by. HTTP/3 needs [`tls`](Self::tls). Default HTTP/2.
    pub fn transport(self, transports: Transports) -> Self {
        Self(self.0.transport(transports))
    }

    /// Speaks TLS, with these certificates, and nothing else. Default none.
    pub fn tls(self, tls: Tls) -> Self {
        Self(self.0.tls(tls))
    }

    /// Whether to speak without TLS beyond this machine. Default no.
    pub fn allow_plaintext(self, allow: bool) -> Self {
        Self(self.0.allow_plaintext(allow))
    }

    /// How actors of this type are placed. Default consistent hash.
    pub fn placement(self, actor_type: impl Into<String>, placement: Placement) -> Self {
        Self(self.0.placement(actor_type, placement))
    }

    /// The zone, whose silos `stateless-worker` prefers. Default none.
    pub fn zone(self, zone: impl Into<String>) -> Self {
        Self(self.0.zone(zone))
    }

    /// Speaks over a network inside this process instead of a real one; for tests and simulations.
    pub fn network(self, network: &LoopbackNetwork) -> Self {
        Self(self.0.network(network))
    }

    /// Changes any other setting.
    pub fn configure(self, change: impl FnOnce(&mut SiloConfig)) -> Self {
        Self(self.0.configure(change))
    }

    /// Starts, on the current tokio runtime.
    ///
    /// # Errors
    /// `INVALID_ARGUMENT`, `MEMBERSHIP_UNAVAILABLE`.
    pub async fn start(self) -> Result<Client> {
        let config = self.0.config?;
        config.validate()?;
        let (router, guard) = assemble(&config, Handlers::default(), self.0.network)?;
        let receiver: Arc<dyn Receive> = router.clone();
        router.engine().start(Arc::downgrade(&receiver), None).await?;
        join(&router, Role::Observer(config.silo_id)).await?;
        guard.disarm();
        Ok(Client { caller: Caller(router) })
    }
}

/// Ends what was started when a later step of the start fails.
struct Guard {
    router: Arc<Router>,
    actor_types: Option<Vec<String>>,
    armed: bool,
}

impl Guard {
    fn disarm(mut self) {
        self.armed = false;
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        if self.armed {
            self.router.abort();
        }
    }
}

fn assemble(
    config: &SiloConfig,
    handlers: Handlers,
    network: Option<LoopbackNetwork>,
) -> Result<(Arc<Router>, Guard)> {
    let carrier: Arc<dyn Carrier> = match network {
        Some(network) => Arc::new(network.carrier(&config.transport)),
        None => Arc::new(Networks::new(&config.silo_id, &config.transport)?),
    };
    let timing = MembershipConfig { transports: config.transport.transport, ..config.timing.clone() };
    let membership = Membership::new(config.membership_url()?, timing)?;
    let membership = Arc::new(membership.with_prober(carrier.clone()));
    let engine = Engine::new(config.silo_id.clone(), config.transport.clone(), carrier);
    let actor_types = handlers.actor_types();
    let capacity = Capacity { requests: config.inbox_capacity, bytes: config.inbox_bytes };
    let inbox = Inbox::new(handlers, capacity);
    let placements = Placements::new(config.placement.clone(), config.zone.clone());
    let router = Router::new(engine, membership, placements, inbox, actor_types.clone());
    Ok((router.clone(), Guard { router, actor_types, armed: true }))
}

async fn join(router: &Arc<Router>, role: Role) -> Result<()> {
    let engine = router.engine();
    router.membership().start(role).await?;
    router.set_view(router.membership().view());
    engine.spawn(router.clone().follow_views());
    engine.spawn(router.clone().follow_health());
    engine.spawn(router.clone().follow_lease());
    if engine.is_running() {
        Ok(())
    } else {
        Err(Error::new(ErrorKind::NotRunning, "stopped while it started"))
    }
}
