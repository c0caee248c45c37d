//! What providers that judge have in common: the judge, the probes that are under way for it, and whether this silo is cut
//! off. `redis` and `gossip` each feed one with what their stores say.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::{Instant, Interval, MissedTickBehavior};

use super::isolation::Isolation;
use super::judge::{Action, Judge};
use crate::health::Health;
use crate::id::SiloId;
use crate::probe::{Probe, Prober};
use crate::retry::Backoff;
use crate::silo_info::SiloInfo;
use crate::telemetry::MEMBERSHIP;

/// How many of the silos that follow this one in the order of ids it looks at.
const SUCCESSORS: usize = 2;
/// How many probes may be under way.
const PROBES_AT_ONCE: usize = 64;
/// How often silos are looked at, at the least.
pub(super) const LOOK_INTERVAL: Duration = Duration::from_secs(2);

/// A silo that is put out joins again at once, the second time later, and ever later up to this: others may not reach it.
const MOST_REJOIN_WAIT: Duration = Duration::from_secs(30);
/// How long it must have been in to join again at once.
const GOOD_STANDING: Duration = Duration::from_secs(60);

/// How long after its end a probe still says something: a process that did not run meanwhile looks again.
const FRESH: Duration = Duration::from_secs(1);

/// A probe that came back.
pub(super) struct Probed {
    silo: Arc<SiloInfo>,
    outcome: Probe,
    /// When it must have been over, and when it was.
    due: Instant,
    ended: Instant,
}

/// What there is to do.
pub(super) enum Turn {
    Probed(Probed),
    Look,
}

/// The view from one silo or client.
pub(super) struct Lookout {
    pub(super) judge: Judge,
    me: SiloId,
    prober: Arc<dyn Prober>,
    probe_limit: Duration,
    probes: JoinSet<Probed>,
    permits: Arc<Semaphore>,
    looks: Interval,
    actions: Vec<Action>,
    isolation: Isolation,
    isolated_since: Option<SystemTime>,
    /// Which of two kinds of probes show that the way to a silo is open.
    refusals_count: bool,
    rejoins: Backoff,
    rejoin_at: Option<Instant>,
    joined_at: Instant,
    born: Instant,
}

