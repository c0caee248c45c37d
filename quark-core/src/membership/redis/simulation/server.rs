//! A store in this process, on the runtime's clock, that can be away, slow, emptied, set back, or cut off from some. It
//! passes the suite that the real one passes.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::process::{Process, Task};
use crate::id::SiloId;
use crate::membership::judge::Row;
use crate::membership::redis::changes::{self, Changes, Entry};
use crate::membership::redis::refusal::{Answer, Refusal};
use crate::membership::redis::store::{Pulse, Server, Store, Subscription, Word, Written};
use crate::silo_info::SiloInfo;

/// How long whoever asks a store that is away waits.
const PATIENCE: Duration = Duration::from_secs(3);
const VOTE_TTL: Duration = Duration::from_secs(6);

/// A store that all silos of a simulated cluster share.
#[derive(Clone, Default)]
pub(super) struct SharedStore(Arc<Mutex<Inside>>);

struct Inside {
    kept: Kept,
    random: fastrand::Rng,
    /// Since when nobody gets through.
    away: bool,
    /// How long an operation takes at most.
    most_latency: Duration,
    /// Whose way here is cut.
    cut: BTreeSet<SiloId>,
    /// Of a hundred messages so many are lost, doubled and late.
    bad_messages: u32,
    no_messages: bool,
    /// Of a thousand operations so many are done and not answered.
    lost_answers: u32,
    subscribers: Vec<(SiloId, mpsc::UnboundedSender<String>)>,
    /// How many operations were done, and messages delivered.
    pub(super) work: Work,
    /// How long each keeps it busy; nothing else is done meanwhile.
    service: Duration,
    busy_until: Option<Instant>,
}

/// What a store has done.
#[derive(Clone, Copy, Default)]
pub(super) struct Work {
    pub(super) operations: u64,
    pub(super) rows: u64,
    pub(super) messages: u64,
}

/// What it keeps.
#[derive(Clone, Default)]
struct Kept {
    rows: BTreeMap<SiloId, KeptRow>,
    index: BTreeMap<SiloId, Instant>,
    lives: BTreeMap<SiloId, u64>,
    version: Option<i64>,
    changes: Vec<Entry>,
    /// When it was last looked for what has expired.
    expired_at: Option<Instant>,
    votes: BTreeMap<(SiloId, u64), BTreeMap<SiloId, Instant>>,
}

/// A row, which all who read it share.
#[derive(Clone)]
struct KeptRow {
    json: String,
    info: Option<Arc<SiloInfo>>,
    until: Instant,
}

impl KeptRow {
    fn new(json: String, until: Instant) -> Self {
        Self { info: SiloInfo::from_json(&json).ok().map(Arc::new), json, until }
    }
}

impl Default for Inside {
    fn default() -> Self {
        Self {
            kept: Kept::default(),
            random: fastrand::Rng::with_seed(0),
            away: false,
            most_latency: Duration::from_millis(1),
            cut: BTreeSet::new(),
            bad_messages: 0,
            no_messages: false,
            lost_answers: 0,
            subscribers: Vec::new(),
            work: Work::default(),
            service: Duration::ZERO,
            busy_until: None,
        }
    }
}

impl Inside {
    /// Takes an operation on; how long it takes until it is done, behind those before it.
    fn serve(&mut self) -> Duration {
        self.work.operations += 1;
        let now = Instant::now();
        let done = self.busy_until.map_or(now, |busy| busy.max(now)) + self.service;
        self.busy_until = Some(done);
        done - now
    }
}

/// An earlier state of a store.
pub(super) struct Snapshot(Kept);

