//! The keys of the contract and the commands on them; the only place that knows the Redis client's types.
//!
//! Every command names one key (or none), so that each can go to its own node of a Redis Cluster; pipelines are plain,
//! never transactions. Nothing is decided here. `keeper` and `claim` call it.

use std::collections::{BTreeMap, HashSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use ::redis::Value;
use ::redis::aio::PubSub;

use super::connection::{Connection, Connector};
use crate::error::{Error, ErrorKind, Result};
use crate::id::SiloId;
use crate::membership::RedisUrl;
use crate::membership::judge::Row;
use crate::silo_info::SiloInfo;
use crate::telemetry::MEMBERSHIP;

pub(super) use super::connection::{ANSWER_LIMIT, Cursor};
pub(super) use super::refusal::{Answer, Refusal};

/// How many steps of SCAN a start spends on finding original silos; the elected silo goes through all keys later.
pub(super) const SCAN_AT_START: usize = 64;
/// How many keys one step of SCAN looks at.
const SCAN_COUNT: usize = 1_000;
/// How many rows are asked for in one pipeline.
const ROWS_AT_ONCE: usize = 256;
/// How many overdue silos a heartbeat looks at.
const OVERDUE_AT_ONCE: usize = 16;
/// How long a vote counts.
const VOTE_TTL: Duration = Duration::from_secs(10);
/// How many ids with unreadable rows are remembered as logged.
const LOGGED_IDS: usize = 1_024;

/// Where Redis is, and the names of this cluster's keys there. Cheap to clone.
#[derive(Clone)]
pub(super) struct Server(Arc<ServerParts>);

struct ServerParts {
    connector: Connector,
    cluster: String,
    unreadable: Unreadable,
}

impl Server {
    pub(super) fn new(url: RedisUrl, cluster: &str) -> Result<Self> {
        let connector = Connector::new(url)?;
        let cluster = cluster.to_owned();
        Ok(Self(Arc::new(ServerParts { connector, cluster, unreadable: Unreadable::default() })))
    }

    /// The error of a start or an announcement that Redis refused.
    pub(super) fn unavailable(&self, refusal: &Refusal) -> Error {
        let (url, cluster) = (self.0.connector.url(), &self.0.cluster);
        let mut message = format!("{url}: {refusal}");
        if refusal.lacks_rights() {
            message += &format!(", with the keys ~{cluster}:* and the channels &{cluster}:*");
        }
        Error::new(ErrorKind::MembershipUnavailable, message)
    }

    pub(super) async fn connect(&self) -> Answer<Store> {
        let connection = self.0.connector.connect(&self.index_key()).await?;
        let store = Store { server: self.clone(), connection };
        // The nodes of a cluster may all be there while it is down, and a node of one may pass for a single server.
        store.version().await?;
        Ok(store)
    }

    pub(super) async fn subscribe(&self) -> Answer<PubSub> {
        self.0.connector.subscribe(&[self.membership_channel(), self.suspicion_channel()]).await
    }

    pub(super) fn membership_channel(&self) -> String {
        format!("{}:membership", self.0.cluster)
    }

    pub(super) fn suspicion_channel(&self) -> String {
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

    fn incarnation_key(&self, id: &SiloId) -> String {
        format!("{}:incarnation:{id}", self.0.cluster)
    }

    fn claim_key(&self, id: &SiloId) -> String {
        format!("{}:claim:{id}", self.0.cluster)
    }

    fn suspect_key(&self, silo: &SiloInfo) -> String {
        format!("{}:suspect:{}:{}", self.0.cluster, silo.silo_id, silo.incarnation)
    }
}

/// What a silo learns from Redis at each heartbeat.
pub(super) struct Pulse {
    pub(super) own_row: Row,
    /// Redis's clock: the only one that the index compares.
    pub(super) now: ServerTime,
    pub(super) version: Option<i64>,
    /// Silos of the index that did not write for a TTL.
    pub(super) overdue: Vec<SiloId>,
}

/// Milliseconds of Redis's clock.
#[derive(Clone, Copy)]
pub(super) struct ServerTime(i64);

/// A connection to Redis. Cheap to clone; clones share the connection.
#[derive(Clone)]
pub(super) struct Store {
    server: Server,
    connection: Connection,
}

impl Store {
    pub(super) async fn time(&self) -> Answer<ServerTime> {
        let (seconds, micros): (i64, i64) =
            ::redis::cmd("TIME").query_async(&mut self.connection.clone()).await?;
        Ok(ServerTime(seconds * 1_000 + micros / 1_000))
    }

    /// Everything that a heartbeat reads; costs the same however many silos there are.
    pub(super) async fn pulse(&self, me: Option<&SiloId>, ttl: Duration) -> Answer<Pulse> {
        let now = self.time().await?;
        let mut pipe = ::redis::pipe();
        pipe.cmd("GET").arg(self.server.version_key());
        pipe.cmd("ZRANGEBYSCORE").arg(self.server.index_key()).arg("-inf").arg(now.0 - millis(ttl));
        pipe.arg("LIMIT").arg(0).arg(OVERDUE_AT_ONCE);
        let (version, overdue): (Option<i64>, Vec<String>) =
            pipe.query_async(&mut self.connection.clone()).await?;
        let own_row = match me {
            Some(me) => self.row(me).await?,
            None => Row::Missing,
        };
        Ok(Pulse {
            own_row,
            now,
            version,
            overdue: overdue.iter().filter_map(|id| SiloId::new(id).ok()).collect(),
        })
    }

    /// Writes the row whole, with its place in the index. The count of lives and the version come back too if the store
    /// lost them: neither may ever run backwards.
    pub(super) async fn write_row(&self, info: &SiloInfo, now: ServerTime, ttl: Duration) -> Answer<()> {
        let server = &self.server;
        let mut pipe = ::redis::pipe();
        pipe.cmd("SET")
            .arg(server.row_key(&info.silo_id))
            .arg(info.to_json())
            .arg("PX")
            .arg(millis(ttl))
            .ignore();
        pipe.cmd("ZADD").arg(server.index_key()).arg(now.0).arg(info.silo_id.as_str()).ignore();
        pipe.cmd("SET").arg(server.incarnation_key(&info.silo_id)).arg(info.incarnation).arg("NX").ignore();
        pipe.cmd("SET").arg(server.version_key()).arg(now.0).arg("NX").ignore();
        Ok(pipe.query_async(&mut self.connection.clone()).await?)
    }

    /// Raises the version, so that everybody reads all rows at the next heartbeat, and tells them to look at once.
    pub(super) async fn tell(&self, word: Word, id: &SiloId) -> Answer<()> {
        let mut pipe = ::redis::pipe();
        pipe.cmd("INCR").arg(self.server.version_key()).ignore();
        pipe.cmd("PUBLISH")
            .arg(self.server.membership_channel())
            .arg(format!("{}:{id}", word.as_str()))
            .ignore();
        Ok(pipe.query_async(&mut self.connection.clone()).await?)
    }

    pub(super) async fn version(&self) -> Answer<Option<i64>> {
        Ok(::redis::cmd("GET")
            .arg(self.server.version_key())
            .query_async(&mut self.connection.clone())
            .await?)
    }

    /// The ids in the index.
    pub(super) async fn index(&self) -> Answer<Vec<SiloId>> {
        let mut range = ::redis::cmd("ZRANGE");
        range.arg(self.server.index_key()).arg(0).arg(-1);
        let ids: Vec<String> = range.query_async(&mut self.connection.clone()).await?;
        Ok(ids.iter().filter_map(|id| SiloId::new(id).ok()).collect())
    }

    /// The rows of these silos. Where a node of a cluster is away, so are those that it holds.
    pub(super) async fn rows(&self, ids: impl IntoIterator<Item = SiloId>) -> Answer<BTreeMap<SiloId, Row>> {
        let ids: Vec<_> = ids.into_iter().collect();
        let mut rows = BTreeMap::new();
        for chunk in ids.chunks(ROWS_AT_ONCE) {
            let mut pipe = ::redis::pipe();
            // GET answers WRONGTYPE for a key that is no string; MGET of one key says nil, and spoils no pipeline.
            chunk.iter().for_each(|id| {
                pipe.cmd("MGET").arg(self.server.row_key(id));
            });
            let values: Vec<Option<Vec<Value>>> = self.connection.query_each(&pipe).await?;
            for (id, value) in chunk.iter().zip(values) {
                let value = value.and_then(|values| values.into_iter().next());
                rows.insert(id.clone(), value.map_or(Row::Away, |value| self.read(id, &value)));
            }
        }
        Ok(rows)
    }

    /// The row of one silo. Where its node of a cluster is away, that is a refusal: whoever asks for one has to know.
    pub(super) async fn row(&self, id: &SiloId) -> Answer<Row> {
        let mut get = ::redis::cmd("MGET");
        get.arg(self.server.row_key(id));
        let values: Vec<Value> = get.query_async(&mut self.connection.clone()).await?;
        Ok(values.first().map_or(Row::Missing, |value| self.read(id, value)))
    }

    /// Puts these silos into the index, as seen now.
    pub(super) async fn index_add(&self, ids: &[SiloId], now: ServerTime) -> Answer<()> {
        let mut pipe = ::redis::pipe();
        for id in ids {
            pipe.cmd("ZADD").arg(self.server.index_key()).arg(now.0).arg(id.as_str()).ignore();
        }
        Ok(pipe.query_async(&mut self.connection.clone()).await?)
    }

    pub(super) async fn index_remove(&self, ids: &[SiloId]) -> Answer<()> {
        let mut pipe = ::redis::pipe();
        for id in ids {
            pipe.cmd("ZREM").arg(self.server.index_key()).arg(id.as_str()).ignore();
        }
        Ok(pipe.query_async(&mut self.connection.clone()).await?)
    }

    /// Deletes the row of this very incarnation, and its place in the index. A later life of the id that writes its
    /// row between the reading and the deletion loses it until its next heartbeat; nobody evicts it for that.
    pub(super) async fn remove(&self, silo: &SiloInfo) -> Answer<()> {
        match self.row(&silo.silo_id).await? {
            Row::Readable(row) if row.incarnation != silo.incarnation => return Ok(()),
            Row::Unreadable | Row::Away => return Ok(()),
            Row::Readable(_) | Row::Missing => {}
        }
        let mut pipe = ::redis::pipe();
        pipe.cmd("DEL").arg(self.server.row_key(&silo.silo_id)).ignore();
        pipe.cmd("ZREM").arg(self.server.index_key()).arg(silo.silo_id.as_str()).ignore();
        pipe.query_async::<()>(&mut self.connection.clone()).await?;
        self.tell(Word::Leave, &silo.silo_id).await
    }

    /// Says that `voter` does not reach `silo`; returns how many silos say so.
    pub(super) async fn vote(&self, voter: &SiloId, silo: &SiloInfo) -> Answer<u64> {
        let key = self.server.suspect_key(silo);
        let mut pipe = ::redis::pipe();
        pipe.cmd("SADD").arg(&key).arg(voter.as_str()).ignore();
        pipe.cmd("PEXPIRE").arg(&key).arg(millis(VOTE_TTL)).ignore();
        pipe.cmd("SCARD").arg(&key);
        let (votes,) = pipe.query_async(&mut self.connection.clone()).await?;
        Ok(votes)
    }

    pub(super) async fn withdraw_vote(&self, voter: &SiloId, silo: &SiloInfo) -> Answer<()> {
        let mut remove = ::redis::cmd("SREM");
        remove.arg(self.server.suspect_key(silo)).arg(voter.as_str());
        Ok(remove.query_async(&mut self.connection.clone()).await?)
    }

    /// Asks the other silos to look at `silo`. Never on the membership channel: original silos read that one.
    pub(super) async fn ask_to_look(&self, silo: &SiloInfo) -> Answer<()> {
        let mut publish = ::redis::cmd("PUBLISH");
        publish
            .arg(self.server.suspicion_channel())
            .arg(format!("suspect:{}:{}", silo.incarnation, silo.silo_id));
        Ok(publish.query_async(&mut self.connection.clone()).await?)
    }

    /// The next number of this id's lives, higher than `than`.
    pub(super) async fn next_incarnation(&self, id: &SiloId, than: u64) -> Answer<u64> {
        let key = self.server.incarnation_key(id);
        let next: u64 = ::redis::cmd("INCR").arg(&key).query_async(&mut self.connection.clone()).await?;
        if next > than {
            return Ok(next);
        }
        ::redis::cmd("SET").arg(&key).arg(than + 1).query_async::<()>(&mut self.connection.clone()).await?;
        Ok(than + 1)
    }

    /// Takes the right to claim an id, for at most `limit`; says whether it was free.
    pub(super) async fn lock_claim(&self, id: &SiloId, token: &str, limit: Duration) -> Answer<bool> {
        let mut set = ::redis::cmd("SET");
        set.arg(self.server.claim_key(id)).arg(token).arg("NX").arg("PX").arg(millis(limit));
        let taken: Option<String> = set.query_async(&mut self.connection.clone()).await?;
        Ok(taken.is_some())
    }

    pub(super) async fn unlock_claim(&self, id: &SiloId, token: &str) -> Answer<()> {
        let key = self.server.claim_key(id);
        let holder: Option<String> =
            ::redis::cmd("GET").arg(&key).query_async(&mut self.connection.clone()).await?;
        if holder.as_deref() == Some(token) {
            ::redis::cmd("DEL").arg(&key).query_async::<()>(&mut self.connection.clone()).await?;
        }
        Ok(())
    }

    /// One step through all keys in search of rows: the ids found, and where to go on, if there is more.
    pub(super) async fn scan(&self, cursor: Cursor) -> Answer<(Vec<SiloId>, Option<Cursor>)> {
        let prefix = self.server.row_prefix();
        let (keys, next) = self.connection.scan(cursor, &format!("{prefix}*"), SCAN_COUNT).await?;
        let keys = keys.into_iter().filter_map(|key| ::redis::from_redis_value::<String>(key).ok());
        Ok((keys.filter_map(|key| SiloId::new(key.strip_prefix(&prefix)?).ok()).collect(), next))
    }

    /// The rows of original silos, which are in no index of their own making.
    pub(super) async fn find_originals(&self, steps: usize) -> Answer<Vec<Row>> {
        let mut originals = Vec::new();
        let mut cursor = Some(Cursor::default());
        for _ in 0..steps {
            let Some(step) = cursor.take() else { break };
            let (ids, next) = self.scan(step).await?;
            let rows = self.rows(ids).await?.into_values();
            originals.extend(rows.filter(|row| matches!(row, Row::Readable(info) if info.is_original())));
            cursor = next;
        }
        Ok(originals)
    }

    /// Does once, where it has no effect, what this silo will have to do only when others fail: a user that may not is
    /// told so now.
    pub(super) async fn rehearse(&self, id: &SiloId) -> Answer<()> {
        let server = &self.server;
        // No life has this number.
        let key = format!("{}:suspect:{id}:rehearsal", server.0.cluster);
        let mut pipe = ::redis::pipe();
        pipe.cmd("SADD").arg(&key).arg(id.as_str()).ignore();
        pipe.cmd("PEXPIRE").arg(&key).arg(millis(VOTE_TTL)).ignore();
        pipe.cmd("SCARD").arg(&key).ignore();
        pipe.cmd("SREM").arg(&key).arg(id.as_str()).ignore();
        pipe.cmd("DEL").arg(&key).ignore();
        // No silo has this id, and nobody takes this message for one.
        pipe.cmd("ZREM").arg(server.index_key()).arg("").ignore();
        pipe.cmd("ZRANGEBYSCORE").arg(server.index_key()).arg(0).arg(0).ignore();
        pipe.cmd("PUBLISH").arg(server.suspicion_channel()).arg("").ignore();
        Ok(pipe.query_async(&mut self.connection.clone()).await?)
    }

    fn read(&self, id: &SiloId, value: &Value) -> Row {
        let read = match value {
            Value::Nil => return Row::Missing,
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
}

/// What is said on the membership channel.
#[derive(Clone, Copy)]
pub(super) enum Word {
    Join,
    Leave,
}

impl Word {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Join => "join",
            Self::Leave => "leave",
        }
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
