//! A network inside the process: the carrier of tests and simulations. Envelopes are handed over as they are, and the
//! ways between hosts can be slow, cut or reset.
//!
//! On a paused clock and a runtime of one thread, a run with the same seed is the same run.

mod paths;
mod wire;

use std::collections::HashMap;
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;

use self::paths::Paths;
use self::wire::Wire;
use super::carrier::{Accept, Address, Carrier, Hello, Incoming};
use super::link::Outgoing;
use crate::config::TransportConfig;
use crate::endpoint::Endpoint;
use crate::error::{Error, ErrorKind, Result};
use crate::id::SiloId;
use crate::probe::{Probe, Prober};
use crate::silo_info::SiloInfo;
use crate::tls::Proof;

/// A network of its own. What is made from clones of one reaches each other, and nobody else. Hosts are named by the ids
/// of their silos and clients.
#[derive(Clone, Default)]
pub struct LoopbackNetwork(Arc<Network>);

#[derive(Default)]
struct Network {
    listening: Mutex<HashMap<Endpoint, Host>>,
    next_port: AtomicU16,
    paths: Paths,
    wires: Mutex<Vec<Weak<Wire>>>,
}

/// Who listens, and how long it waits for a silent peer.
#[derive(Clone)]
struct Host {
    accept: Weak<dyn Accept>,
    patience: Duration,
}

impl LoopbackNetwork {
    /// An empty network without delays.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The same; what is random in it (delays within their bounds) follows from the seed.
    #[must_use]
    pub fn with_seed(seed: u64) -> Self {
        let network = Self::default();
        network.0.paths.seed(seed);
        network
    }

    /// Every message takes at least and at most this long from now on, in whatever direction. On one link they keep their
    /// order.
    pub fn delay(&self, least: Duration, most: Duration) {
        self.0.paths.delay(least, most);
    }

    /// The same for what goes from one host to the other; it counts instead of the general delay.
    pub fn delay_way(&self, from: &str, to: &str, least: Duration, most: Duration) {
        self.0.paths.delay_way(from, to, least, most);
    }

    /// Nothing gets from one host to the other any more. What is on its way arrives after [`heal`](Self::heal), unless
    /// the links have been given up by then, as they are when a probe goes unanswered.
    pub fn cut(&self, from: &str, to: &str) {
        self.0.paths.cut(from, to);
    }

    /// Takes a cut back.
    pub fn heal(&self, from: &str, to: &str) {
        self.0.paths.heal(from, to);
    }

    /// Takes all cuts back.
    pub fn heal_all(&self) {
        self.0.paths.heal_all();
    }

    /// Breaks the links between two hosts; what was on its way is lost.
    pub fn reset(&self, one: &str, other: &str) {
        for (from, to) in [(one, other), (other, one)] {
            self.0.wires(from, to).iter().for_each(|wire| wire.reset());
        }
    }

    /// A host gives up its links to another one, which learns of it only when everything before has arrived.
    pub fn give_up(&self, host: &str, other: &str) {
        self.0.wires(other, host).iter().for_each(|wire| wire.reset());
    }

    /// What goes from one host to the other on the links that are there arrives so much later, as after lost packets;
    /// links that come after are not concerned.
    pub fn stall(&self, from: &str, to: &str, by: Duration) {
        self.0.wires(from, to).iter().for_each(|wire| wire.stall(by));
    }

    /// How many links there are between two hosts.
    #[must_use]
    pub fn links(&self, one: &str, other: &str) -> usize {
        let open = |from, to| self.0.wires(from, to).iter().filter(|wire| wire.is_open()).count();
        open(one, other).max(open(other, one))
    }

    pub(crate) fn carrier(&self, config: &TransportConfig) -> LoopbackCarrier {
        let patience = config.probe_interval + config.probe_timeout;
        LoopbackCarrier { network: self.0.clone(), patience, endpoint: Mutex::default() }
    }
}

impl Network {
    fn add_wire(&self, wire: &Arc<Wire>) {
        let mut wires = self.wires.lock().expect("no panic while locked");
        wires.retain(|wire| wire.strong_count() > 0);
        wires.push(Arc::downgrade(wire));
    }