impl SharedStore {
    fn lock(&self) -> MutexGuard<'_, Inside> {
        self.0.lock().expect("no panic while locked")
    }

    pub(super) fn seed(&self, seed: u64) {
        self.lock().random = fastrand::Rng::with_seed(seed);
    }

    /// The way of one silo to it.
    pub(super) fn server_for(
        &self,
        client: &SiloId,
        process: &Arc<Process>,
        skew: time::Duration,
    ) -> SharedServer {
        SharedServer { store: self.clone(), client: client.clone(), process: process.clone(), skew }
    }

    pub(super) fn set_away(&self, away: bool) {
        let mut inside = self.lock();
        inside.away = away;
        if away {
            inside.subscribers.clear();
        }
    }

    pub(super) fn is_away(&self) -> bool {
        self.lock().away
    }

    pub(super) fn is_slow(&self) -> bool {
        self.lock().most_latency > Duration::from_millis(100)
    }

    pub(super) fn set_latency(&self, most: Duration) {
        self.lock().most_latency = most;
    }

    /// Writes a row that lasts, and says nothing of it anywhere.
    pub(super) fn put_row(&self, info: &SiloInfo) {
        let row = KeptRow::new(info.to_json(), Instant::now() + Duration::from_secs(3_600));
        self.lock().kept.rows.insert(info.silo_id.clone(), row);
    }

    pub(super) fn set_service(&self, service: Duration) {
        self.lock().service = service;
    }

    pub(super) fn work(&self) -> Work {
        self.lock().work
    }

    pub(super) fn set_bad_messages(&self, percent: u32) {
        self.lock().bad_messages = percent;
    }

    /// No message arrives any more.
    pub(super) fn lose_messages(&self) {
        self.lock().no_messages = true;
    }

    pub(super) fn set_lost_answers(&self, per_mille: u32) {
        self.lock().lost_answers = per_mille;
    }

    pub(super) fn cut(&self, client: &SiloId, cut: bool) {
        let mut inside = self.lock();
        if cut {
            inside.cut.insert(client.clone());
            inside.subscribers.retain(|(subscriber, _)| subscriber != client);
        } else {
            inside.cut.remove(client);
        }
    }

    pub(super) fn is_cut(&self, client: &SiloId) -> bool {
        self.lock().cut.contains(client)
    }

    pub(super) fn flush(&self) {
        self.lock().kept = Kept::default();
    }

    pub(super) fn snapshot(&self) -> Snapshot {
        Snapshot(self.lock().kept.clone())
    }

    /// A replica that knew no more than this becomes the primary; all connections break.
    pub(super) fn fail_over_to(&self, snapshot: Snapshot) {
        let mut inside = self.lock();
        inside.kept = snapshot.0;
        inside.subscribers.clear();
    }

    /// Somebody publishes.
    pub(super) fn publish(&self, message: &str) {
        let mut inside = self.lock();
        if inside.no_messages {
            return;
        }
        let Inside { subscribers, random, bad_messages, work, .. } = &mut *inside;
        work.messages += subscribers.len() as u64;
        subscribers.retain(|(_, subscriber)| !subscriber.is_closed());
        for (_, subscriber) in subscribers.iter() {
            let is_bad = random.u32(0..100) < *bad_messages;
            match random.u8(0..3) {
                0 if is_bad => {}
                1 if is_bad => {
                    for _ in 0..2 {
                        let _ = subscriber.send(message.to_owned());
                    }
                }
                _ if is_bad => {
                    let (subscriber, message) = (subscriber.clone(), message.to_owned());
                    let late = Duration::from_millis(random.u64(0..20_000));
                    tokio::spawn(async move {
                        tokio::time::sleep(late).await;
                        let _ = subscriber.send(message);
                    });
                }
                _ => drop(subscriber.send(message.to_owned())),
            }
        }
    }

    /// How many lives of an id are counted.
    pub(super) fn lives(&self, id: &SiloId) -> u64 {
        self.lock().kept.lives.get(id).copied().unwrap_or_default()
    }
}

/// One silo's way to the store.
#[derive(Clone)]
pub(super) struct SharedServer {
    store: SharedStore,
    client: SiloId,
    process: Arc<Process>,
    /// By how much this silo's clock is wrong.
    skew: time::Duration,
}

impl SharedServer {
    /// One operation: takes its time, and may not get through.
    async fn operate<T>(&self, work: impl FnOnce(&mut Kept) -> T) -> Answer<T> {
        let latency = {
            let mut inside = self.store.lock();
            let most = u64::try_from(inside.most_latency.as_micros()).unwrap_or(u64::MAX);
            Duration::from_micros(inside.random.u64(0..=most))
        };
        if latency >= PATIENCE || !self.gets_through() {
            tokio::time::sleep(PATIENCE).await;
            return Err(Refusal::no_answer());
        }
        tokio::time::sleep(latency).await;
        if !self.gets_through() {
            return Err(Refusal::no_answer());
        }
        let wait = self.store.lock().serve();
        if !wait.is_zero() {
            tokio::time::sleep(wait).await;
        }
        let mut inside = self.store.lock();
        inside.kept.expire();
        let done = work(&mut inside.kept);
        let (lost, of) = (inside.lost_answers, inside.random.u32(0..1_000));
        if of < lost { Err(Refusal::no_answer()) } else { Ok(done) }
    }

    fn gets_through(&self) -> bool {
        let inside = self.store.lock();
        !inside.away && !inside.cut.contains(&self.client)
    }

    fn json(&self, info: &SiloInfo) -> String {
        SiloInfo { last_heartbeat: info.last_heartbeat + self.skew, ..info.clone() }.to_json()
    }

    async fn raise_lives(&self, id: &SiloId, lives: u64) -> Answer<bool> {
        self.operate(|kept| kept.raise_lives(id, lives)).await
    }

