//! The store in Redis: the keys of the contract and the commands on them; the only place that knows the Redis client's
//! types.
//!
//! Every command names one key (or none), so that each can go to its own node of a Redis Cluster, but for rows, of which a
//! single server is asked for many at once; pipelines are plain, never transactions. What must not be torn apart is a script of one key.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use ::redis::aio::{PubSubSink, PubSubStream};
use ::redis::{Pipeline, Value};
use futures_util::StreamExt as _;

use super::changes::{self, Changes, Entry};
use super::connection::{ANSWER_LIMIT, Connection, Connector, Cursor};
use super::refusal::Answer;
use super::scripts::{CLAIM_ROW, DELETE_ROW, RAISE, VOTE, WRITE_ROW};
use super::store::{Pulse, Server, Store, Subscription, Word, Written};
use crate::error::Result;
use crate::id::SiloId;
use crate::membership::judge::Row;
use crate::membership::{RedisCredentials, RedisUrl};
use crate::silo_info::SiloInfo;
use crate::telemetry::MEMBERSHIP;

/// How many keys one step of SCAN looks at.
const SCAN_COUNT: usize = 1_000;
/// How many rows are asked for at once.
const ROWS_AT_ONCE: usize = 256;
/// How many overdue silos a heartbeat looks at.
const OVERDUE_AT_ONCE: usize = 16;
/// How long a vote counts.
const VOTE_TTL: Duration = Duration::from_secs(6);
/// How many ids with unreadable rows are remembered as logged.
const LOGGED_IDS: usize = 1_024;

/// Where Redis is, and the names of this cluster's keys there. Cheap to clone.
#[derive(Clone)]
pub(super) struct RedisServer(Arc<ServerParts>);

struct ServerParts {
    connector: Connector,
    cluster: String,
    unreadable: Unreadable,
}

impl RedisServer {
    pub(super) fn new(url: RedisUrl, credentials: Option<RedisCredentials>, cluster: &str) -> Result<Self> {
        let connector = Connector::new(url, credentials)?;
        let cluster = cluster.to_owned();
        Ok(Self(Arc::new(ServerParts { connector, cluster, unreadable: Unreadable::default() })))
    }

    fn membership_channel(&self) -> String {
        format!("{}:membership", self.0.cluster)
    }

    fn suspicion_channel(&self) -> String {
        format!("{}:suspicion", self.0.cluster)
    }

    fn row_prefix(&self) -> String {
        format!("{}:silo:", self.0.cluster)
    }

    fn row_key(&self, id: &SiloId) -> String {
        format!("{}:silo:{id}", self.0.cluster)
    }

    fn index_key(&self) -> String {
        format!("{}:index", self.0.cluster)
    }

    fn version_key(&self) -> String {
        format!("{}:version", self.0.cluster)
    }

    fn changes_key(&self) -> String {
        format!("{}:changes", self.0.cluster)
    }

    fn lives_key(&self, id: &SiloId) -> String {
        format!("{}:incarnation:{id}", self.0.cluster)
    }

    fn suspect_key(&self, silo: &SiloInfo) -> String {
        format!("{}:suspect:{}:{}", self.0.cluster, silo.silo_id, silo.incarnation)
    }
}

impl fmt::Display for RedisServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.connector.url().fmt(f)
    }
}

impl Server for RedisServer {
    type Store = RedisStore;
    type Subscription = RedisSubscription;

    async fn connect(&self) -> Answer<RedisStore> {
        let connection = self.0.connector.connect(&self.index_key()).await?;
        let store = RedisStore { server: self.clone(), connection };
        // The nodes of a cluster may all be there while it is down, and a node of one may pass for a single server.
        store.version().await?;
        Ok(store)
    }

    async fn subscribe(&self) -> Answer<RedisSubscription> {
        let channels = [self.membership_channel(), self.suspicion_channel()];
        let (questions, messages) = self.0.connector.subscribe(&channels).await?.split();
        Ok(RedisSubscription { questions, messages })
    }
}

/// A subscription to the two channels.
pub(super) struct RedisSubscription {
    questions: PubSubSink,
    messages: PubSubStream,
}

