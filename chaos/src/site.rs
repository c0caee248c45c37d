//! Where a cluster lives: a namespace for each process, a Redis if its silos meet there, and what each is told of it.

use tokio::sync::Mutex;

use crate::Result;
use crate::network::{Network, Place, Undo};
use crate::redis::Redis;

const GOSSIP_PORT: u16 = 7946;

/// How silos find each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Meeting {
    Redis,
    Gossip,
}

impl Meeting {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Redis => "redis",
            Self::Gossip => "gossip",
        }
    }
}

/// The namespaces and the Redis of one cluster. To be dropped after the processes in it.
pub(crate) struct Site {
    meeting: Meeting,
    /// How many of the places are silos'; those come first.
    silos: usize,
    redis: Option<Mutex<Redis>>,
    places: Vec<Place>,
    network: Network,
}

impl Site {
    /// `redis` is a redis-server, which is started if the silos meet there.
    pub(crate) fn new(meeting: Meeting, redis: &str, silos: usize, clients: usize) -> Result<Self> {
        let network = Network::new()?;
        let server = (meeting == Meeting::Redis).then(|| Redis::start(redis, network.hub())).transpose()?;
        let places = (0..silos + clients).map(|_| network.add_place()).collect::<Result<_>>()?;
        Ok(Self { meeting, silos, redis: server.map(Mutex::new), places, network })
    }

    /// Where the process of this number runs.
    pub(crate) fn place(&self, number: usize) -> &Place {
        &self.places[number]
    }

    /// How that process finds the others.
    pub(crate) fn url(&self, number: usize) -> String {
        match self.meeting {
            Meeting::Redis => format!("redis://{}", Redis::address()),
            Meeting::Gossip => self.gossip_url(number),
        }
    }

    /// The seeds are the other silos, where they always are.
    fn gossip_url(&self, number: usize) -> String {
        let others = (0..self.silos).filter(|other| *other != number);
        let at = |place: usize| format!("{}:{GOSSIP_PORT}", self.places[place].address);
        let seeds: Vec<String> = others.map(|other| format!("seed={}", at(other))).collect();
        format!("gossip://{}?{}", at(number), seeds.join("&"))
    }

    pub(crate) fn redis(&self) -> &Mutex<Redis> {
        self.redis.as_ref().expect("Redis is used only where the silos meet there")
    }

    /// A place and everybody else, Redis too, do not hear each other; undone when what is returned is dropped.
    pub(crate) fn cut_off(&self, place: &Place) -> Result<Undo> {
        self.network.cut_off(place)
    }
}
