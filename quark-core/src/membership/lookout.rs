//! What providers that judge have in common: the judge, the probes that are under way for it, and whether this silo is cut
//! off. `redis` and `gossip` each feed one with what their stores say.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::isolation::Isolation;
use super::judge::Judge;
use crate::health::Health;
use crate::id::SiloId;
use crate::probe::{Probe, Prober};
use crate::silo_info::SiloInfo;

/// How many of the silos that follow this one in the order of ids it looks at.
const SUCCESSORS: usize = 2;
/// How many probes may be under way.
const PROBES_AT_ONCE: usize = 64;
/// How often silos are looked at, unless a heartbeat is shorter than five of these.
pub(super) const LOOK_INTERVAL: Duration = Duration::from_secs(2);

/// A probe that came back.
pub(super) type Probed = (Arc<SiloInfo>, Probe);

/// The view from one silo or client.
pub(super) struct Lookout {
    pub(super) judge: Judge,
    me: SiloId,
    prober: Arc<dyn Prober>,
    probe_limit: Duration,
    probes: JoinSet<Probed>,
    permits: Arc<Semaphore>,
    isolation: Isolation,
    isolated_since: Option<SystemTime>,
    /// Which of two kinds of probes show that the way to a silo is open.
    refusals_count: bool,
    born: Instant,
}

impl Lookout {
    pub(super) fn new(me: SiloId, judge: Judge, prober: Arc<dyn Prober>, probe_limit: Duration) -> Self {
        Self {
            judge,
            me,
            prober,
            probe_limit,
            probes: JoinSet::new(),
            permits: Arc::new(Semaphore::new(PROBES_AT_ONCE)),
            isolation: Isolation::default(),
            isolated_since: None,
            refusals_count: false,
            born: Instant::now(),
        }
    }

    /// A machine that says that a silo is gone is no machine that this one is cut off from. For providers without a
    /// server, where nobody else could tell.
    pub(super) fn count_refusals(self) -> Self {
        Self { refusals_count: true, ..self }
    }

    /// This lookout's clock.
    pub(super) fn now(&self) -> Duration {
        self.born.elapsed()
    }

    pub(super) fn probe(&mut self, silo: Arc<SiloInfo>) {
        let (limit, permits) = (self.probe_limit, self.permits.clone());
        let (prober, me) = (self.prober.clone(), self.me.clone());
        self.probes.spawn(async move {
            let _permit = permits.acquire().await;
            let outcome = prober.probe(&me, &silo, limit).await;
            (silo, outcome)
        });
    }

    /// The next probe that comes back; `None` when none is under way.
    pub(super) async fn next_probed(&mut self) -> Option<Probed> {
        self.probes.join_next().await?.ok()
    }

    /// Takes what came back.
    pub(super) fn probed(&mut self, (silo, outcome): Probed) {
        let now = self.now();
        if outcome == Probe::Answered || (outcome == Probe::Refused && self.refusals_count) {
            self.isolation.answered(now, &silo.silo_id);
        }
        self.judge.probed(now, &silo, outcome);
    }

    /// Looks at those whose turn it is; at everybody while only they can say whether this silo is cut off.
    pub(super) fn look(&mut self, store_is_there: bool) {
        self.judge.look_at_successors(SUCCESSORS);
        self.judge.look_at_doubtful(self.now());
        if !store_is_there {
            let others: Vec<_> = self.judge.silos().filter(|silo| silo.silo_id != self.me).cloned().collect();
            others.into_iter().for_each(|silo| self.probe(silo));
        }
    }

    /// Whether at least half of those who are in are heard of, by `heard` or by a probe of late; if it is exactly half,
    /// the smallest id among them.
    pub(super) fn hears_enough(&self, heard: impl Fn(&SiloId) -> bool) -> bool {
        let now = self.now();
        let answers = |id: &SiloId| heard(id) || self.isolation.has_answered(now, id);
        super::isolation::is_enough(&self.me, &self.ids(), answers)
    }

    fn ids(&self) -> Vec<SiloId> {
        self.judge.silos().map(|silo| silo.silo_id.clone()).collect()
    }

    /// How this silo fares, when its store is there, or away for this reason since then.
    pub(super) fn health(&mut self, away: Option<(&str, &str, SystemTime)>) -> Health {
        let now = self.now();
        self.isolation.store(now, away.is_none());
        let cut_off = self.judge.has_a_silo() && self.isolation.is_isolated(now, &self.me, &self.ids());
        if cut_off || self.judge.is_out() {
            let since = *self.isolated_since.get_or_insert_with(SystemTime::now);
            return Health::Isolated { since };
        }
        self.isolated_since = None;
        away.map_or(Health::Healthy, |(part, reason, since)| Health::Degraded {
            part: part.to_owned(),
            reason: reason.to_owned(),
            since,
        })
    }
}
