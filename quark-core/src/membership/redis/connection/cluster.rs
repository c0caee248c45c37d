//! A connection to all nodes of a Redis Cluster: each command goes to the node that holds its key, and follows a key that
//! moves.
//!
//! Not the client's own connection to a cluster: while a node says nothing, that keeps the commands for all others waiting.
//! Here a node that is away fails what is meant for it, and nothing else.

use std::collections::HashMap;
use std::future::Future;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use ::redis::aio::{ConnectionLike as _, MultiplexedConnection, PubSub};
use ::redis::{Arg, Cmd, ErrorKind, Pipeline, RedisError, RedisResult, ServerError, Value};
use tokio::time::Instant;

use super::super::refusal::{Answer, Refusal};
use super::slots::{Slots, slot_of};
use super::{Place, SEED_LIMIT};
use crate::endpoint::Endpoint;

/// How long a node that is away is left alone, and how often the others are asked who holds its slots now.
const PAUSE: Duration = Duration::from_secs(1);
/// How often a command follows a key that moves.
const HOPS: usize = 3;

/// A connection to a cluster. Cheap to clone; clones share the connections to the nodes.
#[derive(Clone)]
pub(in super::super) struct Cluster(Arc<Parts>);

struct Parts {
    place: Arc<Place>,
    /// The slot whose node answers commands without a key, so that it is always the same clock that says the time.
    home: u16,
    map: Mutex<Map>,
    nodes: Mutex<HashMap<Endpoint, Node>>,
}

struct Map {
    slots: Slots,
    /// When it was last learned anew.
    renewed: Option<Instant>,
}

enum Node {
    Here(MultiplexedConnection),
    Away { since: Instant, why: RedisError },
}

/// Commands on the keys of one slot, with their places in the whole.
struct Part {
    /// None: any node will do.
    slot: Option<u16>,
    places: Vec<usize>,
    commands: Pipeline,
}

impl Cluster {
    pub(super) async fn connect(place: Arc<Place>, home: &str) -> Answer<Self> {
        let map = Mutex::new(Map { slots: learn(&place).await?, renewed: None });
        let home = slot_of(home.as_bytes());
        Ok(Self(Arc::new(Parts { place, home, map, nodes: Mutex::default() })))
    }

    /// The nodes that hold keys.
    pub(super) fn primaries(&self) -> Vec<Endpoint> {
        self.0.map.lock().expect("no panic while locked").slots.primaries()
    }

    /// What each command was answered within the limit, or what went wrong with its part.
    pub(super) async fn each(&self, pipeline: &Pipeline, limit: Duration) -> Vec<RedisResult<Value>> {
        let parts = self.parts(pipeline);
        let answers =
            futures_util::future::join_all(parts.iter().map(|part| self.ask_part(part, limit))).await;
        let mut each: Vec<_> = (0..pipeline.len()).map(|_| Ok(Value::Nil)).collect();
        for (part, answer) in parts.iter().zip(answers) {
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
            let slot = match target_of(command) {
                Target::Key(key) => Some(slot_of(key)),
                Target::Home => Some(self.0.home),
                Target::Anywhere => last,
            };
            last = slot;
            let known = parts.iter().position(|part| part.slot == slot);
            let part = known.unwrap_or_else(|| {
                parts.push(Part { slot, places: Vec::new(), commands: ::redis::pipe() });
                parts.len() - 1
            });
            parts[part].places.push(place);
            parts[part].commands.add_command(command.clone());
        }
        parts
    }

    async fn ask_part(&self, part: &Part, limit: Duration) -> RedisResult<Vec<Value>> {
        let limit = Instant::now() + limit;
        let owner = self.owner(part.slot)?;
        let mut answers = match self.ask(&owner, &part.commands, limit).await {
            Ok(answers) => answers,
            Err(error) => {
                // After a failover another node has its slots.
                self.learn_anew(limit).await;
                let heir = self.owner(part.slot)?;
                if heir == owner {
                    return Err(error);
                }
                self.ask(&heir, &part.commands, limit).await?
            }
        };
        for (command, answer) in part.commands.cmd_iter().zip(&mut answers) {
            self.follow(&owner, command, answer, limit).await?;
        }
        Ok(answers)
    }

