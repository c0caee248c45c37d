//! Who is in the cluster. One handle, [`Membership`], over whichever provider the URL names.
//!
//! Providers (Redis, gossip, a fixed list, this process's memory) do the I/O and publish immutable [`View`]s through a
//! [`ViewPublisher`]; everybody else reads views and never reaches back, but for one hint: a link that broke makes a
//! provider look sooner ([`Membership::suspect`]).

#[cfg(test)]
mod agreement;
mod change;
mod choices;
mod fixed;
#[cfg(any(test, quark_fuzzing))]
pub(crate) mod fuzzing {
    pub(crate) use super::gossip::fuzzing::{gossip_datagram, gossip_values};
    pub(crate) use super::redis::fuzzing::{redis_answers, redis_channels};
}
mod gossip;
mod hello;
mod isolation;
mod judge;
mod lease;
mod lookout;
mod memory;
mod redis;
mod redis_credentials;
mod redis_url;
mod succession;
mod url;
mod view;

use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinSet;

use self::change::Change;
use self::hello::Knock;
use self::lease::Lease;
use crate::error::{Error, ErrorKind, Result};
use crate::health::Health;
use crate::id::SiloId;
use crate::probe::Prober;
use crate::silo_info::SiloInfo;
use crate::transports::Transports;

pub use self::redis_credentials::RedisCredentials;
pub use self::redis_url::RedisUrl;
pub use self::url::MembershipUrl;
pub use self::view::{MembershipEvent, View};

/// How membership behaves; every duration has the contract's default.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct MembershipConfig {
    /// The cluster's name, `[A-Za-z0-9._-]{1,64}`. Default `quark`.
    pub cluster: String,
    /// How long a row lives without a heartbeat. Default 30 s.
    pub ttl: Duration,
    /// How often a row is rewritten. Default 10 s.
    pub heartbeat: Duration,
    /// How long a row must be missing, and the silo not answer, before it is out. Default 15 s.
    pub missing_row_grace: Duration,
    /// How long a start may take before it fails with `MEMBERSHIP_UNAVAILABLE`. Default 10 s.
    pub start_timeout: Duration,
    /// How long a probe of a silo's endpoint may take. Default 2 s.
    pub probe_timeout: Duration,
    /// How often gossip is exchanged. Default 250 ms.
    pub gossip_interval: Duration,
    /// Whether to gossip beyond this machine: the datagrams are neither encrypted nor signed. Default no.
    pub allow_plaintext: bool,
    /// Who gives the user and the password for Redis, where the URL has none. Default nobody.
    pub redis_credentials: Option<RedisCredentials>,
    /// Which networks the transports of silos in a `static://` list speak: the list does not say. A silo or client sets it to
    /// its own. Default HTTP/2.
    pub transports: Transports,
}

impl Default for MembershipConfig {
    fn default() -> Self {
        Self {
            cluster: "quark".to_owned(),
            ttl: Duration::from_secs(30),
            heartbeat: Duration::from_secs(10),
            missing_row_grace: Duration::from_secs(15),
            start_timeout: Duration::from_secs(10),
            probe_timeout: Duration::from_secs(2),
            gossip_interval: Duration::from_millis(250),
            allow_plaintext: false,
            redis_credentials: None,
            transports: Transports::HTTP2,
        }
    }
}

/// As what one takes part.
#[derive(Clone, Debug)]
pub enum Role {
    /// A silo, seen by the others. Its incarnation is given by the provider at start.
    Member(SiloInfo),
    /// A client: sees the view and is in none.
    Observer(SiloId),
}

impl Role {
    /// The id of whoever takes part.
    #[must_use]
    pub fn id(&self) -> &SiloId {
        match self {
            Self::Member(info) => &info.silo_id,
            Self::Observer(id) => id,
        }
    }
}

/// A future of a provider.
pub(crate) type Work<'a, T = ()> = Pin<Box<dyn Future<Output = Result<T>> + Send + 'a>>;

/// What a provider does. Implementations publish views until they are stopped and survive the loss of their store.
pub(crate) trait Provider: Send + Sync {
    /// Begins, and returns the incarnation of this life (0 for observers). The first view is published before it returns.
    fn start(&self, role: Role, views: ViewPublisher, prober: Arc<dyn Prober>) -> Work<'_, u64>;
    /// Tells the others what this silo changes in what it says of itself. Its own view shows it when this returns.
    fn announce(&self, change: Change) -> Work<'_>;
    /// Leaves: tells the others, removes what this life wrote, ends every task. A second stop has no effect.
    fn stop(&self) -> Work<'_>;
    /// A link to this silo broke or could not be made: look sooner than planned. A hint; does not wait.
    fn suspect(&self, silo: &SiloInfo);
}

/// Membership, usable alone. Start it, read its views, stop it. Dropping it without a stop ends its tasks without a
/// word to the others, who find out by themselves.
pub struct Membership {
    /// Gone after [`abort`](Self::abort).
    provider: Mutex<Option<Arc<dyn Provider>>>,
    prober: Arc<dyn Prober>,
    views: ViewPublisher,
    state: Mutex<State>,
    started: Mutex<Option<Started>>,
}

