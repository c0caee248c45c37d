//! Chitchat, in the words of membership: what is known of the peers, what this silo says of itself, whom to talk to.
//!
//! Chitchat's types end here and in `socket`. Decisions are in `gathering`.

use std::collections::{HashMap, HashSet};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use chitchat::{
    Chitchat, ChitchatConfig, ChitchatHandle, ChitchatId, FailureDetectorConfig, NodeState, ProtocolVersion,
    Version, spawn_chitchat,
};

use super::gathering::{Life, Sighting};
use super::socket::BoundTransport;
use crate::id::SiloId;
use crate::membership::MembershipConfig;
use crate::silo_info::SiloInfo;
use crate::telemetry::MEMBERSHIP;

/// The key under which a silo says what it is.
const SILO_KEY: &str = "silo";
/// The keys under which it says whom it does not reach and whom it put out: JSON, `[[id, incarnation], …]`.
const SUSPECTS_KEY: &str = "suspects";
const OUT_KEY: &str = "out";
/// The key of a client, which nobody counts.
const OBSERVER_KEY: &str = "observer";
/// How many peers are told something directly; gossip does the rest.
const TOLD_DIRECTLY: usize = 64;
/// How long chitchat may take to end.
const SHUTDOWN_LIMIT: Duration = Duration::from_secs(1);

/// One participant in gossip.
pub(super) struct Node {
    handle: ChitchatHandle,
    parsed: Mutex<Parsed>,
}

/// Values already parsed, with the version that chitchat gave them.
type Parsed = HashMap<ChitchatId, (Version, Option<Arc<SiloInfo>>)>;

impl Node {
    pub(super) async fn spawn(
        id: &SiloId,
        generation: u64,
        address: SocketAddr,
        socket: &BoundTransport,
        seed_nodes: Vec<String>,
        config: &MembershipConfig,
    ) -> Result<Self, String> {
        let chitchat = ChitchatConfig {
            chitchat_id: ChitchatId::new(id.as_str(), generation, address),
            cluster_id: config.cluster.clone(),
            gossip_interval: config.gossip_interval,
            listen_addr: socket.address(),
            seed_nodes,
            failure_detector_config: failure_detector(config.gossip_interval),
            marked_for_deletion_grace_period: Duration::from_secs(3_600),
            catchup_callback: None,
            extra_liveness_predicate: None,
            protocol_version: ProtocolVersion::V0,
        };
        // Nobody sees a silo here before it says that it is one.
        let first_words = vec![(OBSERVER_KEY.to_owned(), String::new())];
        let handle = spawn_chitchat(chitchat, first_words, socket).await;
        Ok(Self { handle: handle.map_err(|error| format!("{error:#}"))?, parsed: Mutex::default() })
    }

    pub(super) fn id(&self) -> &str {
        &self.handle.chitchat_id().node_id
    }

    pub(super) fn generation(&self) -> u64 {
        self.handle.chitchat_id().generation_id
    }

    /// Says what this silo is, to whoever asks from now on.
    pub(super) async fn say(&self, info: &SiloInfo) {
        let json = info.to_json();
        self.handle
            .with_chitchat(|chitchat| {
                let state = chitchat.self_node_state();
                state.set(SILO_KEY, &json);
                state.delete(OBSERVER_KEY);
            })
            .await;
    }

