//! How a connection to the Redis that holds the keys is made: to one server, to the primary that sentinels name, or to all
//! nodes of a cluster.
//!
//! Nothing here heals a connection. Whatever goes wrong is a [`Refusal`], and whoever gets one connects anew, which begins
//! at the sentinels or the cluster's seeds again.

mod cluster;
#[cfg(any(test, quark_fuzzing))]
pub(super) mod fuzzing;
mod sentinel;
mod server;
mod slots;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use ::redis::aio::{ConnectionLike, MultiplexedConnection, PubSub};
use ::redis::{Cmd, Pipeline, RedisError, RedisFuture, RedisResult, Value};
use tokio::time::Instant;

use self::cluster::Cluster;
use self::server::Access;
use super::refusal::{Answer, Refusal};
use crate::endpoint::Endpoint;
use crate::error::{Error, Result};
use crate::membership::redis_url::{Login, RedisForm};
use crate::membership::{RedisCredentials, RedisUrl};

/// How long Redis may take to accept a connection, and to answer a command. The client's own 500 ms would take a
/// moment's hesitation for an outage.
pub(super) const ANSWER_LIMIT: Duration = Duration::from_secs(3);
/// How long one of several sentinels or nodes may take before the next one is asked, or before it is done without.
const SEED_LIMIT: Duration = Duration::from_secs(1);

/// Makes connections.
pub(super) struct Connector(Arc<Place>);

/// Where Redis is, and how one gets in.
struct Place {
    url: RedisUrl,
    credentials: Option<RedisCredentials>,
    access: Access,
    seeds: Seeds,
}

impl Connector {
    pub(super) fn new(url: RedisUrl, credentials: Option<RedisCredentials>) -> Result<Self> {
        let access = Access::new(&url)?;
        let seeds = Seeds::new(url.hosts.clone());
        Ok(Self(Arc::new(Place { url, credentials, access, seeds })))
    }

    pub(super) fn url(&self) -> &RedisUrl {
        &self.0.url
    }

    /// A connection for commands. Those without a key go where `home` is.
    pub(super) async fn connect(&self, home: &str) -> Answer<Connection> {
        let Place { url, access, .. } = &*self.0;
        let connecting = async {
            match &url.form {
                RedisForm::Single => {
                    let login = self.0.login().await?;
                    let opened = access.open(&url.hosts[0], login.as_ref(), url.database, ANSWER_LIMIT).await;
                    opened.map(Connection::One)
                }
                RedisForm::Sentinel { service, login } => {
                    let found = sentinel::primary(&self.0, service, login.as_ref()).await;
                    found.map(|(_, connection)| Connection::One(connection))
                }
                RedisForm::Cluster => Cluster::connect(self.0.clone(), home).await.map(Connection::Many),
            }
        };
        within_limit(connecting).await
    }

    /// A subscription to these channels.
    pub(super) async fn subscribe(&self, channels: &[String]) -> Answer<PubSub> {
        let Place { url, access, .. } = &*self.0;
        let subscribing = async {
            let mut subscription = match &url.form {
                RedisForm::Single => {
                    access.open_pubsub(&url.hosts[0], self.0.login().await?.as_ref()).await?
                }
                RedisForm::Sentinel { service, login } => {
                    let (primary, _) = sentinel::primary(&self.0, service, login.as_ref()).await?;
                    access.open_pubsub(&primary, self.0.login().await?.as_ref()).await?
                }
                RedisForm::Cluster => cluster::subscriber(&self.0).await?,
            };
            subscription.subscribe(channels).await?;
            Ok(subscription)
        };
        within_limit(subscribing).await
    }
}

impl Place {
    /// Who one is for the servers that hold the keys.
    async fn login(&self) -> Answer<Option<Login>> {
        let Some(credentials) = &self.credentials else { return Ok(self.url.login.clone()) };
        let refused = |error: Error| Refusal::other(format!("redis_credentials: {}", error.message()), false);
        credentials.ask().await.map(Some).map_err(refused)
    }
}

async fn within_limit<T>(work: impl Future<Output = Answer<T>>) -> Answer<T> {
    tokio::time::timeout(ANSWER_LIMIT, work).await.unwrap_or_else(|_| Err(Refusal::no_answer()))
}

/// Servers of which any will do.
struct Seeds {
    servers: Vec<Endpoint>,
    /// Whom to ask first. Another one each time: who answers may know less than the others.
    turn: AtomicUsize,
}

impl Seeds {
    fn new(servers: Vec<Endpoint>) -> Self {
        Self { servers, turn: AtomicUsize::new(0) }
    }

