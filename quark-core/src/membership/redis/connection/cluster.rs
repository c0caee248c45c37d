//! A connection to all nodes of a Redis Cluster. The client sends each command to the node that holds its key, and follows
//! keys that move; this file cuts pipelines into parts of one slot each, because the client sends none that spans several.

use std::time::Duration;

use ::redis::aio::PubSub;
use ::redis::cluster::ClusterClientBuilder;
use ::redis::cluster_async::ClusterConnection;
use ::redis::cluster_routing::{Route, RoutingInfo, SingleNodeRoutingInfo, SlotAddr};
use ::redis::io::tcp::TcpSettings;
use ::redis::{Arg, Cmd, Pipeline, RedisResult, Value};

use super::super::refusal::{Answer, Refusal};
use super::server::Access;
use super::{ANSWER_LIMIT, SEED_LIMIT, Seeds};
use crate::endpoint::Endpoint;
use crate::membership::RedisUrl;

/// How often the client follows a key, or tries again, within the limit of an answer. The keeper tries anew later anyway.
const RETRIES: u32 = 3;
/// How long it waits between two of these, in milliseconds.
const RETRY_WAIT: (u64, u64) = (20, 200);

/// A connection to a cluster. Cheap to clone; clones share the connections to the nodes.
#[derive(Clone)]
pub(in super::super) struct Cluster {
    nodes: ClusterConnection,
    /// Where commands without a key go, so that it is always the same clock that answers TIME.
    home: Route,
}

/// Commands on the keys of one slot, with their places in the whole.
struct Part {
    route: Option<Route>,
    places: Vec<usize>,
    commands: Pipeline,
}

impl Cluster {
    pub(super) async fn connect(access: &Access, url: &RedisUrl, seeds: &Seeds, home: &str) -> Answer<Self> {
        // One that answers is enough for the client, which would wait for all of them.
        let (seed, _) = primaries(access, url, seeds).await?;
        let mut builder = ClusterClientBuilder::new([access.info(&seed, url.login.as_ref())?])
            .connection_timeout(SEED_LIMIT)
            .response_timeout(ANSWER_LIMIT)
            .retries(RETRIES)
            .min_retry_wait(RETRY_WAIT.0)
            .max_retry_wait(RETRY_WAIT.1)
            .tcp_settings(TcpSettings::default().set_nodelay(true));
        if let Some(certificates) = access.certificates() {
            builder = builder.certs(certificates.clone());
        }
        let nodes = builder.build()?.get_async_connection().await?;
        Ok(Self { nodes, home: route(home.as_bytes()) })
    }

    pub(super) async fn one(&self, command: &Cmd) -> RedisResult<Value> {
        let routing = match place_of(command) {
            Place::Slot(route) => SingleNodeRoutingInfo::SpecificNode(route),
            Place::Home => SingleNodeRoutingInfo::SpecificNode(self.home),
            Place::Anywhere => SingleNodeRoutingInfo::Random,
        };
        self.nodes.clone().route_command(command.clone(), RoutingInfo::SingleNode(routing)).await
    }

    /// What each command was answered within the limit, or what went wrong with its part.
    pub(super) async fn each(&self, pipeline: &Pipeline, limit: Duration) -> Vec<RedisResult<Value>> {
        let parts = self.parts(pipeline);
        let answers = futures_util::future::join_all(parts.iter().map(|part| {
            let (mut nodes, commands) = (self.nodes.clone(), part.commands.clone());
            let routing =
                part.route.map_or(SingleNodeRoutingInfo::Random, SingleNodeRoutingInfo::SpecificNode);
            async move {
                let answer = nodes.route_pipeline(commands, 0, part.places.len(), routing);
                let silence = |_| Err(std::io::Error::from(std::io::ErrorKind::TimedOut).into());
                tokio::time::timeout(limit, answer).await.unwrap_or_else(silence)
            }
        }));
        let mut each: Vec<_> = (0..pipeline.len()).map(|_| Ok(Value::Nil)).collect();
        for (part, answer) in parts.iter().zip(answers.await) {
            match answer {
                Ok(values) => {
                    part.places.iter().zip(values).for_each(|(place, value)| each[*place] = Ok(value));
                }
                Err(error) => part.places.iter().for_each(|place| each[*place] = Err(error.clone())),
            }
        }
        each
    }