impl Subscription for RedisSubscription {
    async fn next(&mut self) -> Option<String> {
        loop {
            // What is no text is nothing of ours.
            if let Ok(payload) = self.messages.next().await?.get_payload() {
                return Some(payload);
            }
        }
    }

    async fn is_alive(&mut self) -> bool {
        let answer = tokio::time::timeout(ANSWER_LIMIT, self.questions.ping::<Value>());
        matches!(answer.await, Ok(Ok(_)))
    }
}

/// Milliseconds of Redis's clock.
#[derive(Clone, Copy)]
pub(super) struct ServerTime(i64);

/// A connection to Redis.
#[derive(Clone)]
pub(super) struct RedisStore {
    server: RedisServer,
    connection: Connection,
}

impl RedisStore {
    async fn run<T: ::redis::FromRedisValue>(&self, pipe: Pipeline) -> Answer<T> {
        Ok(pipe.query_async(&mut self.connection.clone()).await?)
    }

    async fn time(&self) -> Answer<ServerTime> {
        let mut pipe = ::redis::pipe();
        pipe.cmd("TIME");
        let ((seconds, micros),): ((i64, i64),) = self.run(pipe).await?;
        Ok(ServerTime(seconds * 1_000 + micros / 1_000))
    }

    /// Raises the version, and records that these silos changed. Whoever looks in between reads all rows.
    async fn raise_version(&self, ids: &[SiloId]) -> Answer<()> {
        let (growth, key) = (changes::growth(), self.server.changes_key());
        let mut raise = ::redis::pipe();
        raise.cmd("INCRBY").arg(self.server.version_key()).arg(growth);
        let (version,): (i64,) = self.run(raise).await?;
        let mut pipe = ::redis::pipe();
        pipe.cmd("ZADD").arg(&key);
        for id in ids {
            pipe.arg(version).arg(Entry::new(version - i64::from(growth), version, id).to_text());
        }
        pipe.ignore();
        pipe.cmd("ZREMRANGEBYSCORE").arg(&key).arg("-inf").arg(changes::oldest(version)).ignore();
        // What is not recorded is a gap, at which all rows are read: in a cluster the record's node may be away.
        let _ = self.run::<()>(pipe).await;
        Ok(())
    }

    /// Takes this silo out of the index; says whether it was in it.
    async fn forget(&self, id: &SiloId) -> Answer<bool> {
        let mut pipe = ::redis::pipe();
        pipe.cmd("ZREM").arg(self.server.index_key()).arg(id.as_str());
        Ok(self.run::<(i64,)>(pipe).await?.0 > 0)
    }

    /// Counts that many lives of this id, at least; says whether fewer were counted.
    async fn raise_lives(&self, id: &SiloId, lives: u64) -> Answer<bool> {
        let mut pipe = ::redis::pipe();
        script(&mut pipe, RAISE, &self.server.lives_key(id)).arg(lives);
        Ok(self.run::<(bool,)>(pipe).await?.0)
    }

    fn read(&self, id: &SiloId, value: &Value, lives: u64) -> Row {
        let read = match value {
            Value::Nil => return Row::Missing { lives },
            Value::BulkString(bytes) => std::str::from_utf8(bytes)
                .map_err(|error| error.to_string())
                .and_then(|json| SiloInfo::from_json(json).map_err(|error| error.message().to_owned())),
            other => Err(format!("{other:?} is no text")),
        };
        match read {
            Ok(info) if info.silo_id == *id => Row::Readable(Arc::new(info)),
            Ok(info) => self.unreadable(id, &format!("the row is of {:?}", info.silo_id)),
            Err(why) => self.unreadable(id, &why),
        }
    }

    fn unreadable(&self, id: &SiloId, why: &str) -> Row {
        self.server.0.unreadable.note(id, why);
        Row::Unreadable
    }

    /// The count of the lives of each of these.
    async fn lives(&self, ids: &[&SiloId]) -> Answer<Vec<u64>> {
        if ids.is_empty() {
            return Ok(Vec::new());
        }
        let mut pipe = ::redis::pipe();
        ids.iter().for_each(|id| {
            pipe.cmd("GET").arg(self.server.lives_key(id));
        });
        let lives: Vec<Option<u64>> = self.run(pipe).await?;
        Ok(lives.into_iter().map(Option::unwrap_or_default).collect())
    }
}

