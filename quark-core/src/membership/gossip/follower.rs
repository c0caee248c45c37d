//! The task that looks at gossip in every round, feeds the judge, does what that wants, and publishes the views.
//!
//! What a store would keep, the silos say themselves: whom they suspect, and whom they have put out. While fewer than half
//! of the silos are heard, nobody is missed: it may be this silo that is cut off.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, MissedTickBehavior};

use super::gathering::{Gathering, Life};
use super::node::Node;
use crate::health::Health;
use crate::id::SiloId;
use crate::membership::change::begin_anew;
use crate::membership::judge::{Action, Judge};
use crate::membership::lookout::{LOOK_INTERVAL, Lookout, Turn};
use crate::membership::{MembershipConfig, ViewPublisher};
use crate::probe::Prober;
use crate::silo_info::SiloInfo;
use crate::telemetry::MEMBERSHIP;

/// For how long it is told that a life was put out.
const MEMORY_OF_OUT: Duration = Duration::from_secs(600);
/// What health calls what is away, and why it does.
const STORE: (&str, &str) = ("gossip", "fewer than half of the silos are heard");

/// The same of a silo that started alone although it knows seeds.
const SEEDS: (&str, &str) = ("gossip", "none of the seeds has answered yet");

/// What the provider's handle asks for.
pub(super) enum Command {
    /// This silo speaks of itself anew; it is told when that is done, because what it says next must come after.
    Myself(SiloInfo, oneshot::Sender<()>),
    Suspect(SiloId, u64),
}

/// The state of the task.
pub(super) struct Follower {
    node: Arc<Node>,
    /// `None` for a client.
    myself: Option<SiloInfo>,
    lookout: Lookout,
    round: Duration,
    views: ViewPublisher,
    gathering: Gathering,
    /// Whom this silo does not reach.
    suspects: BTreeMap<Life, Arc<SiloInfo>>,
    /// Whom it put out, and when.
    out: BTreeMap<Life, Duration>,
    /// Whom others suspected in the round before.
    suspected: BTreeSet<Life>,
    away_since: Option<SystemTime>,
    /// Since when it looks for a seed in vain; `None` once it has met anybody.
    unmet_since: Option<SystemTime>,
    /// When the lease lapsed.
    lapsed_at: Option<Instant>,
}

impl Follower {
    pub(super) fn new(
        node: Arc<Node>,
        myself: Option<SiloInfo>,
        config: &MembershipConfig,
        views: ViewPublisher,
        me: SiloId,
        prober: Arc<dyn Prober>,
    ) -> Self {
        let judge = Judge::new(myself.clone(), config.missing_row_grace);
        let round = config.gossip_interval;
        Self {
            node,
            myself,
            lookout: Lookout::new(me, judge, prober, config.probe_timeout, LOOK_INTERVAL.min(round * 8))
                .count_refusals(),
            round,
            views,
            gathering: Gathering::default(),
            suspects: BTreeMap::new(),
            out: BTreeMap::new(),
            suspected: BTreeSet::new(),
            away_since: None,
            unmet_since: None,
            lapsed_at: None,
        }
    }

    /// It started without having met any of its seeds.
    pub(super) fn has_met_nobody_since(&mut self, since: Option<SystemTime>) {
        self.unmet_since = since;
    }

    /// Publishes the first view.
    pub(super) async fn begin(&mut self) {
        self.look().await;
        if self.myself.is_some() {
            self.views.lease().grant();
        }
    }

    /// Lives until the handle is dropped.
    pub(super) async fn run(mut self, mut commands: mpsc::Receiver<Command>) {
        let mut rounds = tokio::time::interval(self.round);
        rounds.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (node, lease) = (self.node.clone(), self.views.lease().clone());
        loop {
            let mut told = None;
            tokio::select! {
                () = node.ended() => {
                    tracing::error!(target: MEMBERSHIP, "gossip has ended; the last view stands");
                    return;
                }
                command = commands.recv() => match command {
                    Some(Command::Myself(mut myself, said)) => {
                        // Its life may be a later one than the handle knows.
                        myself.incarnation = self.myself.as_ref().map_or(0, |known| known.incarnation);
                        self.say(myself).await;
                        told = Some(said);
                    }
                    Some(Command::Suspect(id, incarnation)) => self.lookout.judge.suspect(&id, incarnation),
                    None => return,
                },
                turn = self.lookout.next_turn() => match turn {
                    Turn::Probed(probed) => self.lookout.probed(probed),
                    Turn::Look => self.lookout.look(self.away_since.is_none()),
                },
                () = lease.lapsed() => self.make_sure().await,
                _ = rounds.tick() => {}
            }
            self.look().await;
            if let Some(told) = told {
                let _ = told.send(());
            }
        }
    }