impl Lookout {
    pub(super) fn new(
        me: SiloId,
        judge: Judge,
        prober: Arc<dyn Prober>,
        probe_limit: Duration,
        look_interval: Duration,
    ) -> Self {
        let mut looks = tokio::time::interval_at(Instant::now() + look_interval, look_interval);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Self {
            judge,
            me,
            prober,
            probe_limit,
            probes: JoinSet::new(),
            permits: Arc::new(Semaphore::new(PROBES_AT_ONCE)),
            looks,
            actions: Vec::new(),
            isolation: Isolation::default(),
            isolated_since: None,
            refusals_count: false,
            rejoins: Backoff::new(Duration::from_secs(2), MOST_REJOIN_WAIT),
            rejoin_at: None,
            joined_at: Instant::now(),
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

    /// This life of this silo is over.
    pub(super) fn put_out(&mut self, myself: Option<&SiloInfo>) {
        if let Some(myself) = myself {
            tracing::warn!(target: MEMBERSHIP, silo = %myself.silo_id, incarnation = myself.incarnation,
                "told that this silo is out: it stops serving and joins again");
        }
        if self.joined_at.elapsed() >= GOOD_STANDING {
            self.rejoins.reset();
        }
        let is_first = self.rejoins.attempts() == 0;
        let wait = self.rejoins.next_wait();
        let wait = if is_first { Duration::ZERO } else { wait };
        self.rejoin_at = Some(Instant::now() + wait);
    }

    /// It could not join again now.
    pub(super) fn rejoin_later(&mut self) {
        self.rejoin_at = Some(Instant::now() + self.rejoins.next_wait());
    }

    /// Whether it is time to join again.
    pub(super) fn may_rejoin(&self) -> bool {
        self.judge.is_out() && self.rejoin_at.is_none_or(|at| Instant::now() >= at)
    }

    /// This silo has begun another life.
    pub(super) fn rejoined(&mut self, info: SiloInfo) {
        tracing::warn!(target: MEMBERSHIP, silo = %info.silo_id, incarnation = info.incarnation, "joined again");
        self.joined_at = Instant::now();
        self.judge.rejoined(info);
    }

    fn probe(&mut self, silo: Arc<SiloInfo>) {
        let (limit, permits) = (self.probe_limit, self.permits.clone());
        let (prober, me) = (self.prober.clone(), self.me.clone());
        self.probes.spawn(async move {
            let _permit = permits.acquire().await;
            let due = Instant::now() + limit;
            let outcome = prober.probe(&me, &silo, limit).await;
            Probed { silo, outcome, due, ended: Instant::now() }
        });
    }

    /// Resolves when a probe comes back or it is time to look again. Cancelling it loses nothing.
    pub(super) async fn next_turn(&mut self) -> Turn {
        tokio::select! {
            biased;
            Some(Ok(probed)) = self.probes.join_next() => Turn::Probed(probed),
            _ = self.looks.tick() => Turn::Look,
        }
    }

    /// Takes what came back.
    pub(super) fn probed(&mut self, Probed { silo, outcome, due, ended }: Probed) {
        if ended > due + FRESH {
            self.judge.looked_too_late(&silo);
            return self.start_probes();
        }
        if outcome == Probe::Answered || (outcome == Probe::Refused && self.refusals_count) {
            self.isolation.answered(ended - self.born, &silo.silo_id);
        }
        self.judge.probed(self.now(), &silo, outcome);
        self.start_probes();
    }

    /// What the judge wants done beside probes, which are started here.
    pub(super) fn take_actions(&mut self) -> Vec<Action> {
        self.start_probes();
        std::mem::take(&mut self.actions)
    }

    fn start_probes(&mut self) {
        for action in self.judge.take_actions() {
            match action {
                Action::Probe(silo) => self.probe(silo),
                other => self.actions.push(other),
            }
        }
    }

    /// Looks at those whose turn it is; at everybody while only they can say whether this silo is cut off.
    pub(super) fn look(&mut self, store_is_there: bool) {
        self.judge.look_at_successors(SUCCESSORS);
        self.judge.look_at_doubtful(self.now());
        // Not again before most of the last round came back: with many silos it may take longer than a look.
        if !store_is_there && self.probes.len() < PROBES_AT_ONCE {
            let others: Vec<_> = self.judge.silos().filter(|silo| silo.silo_id != self.me).cloned().collect();
            others.into_iter().for_each(|silo| self.probe(silo));
        }
        self.start_probes();
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
        let cut_off = self.judge.has_a_silo()
            && self.isolation.is_possible(now)
            && self.isolation.is_isolated(now, &self.me, &self.ids());
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

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt as _;
    use futures_util::future::BoxFuture;

    use crate::membership::judge::Row;

    /// Is silent, and says so a while after it should.
    struct Late(Duration);

    impl Prober for Late {
        fn probe(&self, _: &SiloId, _: &SiloInfo, limit: Duration) -> BoxFuture<'static, Probe> {
            let late = limit + self.0;
            async move {
                tokio::time::sleep(late).await;
                Probe::Silent
            }
            .boxed()
        }
    }

    async fn doubts_after_probes_that_are_late_by(late: Duration) -> bool {
        let silo = |id: &str| SiloInfo::new(id.parse().unwrap(), "127.0.0.1:1".parse().unwrap());
        let mut judge = Judge::new(Some(silo("a")), Duration::from_secs(15));
        for id in ["b", "c"] {
            judge.row(Duration::ZERO, &id.parse().unwrap(), Row::Readable(Arc::new(silo(id))));
        }
        let second = Duration::from_secs(1);
        let mut lookout = Lookout::new("a".parse().unwrap(), judge, Arc::new(Late(late)), second, second);
        for _ in 0..20 {
            match lookout.next_turn().await {
                Turn::Probed(probed) => lookout.probed(probed),
                Turn::Look => lookout.look(true),
            }
        }
        lookout.judge.has_doubts()
    }

    #[tokio::test(start_paused = true)]
    async fn a_silence_that_was_noticed_only_after_a_pause_of_this_process_is_none() {
        assert!(doubts_after_probes_that_are_late_by(Duration::ZERO).await);
        assert!(!doubts_after_probes_that_are_late_by(Duration::from_secs(2)).await);
    }
}