    /// Asks again where the key is said to be, for as long as the answer is that it is elsewhere.
    async fn follow(
        &self,
        asked: &Endpoint,
        command: &Cmd,
        answer: &mut Value,
        limit: Instant,
    ) -> RedisResult<()> {
        let mut asked = asked.clone();
        for _ in 0..HOPS {
            let Value::ServerError(error) = &*answer else { return Ok(()) };
            let Some(Redirect { slot, node, only_this_time }) = redirect(error, &asked) else {
                return Ok(());
            };
            let mut again = ::redis::pipe();
            match only_this_time {
                true => again.cmd("ASKING").ignore(),
                false => {
                    self.0.map.lock().expect("no panic while locked").slots.moved(slot, node.clone());
                    &mut again
                }
            };
            again.add_command(command.clone());
            *answer = self.ask(&node, &again, limit).await?.pop().unwrap_or(Value::Nil);
            asked = node;
        }
        Ok(())
    }

    /// Sends commands to this node. One that does not answer in time is away from then on.
    pub(super) async fn ask(
        &self,
        node: &Endpoint,
        commands: &Pipeline,
        limit: Instant,
    ) -> RedisResult<Vec<Value>> {
        let asking = async {
            let mut connection = self.node(node).await?;
            connection.req_packed_commands(commands, 0, commands.len()).await
        };
        let silence = |_| Err(std::io::Error::from(std::io::ErrorKind::TimedOut).into());
        let answer = tokio::time::timeout_at(limit, asking).await.unwrap_or_else(silence);
        answer.map_err(|error| self.is_away(node, error))
    }

    /// The connection to this node, made when it is needed first, or again after a pause.
    fn node(&self, node: &Endpoint) -> impl Future<Output = RedisResult<MultiplexedConnection>> + Send {
        let known = match self.0.nodes.lock().expect("no panic while locked").get(node) {
            Some(Node::Here(connection)) => Some(Ok(connection.clone())),
            Some(Node::Away { since, why }) if since.elapsed() < PAUSE => Some(Err(why.clone())),
            _ => None,
        };
        let (parts, node) = (self.0.clone(), node.clone());
        async move {
            if let Some(known) = known {
                return known;
            }
            let place = &parts.place;
            let login = place.login().await.map_err(Refusal::into_redis_error)?;
            let opened = place.access.open(&node, login.as_ref(), 0, SEED_LIMIT).await;
            let connection = opened.map_err(Refusal::into_redis_error)?;
            let here = Node::Here(connection.clone());
            parts.nodes.lock().expect("no panic while locked").insert(node, here);
            Ok(connection)
        }
    }

    /// Gives the connection to a node up; says which one it was.
    fn is_away(&self, node: &Endpoint, error: RedisError) -> RedisError {
        let mut nodes = self.0.nodes.lock().expect("no panic while locked");
        if let Some(Node::Away { since, why }) = nodes.get(node)
            && since.elapsed() < PAUSE
        {
            return why.clone();
        }
        let why =
            RedisError::from((ErrorKind::Io, "a node of the cluster is away", format!("{node}: {error}")));
        nodes.insert(node.clone(), Node::Away { since: Instant::now(), why: why.clone() });
        why
    }

    fn owner(&self, slot: Option<u16>) -> RedisResult<Endpoint> {
        let here = |nodes: &HashMap<Endpoint, Node>| {
            nodes.iter().find(|(_, node)| matches!(node, Node::Here(_))).map(|(node, _)| node.clone())
        };
        let any = || here(&self.0.nodes.lock().expect("no panic while locked"));
        let map = self.0.map.lock().expect("no panic while locked");
        let owner = slot.map_or_else(any, |slot| map.slots.owner(slot).cloned());
        let owner = owner.or_else(|| map.slots.primaries().into_iter().next());
        owner.ok_or_else(|| (ErrorKind::Io, "no node of the cluster is known").into())
    }

