//! The one task of a silo or client in Redis: it writes the heartbeat, feeds the judge with what it reads, hears and
//! probes, does what the judge wants, and publishes the views.
//!
//! Here are its turns; `rows` has what it reads and writes. It owns the connection and makes a new one, with backoff, after any refusal: a time-out or a read-only replica does
//! not heal by itself. While Redis is away the last view stands. A silo that was put out, or that may have been, does not
//! serve until it is in.

mod rows;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, Interval, MissedTickBehavior};

use super::claim::{self, claim};
use super::listener::Heard;
use super::refusal::Refusal;
use super::store::{Server, Store};
use crate::id::SiloId;
use crate::membership::change::{Change, begin_anew};
use crate::membership::judge::{Action, Row};
use crate::membership::lookout::{Lookout, Turn};
use crate::membership::{MembershipConfig, ViewPublisher};
use crate::probe::{Probe, Prober};
use crate::retry::Backoff;
use crate::silo_info::SiloInfo;
use crate::telemetry::MEMBERSHIP;

/// How often the elected silo looks for original silos.
const SCAN_INTERVAL: Duration = Duration::from_secs(60);
/// How long it waits between two steps of that, however many keys of others there are: the store has something else to do.
const SCAN_PAUSE: Duration = Duration::from_millis(10);
/// How long it waits, at the least and at the most, after it has taken what was said before it takes more: one join is seen
/// at once, and those of a whole cluster that starts make few views rather than one each.
const GATHERING: (Duration, Duration) = (Duration::from_millis(50), Duration::from_millis(500));
/// In between, so many times as long as it took to read what had changed: a store that is busy is left to it.
const GATHERING_TIMES: u32 = 10;
/// What health calls the store.
const STORE: &str = "membership store";

type Reply = oneshot::Sender<Result<(), Refusal>>;

/// What the provider's handle asks for.
pub(super) enum Command {
    Announce(Change, Reply),
    Stop(Reply),
    Suspect(SiloId, u64),
}

/// The state of the task.
pub(super) struct Keeper<V: Server> {
    server: V,
    config: MembershipConfig,
    /// The row of this silo; `None` for a client.
    myself: Option<SiloInfo>,
    lookout: Lookout,
    prober: Arc<dyn Prober>,
    /// Who leads a later life of this id, as far as is known.
    rival: Option<Arc<SiloInfo>>,
    heard: Arc<Heard>,
    views: ViewPublisher,
    link: Link<V::Store>,
    /// The store's version of which all rows are known; `None` when they are to be read anew.
    version_read: Option<i64>,
    /// Somebody says that there is a later one.
    is_behind: bool,
    /// When what was said was taken, until that is done.
    taken_at: Option<Instant>,
    /// Until when more is gathered.
    gathered_at: Instant,
    /// The others do not know of this silo's row yet.
    untold: bool,
    /// The silo whose row was checked last.
    checked: Option<SiloId>,
    /// Where the search for original silos goes on, and when; `None` while none is under way.
    scan: Option<(<V::Store as Store>::Cursor, Instant)>,
}

/// The connection to Redis, or when to try the next one.
struct Link<S> {
    store: Option<S>,
    /// Since when there is none, and why.
    away: Option<(SystemTime, String)>,
    retry_at: Instant,
    backoff: Backoff,
}

impl<V: Server> Keeper<V> {
    pub(super) fn new(
        server: V,
        config: MembershipConfig,
        myself: Option<SiloInfo>,
        lookout: Lookout,
        prober: Arc<dyn Prober>,
        heard: Arc<Heard>,
        views: ViewPublisher,
    ) -> Self {
        let link = Link { store: None, away: None, retry_at: Instant::now(), backoff: Backoff::for_stores() };
        Self {
            server,
            config,
            myself,
            lookout,
            prober,
            rival: None,
            heard,
            views,
            link,
            version_read: None,
            is_behind: false,
            taken_at: None,
            gathered_at: Instant::now(),
            untold: false,
            checked: None,
            scan: None,
        }
    }