    /// In two steps, between which others may look.
    async fn raise_version(&self, ids: &[SiloId]) -> Answer<()> {
        let (before, after) = self.operate(Kept::raise_version).await?;
        self.operate(|kept| {
            kept.changes.extend(ids.iter().map(|id| Entry::new(before, after, id)));
            let many = kept.changes.len().saturating_sub(changes::REMEMBERED as usize);
            kept.changes.drain(..many);
        })
        .await
    }
}

impl Kept {
    fn expire(&mut self) {
        let now = Instant::now();
        // In a large cluster not at each operation; whoever reads looks at the time anyway.
        let of_late = self.expired_at.is_some_and(|last| now < last + Duration::from_millis(250));
        if of_late && self.rows.len() > 64 {
            return;
        }
        self.expired_at = Some(now);
        self.rows.retain(|_, row| now < row.until);
        self.votes.values_mut().for_each(|voters| voters.retain(|_, until| now < *until));
    }

    fn read(&self, id: &SiloId) -> Row {
        let lives = self.lives.get(id).copied().unwrap_or_default();
        match self.rows.get(id) {
            None => Row::Missing { lives },
            Some(row) if Instant::now() >= row.until => Row::Missing { lives },
            Some(row) => match &row.info {
                Some(info) if info.silo_id == *id => Row::Readable(info.clone()),
                _ => Row::Unreadable,
            },
        }
    }

    fn text(&self, id: &SiloId) -> String {
        let row = self.rows.get(id).filter(|row| Instant::now() < row.until);
        row.map(|row| row.json.clone()).unwrap_or_default()
    }

    /// From which version to which.
    fn raise_version(&mut self) -> (i64, i64) {
        let version = self.version.get_or_insert(0);
        let before = *version;
        *version += i64::from(changes::growth());
        (before, *version)
    }

    /// Whether fewer were counted.
    fn raise_lives(&mut self, id: &SiloId, lives: u64) -> bool {
        let counted = self.lives.entry(id.clone()).or_default();
        let is_news = lives > *counted;
        *counted = lives.max(*counted);
        is_news
    }
}

impl fmt::Display for SharedServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the simulated store")
    }
}

impl Server for SharedServer {
    type Store = Self;
    type Subscription = mpsc::UnboundedReceiver<String>;

    async fn connect(&self) -> Answer<Self> {
        self.operate(|_| ()).await?;
        Ok(self.clone())
    }

    async fn subscribe(&self) -> Answer<Self::Subscription> {
        self.operate(|_| ()).await?;
        let (sender, receiver) = mpsc::unbounded_channel();
        self.store.lock().subscribers.push((self.client.clone(), sender));
        Ok(receiver)
    }

    fn task(&self, work: BoxFuture<'static, ()>) -> BoxFuture<'static, ()> {
        Task { process: self.process.clone(), work }.boxed()
    }
}

impl Subscription for mpsc::UnboundedReceiver<String> {
    async fn next(&mut self) -> Option<String> {
        self.recv().await
    }

    async fn is_alive(&mut self) -> bool {
        !self.is_closed()
    }
}

impl Store for SharedServer {
    type Time = Instant;
    type Seen = String;
    type Cursor = ();

    async fn pulse(&self, me: Option<&SiloId>, ttl: Duration) -> Answer<Pulse<Instant>> {
        self.operate(|kept| {
            let now = Instant::now();
            let overdue = kept.index.iter().filter(|(_, seen)| now >= **seen + ttl).map(|(id, _)| id.clone());
            let (own_row, lives) = match me {
                Some(me) => (kept.read(me), kept.lives.get(me).copied().unwrap_or_default()),
                None => (Row::Missing { lives: 0 }, 0),
            };
            Pulse { own_row, lives, now, version: kept.version, overdue: overdue.take(16).collect() }
        })
        .await
    }

    async fn write_row(&self, info: &SiloInfo, now: Instant, ttl: Duration) -> Answer<Written> {
        let id = &info.silo_id;
        let same_place = |other: &SiloInfo| other.endpoint == info.endpoint;
        let written = self.operate(|kept| {
            let before = kept.read(id);
            let written = match &before {
                Row::Readable(other) if other.incarnation > info.incarnation => Written::Not(before),
                Row::Readable(other) if other.incarnation < info.incarnation => Written::Anew,
                Row::Readable(other) if same_place(other) => Written::Again,
                Row::Readable(_) => Written::Not(before),
                _ => Written::Anew,
            };
            if !matches!(written, Written::Not(_)) {
                kept.rows.insert(id.clone(), KeptRow::new(self.json(info), Instant::now() + ttl));
            }
            written
        });
        let written = written.await?;
        let new_in_index = self.operate(|kept| {
            let new_in_index = kept.index.insert(id.clone(), now).is_none();
            kept.raise_lives(id, info.incarnation);
            kept.version.get_or_insert_with(|| fastrand::i64(1..1 << 40));
            new_in_index
        });
        Ok(match (written, new_in_index.await?) {
            (Written::Again, true) => Written::Anew,
            (written, _) => written,
        })
    }