    /// All of them, to be asked one after the other until one gives something.
    fn in_turn(&self) -> impl Iterator<Item = &Endpoint> {
        let first = self.turn.fetch_add(1, Ordering::Relaxed) % self.servers.len();
        self.servers[first..].iter().chain(&self.servers[..first])
    }
}

/// A connection for commands. Cheap to clone; clones share it.
#[derive(Clone)]
pub(super) enum Connection {
    One(MultiplexedConnection),
    Many(Cluster),
}

impl Connection {
    /// One step through all keys that look like `pattern`: what was found, and where to go on, if there is more.
    pub(super) async fn scan(
        &self,
        cursor: Cursor,
        pattern: &str,
        count: usize,
    ) -> Answer<(Vec<Value>, Option<Cursor>)> {
        let mut scan = ::redis::cmd("SCAN");
        scan.arg(cursor.position).arg("MATCH").arg(pattern).arg("COUNT").arg(count);
        let cluster = match self {
            Self::Many(cluster) => cluster,
            Self::One(connection) => {
                let (position, keys) = scan.query_async(&mut connection.clone()).await?;
                return Ok((keys, (position != 0).then_some(Cursor { position, nodes: None })));
            }
        };
        let mut nodes = cursor.nodes.unwrap_or_else(|| cluster.primaries());
        let Some(node) = nodes.last() else { return Ok((Vec::new(), None)) };
        let mut pipeline = ::redis::pipe();
        pipeline.add_command(scan);
        let said = cluster.ask(node, &pipeline, Instant::now() + SEED_LIMIT).await;
        let (position, keys) = match said.ok().and_then(|mut answers| answers.pop()) {
            Some(answer) => ::redis::from_redis_value(answer.extract_error()?).map_err(RedisError::from)?,
            // A node that is away keeps its keys to itself; the others are searched all the same.
            None => (0, Vec::new()),
        };
        if position == 0 {
            nodes.pop();
        }
        Ok((keys, (!nodes.is_empty()).then_some(Cursor { position, nodes: Some(nodes) })))
    }

    /// The strings of these keys, nil for whatever is none. `None` where the node of a cluster that holds the key does not
    /// answer soon, which says nothing about the other nodes and their keys.
    pub(super) async fn strings(&self, keys: &[String]) -> Answer<Vec<Option<Value>>> {
        let cluster = match self {
            Self::One(connection) => {
                let values: Vec<Value> =
                    ::redis::cmd("MGET").arg(keys).query_async(&mut connection.clone()).await?;
                return Ok(values.into_iter().map(Some).collect());
            }
            Self::Many(cluster) => cluster,
        };
        let mut pipeline = ::redis::pipe();
        for key in keys {
            pipeline.cmd("MGET").arg(key);
        }
        let read = |answer: RedisResult<Value>| match answer {
            Ok(value) => {
                let (value,) = ::redis::from_redis_value(value.extract_error()?).map_err(RedisError::from)?;
                Ok(Some(value))
            }
            Err(_) => Ok(None),
        };
        cluster.each(&pipeline, SEED_LIMIT).await.into_iter().map(read).collect()
    }
}

impl ConnectionLike for Connection {
    fn req_packed_command<'a>(&'a mut self, command: &'a Cmd) -> RedisFuture<'a, Value> {
        match self {
            Self::One(connection) => connection.req_packed_command(command),
            Self::Many(cluster) => Box::pin(async {
                let mut pipeline = ::redis::pipe();
                pipeline.add_command(command.clone());
                cluster.each(&pipeline, ANSWER_LIMIT).await.pop().unwrap_or(Ok(Value::Nil))
            }),
        }
    }

    fn req_packed_commands<'a>(
        &'a mut self,
        pipeline: &'a Pipeline,
        offset: usize,
        count: usize,
    ) -> RedisFuture<'a, Vec<Value>> {
        match self {
            Self::One(connection) => connection.req_packed_commands(pipeline, offset, count),
            Self::Many(cluster) => {
                Box::pin(async { cluster.each(pipeline, ANSWER_LIMIT).await.into_iter().collect() })
            }
        }
    }

    fn get_db(&self) -> i64 {
        match self {
            Self::One(connection) => connection.get_db(),
            Self::Many(_) => 0,
        }
    }
}

/// Where a search through all keys goes on: in a cluster it goes from node to node.
#[derive(Default)]
pub(super) struct Cursor {
    position: u64,
    /// The nodes that are searched now and later, the next one last; `None` at the beginning, and for the only server.
    nodes: Option<Vec<Endpoint>>,
}
