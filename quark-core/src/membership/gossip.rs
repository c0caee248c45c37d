//! `gossip://`: silos tell each other who is there, over UDP, without any server.
//!
//! Chitchat carries the news and notices whose heartbeat stopped. This file has the provider: how a silo starts, speaks
//! of itself and leaves. `node` wraps chitchat, `socket` lends it an already bound socket, `gathering` decides who is
//! in, and `follower` is the task that publishes the views.

mod follower;
#[cfg(any(test, quark_fuzzing))]
pub(super) mod fuzzing;
mod gathering;
mod node;
mod socket;

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use tokio::net::{UdpSocket, lookup_host};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::Instant;

use self::follower::{Command, Follower};
use self::gathering::Sighting;
use self::node::Node;
use self::socket::BoundTransport;
use super::change::Change;
use super::{MembershipConfig, Provider, Role, ViewPublisher, Work};
use crate::endpoint::Endpoint;
use crate::error::{Error, ErrorKind, Result};
use crate::id::SiloId;
use crate::probe::{Probe, Prober};
use crate::silo_info::{SiloInfo, SiloStatus};
use crate::telemetry::MEMBERSHIP;

/// The label under which a silo tells its gossip address, `host:port`.
const GOSSIP_LABEL: &str = "quark.gossip";
/// How long a starting silo waits for its seeds; after that it starts alone, and they find each other later.
const FIRST_CONTACT_LIMIT: Duration = Duration::from_millis(1_500);
/// How often a starting silo knocks at its seeds.
const KNOCK_INTERVAL: Duration = Duration::from_millis(50);
/// How long a predecessor whose endpoint answers may take to show a heartbeat.
const SIGN_OF_LIFE_LIMIT: Duration = Duration::from_secs(2);
/// How often a farewell is told, and how long each telling gets.
const FAREWELLS: usize = 3;
const FAREWELL_PAUSE: Duration = Duration::from_millis(50);
/// What a silo may say of itself while it drains, in bytes: half of a datagram.
const MAX_VALUE: usize = 32 * 1024;
/// How many suspicions may wait; more are dropped, heartbeats are watched anyway.
const COMMANDS: usize = 256;

/// Membership by gossip.
pub(super) struct GossipMembership {
    bind: Endpoint,
    seeds: Vec<Endpoint>,
    config: MembershipConfig,
    running: Mutex<Option<Running>>,
}

struct Running {
    node: Arc<Node>,
    /// `None` for a client.
    myself: Option<SiloInfo>,
    commands: mpsc::Sender<Command>,
    /// Dropping the set ends the tasks.
    _tasks: JoinSet<()>,
}

/// What speaks, what it says of this silo, and who says that which must come in order.
type Speaking = (Arc<Node>, SiloInfo, mpsc::Sender<Command>);

impl GossipMembership {
    pub(super) fn new(bind: Endpoint, seeds: Vec<Endpoint>, config: MembershipConfig) -> Self {
        Self { bind, seeds, config, running: Mutex::new(None) }
    }

    async fn begin(&self, role: Role, views: ViewPublisher, prober: Arc<dyn Prober>) -> Result<u64> {
        let me = role.id().clone();
        let deadline = Instant::now() + self.config.start_timeout;
        let socket = self.bind().await?;
        let (seeds, unknown) = self.resolve_seeds().await;
        let address = advertised(socket.address(), &role, &seeds).await;
        let seeds: Vec<_> = seeds.into_iter().filter(|seed| *seed != address).collect();

        // The first silo of a cluster may name itself.
        let seeks_others = !seeds.is_empty() || !unknown.is_empty();
        let mut unmet_since = None;

        let node = self.spawn(role.id(), unix_millis(), address, &socket).await?;
        let (node, myself) = match role {
            Role::Member(info) => {
                let limit = FIRST_CONTACT_LIMIT.min(self.config.start_timeout);
                let met = self.meet(&node, &seeds, Instant::now() + limit).await;
                if !met && seeks_others {
                    unmet_since = Some(SystemTime::now());
                    let why = self.no_seed(&unknown, limit);
                    tracing::warn!(target: MEMBERSHIP, silo = %info.silo_id, "starts alone and keeps trying: {}", why.message());
                }
                let (node, info) = self.introduce(node, info, address, &socket, &seeds, &*prober).await?;
                (node, Some(info))
            }
            Role::Observer(_) => {
                if !self.meet(&node, &seeds, deadline).await {
                    return Err(self.no_seed(&unknown, self.config.start_timeout));
                }
                (node, None)
            }
        };

        let incarnation = myself.as_ref().map_or(0, |info| info.incarnation);
        let (sender, commands) = mpsc::channel(COMMANDS);
        let mut tasks = JoinSet::new();
        let lease = myself.is_some().then(|| views.lease().clone());
        let mut follower = Follower::new(node.clone(), myself.clone(), &self.config, views, me, prober);
        follower.has_met_nobody_since(unmet_since);
        follower.begin().await;
        tasks.spawn(follower.run(commands));
        if let Some(lease) = lease {
            tasks.spawn(lease.keep());
        }
        let running = Running { node, myself, commands: sender, _tasks: tasks };
        *self.running.lock().expect("no panic while locked") = Some(running);
        Ok(incarnation)
    }

