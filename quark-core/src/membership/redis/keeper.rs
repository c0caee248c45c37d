//! The one task of a silo or client in Redis: it writes the heartbeat, feeds the judge with what it reads, hears and
//! probes, does what the judge wants, and publishes the views.
//!
//! It owns the connection and makes a new one, with backoff, after any refusal: a time-out or a read-only replica does
//! not heal by itself. While Redis is away the last view stands.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::{Instant, Interval, MissedTickBehavior};

use super::listener::Heard;
use super::store::{Cursor, Refusal, Server, ServerTime, Store, Word};
use crate::health::Health;
use crate::id::SiloId;
use crate::membership::isolation::Isolation;
use crate::membership::judge::{Action, Judge, Row};
use crate::membership::probe::{Probe, probe};
use crate::membership::{MembershipConfig, ViewPublisher};
use crate::retry::Backoff;
use crate::silo_info::{SiloInfo, SiloStatus};
use crate::telemetry::MEMBERSHIP;

/// How often the elected silo looks for original silos.
const SCAN_INTERVAL: Duration = Duration::from_secs(60);
/// Silos are looked at this many times in a heartbeat.
const LOOKS_PER_HEARTBEAT: u32 = 5;
/// How many of the silos that follow this one in the order of ids it looks at.
const SUCCESSORS: usize = 2;
/// How many probes may be under way.
const PROBES_AT_ONCE: usize = 64;

type Reply = oneshot::Sender<Result<(), Refusal>>;

/// What the provider's handle asks for.
pub(super) enum Command {
    Announce(SiloStatus, Reply),
    Stop(Reply),
    Suspect(SiloId, u64),
}

/// The state of the task.
pub(super) struct Keeper {
    server: Server,
    config: MembershipConfig,
    /// The row of this silo; `None` for a client, and for a silo whose id a later life has taken.
    myself: Option<SiloInfo>,
    judge: Judge,
    heard: Arc<Heard>,
    views: ViewPublisher,
    isolation: Isolation,
    link: Link,
    probes: JoinSet<(Arc<SiloInfo>, Probe)>,
    probe_permits: Arc<Semaphore>,
    version_read: Option<i64>,
    /// Where the search for original silos goes on; `None` while none is under way.
    scan: Option<Cursor>,
    born: Instant,
}

/// The connection to Redis, or when to try the next one.
struct Link {
    store: Option<Store>,
    /// Since when there is none, and why.
    away: Option<(SystemTime, String)>,
    isolated_since: Option<SystemTime>,
    retry_at: Instant,
    backoff: Backoff,
}

impl Keeper {
    pub(super) fn new(
        server: Server,
        config: MembershipConfig,
        myself: Option<SiloInfo>,
        judge: Judge,
        heard: Arc<Heard>,
        views: ViewPublisher,
    ) -> Self {
        let born = Instant::now();
        Self {
            server,
            config,
            myself,
            judge,
            heard,
            views,
            isolation: Isolation::default(),
            link: Link {
                store: None,
                away: None,
                isolated_since: None,
                retry_at: born,
                backoff: Backoff::for_stores(),
            },
            probes: JoinSet::new(),
            probe_permits: Arc::new(Semaphore::new(PROBES_AT_ONCE)),
            version_read: None,
            scan: None,
            born,
        }
    }

    /// Reads everything for the first time and publishes the first view.
    pub(super) async fn begin(&mut self, store: Store, originals: Vec<Row>) -> Result<(), Refusal> {
        self.link.store = Some(store.clone());
        self.read_all(&store).await?;
        let ids = originals.into_iter().filter_map(|row| match row {
            Row::Readable(info) => Some(info.silo_id.clone()),
            _ => None,
        });
        self.index_found(&store, ids.collect()).await?;
        self.publish();
        Ok(())
    }