/// Asks for a key's string. GET answers WRONGTYPE for a key that is none; MGET of one key says nil, and spoils no pipeline.
fn get(pipe: &mut Pipeline, key: &str) {
    pipe.cmd("MGET").arg(key);
}

fn script<'a>(pipe: &'a mut Pipeline, text: &str, key: &str) -> &'a mut Pipeline {
    pipe.cmd("EVAL").arg(text).arg(1).arg(key)
}

impl Store for RedisStore {
    type Time = ServerTime;
    type Seen = Vec<u8>;
    type Cursor = Cursor;

    async fn pulse(&self, me: Option<&SiloId>, ttl: Duration) -> Answer<Pulse<ServerTime>> {
        let server = &self.server;
        let now = self.time().await?;
        let mut pipe = ::redis::pipe();
        pipe.cmd("GET").arg(server.version_key());
        pipe.cmd("ZRANGEBYSCORE").arg(server.index_key()).arg("-inf").arg(now.0 - millis(ttl));
        pipe.arg("LIMIT").arg(0).arg(OVERDUE_AT_ONCE);
        let (version, overdue): (Option<i64>, Vec<String>) = self.run(pipe).await?;
        let (own_row, lives) = match me {
            Some(me) => {
                let (row, _, lives) = self.look_up(me).await?;
                (row, lives)
            }
            None => (Row::Missing { lives: 0 }, 0),
        };
        let overdue = overdue.iter().filter_map(|id| SiloId::new(id).ok()).collect();
        Ok(Pulse { own_row, lives, now, version, overdue })
    }

    async fn write_row(&self, info: &SiloInfo, now: ServerTime, ttl: Duration) -> Answer<Written> {
        let server = &self.server;
        let mut pipe = ::redis::pipe();
        script(&mut pipe, WRITE_ROW, &server.row_key(&info.silo_id))
            .arg(info.to_json())
            .arg(info.incarnation);
        pipe.arg(info.endpoint.host()).arg(info.endpoint.port()).arg(millis(ttl));
        pipe.cmd("ZADD").arg(server.index_key()).arg(now.0).arg(info.silo_id.as_str());
        script(&mut pipe, RAISE, &server.lives_key(&info.silo_id)).arg(info.incarnation).ignore();
        pipe.cmd("SET").arg(server.version_key()).arg(now.0).arg("NX").ignore();
        let (written, new_in_index): (Value, i64) = self.run(pipe).await?;
        Ok(match written {
            Value::Int(0) => Written::Anew,
            // Whoever read the index while it was not there does not know of it.
            Value::Int(_) if new_in_index > 0 => Written::Anew,
            Value::Int(_) => Written::Again,
            in_the_way => Written::Not(self.read(&info.silo_id, &in_the_way, 0)),
        })
    }

    async fn look_up(&self, id: &SiloId) -> Answer<(Row, Vec<u8>, u64)> {
        let mut pipe = ::redis::pipe();
        get(&mut pipe, &self.server.row_key(id));
        pipe.cmd("GET").arg(self.server.lives_key(id));
        let ((value,), lives): ((Value,), Option<u64>) = self.run(pipe).await?;
        let lives = lives.unwrap_or_default();
        let row = self.read(id, &value, lives);
        Ok((row, bytes(value), lives))
    }

    async fn claim_row(&self, info: &SiloInfo, seen: &Vec<u8>, ttl: Duration) -> Answer<bool> {
        let (server, id) = (&self.server, &info.silo_id);
        let mut pipe = ::redis::pipe();
        script(&mut pipe, CLAIM_ROW, &server.row_key(id)).arg(seen).arg(info.to_json()).arg(millis(ttl));
        let (claimed,): (bool,) = self.run(pipe).await?;
        if claimed {
            // Not before: whoever counts a life that he does not come to lead ends that of the one who does.
            self.raise_lives(id, info.incarnation).await?;
            self.index_add(std::slice::from_ref(id)).await?;
        }
        Ok(claimed)
    }