    async fn learn_anew(&self, limit: Instant) {
        {
            let mut map = self.0.map.lock().expect("no panic while locked");
            if map.renewed.is_some_and(|renewed| renewed.elapsed() < PAUSE) {
                return;
            }
            map.renewed = Some(Instant::now());
        }
        if let Ok(Ok(slots)) = tokio::time::timeout_at(limit, learn(&self.0.place)).await {
            self.0.map.lock().expect("no panic while locked").slots = slots;
        }
    }
}

enum Target<'a> {
    Key(&'a [u8]),
    Home,
    Anywhere,
}

/// Where a command has to go. Each names one key or none.
fn target_of(command: &Cmd) -> Target<'_> {
    let argument = |at| match command.args_iter().nth(at) {
        Some(Arg::Simple(bytes)) => bytes,
        _ => &[][..],
    };
    match argument(0) {
        // Every node hands it on to all others.
        b"PUBLISH" => Target::Anywhere,
        b"TIME" => Target::Home,
        b"EVAL" | b"EVALSHA" => Target::Key(argument(3)),
        _ => Target::Key(argument(1)),
    }
}

pub(super) struct Redirect {
    slot: u16,
    pub(super) node: Endpoint,
    /// The slot is moving, and this key has moved already.
    only_this_time: bool,
}

/// `MOVED 3999 127.0.0.1:6381`, `ASK 3999 127.0.0.1:6381`; without a host it is that of the node that says so.
pub(super) fn redirect(error: &ServerError, asked: &Endpoint) -> Option<Redirect> {
    let only_this_time = match error.code() {
        "MOVED" => false,
        "ASK" => true,
        _ => return None,
    };
    let (slot, node) = error.details()?.split_once(' ')?;
    let (host, port) = node.rsplit_once(':')?;
    let host = if host.is_empty() { asked.host() } else { host };
    let node = Endpoint::new(host, port.parse().ok()?).ok()?;
    Some(Redirect { slot: slot.parse().ok()?, node, only_this_time })
}

/// Asks the seeds who holds what.
async fn learn(place: &Place) -> Answer<Slots> {
    let mut refused = Refusal::no_answer();
    for seed in place.seeds.in_turn() {
        match named_by(place, seed).await {
            Ok(slots) => return Ok(slots),
            Err(refusal) => refused = refused.or(refusal.at(seed)),
        }
    }
    Err(refused)
}

async fn named_by(place: &Place, seed: &Endpoint) -> Answer<Slots> {
    let login = place.login().await?;
    let mut connection = place.access.open(seed, login.as_ref(), 0, SEED_LIMIT).await?;
    let mut ask = ::redis::cmd("CLUSTER");
    let ranges = tokio::time::timeout(SEED_LIMIT, ask.arg("SLOTS").query_async(&mut connection)).await;
    let slots = Slots::read(ranges.map_err(|_| Refusal::no_answer())??, seed);
    match slots.primaries().is_empty() {
        true => Err(Refusal::other("this node knows no node that holds keys".to_owned(), false)),
        false => Ok(slots),
    }
}

/// A subscription to any primary will do: all of them hand on what is published at one.
pub(super) async fn subscriber(place: &Place) -> Answer<PubSub> {
    let mut primaries = learn(place).await?.primaries();
    fastrand::shuffle(&mut primaries);
    let mut refused = Refusal::no_answer();
    for node in &primaries {
        let login = place.login().await?;
        let opening = place.access.open_pubsub(node, login.as_ref());
        match tokio::time::timeout(SEED_LIMIT, opening).await.unwrap_or_else(|_| Err(Refusal::no_answer())) {
            Ok(subscriber) => return Ok(subscriber),
            Err(refusal) => refused = refused.or(refusal.at(node)),
        }
    }
    Err(refused)
}