    /// Lives until a stop, or until the handle is dropped.
    pub(super) async fn run(mut self, mut commands: mpsc::Receiver<Command>) {
        let mut heartbeats = every(self.config.heartbeat);
        let mut looks = every(self.config.heartbeat / LOOKS_PER_HEARTBEAT);
        let mut scans = every(SCAN_INTERVAL);
        let heard = self.heard.clone();
        loop {
            let done = tokio::select! {
                command = commands.recv() => match command {
                    Some(Command::Stop(reply)) => {
                        let _ = reply.send(self.leave().await);
                        return;
                    }
                    Some(Command::Announce(status, reply)) => {
                        let _ = reply.send(self.announce(status).await);
                        Ok(())
                    }
                    Some(Command::Suspect(id, incarnation)) => {
                        self.judge.suspect(&id, incarnation);
                        Ok(())
                    }
                    None => return,
                },
                Some(Ok((silo, outcome))) = self.probes.join_next() => {
                    if outcome == Probe::Answered {
                        self.isolation.answered(self.born.elapsed(), &silo.silo_id);
                    }
                    self.judge.probed(self.born.elapsed(), &silo, outcome);
                    Ok(())
                }
                () = heard.arrived() => self.listen().await,
                _ = heartbeats.tick() => self.beat().await,
                _ = looks.tick() => self.look(),
                _ = scans.tick() => self.begin_scan(),
                () = tokio::task::yield_now(), if self.scan.is_some() => self.scan_on().await,
                () = tokio::time::sleep_until(self.link.retry_at), if self.link.store.is_none() => self.connect().await,
            };
            if let Err(refusal) = done {
                self.lose(&refusal);
            }
            self.settle().await;
            let health = self.health();
            self.views.set_health(health);
        }
    }

    /// Publishes what changed and does what the judge wants, until it wants nothing more.
    async fn settle(&mut self) {
        loop {
            self.publish();
            let actions = self.judge.take_actions();
            if actions.is_empty() {
                return;
            }
            if let Err(refusal) = self.perform(actions).await {
                self.lose(&refusal);
            }
        }
    }

    fn publish(&mut self) {
        if self.judge.take_changed() {
            self.views.publish(self.judge.silos().cloned());
        }
    }

    async fn perform(&mut self, actions: Vec<Action>) -> Result<(), Refusal> {
        let mut to_read = BTreeSet::new();
        let mut for_redis = Vec::new();
        for action in actions {
            match action {
                Action::Probe(silo) => self.probe(silo),
                Action::Read(id) => {
                    to_read.insert(id);
                }
                other => for_redis.push(other),
            }
        }
        let Some(store) = self.link.store.clone() else { return Ok(()) };
        if !to_read.is_empty() {
            self.read(&store, to_read).await?;
        }
        for action in for_redis {
            self.perform_in_redis(&store, action).await?;
        }
        Ok(())
    }

    async fn perform_in_redis(&mut self, store: &Store, action: Action) -> Result<(), Refusal> {
        let Some(myself) = &self.myself else { return Ok(()) };
        match action {
            Action::Vote(silo) => {
                let votes = store.vote(&myself.silo_id, &silo).await?;
                self.judge.votes(self.born.elapsed(), &silo, votes);
                if self.judge.is_in(&silo.silo_id) {
                    store.ask_to_look(&silo).await?;
                }
            }
            Action::Withdraw(silo) => store.withdraw_vote(&myself.silo_id, &silo).await?,
            Action::Evict(silo) => {
                tracing::warn!(target: MEMBERSHIP, silo = %silo.silo_id, endpoint = %silo.endpoint,
                    incarnation = silo.incarnation, "silo evicted: it does not answer");
                store.remove(&silo).await?;
            }
            Action::Probe(_) | Action::Read(_) => unreachable!("done without redis or before"),
        }
        Ok(())
    }

    fn probe(&mut self, silo: Arc<SiloInfo>) {
        let (limit, permits) = (self.config.probe_timeout, self.probe_permits.clone());
        self.probes.spawn(async move {
            let _permit = permits.acquire().await;
            let outcome = probe(&silo.endpoint, limit).await;
            (silo, outcome)
        });
    }

    #[expect(clippy::unnecessary_wraps, reason = "one of several turns, of which most can fail")]
    fn look(&mut self) -> Result<(), Refusal> {
        self.judge.look_at_successors(SUCCESSORS);
        self.judge.look_at_doubtful(self.born.elapsed());
        if self.link.store.is_none() {
            // Without the store, only they can say whether this silo is cut off.
            let others: Vec<_> = self.judge.silos().filter(|silo| !self.is_myself(silo)).cloned().collect();
            others.into_iter().for_each(|silo| self.probe(silo));
        }
        Ok(())
    }