    /// Commands that could go anywhere go with the one before them, in their order.
    fn parts(&self, pipeline: &Pipeline) -> Vec<Part> {
        let mut parts: Vec<Part> = Vec::new();
        let mut last = None;
        for (place, command) in pipeline.cmd_iter().enumerate() {
            let route = match place_of(command) {
                Place::Slot(route) => Some(route),
                Place::Home => Some(self.home),
                Place::Anywhere => last,
            };
            last = route;
            let known = parts.iter().position(|part| part.route == route);
            let part = known.unwrap_or_else(|| {
                parts.push(Part { route, places: Vec::new(), commands: ::redis::pipe() });
                parts.len() - 1
            });
            parts[part].places.push(place);
            parts[part].commands.add_command(command.clone());
        }
        parts
    }
}

enum Place {
    Slot(Route),
    Home,
    Anywhere,
}

/// Where a command has to go. Each names one key or none.
fn place_of(command: &Cmd) -> Place {
    let argument = |at| match command.args_iter().nth(at) {
        Some(Arg::Simple(bytes)) => bytes,
        _ => &[][..],
    };
    match argument(0) {
        // Every node hands it on to all others.
        b"PUBLISH" => Place::Anywhere,
        b"TIME" => Place::Home,
        b"EVAL" | b"EVALSHA" => Place::Slot(route(argument(3))),
        _ => Place::Slot(route(argument(1))),
    }
}

fn route(key: &[u8]) -> Route {
    Route::with_key(key, SlotAddr::Master)
}

/// The primaries of the cluster, and the seed that named them.
pub(super) async fn primaries(
    access: &Access,
    url: &RedisUrl,
    seeds: &Seeds,
) -> Answer<(Endpoint, Vec<Endpoint>)> {
    let mut refused = Refusal::no_answer();
    for seed in seeds.in_turn() {
        match named_by(access, url, seed).await {
            Ok(named) => return Ok((seed.clone(), named)),
            Err(refusal) => refused = refused.or(refusal.at(seed)),
        }
    }
    Err(refused)
}

async fn named_by(access: &Access, url: &RedisUrl, seed: &Endpoint) -> Answer<Vec<Endpoint>> {
    let mut connection = access.open(seed, url.login.as_ref(), 0, SEED_LIMIT).await?;
    // Of each range of slots: its bounds, then its primary, then the replicas.
    let ranges: Vec<Vec<Value>> = ::redis::cmd("CLUSTER").arg("SLOTS").query_async(&mut connection).await?;
    let mut primaries: Vec<Endpoint> = ranges
        .into_iter()
        .filter_map(|range| {
            let primary: Vec<Value> = ::redis::from_redis_value(range.into_iter().nth(2)?).ok()?;
            let mut parts = primary.into_iter();
            let host: Option<String> = ::redis::from_redis_value(parts.next()?).ok()?;
            let port: u16 = ::redis::from_redis_value(parts.next()?).ok()?;
            // A node that was not told its name is where it was asked.
            let host = host.filter(|host| !host.is_empty()).unwrap_or_else(|| seed.host().to_owned());
            Endpoint::new(&host, port).ok()
        })
        .collect();
    primaries.sort();
    primaries.dedup();
    match primaries.is_empty() {
        true => Err(Refusal::other("this node knows no node that holds keys".to_owned(), false)),
        false => Ok(primaries),
    }
}

/// A subscription to any primary will do: all of them hand on what is published at one.
pub(super) async fn subscriber(access: &Access, url: &RedisUrl, seeds: &Seeds) -> Answer<PubSub> {
    let (_, mut primaries) = primaries(access, url, seeds).await?;
    fastrand::shuffle(&mut primaries);
    let mut refused = Refusal::no_answer();
    for node in &primaries {
        let opening = access.open_pubsub(node, url.login.as_ref());
        match tokio::time::timeout(SEED_LIMIT, opening).await.unwrap_or_else(|_| Err(Refusal::no_answer())) {
            Ok(subscriber) => return Ok(subscriber),
            Err(refusal) => refused = refused.or(refusal.at(node)),
        }
    }
    Err(refused)
}