    async fn end_life(&self, silo: &SiloInfo) -> Answer<()> {
        let (server, id) = (&self.server, &silo.silo_id);
        // First, so that nobody who misses the row takes it for lost.
        let is_news = self.raise_lives(id, silo.incarnation.saturating_add(1)).await?;
        let (row, seen, _) = self.look_up(id).await?;
        match row {
            Row::Readable(row) if row.incarnation != silo.incarnation => return Ok(()),
            Row::Unreadable | Row::Away => return Ok(()),
            // Of all who put it out one tells; if that one did not come to it, whoever takes it out of the index.
            Row::Missing { .. } if !is_news => {
                return if self.forget(id).await? { self.tell(Word::Leave, id).await } else { Ok(()) };
            }
            Row::Readable(_) | Row::Missing { .. } => {}
        }
        let mut pipe = ::redis::pipe();
        script(&mut pipe, DELETE_ROW, &server.row_key(id)).arg(seen).ignore();
        self.run::<()>(pipe).await?;
        self.tell(Word::Leave, id).await?;
        self.forget(id).await.map(drop)
    }

    async fn tell(&self, word: Word, id: &SiloId) -> Answer<()> {
        self.raise_version(std::slice::from_ref(id)).await?;
        let mut pipe = ::redis::pipe();
        let message = format!("{}:{id}", word.as_str());
        pipe.cmd("PUBLISH").arg(self.server.membership_channel()).arg(message).ignore();
        self.run(pipe).await
    }

    async fn version(&self) -> Answer<Option<i64>> {
        let mut pipe = ::redis::pipe();
        pipe.cmd("GET").arg(self.server.version_key());
        Ok(self.run::<(Option<i64>,)>(pipe).await?.0)
    }

    async fn changes(&self, since: i64) -> Answer<Option<Changes>> {
        let mut pipe = ::redis::pipe();
        pipe.cmd("GET").arg(self.server.version_key());
        // Scores are floats, which are not exact for large versions: the entries say what they are of.
        pipe.cmd("ZRANGEBYSCORE").arg(self.server.changes_key()).arg(since).arg("+inf");
        // In a cluster the record may be away while the rest is there. It makes reading cheaper, no more.
        let Ok((version, entries)) = self.run::<(Option<i64>, Vec<String>)>(pipe).await else {
            return Ok(None);
        };
        let entries = entries.iter().filter_map(|entry| Entry::from_text(entry));
        Ok(version.and_then(|version| Changes::of(entries, since, version)))
    }

    async fn index(&self) -> Answer<Vec<SiloId>> {
        let mut pipe = ::redis::pipe();
        pipe.cmd("ZRANGE").arg(self.server.index_key()).arg(0).arg(-1);
        let (ids,): (Vec<String>,) = self.run(pipe).await?;
        Ok(ids.iter().filter_map(|id| SiloId::new(id).ok()).collect())
    }

    async fn rows(&self, ids: Vec<SiloId>) -> Answer<BTreeMap<SiloId, Row>> {
        let mut rows = BTreeMap::new();
        for chunk in ids.chunks(ROWS_AT_ONCE) {
            let keys: Vec<String> = chunk.iter().map(|id| self.server.row_key(id)).collect();
            // Where a node of a cluster is away, so are the rows that it holds.
            let values: Vec<_> = chunk.iter().zip(self.connection.strings(&keys).await?).collect();
            let is_missing = |value: &Option<Value>| matches!(value, Some(Value::Nil));
            let missing: Vec<_> =
                values.iter().filter(|(_, value)| is_missing(value)).map(|(id, _)| *id).collect();
            let lives: HashMap<_, _> = missing.iter().copied().zip(self.lives(&missing).await?).collect();
            rows.extend(values.iter().map(|(id, value)| {
                let lives = lives.get(id).copied().unwrap_or_default();
                let row = value.as_ref().map_or(Row::Away, |value| self.read(id, value, lives));
                ((*id).clone(), row)
            }));
        }
        Ok(rows)
    }

    async fn index_add(&self, ids: &[SiloId]) -> Answer<bool> {
        let now = self.time().await?;
        let mut pipe = ::redis::pipe();
        pipe.cmd("ZADD").arg(self.server.index_key());
        for id in ids {
            pipe.arg(now.0).arg(id.as_str());
        }
        let (added,): (i64,) = self.run(pipe).await?;
        Ok(added > 0)
    }

