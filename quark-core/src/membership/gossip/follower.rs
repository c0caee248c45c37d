//! The task that looks at gossip in every round, publishes the view, and probes the silos that links complain about.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior};

use super::gathering::Gathering;
use super::node::Node;
use crate::id::SiloId;
use crate::membership::probe::{Probe, probe};
use crate::membership::{MembershipConfig, ViewPublisher};
use crate::silo_info::SiloInfo;
use crate::telemetry::MEMBERSHIP;

/// When a suspected silo is probed: at once, and again when heartbeats that were still under way have come in.
const PROBES: [Duration; 3] = [Duration::ZERO, Duration::from_millis(500), Duration::from_millis(1_000)];
/// How many suspected silos are probed at a time; more are left to chitchat.
const PROBED_AT_ONCE: usize = 64;

/// What the provider's handle asks for.
pub(super) enum Command {
    /// This silo speaks of itself anew.
    Myself(SiloInfo),
    Suspect(Arc<SiloInfo>),
}

/// The state of the task.
pub(super) struct Follower {
    node: Arc<Node>,
    /// `None` for a client.
    myself: Option<Arc<SiloInfo>>,
    gathering: Gathering,
    config: MembershipConfig,
    views: ViewPublisher,
    refusals: mpsc::Sender<Arc<SiloInfo>>,
    refused: mpsc::Receiver<Arc<SiloInfo>>,
    probes: JoinSet<()>,
    born: Instant,
}

impl Follower {
    pub(super) fn new(
        node: Arc<Node>,
        myself: Option<SiloInfo>,
        config: MembershipConfig,
        views: ViewPublisher,
    ) -> Self {
        let (refusals, refused) = mpsc::channel(PROBED_AT_ONCE);
        Self {
            node,
            gathering: Gathering::new(myself.is_some()),
            myself: myself.map(Arc::new),
            config,
            views,
            refusals,
            refused,
            probes: JoinSet::new(),
            born: Instant::now(),
        }
    }

    /// Lives until the handle is dropped.
    pub(super) async fn run(mut self, mut commands: mpsc::Receiver<Command>) {
        let mut rounds = tokio::time::interval(self.config.gossip_interval);
        rounds.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let node = self.node.clone();
        loop {
            tokio::select! {
                () = node.ended() => {
                    tracing::error!(target: MEMBERSHIP, "gossip has ended; the last view stands");
                    return;
                }
                command = commands.recv() => match command {
                    Some(Command::Myself(myself)) => self.myself = Some(Arc::new(myself)),
                    Some(Command::Suspect(silo)) => self.probe(silo),
                    None => return,
                },
                Some(silo) = self.refused.recv() => self.gathering.refused(&silo),
                Some(_) = self.probes.join_next() => continue,
                _ = rounds.tick() => {}
            }
            self.look().await;
        }
    }

    /// Looks at what gossip knows and publishes who is in.
    pub(super) async fn look(&mut self) {
        let peers = self.node.peers().await;
        let now = self.born.elapsed();
        self.gathering.observe(now, peers);
        let mut silos = self.gathering.silos(now);
        if let Some(myself) = &self.myself {
            // A later life of this very id is shown in its place, for the host to notice.
            let later =
                silos.get(&myself.silo_id).is_some_and(|other| other.incarnation > myself.incarnation);
            if !later {
                silos.insert(myself.silo_id.clone(), myself.clone());
            }
        }
        if self.is_news(&silos) {
            self.views.publish(silos.into_values());
        }
    }

    /// Building a view costs its rings; most rounds bring nothing new.
    fn is_news(&self, silos: &BTreeMap<SiloId, Arc<SiloInfo>>) -> bool {
        let current = self.views.current();
        current.version() == 0 || !current.silos().eq(silos.values())
    }

    fn probe(&mut self, silo: Arc<SiloInfo>) {
        if self.probes.len() >= PROBED_AT_ONCE {
            return;
        }
        let (limit, refusals) = (self.config.probe_timeout, self.refusals.clone());
        self.probes.spawn(async move {
            for wait in PROBES {
                tokio::time::sleep(wait).await;
                match probe(&silo.endpoint, limit).await {
                    Probe::Answered => return,
                    Probe::Refused => drop(refusals.send(silo.clone()).await),
                    Probe::Silent => {}
                }
            }
        });
    }
}