#[derive(Clone, Copy, PartialEq)]
enum State {
    Fresh,
    Started,
    Stopped,
}

/// What runs.
struct Started {
    /// `None` for a client.
    silo: Option<SiloId>,
    /// Since the first drain. Dropping it ends the task.
    tends_drain: Option<JoinSet<()>>,
}

impl Membership {
    /// A handle for the provider that `url` names. Nothing happens before [`start`](Self::start).
    ///
    /// # Errors
    /// `INVALID_ARGUMENT` when the configuration cannot be used.
    pub fn new(url: &MembershipUrl, config: MembershipConfig) -> Result<Self> {
        config.validate()?;
        if config.redis_credentials.is_some() {
            let problem = match url {
                MembershipUrl::Redis(url) => {
                    url.login.is_some().then_some("the membership URL has a password too")
                }
                _ => Some("the membership is not in Redis"),
            };
            if let Some(problem) = problem {
                return Err(Error::invalid("redis_credentials", "", problem));
            }
        }
        let provider: Arc<dyn Provider> = match url {
            MembershipUrl::Redis(url) => redis::provider(url.clone(), config)?,
            MembershipUrl::Gossip { bind, .. } if !bind.is_loopback() && !config.allow_plaintext => {
                let problem = "gossips beyond this machine, in datagrams that anybody there can read and forge; \
                               set allow_plaintext to accept that";
                return Err(Error::invalid("membership", format!("gossip://{bind}"), problem));
            }
            MembershipUrl::Gossip { bind, seeds } => {
                Arc::new(gossip::GossipMembership::new(bind.clone(), seeds.clone(), config))
            }
            MembershipUrl::Static(silos) => {
                Arc::new(fixed::FixedMembership::new(silos.clone(), config.transports))
            }
            MembershipUrl::Memory { name, lag } => {
                Arc::new(memory::MemoryMembership::new(name, *lag, &config))
            }
        };
        Ok(Self {
            provider: Mutex::new(Some(provider)),
            prober: Arc::new(Knock),
            views: ViewPublisher::default(),
            state: Mutex::new(State::Fresh),
            started: Mutex::default(),
        })
    }

    /// Looks at other silos in this way, rather than by knocking.
    pub(crate) fn with_prober(self, prober: Arc<dyn Prober>) -> Self {
        Self { prober, ..self }
    }

    /// Begins as a silo or as an observer; returns the incarnation of this life (0 for observers). The first view is
    /// there when it returns, and holds this silo itself. Must be called within a tokio runtime.
    ///
    /// # Errors
    /// `MEMBERSHIP_UNAVAILABLE`, `ID_IN_USE`, `INCOMPATIBLE`; `NOT_RUNNING` on a second start.
    pub async fn start(&self, role: Role) -> Result<u64> {
        {
            let mut state = self.state.lock().expect("no panic while locked");
            if *state != State::Fresh {
                return Err(Error::new(ErrorKind::NotRunning, "membership was started before"));
            }
            *state = State::Started;
        }
        let silo = match &role {
            Role::Member(info) => Some(info.silo_id.clone()),
            Role::Observer(_) => None,
        };
        let incarnation = self.provider()?.start(role, self.views.clone(), self.prober.clone()).await?;
        self.views.incarnation.fetch_max(incarnation, Ordering::AcqRel);
        *self.started() = Some(Started { silo, tends_drain: None });
        Ok(incarnation)
    }

    /// Leaves the cluster and ends. Stopping twice, or before the start, has no effect.
    ///
    /// # Errors
    /// What the store says when the farewell could not be told; the others find out by themselves.
    pub async fn stop(&self) -> Result<()> {
        {
            let mut state = self.state.lock().expect("no panic while locked");
            if *state != State::Started {
                return Ok(());
            }
            *state = State::Stopped;
        }
        drop(self.started().take());
        match self.provider() {
            Ok(provider) => provider.stop().await,
            Err(_ended) => Ok(()),
        }
    }