    async fn look_up(&self, id: &SiloId) -> Answer<(Row, String, u64)> {
        let (row, seen) = self.operate(|kept| (kept.read(id), kept.text(id))).await?;
        let lives = self.operate(|kept| kept.lives.get(id).copied().unwrap_or_default()).await?;
        Ok((row, seen, lives))
    }

    async fn claim_row(&self, info: &SiloInfo, seen: &String, ttl: Duration) -> Answer<bool> {
        let id = &info.silo_id;
        let claimed = self.operate(|kept| {
            let unchanged = kept.text(id) == *seen;
            if unchanged {
                kept.rows.insert(id.clone(), KeptRow::new(self.json(info), Instant::now() + ttl));
            }
            unchanged
        });
        let claimed = claimed.await?;
        if claimed {
            self.raise_lives(id, info.incarnation).await?;
            self.index_add(std::slice::from_ref(id)).await?;
        }
        Ok(claimed)
    }

    async fn end_life(&self, silo: &SiloInfo) -> Answer<()> {
        let id = &silo.silo_id;
        let is_news = self.raise_lives(id, silo.incarnation + 1).await?;
        let (row, seen) = self.operate(|kept| (kept.read(id), kept.text(id))).await?;
        match row {
            Row::Readable(row) if row.incarnation != silo.incarnation => return Ok(()),
            Row::Unreadable | Row::Away => return Ok(()),
            Row::Missing { .. } if !is_news => return Ok(()),
            Row::Readable(_) | Row::Missing { .. } => {}
        }
        self.operate(|kept| {
            if kept.text(id) == seen {
                kept.rows.remove(id);
            }
            kept.index.remove(id);
        })
        .await?;
        self.tell(Word::Leave, id).await
    }

    async fn tell(&self, word: Word, id: &SiloId) -> Answer<()> {
        self.raise_version(std::slice::from_ref(id)).await?;
        self.store.publish(&format!("{}:{id}", word.as_str()));
        Ok(())
    }

    async fn version(&self) -> Answer<Option<i64>> {
        self.operate(|kept| kept.version).await
    }

    async fn changes(&self, since: i64) -> Answer<Option<Changes>> {
        self.operate(|kept| Changes::of(kept.changes.iter().cloned(), since, kept.version?)).await
    }

    async fn index(&self) -> Answer<Vec<SiloId>> {
        self.operate(|kept| {
            let mut index: Vec<_> = kept.index.iter().collect();
            index.sort_by_key(|(_, seen)| **seen);
            index.into_iter().map(|(id, _)| id.clone()).collect()
        })
        .await
    }

    async fn rows(&self, ids: Vec<SiloId>) -> Answer<BTreeMap<SiloId, Row>> {
        self.store.lock().work.rows += ids.len() as u64;
        self.operate(|kept| {
            ids.into_iter()
                .map(|id| {
                    let row = kept.read(&id);
                    (id, row)
                })
                .collect()
        })
        .await
    }

    async fn index_add(&self, ids: &[SiloId]) -> Answer<bool> {
        self.operate(|kept| {
            let before = kept.index.len();
            kept.index.extend(ids.iter().map(|id| (id.clone(), Instant::now())));
            kept.index.len() > before
        })
        .await
    }

    async fn index_remove(&self, ids: &[SiloId]) -> Answer<()> {
        self.operate(|kept| kept.index.retain(|id, _| !ids.contains(id))).await?;
        self.raise_version(ids).await
    }

    async fn vote(&self, voter: &SiloId, silo: &SiloInfo) -> Answer<u64> {
        self.operate(|kept| {
            let voters = kept.votes.entry((silo.silo_id.clone(), silo.incarnation)).or_default();
            voters.insert(voter.clone(), Instant::now() + VOTE_TTL);
            voters.len() as u64
        })
        .await
    }

    async fn withdraw_vote(&self, voter: &SiloId, silo: &SiloInfo) -> Answer<()> {
        self.operate(|kept| {
            if let Some(voters) = kept.votes.get_mut(&(silo.silo_id.clone(), silo.incarnation)) {
                voters.remove(voter);
            }
        })
        .await
    }

    async fn ask_to_look(&self, silo: &SiloInfo) -> Answer<()> {
        self.operate(|_| ()).await?;
        self.store.publish(&format!("suspect:{}:{}", silo.incarnation, silo.silo_id));
        Ok(())
    }

    async fn scan(&self, (): ()) -> Answer<(Vec<SiloId>, Option<()>)> {
        Ok((self.operate(|kept| kept.rows.keys().cloned().collect()).await?, None))
    }

    async fn rehearse(&self, _id: &SiloId) -> Answer<()> {
        Ok(())
    }
}