    /// Reads everything for the first time and publishes the first view.
    pub(super) async fn begin(&mut self, store: V::Store, originals: Vec<Row>) -> Result<(), Refusal> {
        self.link.store = Some(store.clone());
        // What was heard until now is in what is read now.
        let _ = self.heard.take();
        self.read_all(&store).await?;
        let originals: BTreeSet<_> = originals
            .iter()
            .filter_map(|row| match row {
                Row::Readable(info) => Some(info.silo_id.clone()),
                _ => None,
            })
            .collect();
        if !originals.is_empty() {
            self.read(&store, originals).await?;
        }
        self.publish();
        if self.myself.is_some() {
            self.views.lease().grant();
        }
        Ok(())
    }

    /// Lives until a stop, or until the handle is dropped.
    pub(super) async fn run(mut self, mut commands: mpsc::Receiver<Command>) {
        let mut next_beat = Instant::now() + self.next_heartbeat();
        // The first one at once: nobody else may have looked.
        let mut scans = every(SCAN_INTERVAL);
        let (heard, lease) = (self.heard.clone(), self.views.lease().clone());
        loop {
            // In this order, so that a simulated run is the same each time. What comes seldom goes first.
            let done = tokio::select! {
                biased;
                () = tokio::time::sleep_until(next_beat) => {
                    next_beat = Instant::now() + self.next_heartbeat();
                    self.beat().await
                }
                _ = scans.tick() => self.begin_scan(),
                () = lease.lapsed() => self.make_sure().await,
                () = tokio::time::sleep_until(self.link.retry_at), if self.link.store.is_none() => self.connect().await,
                command = commands.recv() => match command {
                    Some(Command::Stop(reply)) => {
                        let _ = reply.send(self.leave().await);
                        return;
                    }
                    Some(Command::Announce(change, reply)) => {
                        let told = self.announce(change).await;
                        // The next connection, if not this one, brings it to the others.
                        if let Err(refusal) = told.as_ref()
                            && self.link.store.is_some()
                        {
                            self.lose(refusal);
                        }
                        let _ = reply.send(told);
                        Ok(())
                    }
                    Some(Command::Suspect(id, incarnation)) => {
                        self.lookout.judge.suspect(&id, incarnation);
                        Ok(())
                    }
                    None => return,
                },
                turn = self.lookout.next_turn() => self.take_turn(turn).await,
                () = heard.arrived(self.gathered_at) => self.listen(),
                () = until(self.scan.as_ref().map(|(_, at)| *at)) => self.scan_on().await,
            };
            if let Err(refusal) = done {
                self.lose(&refusal);
            }
            self.settle().await;
            if let Some(taken_at) = self.taken_at.take() {
                let pause = (taken_at.elapsed() * GATHERING_TIMES).clamp(GATHERING.0, GATHERING.1);
                self.gathered_at = Instant::now() + pause;
            }
        }
    }

    /// A little less than the heartbeat, not the same each time: so that no crowd of silos beats as one.
    fn next_heartbeat(&self) -> Duration {
        self.config.heartbeat.mul_f64(0.9 + fastrand::f64() / 10.0)
    }

    /// Asks the store, and goes on looking at others meanwhile: a slow store must not make this silo take them for silent.
    async fn ask<T>(&mut self, question: impl Future<Output = T>) -> T {
        let mut question = std::pin::pin!(question);
        loop {
            tokio::select! {
                biased;
                answer = &mut question => return answer,
                turn = self.lookout.next_turn() => match turn {
                    Turn::Probed(probed) => self.lookout.probed(probed),
                    Turn::Look => self.lookout.look(self.link.store.is_some()),
                },
            }
        }
    }