    /// This silo speaks of itself.
    async fn say(&mut self, myself: SiloInfo) {
        self.node.say(&myself).await;
        self.node.talk_to_all().await;
        self.lookout.judge.set_myself(myself.clone());
        self.myself = Some(myself);
    }

    /// Looks at what gossip knows, does what follows, and publishes who is in.
    async fn look(&mut self) {
        let now = self.lookout.now();
        let peers = self.node.peers().await;
        if !peers.is_empty() {
            self.unmet_since = None;
        }
        self.gathering = Gathering::of(&peers);
        self.out.retain(|_, at| now < *at + MEMORY_OF_OUT);
        for (id, incarnation) in self.out.keys() {
            self.gathering.count_out(id, *incarnation);
        }
        let hears_enough = self.lookout.hears_enough(|id| self.gathering.hears(id));
        for (id, row) in self.gathering.rows(self.myself.as_ref(), hears_enough) {
            self.lookout.judge.row(now, &id, row);
        }
        self.consider_others();
        self.count_votes();
        self.act().await;
        if self.lookout.judge.take_changed() {
            self.views.publish(self.lookout.judge.silos().cloned());
        }
        self.say_health(hears_enough);
    }

    fn say_health(&mut self, hears_enough: bool) {
        self.away_since = match hears_enough {
            true => None,
            false => Some(self.away_since.unwrap_or_else(SystemTime::now)),
        };
        let mut health = self.lookout.health(self.away_since.map(|since| (STORE.0, STORE.1, since)));
        if let (Health::Healthy, Some(since)) = (&health, self.unmet_since) {
            let (part, reason) = (SEEDS.0.to_owned(), SEEDS.1.to_owned());
            health = Health::Degraded { part, reason, since };
        }
        if health.is_isolated() {
            self.views.lease().withdraw();
        }
        self.views.set_health(health);
    }

    /// Looks at whom others have begun to suspect.
    fn consider_others(&mut self) {
        let suspected: BTreeSet<Life> = self.gathering.suspected().cloned().collect();
        for (id, incarnation) in suspected.difference(&self.suspected) {
            self.lookout.judge.suspect(id, *incarnation);
        }
        self.suspected = suspected;
    }

    fn count_votes(&mut self) {
        let now = self.lookout.now();
        for (life, silo) in &self.suspects {
            self.lookout.judge.votes(now, silo, 1 + self.gathering.votes(life));
        }
    }

    async fn act(&mut self) {
        let (suspects, out) = (self.suspects.len(), self.out.len());
        let mut votes = 0;
        for action in self.lookout.take_actions() {
            match action {
                // Probes are started; everything is read in every round.
                Action::Probe(_) | Action::Read(_) => {}
                Action::Vote(silo) => {
                    votes += usize::from(self.suspects.insert(life(&silo), silo).is_none());
                }
                Action::Withdraw(silo) => drop(self.suspects.remove(&life(&silo))),
                Action::Evict(silo) => {
                    tracing::warn!(target: MEMBERSHIP, silo = %silo.silo_id, endpoint = %silo.endpoint,
                        incarnation = silo.incarnation, "silo evicted: it does not answer");
                    self.out.insert(life(&silo), self.lookout.now());
                }
                // It begins another life when it next looks into its lease, which is withdrawn below.
                Action::Rejoin => self.lookout.put_out(self.myself.as_ref()),
            }
        }
        let judge = &self.lookout.judge;
        self.suspects.retain(|(id, incarnation), _| judge.knows_life(id, *incarnation));
        if votes > 0 || self.suspects.len() != suspects || self.out.len() != out {
            self.node.mark(self.suspects.keys(), self.out.keys()).await;
            self.node.talk_to_all().await;
        }
    }

    /// The lease has lapsed: this silo serves again when others have had the time to tell that it is out, and enough of
    /// them answer.
    async fn make_sure(&mut self) {
        let since = *self.lapsed_at.get_or_insert_with(Instant::now);
        if self.lookout.judge.is_out() {
            if self.lookout.may_rejoin() {
                self.rejoin().await;
            }
            return;
        }
        if !self.lookout.hears_enough(|_| false) {
            return self.lookout.look(false);
        }
        if since.elapsed() >= self.round * 4 {
            self.lapsed_at = None;
            self.views.lease().grant();
        }
    }

    /// Begins another life, unless somebody else leads one by now.
    async fn rejoin(&mut self) {
        let Some(mut info) = self.myself.clone() else { return };
        if self.gathering.hears(&info.silo_id) {
            return;
        }
        begin_anew(&mut info);
        info.incarnation = self.gathering.lives(&info.silo_id).max(info.incarnation.saturating_add(1));
        self.views.set_incarnation(info.incarnation);
        self.lookout.rejoined(info.clone());
        self.say(info).await;
    }
}

fn life(silo: &SiloInfo) -> Life {
    (silo.silo_id.clone(), silo.incarnation)
}