    fn wires(&self, from: &str, to: &str) -> Vec<Arc<Wire>> {
        let wires = self.wires.lock().expect("no panic while locked");
        wires.iter().filter_map(Weak::upgrade).filter(|wire| wire.goes(from, to)).collect()
    }

    fn host(&self, at: &Endpoint) -> Option<(Arc<dyn Accept>, Duration)> {
        let listening = self.listening.lock().expect("no panic while locked");
        listening.get(at).and_then(|host| Some((host.accept.upgrade()?, host.patience)))
    }
}

/// One host of a [`LoopbackNetwork`].
pub(crate) struct LoopbackCarrier {
    network: Arc<Network>,
    /// How long a way may be cut until its links are given up.
    patience: Duration,
    endpoint: Mutex<Option<Endpoint>>,
}

impl Carrier for LoopbackCarrier {
    fn dial(&self, to: Address, hello: Hello, outgoing: Outgoing) -> BoxFuture<'static, Result<Incoming>> {
        let (network, patience, to) = (self.network.clone(), self.patience, to.endpoint);
        async move {
            let refused = || Error::new(ErrorKind::Unreachable, format!("nobody listens at {to}"));
            let (accept, _) = network.host(&to).ok_or_else(refused)?;
            let (ours, theirs) = (hello.silo_id.clone(), accept.hello().silo_id);
            drop(accept);
            network.paths.travel(&ours, &theirs).await;
            network.paths.travel(&theirs, &ours).await;
            // It may have gone meanwhile, and another one come.
            let (accept, their_patience) = network.host(&to).ok_or_else(refused)?;
            let announced = accept.hello();
            let accepted = accept.accept(Some(hello), &Proof::Plaintext)?;
            let there = Wire::new(&network, ours.clone(), announced.silo_id.clone(), their_patience);
            let back = Wire::new(&network, announced.silo_id.clone(), ours, patience);
            there.pair_with(&back);
            back.announce(announced);
            let answers = accepted.run(there.reader());
            tokio::spawn(there.clone().carry(outgoing));
            tokio::spawn(back.clone().carry(answers));
            Ok(back.dialled_reader())
        }
        .boxed()
    }

    fn listen(&self, at: Endpoint, accept: Arc<dyn Accept>) -> BoxFuture<'_, Result<Endpoint>> {
        async move {
            let port = match at.port() {
                0 => 1 + self.network.next_port.fetch_add(1, Ordering::Relaxed),
                port => port,
            };
            let at = at.with_port(port);
            let mut listening = self.network.listening.lock().expect("no panic while locked");
            if listening.get(&at).is_some_and(|other| other.accept.strong_count() > 0) {
                return Err(Error::new(
                    ErrorKind::AddressInUse,
                    format!("listen={at}: the address is taken"),
                ));
            }
            let host = Host { accept: Arc::downgrade(&accept), patience: self.patience };
            listening.insert(at.clone(), host);
            *self.endpoint.lock().expect("no panic while locked") = Some(at.clone());
            Ok(at)
        }
        .boxed()
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        async move { self.abort() }.boxed()
    }

    fn abort(&self) {
        if let Some(at) = self.endpoint.lock().expect("no panic while locked").take() {
            self.network.listening.lock().expect("no panic while locked").remove(&at);
        }
    }
}

impl Prober for LoopbackCarrier {
    fn probe(&self, from: &SiloId, silo: &SiloInfo, limit: Duration) -> BoxFuture<'static, Probe> {
        let (network, from, silo) = (self.network.clone(), from.clone(), silo.clone());
        let look = async move {
            network.paths.travel(&from, &silo.silo_id).await;
            let there = network.host(&silo.endpoint).map(|(accept, _)| accept.hello());
            network.paths.travel(&silo.silo_id, &from).await;
            match there {
                Some(hello) => Probe::answered_by(&silo, &hello.silo_id, hello.incarnation),
                None => Probe::Refused,
            }
        };
        async move { tokio::time::timeout(limit, look).await.unwrap_or(Probe::Silent) }.boxed()
    }
}

impl Drop for LoopbackCarrier {
    fn drop(&mut self) {
        self.abort();
    }
}