    /// Looks at others. As long as some of them do not answer, the store is looked after, too: it may be this silo that is
    /// cut off.
    async fn take_turn(&mut self, turn: Turn) -> Result<(), Refusal> {
        let had_doubts = self.lookout.judge.has_doubts();
        let is_new = match turn {
            Turn::Probed(probed) => {
                self.lookout.probed(probed);
                !had_doubts
            }
            Turn::Look => {
                self.lookout.look(self.link.store.is_some());
                true
            }
        };
        if self.lookout.judge.has_doubts() && is_new { self.beat().await } else { Ok(()) }
    }

    /// Publishes what changed and does what the judge wants, until it wants nothing more.
    async fn settle(&mut self) {
        loop {
            self.publish();
            let actions = self.lookout.take_actions();
            if actions.is_empty() && !self.is_behind {
                break;
            }
            if let Err(refusal) = self.perform(actions).await {
                self.lose(&refusal);
            }
        }
        let away = self.link.away.as_ref().filter(|_| self.link.store.is_none());
        let health = self.lookout.health(away.map(|(since, reason)| (STORE, reason.as_str(), *since)));
        if health.is_isolated() {
            self.views.lease().withdraw();
        }
        self.views.set_health(health);
    }

    fn publish(&mut self) {
        if self.lookout.judge.take_changed() {
            self.views.publish(self.lookout.judge.silos().cloned());
        }
    }

    async fn perform(&mut self, actions: Vec<Action>) -> Result<(), Refusal> {
        let mut to_read = BTreeSet::new();
        let mut for_redis = Vec::new();
        for action in actions {
            match action {
                // It begins another life when it next looks into its lease, which is withdrawn below.
                Action::Rejoin => self.lookout.put_out(self.myself.as_ref()),
                Action::Read(id) => {
                    to_read.insert(id);
                }
                other => for_redis.push(other),
            }
        }
        // Without the store there is nothing to catch up with; with the next one all is read.
        let is_behind = std::mem::take(&mut self.is_behind);
        let Some(store) = self.link.store.clone() else { return Ok(()) };
        if is_behind {
            self.catch_up(&store, to_read).await?;
        } else if !to_read.is_empty() {
            self.read(&store, to_read).await?;
        }
        for action in for_redis {
            self.perform_in_redis(&store, action).await?;
        }
        Ok(())
    }

    async fn perform_in_redis(&mut self, store: &V::Store, action: Action) -> Result<(), Refusal> {
        let Some(me) = self.myself.as_ref().map(|myself| myself.silo_id.clone()) else { return Ok(()) };
        match action {
            Action::Vote(silo) => {
                let votes = self.ask(store.vote(&me, &silo)).await?;
                self.lookout.judge.votes(self.lookout.now(), &silo, votes);
                if self.lookout.judge.is_in(&silo.silo_id) {
                    store.ask_to_look(&silo).await?;
                }
            }
            Action::Withdraw(silo) => store.withdraw_vote(&me, &silo).await?,
            Action::Evict(silo) => {
                tracing::warn!(target: MEMBERSHIP, silo = %silo.silo_id, endpoint = %silo.endpoint,
                    incarnation = silo.incarnation, "silo evicted: it does not answer");
                self.ask(store.end_life(&silo)).await?;
            }
            Action::Probe(_) | Action::Read(_) | Action::Rejoin => {
                unreachable!("done before, or without the store")
            }
        }
        Ok(())
    }

    /// The lease has lapsed: this silo serves again when it is sure that it is in.
    async fn make_sure(&mut self) -> Result<(), Refusal> {
        if self.link.store.is_some() {
            match self.lookout.may_rejoin() {
                true => self.rejoin().await?,
                false => self.beat().await?,
            }
        }
        self.settle().await;
        // Without the store, being heard by enough others must do.
        let is_sure = self.link.store.is_some() || self.lookout.hears_enough(|_| false);
        if is_sure && !self.lookout.judge.is_out() {
            self.views.lease().grant();
        }
        Ok(())
    }