    async fn index_remove(&self, ids: &[SiloId]) -> Answer<()> {
        let mut pipe = ::redis::pipe();
        pipe.cmd("ZREM").arg(self.server.index_key());
        for id in ids {
            pipe.arg(id.as_str());
        }
        pipe.ignore();
        self.run::<()>(pipe).await?;
        self.raise_version(ids).await
    }

    async fn vote(&self, voter: &SiloId, silo: &SiloInfo) -> Answer<u64> {
        let mut pipe = ::redis::pipe();
        script(&mut pipe, VOTE, &self.server.suspect_key(silo)).arg(voter.as_str()).arg(millis(VOTE_TTL));
        Ok(self.run::<(u64,)>(pipe).await?.0)
    }

    async fn withdraw_vote(&self, voter: &SiloId, silo: &SiloInfo) -> Answer<()> {
        let mut pipe = ::redis::pipe();
        pipe.cmd("ZREM").arg(self.server.suspect_key(silo)).arg(voter.as_str()).ignore();
        self.run(pipe).await
    }

    async fn ask_to_look(&self, silo: &SiloInfo) -> Answer<()> {
        let message = format!("suspect:{}:{}", silo.incarnation, silo.silo_id);
        let mut pipe = ::redis::pipe();
        pipe.cmd("PUBLISH").arg(self.server.suspicion_channel()).arg(message).ignore();
        self.run(pipe).await
    }

    async fn scan(&self, from: Cursor) -> Answer<(Vec<SiloId>, Option<Cursor>)> {
        let prefix = self.server.row_prefix();
        let (keys, next) = self.connection.scan(from, &format!("{prefix}*"), SCAN_COUNT).await?;
        let keys = keys.into_iter().filter_map(|key| ::redis::from_redis_value::<String>(key).ok());
        Ok((keys.filter_map(|key| SiloId::new(key.strip_prefix(&prefix)?).ok()).collect(), next))
    }

    async fn rehearse(&self, id: &SiloId) -> Answer<()> {
        let server = &self.server;
        // No life has this number.
        let key = format!("{}:suspect:{id}:rehearsal", server.0.cluster);
        let mut pipe = ::redis::pipe();
        // The commands of the scripts by themselves, because a script does not say which of its own is refused.
        pipe.cmd("SET").arg(&key).arg("").arg("PX").arg(millis(VOTE_TTL)).ignore();
        pipe.cmd("DEL").arg(&key).ignore();
        pipe.cmd("ZADD").arg(&key).arg(0).arg(id.as_str()).ignore();
        pipe.cmd("ZREMRANGEBYSCORE").arg(&key).arg(0).arg(0).ignore();
        pipe.cmd("PEXPIRE").arg(&key).arg(millis(VOTE_TTL)).ignore();
        pipe.cmd("ZCARD").arg(&key).ignore();
        pipe.cmd("TIME").ignore();
        script(&mut pipe, DELETE_ROW, &key).arg("-").ignore();
        // No silo has this id, and nobody takes this message for one.
        pipe.cmd("ZREM").arg(server.index_key()).arg("").ignore();
        pipe.cmd("ZRANGEBYSCORE").arg(server.index_key()).arg(0).arg(0).ignore();
        pipe.cmd("PUBLISH").arg(server.suspicion_channel()).arg("").ignore();
        self.run(pipe).await
    }
}

/// A row's value as it is compared.
fn bytes(value: Value) -> Vec<u8> {
    match value {
        Value::BulkString(bytes) => bytes,
        _ => Vec::new(),
    }
}

/// Rows that could not be read: all counted, each id logged once.
#[derive(Default)]
struct Unreadable {
    count: AtomicU64,
    logged: Mutex<HashSet<SiloId>>,
}

impl Unreadable {
    fn note(&self, id: &SiloId, why: &str) {
        let count = self.count.fetch_add(1, Ordering::Relaxed) + 1;
        let mut logged = self.logged.lock().expect("no panic while locked");
        if logged.len() < LOGGED_IDS && logged.insert(id.clone()) {
            tracing::warn!(target: MEMBERSHIP, silo = %id, error = why, count, "silo row skipped: it cannot be read");
        }
    }
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX).max(1)
}