    fn is_myself(&self, silo: &SiloInfo) -> bool {
        self.myself.as_ref().is_some_and(|myself| myself.silo_id == silo.silo_id)
    }

    fn health(&mut self) -> Health {
        let now = self.born.elapsed();
        self.isolation.store(now, self.link.store.is_some());
        let Some((since, reason)) = self.link.away.clone().filter(|_| self.link.store.is_none()) else {
            self.link.isolated_since = None;
            return Health::Healthy;
        };
        let view: Vec<_> = self.judge.silos().map(|silo| silo.silo_id.clone()).collect();
        let isolated =
            self.myself.as_ref().is_some_and(|me| self.isolation.is_isolated(now, &me.silo_id, &view));
        if isolated {
            let since = *self.link.isolated_since.get_or_insert_with(SystemTime::now);
            return Health::Isolated { since };
        }
        self.link.isolated_since = None;
        Health::Degraded { part: "membership store".to_owned(), reason, since }
    }

    async fn listen(&mut self) -> Result<(), Refusal> {
        let news = self.heard.take();
        news.joined.into_iter().for_each(|id| self.judge.join_heard(id));
        news.left.into_iter().for_each(|id| self.judge.leave_heard(id));
        news.suspected.iter().for_each(|(id, incarnation)| self.judge.suspect(id, *incarnation));
        match self.link.store.clone() {
            Some(store) if news.missed_some => self.read_all(&store).await,
            _ => Ok(()),
        }
    }

    async fn beat(&mut self) -> Result<(), Refusal> {
        let Some(store) = self.link.store.clone() else { return Ok(()) };
        let pulse = store.pulse(self.myself.as_ref().map(|info| &info.silo_id), self.config.ttl).await?;
        if self.superseded_by(&pulse.own_row) {
            return Ok(());
        }
        self.write_row(&store, pulse.now).await?;
        if let (Row::Missing, Some(myself)) = (&pulse.own_row, &self.myself) {
            // Evicted while it could not be reached, or lost with the store: the others learn that it is here.
            store.tell(Word::Join, &myself.silo_id).await?;
        }
        if pulse.version.is_none() || pulse.version != self.version_read {
            self.read_all(&store).await?;
        }
        let doubtful: BTreeSet<_> = pulse.overdue.iter().chain(self.judge.missing()).cloned().collect();
        if !doubtful.is_empty() {
            let rows = self.read(&store, doubtful).await?;
            self.refresh_index(&store, &pulse.overdue, &rows, pulse.now).await?;
        }
        Ok(())
    }

    /// A later life of this id took over while this one slept: it writes no more, and its view shows the other.
    fn superseded_by(&mut self, own_row: &Row) -> bool {
        let (Some(myself), Row::Readable(row)) = (&self.myself, own_row) else { return false };
        let superseded = row.incarnation > myself.incarnation;
        if superseded {
            tracing::error!(target: MEMBERSHIP, silo = %row.silo_id, endpoint = %row.endpoint,
                incarnation = row.incarnation, "a later life of this silo took over");
            self.judge.row(self.born.elapsed(), &row.silo_id, own_row.clone());
            self.myself = None;
        }
        superseded
    }

    async fn write_row(&mut self, store: &Store, now: ServerTime) -> Result<(), Refusal> {
        let Some(myself) = &mut self.myself else { return Ok(()) };
        myself.last_heartbeat = time::OffsetDateTime::now_utc();
        store.write_row(myself, now, self.config.ttl).await
    }

    /// Overdue silos whose row is there do not keep the index themselves (original ones); others are gone.
    async fn refresh_index(
        &self,
        store: &Store,
        overdue: &[SiloId],
        rows: &[(SiloId, bool)],
        now: ServerTime,
    ) -> Result<(), Refusal> {
        if self.myself.is_none() {
            return Ok(());
        }
        let (present, absent): (Vec<_>, Vec<_>) =
            rows.iter().filter(|(id, _)| overdue.contains(id)).cloned().partition(|(_, present)| *present);
        let ids = |rows: Vec<(SiloId, bool)>| rows.into_iter().map(|(id, _)| id).collect::<Vec<_>>();
        let forgotten: Vec<_> = ids(absent).into_iter().filter(|id| !self.judge.is_in(id)).collect();
        let present = ids(present);
        if !present.is_empty() {
            store.index_add(&present, now).await?;
        }
        if !forgotten.is_empty() {
            store.index_remove(&forgotten).await?;
        }
        Ok(())
    }

