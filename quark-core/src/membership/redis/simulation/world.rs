//! A simulated cluster: silos and a client that share a store, on a network whose ways can be cut.
//!
//! Each silo is the real provider, keeper and all, with a process that can be stopped. Only the store and the network are
//! not real.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use tokio::time::Instant;

use super::process::Process;
use super::server::{SharedServer, SharedStore};
use crate::endpoint::Endpoint;
use crate::error::{Error, Result};
use crate::id::SiloId;
use crate::membership::redis::RedisMembership;
use crate::membership::{MembershipConfig, Provider as _, Role, ViewPublisher};
use crate::probe::{Probe, Prober};
use crate::silo_info::SiloInfo;

/// The ways between silos, and who listens where.
#[derive(Clone, Default)]
pub(super) struct Network(Arc<Mutex<Ways>>);

#[derive(Default)]
struct Ways {
    listening: BTreeMap<Endpoint, Host>,
    cuts: BTreeSet<(SiloId, SiloId)>,
}

#[derive(Clone)]
struct Host {
    id: SiloId,
    process: Arc<Process>,
    /// The incarnation that it says.
    views: ViewPublisher,
}

impl Network {
    fn lock(&self) -> MutexGuard<'_, Ways> {
        self.0.lock().expect("no panic while locked")
    }

    /// Nothing gets from one silo to the other, or again.
    pub(super) fn cut(&self, from: &SiloId, to: &SiloId, cut: bool) {
        let way = (from.clone(), to.clone());
        let mut ways = self.lock();
        if cut {
            ways.cuts.insert(way);
        } else {
            ways.cuts.remove(&way);
        }
    }

    /// Somebody who is no silo of this simulation answers there.
    pub(super) fn answer(&self, id: &SiloId, endpoint: &Endpoint) {
        let host = Host { id: id.clone(), process: Arc::default(), views: ViewPublisher::default() };
        self.lock().listening.insert(endpoint.clone(), host);
    }

    pub(super) fn heal(&self) {
        self.lock().cuts.clear();
    }

    /// Whether two silos can talk.
    pub(super) fn connects(&self, one: &SiloId, other: &SiloId) -> bool {
        let ways = self.lock();
        !ways.cuts.contains(&(one.clone(), other.clone()))
            && !ways.cuts.contains(&(other.clone(), one.clone()))
    }
}

impl Prober for Network {
    fn probe(&self, from: &SiloId, silo: &SiloInfo, limit: Duration) -> BoxFuture<'static, Probe> {
        const WAY: Duration = Duration::from_millis(1);
        let (network, from, silo) = (self.clone(), from.clone(), silo.clone());
        async move {
            tokio::time::sleep(WAY).await;
            let host = network.lock().listening.get(&silo.endpoint).cloned();
            let there = host.as_ref().map_or(&silo.silo_id, |host| &host.id);
            let answer = match &host {
                _ if !network.connects(&from, there) => Probe::Silent,
                Some(host) if host.process.is_stopped() => Probe::Silent,
                Some(host) => Probe::answered_by(&silo, &host.id, host.views.incarnation()),
                None => Probe::Refused,
            };
            tokio::time::sleep(if answer == Probe::Silent { limit } else { WAY }).await;
            answer
        }
        .boxed()
    }
}

/// One silo in its present process.
pub(super) struct Running {
    pub(super) id: SiloId,
    pub(super) endpoint: Endpoint,
    pub(super) process: Arc<Process>,
    pub(super) views: ViewPublisher,
    provider: Arc<RedisMembership<SharedServer>>,
    network: Network,
}

impl Running {
    /// Starts a silo, or a client if it has no endpoint.
    pub(super) async fn start(
        store: &SharedStore,
        network: &Network,
        id: &SiloId,
        endpoint: &Endpoint,
        skew: time::Duration,
    ) -> Result<Self> {
        let role = if id.is_client() {
            Role::Observer(id.clone())
        } else {
            Role::Member(SiloInfo::new(id.clone(), endpoint.clone()))
        };
        Self::start_as(role, store, network, endpoint, skew).await
    }

    /// Starts a silo or a client that has more to say of itself.
    pub(super) async fn start_as(
        role: Role,
        store: &SharedStore,
        network: &Network,
        endpoint: &Endpoint,
        skew: time::Duration,
    ) -> Result<Self> {
        let id = &role.id().clone();
        let process = Arc::new(Process::default());
        let server = store.server_for(id, &process, skew);
        let provider = Arc::new(RedisMembership::at(server, MembershipConfig::default()));
        let views = ViewPublisher::default();
        let host = Host { id: id.clone(), process: process.clone(), views: views.clone() };
        let taken = network.lock().listening.insert(endpoint.clone(), host.clone());
        let running = Self {
            id: id.clone(),
            endpoint: endpoint.clone(),
            process,
            views: views.clone(),
            provider: provider.clone(),
            network: network.clone(),
        };
        assert!(taken.is_none(), "endpoints are used once at a time");
        let incarnation = provider.start(role, views.clone(), Arc::new(network.clone())).await?;
        views.set_incarnation(incarnation);
        Ok(running)
    }

    /// Leaves in good order.
    pub(super) async fn leave(self) -> Result<()> {
        self.provider.stop().await
    }

    pub(super) fn incarnation(&self) -> u64 {
        self.views.incarnation()
    }

    pub(super) fn serves(&self) -> bool {
        self.views.lease().holds()
    }

    /// The lives in its view.
    pub(super) fn sees(&self) -> Vec<(SiloId, u64)> {
        self.views.current().silos().map(|silo| (silo.silo_id.clone(), silo.incarnation)).collect()
    }

    /// A link to that silo broke.
    pub(super) fn suspect(&self, id: &SiloId) {
        if let Some(silo) = self.views.current().silo(id.as_str()) {
            self.provider.suspect(silo);
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.network.lock().listening.remove(&self.endpoint);
    }
}

/// What is known of how a silo fared, for those who judge.
#[derive(Clone, Copy)]
pub(super) struct Fortune {
    /// Its process ran without a pause since.
    pub(super) ran_since: Instant,
    /// It reached the store since.
    pub(super) stored_since: Instant,
    /// All others but one could reach it since.
    pub(super) reachable_since: Instant,
    /// There was no second process of its id since.
    pub(super) alone_since: Instant,
}

impl Fortune {
    pub(super) fn new() -> Self {
        let now = Instant::now();
        Self { ran_since: now, stored_since: now, reachable_since: now, alone_since: now }
    }
}

/// An error as text, for the trace.
pub(super) fn why(error: &Error) -> String {
    format!("{}: {}", error.kind(), error.message())
}