    /// Begins another life, unless somebody else leads one by now.
    async fn rejoin(&mut self) -> Result<(), Refusal> {
        let (Some(mut info), Some(store)) = (self.myself.clone(), self.link.store.clone()) else {
            return Ok(());
        };
        if let Some(rival) = &self.rival
            && self.prober.probe(&info.silo_id, rival, self.config.probe_timeout).await == Probe::Answered
        {
            // Whatever its row says: the store may have lost it.
            self.lookout.rejoin_later();
            return Ok(());
        }
        begin_anew(&mut info);
        let (config, prober) = (self.config.clone(), self.prober.clone());
        let claimed = self.ask(claim(&store, &mut info, &config, &*prober, Instant::now())).await;
        match claimed {
            Ok(()) => {
                self.views.set_incarnation(info.incarnation);
                self.lookout.rejoined(info.clone());
                self.myself = Some(info);
                self.rival = None;
                self.read_all(&store).await
            }
            Err(claim::Failure::Store(refusal)) => Err(refusal),
            Err(claim::Failure::InUse(rival)) => {
                tracing::debug!(target: MEMBERSHIP, silo = %info.silo_id, endpoint = %rival.endpoint,
                    "the id is in use elsewhere");
                self.rival = Some(rival);
                self.lookout.rejoin_later();
                Ok(())
            }
        }
    }

    /// Takes what was said. The rows are read when that is done, and so is whatever else has changed: the next heartbeat
    /// then finds nothing new.
    fn listen(&mut self) -> Result<(), Refusal> {
        self.taken_at = Some(Instant::now());
        let news = self.heard.take();
        self.is_behind = news.missed_some || !news.joined.is_empty() || !news.left.is_empty();
        news.joined.into_iter().for_each(|id| self.lookout.judge.join_heard(id));
        news.left.into_iter().for_each(|id| self.lookout.judge.leave_heard(id));
        news.suspected
            .iter()
            .for_each(|(id, incarnation)| self.lookout.judge.suspect_heard(id, *incarnation));
        Ok(())
    }

    async fn announce(&mut self, change: Change) -> Result<(), Refusal> {
        let Some(myself) = &mut self.myself else { return Ok(()) };
        change.apply(myself);
        // Whatever becomes of this attempt.
        self.untold = true;
        self.lookout.judge.set_myself(myself.clone());
        self.publish();
        let store = self.link.store.clone().ok_or_else(Refusal::no_answer)?;
        self.restore(&store).await
    }

    async fn leave(&mut self) -> Result<(), Refusal> {
        let Some(myself) = &self.myself else { return Ok(()) };
        let store = match self.link.store.clone() {
            Some(store) => store,
            None => self.server.connect().await?,
        };
        if self.lookout.judge.is_out() {
            return Ok(());
        }
        store.end_life(myself).await
    }

    async fn connect(&mut self) -> Result<(), Refusal> {
        let server = self.server.clone();
        let store = self.ask(server.connect()).await?;
        tracing::info!(target: MEMBERSHIP, "redis is back");
        self.link.store = Some(store.clone());
        self.beat().await?;
        self.read_all(&store).await?;
        self.link.backoff.reset();
        self.link.away = None;
        Ok(())
    }

    fn lose(&mut self, refusal: &Refusal) {
        if self.link.backoff.attempts() == 0 {
            tracing::warn!(target: MEMBERSHIP, error = %refusal, "redis is away; the last view stands");
        }
        if self.link.store.take().is_some() {
            // Only the others can say now whether this silo is cut off.
            self.lookout.look(false);
        }
        // What it says last is what keeps it away now: first the connection breaks, then the password is wrong.
        let since = self.link.away.take().map_or_else(SystemTime::now, |(since, _)| since);
        self.link.away = Some((since, refusal.to_string()));
        self.link.retry_at = Instant::now() + self.link.backoff.next_wait();
    }
}

/// Ticks at once and then at `period`; a late tick shifts the following ones.
fn every(period: Duration) -> Interval {
    let mut interval = tokio::time::interval(period);
    interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
    interval
}

/// Waits until then; for ever if there is no such time.
async fn until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}