    async fn bind(&self) -> Result<BoundTransport> {
        let failed = |error: io::Error| match error.kind() {
            io::ErrorKind::AddrInUse => {
                Error::new(ErrorKind::AddressInUse, format!("gossip address {} is taken", self.bind))
            }
            _ => self.unavailable(&format!("cannot listen: {error}")),
        };
        let address = lookup_host((self.bind.host(), self.bind.port())).await.map_err(failed)?.next();
        let address = address.ok_or_else(|| self.unavailable("the host to listen on has no address"))?;
        BoundTransport::bind(address).await.map_err(failed)
    }

    /// The addresses of the seeds, and why those that have none do not.
    async fn resolve_seeds(&self) -> (Vec<SocketAddr>, Vec<String>) {
        let (mut addresses, mut unknown) = (Vec::new(), Vec::new());
        for seed in &self.seeds {
            match lookup_host((seed.host(), seed.port())).await {
                Ok(found) => addresses.extend(found),
                Err(error) => unknown.push(format!("{seed}: {error}")),
            }
        }
        (addresses, unknown)
    }

    /// Why nobody was met.
    fn no_seed(&self, unknown: &[String], limit: Duration) -> Error {
        if self.seeds.is_empty() {
            let form =
                "a client needs the gossip address of a silo, as in gossip://127.0.0.1:0?seed=127.0.0.1:7946";
            return self.unavailable(form);
        }
        if unknown.len() == self.seeds.len() {
            return self.unavailable(&format!("no seed has an address ({})", unknown.join("; ")));
        }
        let cluster = &self.config.cluster;
        self.unavailable(&format!(
            "none of the seeds answered within {limit:?}; is a silo of cluster {cluster:?} there, with that gossip address?"
        ))
    }

    async fn spawn(
        &self,
        id: &SiloId,
        generation: u64,
        address: SocketAddr,
        socket: &BoundTransport,
    ) -> Result<Arc<Node>> {
        let seeds = self.seeds.iter().map(Endpoint::to_string).collect();
        let node = Node::spawn(id, generation, address, socket, seeds, &self.config).await;
        Ok(Arc::new(node.map_err(|error| self.unavailable(&error))?))
    }

    /// Knocks at the seeds until somebody answers and it is clear who of the silos they know is alive. Says whether
    /// anybody answered.
    async fn meet(&self, node: &Node, seeds: &[SocketAddr], deadline: Instant) -> bool {
        if seeds.is_empty() {
            return false;
        }
        let mut met_at = None;
        let mut knocks = tokio::time::interval(KNOCK_INTERVAL);
        while Instant::now() < deadline {
            knocks.tick().await;
            seeds.iter().for_each(|seed| node.talk_to(*seed));
            let peers = node.peers().await;
            if peers.is_empty() {
                continue;
            }
            let met_at = *met_at.get_or_insert_with(Instant::now);
            // Earlier lives of this id are looked at one by one, later. Clients tell nothing.
            let mut others =
                peers.iter().filter(|peer| peer.id.as_str() != node.id() && !peer.id.is_client());
            let all_told = others.all(|peer| peer.live && peer.told_anything);
            if all_told || met_at.elapsed() > self.config.gossip_interval * 4 {
                return true;
            }
        }
        met_at.is_some()
    }

    /// Takes the id over from whatever earlier life there was, and tells everybody.
    async fn introduce(
        &self,
        mut node: Arc<Node>,
        mut info: SiloInfo,
        address: SocketAddr,
        socket: &BoundTransport,
        seeds: &[SocketAddr],
        prober: &dyn Prober,
    ) -> Result<(Arc<Node>, SiloInfo)> {
        let earlier = |peers: Vec<Sighting>| peers.into_iter().filter(|peer| peer.id == info.silo_id);
        let lives: Vec<_> = earlier(node.peers().await).collect();
        for life in &lives {
            self.check_gone(&node, life, &info, seeds, prober).await?;
        }
        let last =
            |life: &Sighting| life.silo.as_ref().map_or(0, |silo| silo.incarnation).max(life.generation);
        if let Some(highest) = lives.iter().map(last).max()
            && highest >= node.generation()
        {
            // A clock that runs behind its predecessor's: this life must still count as the later one.
            node.shut_down().await;
            node = self.spawn(&info.silo_id, highest.saturating_add(1), address, socket).await?;
            self.meet(&node, seeds, Instant::now() + FIRST_CONTACT_LIMIT).await;
        }
        info.incarnation = node.generation();
        info.labels.insert(GOSSIP_LABEL.to_owned(), address.to_string());
        node.say(&info).await;
        node.talk_to_all().await;
        Ok((node, info))
    }