    fn started(&self) -> MutexGuard<'_, Option<Started>> {
        self.started.lock().expect("no panic while locked")
    }

    fn provider(&self) -> Result<Arc<dyn Provider>> {
        let provider = self.provider.lock().expect("no panic while locked");
        provider.clone().ok_or_else(|| Error::new(ErrorKind::NotRunning, "the membership has ended"))
    }

    /// Ends every task without a word to the others, who find out by themselves.
    pub(crate) fn abort(&self) {
        drop(self.started().take());
        drop(self.provider.lock().expect("no panic while locked").take());
    }

    /// The current view. Never waits.
    #[must_use]
    pub fn view(&self) -> Arc<View> {
        self.views.current()
    }

    /// A receiver that wakes at each new view. Views may be skipped when they come faster than they are read; compare
    /// with [`View::events_since`].
    #[must_use]
    pub fn watch(&self) -> watch::Receiver<Arc<View>> {
        self.views.views.subscribe()
    }

    /// The incarnation of this life, or of the one that began when this silo had been told that it was out; 0 for
    /// observers and before the start.
    #[must_use]
    pub fn incarnation(&self) -> u64 {
        self.views.incarnation()
    }

    /// Whether this silo may serve the actors that it owns: not while it is cut off, was told that it is out, or cannot be
    /// sure since its process did not run for a while. Never waits.
    #[must_use]
    pub fn may_serve(&self) -> bool {
        self.views.lease.holds()
    }

    /// How often this silo had to stop serving so far; wakes when it has to, and when it may serve again.
    pub(crate) fn watch_lease(&self) -> watch::Receiver<lease::Standing> {
        self.views.lease.watch()
    }

    /// How often this silo had to stop serving so far.
    pub(crate) fn lease_losses(&self) -> u64 {
        self.views.lease.losses()
    }

    /// How it fares. Never waits.
    #[must_use]
    pub fn health(&self) -> Health {
        self.views.health()
    }

    /// A receiver that wakes when that changes.
    #[must_use]
    pub fn watch_health(&self) -> watch::Receiver<Health> {
        self.views.health.subscribe()
    }

    /// The silos of the current view.
    #[must_use]
    pub fn silos(&self) -> Vec<Arc<SiloInfo>> {
        self.view().silos().cloned().collect()
    }

    /// One silo of the current view.
    #[must_use]
    pub fn silo(&self, id: &str) -> Option<Arc<SiloInfo>> {
        self.view().silo(id).cloned()
    }

    /// The owner of an actor in the current view.
    #[must_use]
    pub fn owner(&self, actor_type: &str, actor_id: &str) -> Option<SiloId> {
        self.view().owner(actor_type, actor_id).cloned()
    }

    /// A link to this silo broke or could not be made: look sooner than planned.
    pub fn suspect(&self, silo: &SiloInfo) {
        if let Ok(provider) = self.provider() {
            provider.suspect(silo);
        }
    }
}

impl MembershipConfig {
    fn validate(&self) -> Result<()> {
        crate::id::check_cluster(&self.cluster)?;
        let positive = [
            ("ttl", self.ttl),
            ("heartbeat", self.heartbeat),
            ("start_timeout", self.start_timeout),
            ("probe_timeout", self.probe_timeout),
            ("gossip_interval", self.gossip_interval),
        ];
        for (name, value) in positive {
            if value.is_zero() {
                return Err(Error::invalid(name, value, "must be more than nothing"));
            }
        }
        if self.heartbeat >= self.ttl {
            return Err(Error::invalid(
                "heartbeat",
                self.heartbeat,
                &format!("must be less than ttl={:?}", self.ttl),
            ));
        }
        Ok(())
    }
}

/// Where a provider puts its views. Versions are given here, so that they grow by one whatever the provider does.
#[derive(Clone)]
pub(crate) struct ViewPublisher {
    views: watch::Sender<Arc<View>>,
    health: watch::Sender<Health>,
    lease: Arc<Lease>,
    incarnation: Arc<AtomicU64>,
}

impl Default for ViewPublisher {
    fn default() -> Self {
        Self {
            views: watch::Sender::new(Arc::default()),
            health: watch::Sender::default(),
            lease: Arc::default(),
            incarnation: Arc::default(),
        }
    }
}

impl ViewPublisher {
    /// The view published last.
    pub(crate) fn current(&self) -> Arc<View> {
        self.views.borrow().clone()
    }

    /// The lease under which this silo serves.
    pub(crate) fn lease(&self) -> &Arc<Lease> {
        &self.lease
    }

    pub(crate) fn incarnation(&self) -> u64 {
        self.incarnation.load(Ordering::Acquire)
    }

    /// This silo has begun another life.
    pub(crate) fn set_incarnation(&self, incarnation: u64) {
        self.incarnation.store(incarnation, Ordering::Release);
    }

    pub(crate) fn health(&self) -> Health {
        self.health.borrow().clone()
    }

    /// Says how the provider fares, if that is news.
    pub(crate) fn set_health(&self, health: Health) {
        self.health.send_if_modified(|current| {
            let news = *current != health;
            if news {
                crate::telemetry::health_changed(&health);
                *current = health;
            }
            news
        });
    }

    /// Publishes a view of these silos, unless nothing but heartbeats changed. Says what changed.
    pub(crate) fn publish(&self, silos: impl IntoIterator<Item = Arc<SiloInfo>>) -> Vec<MembershipEvent> {
        let mut events = Vec::new();
        self.views.send_if_modified(|current| {
            let next = current.next(silos);
            events = next.events_since(current);
            let publish = !events.is_empty() || current.version() == 0;
            if publish {
                for event in &events {
                    crate::telemetry::membership_event(event);
                }
                *current = Arc::new(next);
            }
            publish
        });
        events
    }
}
