//! Who of those that gossip saw is in: pure, without clock or I/O.
//!
//! Chitchat says whose heartbeats go on. One thing is added: a silo whose endpoint refuses connections and whose
//! heartbeat stands still is out before chitchat loses patience, until its heartbeat moves again.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use crate::id::SiloId;
use crate::silo_info::{SiloInfo, SiloStatus};

/// How long a heartbeat must stand still before a refused connection counts.
const STANDSTILL: Duration = Duration::from_secs(1);

/// What gossip knows of one life of a peer.
#[derive(Clone, Debug)]
pub(super) struct Sighting {
    pub(super) id: SiloId,
    pub(super) generation: u64,
    pub(super) heartbeat: u64,
    /// Chitchat takes it for alive.
    pub(super) live: bool,
    /// More than its name is known.
    pub(super) told_anything: bool,
    /// What it says of itself; `None` for clients and silos that are starting.
    pub(super) silo: Option<Arc<SiloInfo>>,
}

/// The peers and their heartbeats over time.
pub(super) struct Gathering {
    /// Clients have no vote in what counts as a cluster of two.
    counts_itself: bool,
    peers: BTreeMap<(SiloId, u64), Peer>,
}

struct Peer {
    sighting: Sighting,
    moved_at: Duration,
    refused: bool,
}

impl Gathering {
    pub(super) fn new(counts_itself: bool) -> Self {
        Self { counts_itself, peers: BTreeMap::new() }
    }

    /// Takes note of everything that gossip knows now.
    pub(super) fn observe(&mut self, now: Duration, sightings: Vec<Sighting>) {
        let mut before = std::mem::take(&mut self.peers);
        for sighting in sightings {
            let key = (sighting.id.clone(), sighting.generation);
            let peer = match before.remove(&key) {
                Some(peer) if peer.sighting.heartbeat == sighting.heartbeat => Peer { sighting, ..peer },
                _ => Peer { sighting, moved_at: now, refused: false },
            };
            self.peers.insert(key, peer);
        }
    }

    /// A connection to this silo was refused.
    pub(super) fn refused(&mut self, silo: &SiloInfo) {
        if let Some(peer) = self.peers.get_mut(&(silo.silo_id.clone(), silo.incarnation)) {
            peer.refused = true;
        }
    }

    /// The other silos that are in: of each id the latest life.
    pub(super) fn silos(&self, now: Duration) -> BTreeMap<SiloId, Arc<SiloInfo>> {
        let live = self.peers.values().filter_map(|peer| {
            let silo = peer.sighting.silo.as_ref().filter(|silo| silo.status != SiloStatus::Dead)?;
            peer.sighting.live.then_some((peer, silo))
        });
        let cluster_of_two = self.counts_itself && live.clone().count() == 1;
        let gone = |peer: &Peer| peer.refused && (cluster_of_two || now >= peer.moved_at + STANDSTILL);
        // In the order of generations, so that the last of an id stays.
        live.filter(|(peer, _)| !gone(peer)).map(|(_, silo)| (silo.silo_id.clone(), silo.clone())).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    fn silo(id: &str, generation: u64) -> SiloInfo {
        let mut info = SiloInfo::new(id.parse().unwrap(), "127.0.0.1:1".parse().unwrap());
        info.incarnation = generation;
        info
    }

    fn sighting(id: &str, generation: u64, heartbeat: u64) -> Sighting {
        let silo = Some(Arc::new(silo(id, generation)));
        Sighting { id: id.parse().unwrap(), generation, heartbeat, live: true, told_anything: true, silo }
    }

    fn ids(gathering: &Gathering, now: Duration) -> Vec<String> {
        gathering.silos(now).values().map(|silo| format!("{}/{}", silo.silo_id, silo.incarnation)).collect()
    }

    #[test]
    fn whoever_chitchat_takes_for_alive_and_is_a_silo_is_in() {
        let mut gathering = Gathering::new(true);
        let client = Sighting { silo: None, ..sighting("client", 1, 5) };
        let dead = Sighting { live: false, ..sighting("dead", 1, 5) };
        let mut farewell = silo("left", 1);
        farewell.status = SiloStatus::Dead;
        let left = Sighting { silo: Some(Arc::new(farewell)), ..sighting("left", 1, 5) };
        gathering.observe(at(0), vec![sighting("b", 1, 5), client, dead, left]);
        assert_eq!(ids(&gathering, at(0)), ["b/1"]);
    }

    #[test]
    fn of_several_lives_of_an_id_the_latest_counts() {
        let mut gathering = Gathering::new(true);
        gathering.observe(at(0), vec![sighting("b", 9, 5), sighting("b", 10, 5), sighting("b", 3, 5)]);
        assert_eq!(ids(&gathering, at(0)), ["b/10"]);
    }

    #[test]
    fn a_refused_silo_is_out_once_its_heartbeat_stands_still_and_until_it_moves() {
        let mut gathering = Gathering::new(true);
        let seen = |heartbeat| vec![sighting("b", 1, heartbeat), sighting("c", 1, 5)];
        gathering.observe(at(0), seen(5));
        gathering.refused(&silo("b", 1));
        assert_eq!(ids(&gathering, at(999)), ["b/1", "c/1"]);
        gathering.observe(at(1_000), seen(5));
        assert_eq!(ids(&gathering, at(1_000)), ["c/1"]);
        gathering.observe(at(1_500), seen(6));
        assert_eq!(ids(&gathering, at(9_000)), ["b/1", "c/1"]);
    }

    #[test]
    fn in_a_cluster_of_two_a_refused_connection_suffices() {
        let mut gathering = Gathering::new(true);
        gathering.observe(at(0), vec![sighting("b", 1, 5)]);
        gathering.refused(&silo("b", 2));
        assert_eq!(ids(&gathering, at(0)), ["b/1"], "that was another life");
        gathering.refused(&silo("b", 1));
        assert!(ids(&gathering, at(0)).is_empty());
    }

    #[test]
    fn a_client_beside_one_silo_is_no_cluster_of_two() {
        let mut gathering = Gathering::new(false);
        gathering.observe(at(0), vec![sighting("b", 1, 5)]);
        gathering.refused(&silo("b", 1));
        assert_eq!(ids(&gathering, at(0)), ["b/1"]);
    }
}