    /// Says whom this silo does not reach, and whom it put out.
    pub(super) async fn mark<'a>(
        &self,
        suspects: impl Iterator<Item = &'a Life>,
        out: impl Iterator<Item = &'a Life>,
    ) {
        let json = |lives: Vec<(&str, u64)>| serde_json::to_string(&lives).expect("texts and numbers");
        let names = |(id, incarnation): &'a Life| (id.as_str(), *incarnation);
        let (suspects, out) = (json(suspects.map(names).collect()), json(out.map(names).collect()));
        self.handle
            .with_chitchat(|chitchat| {
                chitchat.self_node_state().set(SUSPECTS_KEY, &suspects);
                chitchat.self_node_state().set(OUT_KEY, &out);
            })
            .await;
    }

    /// Begins an exchange with whoever is at `address`.
    pub(super) fn talk_to(&self, address: SocketAddr) {
        // It fails only when chitchat has ended, and then there is nobody to talk.
        let _ = self.handle.gossip(address);
    }

    /// Begins an exchange with the peers, rather than wait for the next round: first with those whose heartbeat goes on. Of a
    /// newcomer that is not known yet, and one that is soon gone would else leave without a word.
    pub(super) async fn talk_to_all(&self) {
        let addresses: Vec<_> = self
            .handle
            .with_chitchat(|chitchat| {
                let live: HashSet<_> = chitchat.live_nodes().collect();
                let silent = chitchat.node_states().keys().filter(|id| !live.contains(id));
                let others =
                    live.iter().copied().chain(silent).filter(|id| *id != chitchat.self_chitchat_id());
                others.map(|id| id.gossip_advertise_addr).take(TOLD_DIRECTLY).collect()
            })
            .await;
        addresses.into_iter().for_each(|address| self.talk_to(address));
    }

    /// What is known of everybody else.
    pub(super) async fn peers(&self) -> Vec<Sighting> {
        self.handle.with_chitchat(|chitchat| self.sightings(chitchat)).await
    }

    fn sightings(&self, chitchat: &Chitchat) -> Vec<Sighting> {
        let live: HashSet<_> = chitchat.live_nodes().collect();
        let mut parsed = self.parsed.lock().expect("no panic while locked");
        parsed.retain(|id, _| chitchat.node_states().contains_key(id));
        let others = chitchat.node_states().iter().filter(|(id, _)| *id != chitchat.self_chitchat_id());
        let sightings = others.filter_map(|(id, state)| {
            Some(Sighting {
                id: SiloId::new(&id.node_id).ok()?,
                generation: id.generation_id,
                heartbeat: state.heartbeat().into(),
                live: live.contains(id),
                told_anything: state.max_version() > 0,
                silo: parse(&mut parsed, id, state),
                suspects: read_marks(state.get(SUSPECTS_KEY)),
                out: read_marks(state.get(OUT_KEY)),
            })
        });
        sightings.collect()
    }

    /// Waits for the end of chitchat, which comes with [`shut_down`](Self::shut_down) or by a defect.
    pub(super) async fn ended(&self) {
        let _ = self.handle.termination_watcher().await;
    }

    /// Ends chitchat and waits until its socket is free.
    pub(super) async fn shut_down(&self) {
        if self.handle.initiate_shutdown().is_ok() {
            let _ = tokio::time::timeout(SHUTDOWN_LIMIT, self.ended()).await;
        }
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.handle.abort();
    }
}

/// The silo that a peer says it is; an unreadable one is skipped and logged once for each value.
fn parse(parsed: &mut Parsed, id: &ChitchatId, state: &NodeState) -> Option<Arc<SiloInfo>> {
    let value = state.get_versioned(SILO_KEY)?;
    match parsed.get(id) {
        Some((version, silo)) if *version == value.version => silo.clone(),
        _ => {
            let silo = read(id, &value.value);
            parsed.insert(id.clone(), (value.version, silo.clone()));
            silo
        }
    }
}

/// Marks that cannot be read are none.
pub(super) fn read_marks(json: Option<&str>) -> Vec<Life> {
    let lives: Vec<(String, u64)> = json.and_then(|json| serde_json::from_str(json).ok()).unwrap_or_default();
    lives.into_iter().filter_map(|(id, incarnation)| Some((SiloId::new(id).ok()?, incarnation))).collect()
}

pub(super) fn read(id: &ChitchatId, json: &str) -> Option<Arc<SiloInfo>> {
    match SiloInfo::from_json(json) {
        // A silo that was put out begins its next life without leaving gossip.
        Ok(info) if info.silo_id.as_str() == &*id.node_id && info.incarnation >= id.generation_id => {
            Some(Arc::new(info))
        }
        Ok(info) => {
            tracing::warn!(target: MEMBERSHIP, silo = %id.node_id, claims = %info.silo_id, "gossip of another silo skipped");
            None
        }
        Err(error) => {
            tracing::warn!(target: MEMBERSHIP, silo = %id.node_id, %error, "gossip skipped: it cannot be read");
            None
        }
    }
}

/// Chitchat's phi is the time since the last heartbeat over the mean interval, smoothed with five intervals of
/// `initial_interval`. How often heartbeats come depends on the size of the cluster, so a window of two leaves the
/// word to the smoothing: a silo is out after some 10 to 12 gossip intervals of silence, 2.6 s to 3 s with the default
/// of 250 ms, in small clusters and large ones, and one that was stopped for 2 s is not.
fn failure_detector(gossip_interval: Duration) -> FailureDetectorConfig {
    FailureDetectorConfig {
        phi_threshold: 7.0,
        sampling_window_size: 2,
        max_interval: gossip_interval * 40,
        initial_interval: gossip_interval * 2,
        // Long, because chitchat heals a partition by talking to the dead now and then.
        dead_node_grace_period: Duration::from_secs(3_600),
    }
}