    /// Reads the rows of all silos that the index or this silo knows.
    async fn read_all(&mut self, store: &Store) -> Result<(), Refusal> {
        // The version first: a change that comes between is then read twice rather than never.
        let version = store.version().await?;
        let mut ids: BTreeSet<_> = store.index().await?.into_iter().collect();
        ids.extend(self.judge.silos().map(|info| info.silo_id.clone()));
        let rows = store.rows(ids).await?;
        let lost =
            self.myself.as_ref().is_some_and(|me| !matches!(rows.get(&me.silo_id), Some(Row::Readable(_))));
        // Rows whose node is away are read again at the next heartbeat.
        let complete = !rows.values().any(|row| matches!(row, Row::Away));
        self.judge.rows(self.born.elapsed(), rows);
        self.version_read = version.filter(|_| complete);
        if lost { self.restore(store).await } else { Ok(()) }
    }

    /// Reads these rows; says of each whether there is one.
    async fn read(&mut self, store: &Store, ids: BTreeSet<SiloId>) -> Result<Vec<(SiloId, bool)>, Refusal> {
        let mut found = Vec::new();
        for (id, row) in store.rows(ids).await? {
            let missing = matches!(row, Row::Missing);
            if missing && self.myself.as_ref().is_some_and(|me| me.silo_id == id) {
                self.restore(store).await?;
            }
            self.judge.row(self.born.elapsed(), &id, row);
            found.push((id, !missing));
        }
        Ok(found)
    }

    async fn restore(&mut self, store: &Store) -> Result<(), Refusal> {
        let now = store.time().await?;
        self.write_row(store, now).await
    }

    async fn announce(&mut self, status: SiloStatus) -> Result<(), Refusal> {
        let Some(myself) = &mut self.myself else { return Ok(()) };
        myself.status = status;
        self.judge.set_myself(myself.clone());
        let id = myself.silo_id.clone();
        let store = self.link.store.clone().ok_or_else(Refusal::no_answer)?;
        self.restore(&store).await?;
        store.tell(Word::Join, &id).await
    }

    async fn leave(&mut self) -> Result<(), Refusal> {
        let Some(myself) = &self.myself else { return Ok(()) };
        let store = match self.link.store.clone() {
            Some(store) => store,
            None => self.server.connect().await?,
        };
        store.remove(myself).await
    }

    #[expect(clippy::unnecessary_wraps, reason = "one of several turns, of which most can fail")]
    fn begin_scan(&mut self) -> Result<(), Refusal> {
        if self.judge.is_elected() {
            self.scan.get_or_insert_default();
        }
        Ok(())
    }

    /// One step of the search for original silos; others may come between two steps.
    async fn scan_on(&mut self) -> Result<(), Refusal> {
        let Some(cursor) = self.scan.take() else { return Ok(()) };
        let Some(store) = self.link.store.clone() else { return Ok(()) };
        let (ids, next) = store.scan(cursor).await?;
        self.scan = next;
        self.index_found(&store, ids.into_iter().filter(|id| !self.judge.is_in(id)).collect()).await
    }

    async fn index_found(&mut self, store: &Store, ids: BTreeSet<SiloId>) -> Result<(), Refusal> {
        if ids.is_empty() {
            return Ok(());
        }
        if self.myself.is_some() {
            let now = store.time().await?;
            store.index_add(&ids.iter().cloned().collect::<Vec<_>>(), now).await?;
        }
        self.read(store, ids).await.map(drop)
    }

    async fn connect(&mut self) -> Result<(), Refusal> {
        let store = self.server.connect().await?;
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
        self.link.store = None;
        // What it says last is what keeps it away now: first the connection breaks, then the password is wrong.
        let since = self.link.away.take().map_or_else(SystemTime::now, |(since, _)| since);
        self.link.away = Some((since, refusal.to_string()));
        self.link.retry_at = Instant::now() + self.link.backoff.next_wait();
    }
}

/// Ticks at `period`, first after one; a late tick shifts the following ones.
fn every(period: Duration) -> Interval {
    let mut interval = tokio::time::interval_at(Instant::now() + period, period);
    interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
    interval
}