    /// `ID_IN_USE` when an earlier life answers at another endpoint and its heart still beats.
    async fn check_gone(
        &self,
        node: &Node,
        life: &Sighting,
        info: &SiloInfo,
        seeds: &[SocketAddr],
        prober: &dyn Prober,
    ) -> Result<()> {
        let Some(silo) = life.silo.as_ref().filter(|silo| silo.status != SiloStatus::Dead) else {
            return Ok(());
        };
        if silo.endpoint == info.endpoint
            || prober.probe(&info.silo_id, silo, self.config.probe_timeout).await != Probe::Answered
        {
            return Ok(());
        }
        // The endpoint may be somebody else's by now.
        let deadline = Instant::now() + SIGN_OF_LIFE_LIMIT;
        let mut knocks = tokio::time::interval(KNOCK_INTERVAL);
        while Instant::now() < deadline {
            let peers = node.peers().await;
            let now = peers.iter().find(|peer| peer.id == life.id && peer.generation == life.generation);
            if now.is_some_and(|now| now.heartbeat > life.heartbeat) {
                let in_use = format!("silo {:?} lives at {}", info.silo_id, silo.endpoint);
                return Err(Error::new(ErrorKind::IdInUse, in_use));
            }
            seeds.iter().for_each(|seed| node.talk_to(*seed));
            knocks.tick().await;
        }
        Ok(())
    }

    fn unavailable(&self, why: &str) -> Error {
        let url = super::MembershipUrl::Gossip { bind: self.bind.clone(), seeds: self.seeds.clone() };
        Error::new(ErrorKind::MembershipUnavailable, format!("{url}: {why}"))
    }

    /// The node and this silo with what it changes, if it runs as one.
    ///
    /// # Errors
    /// `INVALID_ARGUMENT` when no datagram could carry it.
    fn with(&self, change: Change) -> Result<Option<Speaking>> {
        let mut running = self.running.lock().expect("no panic while locked");
        let Some(running) = running.as_mut() else { return Ok(None) };
        let Some(myself) = running.myself.as_mut() else { return Ok(None) };
        let mut changed = myself.clone();
        change.apply(&mut changed);
        let bytes = changed.to_json().len();
        if changed.is_draining() && bytes > MAX_VALUE {
            let problem = format!(
                "has too many hash ranges to drain: they make {bytes} bytes, and gossip carries {MAX_VALUE}"
            );
            return Err(Error::invalid("virtual_nodes", changed.virtual_nodes, &problem));
        }
        myself.clone_from(&changed);
        Ok(Some((running.node.clone(), changed, running.commands.clone())))
    }
}

/// Where others reach the gossip of this silo. Beyond a wildcard, that is the host of its endpoint, or the address from
/// which it reaches its seeds.
async fn advertised(bound: SocketAddr, role: &Role, seeds: &[SocketAddr]) -> SocketAddr {
    if !bound.ip().is_unspecified() {
        return bound;
    }
    let of_endpoint = match role {
        Role::Member(info) => info.endpoint.host().parse::<IpAddr>().ok().filter(|ip| !ip.is_unspecified()),
        Role::Observer(_) => None,
    };
    let ip = match of_endpoint {
        Some(ip) => ip,
        None => towards(seeds).await.unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST)),
    };
    SocketAddr::new(ip, bound.port())
}

/// The own address on the way to the first seed; nothing is sent.
async fn towards(seeds: &[SocketAddr]) -> Option<IpAddr> {
    let seed = seeds.first()?;
    let any: IpAddr =
        if seed.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { std::net::Ipv6Addr::UNSPECIFIED.into() };
    let socket = UdpSocket::bind((any, 0)).await.ok()?;
    socket.connect(seed).await.ok()?;
    Some(socket.local_addr().ok()?.ip())
}

/// Grows from life to life, as far as the clock does.
fn unix_millis() -> u64 {
    let since = SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

impl Provider for GossipMembership {
    fn start(&self, role: Role, views: ViewPublisher, prober: Arc<dyn Prober>) -> Work<'_, u64> {
        Box::pin(self.begin(role, views, prober))
    }

    fn announce(&self, change: Change) -> Work<'_> {
        Box::pin(async move {
            if let Some((_, myself, commands)) = self.with(change)? {
                // The task says it, which knows this silo's life.
                let (say, said) = oneshot::channel();
                let _ = commands.send(Command::Myself(myself, say)).await;
                let _ = said.await;
            }
            Ok(())
        })
    }

    fn stop(&self) -> Work<'_> {
        Box::pin(async move {
            let farewell = self.with(Change::Status(SiloStatus::Dead)).ok().flatten();
            let Some(running) = self.running.lock().expect("no panic while locked").take() else {
                return Ok(());
            };
            if let Some((node, myself, _)) = farewell {
                node.say(&myself).await;
                for _ in 0..FAREWELLS {
                    node.talk_to_all().await;
                    tokio::time::sleep(FAREWELL_PAUSE).await;
                }
            }
            let Running { node, _tasks: mut tasks, .. } = running;
            tasks.shutdown().await;
            node.shut_down().await;
            Ok(())
        })
    }

    fn suspect(&self, silo: &SiloInfo) {
        if let Some(running) = &*self.running.lock().expect("no panic while locked") {
            let _ = running.commands.try_send(Command::Suspect(silo.silo_id.clone(), silo.incarnation));
        }
    }
}
