//! The transport's core: keeps peers and links, and sends requests. What comes in is the business of `receiving` and
//! `accepting`. It knows neither who is in the cluster nor which silo owns what; those above it do.

mod links;
mod sending;
mod stopping;

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, RwLock, Weak};
use std::task::{Context, Waker};

use bytes::Bytes;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::Instant;

pub(crate) use self::sending::TOGETHER;
use super::calls::Calls;
use super::carrier::{Carrier, Hello};
use super::claim::Claim;
use super::link::{Link, PeerKind};
use super::origins::Origins;
use super::outbox::{self, Frame, Outbox, is_final};
use super::peer::Peer;
use super::pending::Completion;
use super::turns::{Senders, Turns};
use crate::config::TransportConfig;
use crate::endpoint::Endpoint;
use crate::error::{Error, ErrorKind, Result};
use crate::id::SiloId;
use crate::parcel::Parcel;
use crate::request::{Request, Taken, payload_too_large};
use crate::silo_info::{PROTOCOL_VERSION, SiloInfo};
use crate::telemetry::{Counters, LINK};

/// Whoever uses the transport: gets the requests, and hints about links.
pub(crate) trait Receive: Send + Sync {
    /// These requests came in; all of them are taken out. Called in the order of arrival; must not block.
    fn receive(&self, requests: &mut Vec<Request>);
    /// A link to this silo broke or could not be made.
    fn link_lost(&self, peer: &SiloId);
    /// These requests were surely not sent and their silo is gone: send them elsewhere.
    fn resend(&self, frames: Vec<Frame>);
}

/// A request to be sent, with whoever waits for its ending; nobody waits for a one-way request.
pub(crate) struct Dispatch {
    pub(crate) envelope: Parcel,
    pub(crate) deadline: Instant,
    pub(crate) completion: Option<Completion>,
    /// Of a one-way request whose sender waits until a link takes it.
    pub(crate) claim: Option<Claim>,
}

impl Dispatch {
    /// A call, or a one-way request whose sender does not wait.
    pub(crate) fn new(envelope: Parcel, deadline: Instant, completion: Option<Completion>) -> Self {
        Self { envelope, deadline, completion, claim: None }
    }

    /// Ends the call before it was sent.
    pub(crate) fn fail(self, error: Error) {
        if let Some(completion) = self.completion {
            completion.complete(Err(error));
        }
    }
}

/// The transport's core.
pub(crate) struct Engine {
    this: Weak<Engine>,
    local: SiloId,
    incarnation: AtomicU64,
    config: TransportConfig,
    carrier: Arc<dyn Carrier>,
    calls: Arc<Calls>,
    peers: RwLock<HashMap<SiloId, Arc<Peer>>>,
    links: Mutex<Vec<Arc<Link>>>,
    receiver: OnceLock<Weak<dyn Receive>>,
    endpoint: OnceLock<Endpoint>,
    runtime: OnceLock<tokio::runtime::Handle>,
    tasks: Mutex<JoinSet<()>>,
    counters: Counters,
    waiting: Taken,
    turns: Arc<Turns>,
    senders: Senders,
    leaving: AtomicBool,
    serving: watch::Sender<bool>,
    stopped: AtomicBool,
}

impl Engine {
    pub(crate) fn new(local: SiloId, config: TransportConfig, carrier: Arc<dyn Carrier>) -> Arc<Self> {
        Arc::new_cyclic(|this| Self {
            this: this.clone(),
            incarnation: AtomicU64::new(0),
            calls: Calls::new(local.clone(), config.max_pending, config.max_payload),
            local,
            config,
            carrier,
            peers: RwLock::default(),
            links: Mutex::default(),
            receiver: OnceLock::new(),
            endpoint: OnceLock::new(),
            runtime: OnceLock::new(),
            tasks: Mutex::default(),
            counters: Counters::default(),
            waiting: Arc::default(),
            turns: Turns::new(),
            senders: Senders::default(),
            leaving: AtomicBool::new(false),
            serving: watch::Sender::new(true),
            stopped: AtomicBool::new(false),
        })
    }

    /// Begins: watches deadlines and, if there is an address, listens. Within a tokio runtime.
    pub(crate) async fn start(&self, receiver: Weak<dyn Receive>, listen: Option<Endpoint>) -> Result<()> {
        if self.receiver.set(receiver).is_err() {
            return Err(Error::new(ErrorKind::NotRunning, "the transport was started before"));
        }
        let _ = self.runtime.set(tokio::runtime::Handle::current());
        self.spawn(self.calls.clone().watch_deadlines());
        if let Some(listen) = listen {
            let this = self.this.upgrade().expect("whoever calls this holds the engine");
            let bound = self.carrier.listen(listen, this).await?;
            let _ = self.endpoint.set(bound);
        }
        Ok(())
    }

    pub(crate) fn this(&self) -> Option<Arc<Self>> {
        self.this.upgrade()
    }

    /// A link to a peer that we dial, or from one that dialled us, of which it is known then who it is.
    pub(crate) fn new_link(&self, peer: SiloId, accepted: Option<(PeerKind, Origins)>) -> Arc<Link> {
        Link::new(self.this.clone(), &self.config, peer, accepted)
    }

    pub(crate) fn senders(&self) -> &Senders {
        &self.senders
    }

    pub(crate) fn receiver(&self) -> Option<&Weak<dyn Receive>> {
        self.receiver.get()
    }

    /// Says to those who watch from outside whether this silo serves.
    pub(crate) fn set_serving(&self, serving: bool) {
        let serving = serving && !self.is_leaving();
        self.serving.send_if_modified(|current| std::mem::replace(current, serving) != serving);
    }

    pub(crate) fn watch_serving(&self) -> watch::Receiver<bool> {
        self.serving.subscribe()
    }

    pub(crate) fn is_leaving(&self) -> bool {
        self.leaving.load(Ordering::Acquire)
    }

    pub(crate) fn config(&self) -> &TransportConfig {
        &self.config
    }

    pub(crate) fn local(&self) -> &SiloId {
        &self.local
    }

    pub(crate) fn carrier(&self) -> &Arc<dyn Carrier> {
        &self.carrier
    }

    pub(crate) fn calls(&self) -> &Arc<Calls> {
        &self.calls
    }

    pub(crate) fn counters(&self) -> &Counters {
        &self.counters
    }

    /// Where it listens; nothing for a client.
    pub(crate) fn endpoint(&self) -> Option<&Endpoint> {
        self.endpoint.get()
    }

    pub(crate) fn set_incarnation(&self, incarnation: u64) {
        self.incarnation.store(incarnation, Ordering::Relaxed);
    }

    pub(crate) fn is_running(&self) -> bool {
        self.receiver.get().is_some() && !self.stopped.load(Ordering::Acquire)
    }

    /// # Errors
    /// `NOT_RUNNING` before start and after stop.
    pub(crate) fn check_running(&self) -> Result<()> {
        if self.is_running() { Ok(()) } else { Err(not_running()) }
    }

    pub(crate) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        let Some(runtime) = self.runtime.get() else { return };
        let mut tasks = self.tasks.lock().expect("no panic while locked");
        if self.stopped.load(Ordering::Acquire) {
            return;
        }
        while tasks.try_join_next().is_some() {}
        tasks.spawn_on(task, runtime);
    }

    /// The same, and what it does before it first waits is done when this returns.
    pub(crate) fn begin(&self, task: impl Future<Output = ()> + Send + 'static) {
        let Some(runtime) = self.runtime.get() else { return };
        let mut task = Box::pin(task);
        let waits = {
            let _inside = runtime.enter();
            task.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending()
        };
        if waits {
            self.spawn(task);
        }
    }

    // ---- Peers ---------------------------------------------------------------------------------------------------

    /// The peer with this id, if it is known.
    pub(crate) fn peer(&self, id: &str) -> Option<Arc<Peer>> {
        self.peers.read().expect("no panic while locked").get(id).cloned()
    }

    /// The peer of this silo; made when it is first needed.
    pub(crate) fn peer_of(&self, info: &SiloInfo) -> Arc<Peer> {
        let peer = self.peer(info.silo_id.as_str()).unwrap_or_else(|| self.peer_named(&info.silo_id));
        if !peer.has_endpoint() {
            peer.update(info);
        }
        peer
    }

    pub(crate) fn peer_named(&self, id: &SiloId) -> Arc<Peer> {
        let mut peers = self.peers.write().expect("no panic while locked");
        if let Some(peer) = peers.get(id) {
            return peer.clone();
        }
        let peer = Peer::new(id.clone(), self.config.outbox_capacity, self.turns.clone());
        peers.insert(id.clone(), peer.clone());
        drop(peers);
        if let Some(engine) = self.this.upgrade() {
            self.spawn(peer.clone().keep_linked(engine));
        }
        peer
    }

    /// A silo changed its endpoint or came back.
    pub(crate) fn update_peer(&self, info: &SiloInfo) {
        if let Some(peer) = self.peer(info.silo_id.as_str()) {
            peer.update(info);
        }
    }

    /// A silo leaves: what no link has taken is sent elsewhere, where that is possible.
    pub(crate) fn empty_outbox(&self, id: &str) {
        if let Some(peer) = self.peer(id) {
            let frames = peer.outbox.drain();
            self.with_receiver(|receiver| receiver.resend(frames));
        }
    }

    /// A silo is gone: what no link has taken is sent elsewhere; what was sent may still be answered.
    pub(crate) fn remove_peer(&self, id: &str) {
        let removed = self.peers.write().expect("no panic while locked").remove(id);
        if let Some(peer) = removed {
            self.forget(&peer);
        }
    }

    fn forget(&self, peer: &Peer) {
        peer.retire();
        let frames = peer.outbox.drain();
        self.with_receiver(|receiver| receiver.resend(frames));
    }

    fn with_receiver(&self, work: impl FnOnce(&dyn Receive)) {
        if let Some(receiver) = self.receiver.get().and_then(Weak::upgrade) {
            work(&*receiver);
        }
    }

    /// An attempt to reach a peer failed. Where trying again is useless, the waiting calls end now.
    pub(crate) fn dial_failed(&self, peer: &Arc<Peer>, error: Error) {
        if is_final(&error) {
            for frame in peer.outbox.drain() {
                if let Some(ticket) = frame.ticket {
                    self.calls.fail(ticket, error.clone());
                }
            }
        }
        peer.outbox.set_trouble(Some(error));
        self.link_lost(&peer.id);
    }

    pub(crate) fn link_lost(&self, peer: &SiloId) {
        self.with_receiver(|receiver| receiver.link_lost(peer));
    }

    /// Ends the calls that a link had sent and that nobody will answer any more.
    pub(crate) fn lose(&self, outbox: &Arc<Outbox>, taken: &outbox::Taken, error: &Error) {
        let lost = self.calls.fail_sent(outbox, taken, error);
        if lost > 0 {
            tracing::info!(target: LINK, silo = %outbox.peer(), calls = lost, %error, "calls lost with their link");
        }
    }

    // ---- Receiving -----------------------------------------------------------------------------------------------

    pub(crate) fn hello(&self) -> Hello {
        Hello {
            protocol: PROTOCOL_VERSION,
            cluster: self.config.cluster.clone(),
            silo_id: self.local.clone(),
            incarnation: self.incarnation.load(Ordering::Relaxed),
        }
    }

    pub(crate) fn check_cluster(&self, hello: &Hello) -> Result<()> {
        if hello.cluster != self.config.cluster {
            let message = format!(
                "silo {} belongs to cluster {:?}, silo {} to cluster {:?}",
                hello.silo_id, hello.cluster, self.local, self.config.cluster
            );
            return Err(Error::new(ErrorKind::Incompatible, message));
        }
        if hello.protocol == 0 {
            let message = format!("silo {} speaks protocol {}, too old", hello.silo_id, hello.protocol);
            return Err(Error::new(ErrorKind::Incompatible, message));
        }
        Ok(())
    }
}

/// A deadline further away than this is cut to it, so that adding it to a clock cannot overflow.
pub(crate) const MAX_TIMEOUT_MS: u64 = 366 * 24 * 3600 * 1000;

pub(crate) fn not_running() -> Error {
    Error::new(ErrorKind::NotRunning, "the silo is not running")
}

pub(crate) fn connection_lost(peer: &SiloId) -> Error {
    Error::new(ErrorKind::ConnectionLost, format!("the link to silo {peer} broke after the request was sent"))
}

/// # Errors
/// `PAYLOAD_TOO_LARGE` with both sizes.
pub(crate) fn check_payload(payload: &Bytes, limit: usize) -> Result<()> {
    if payload.len() > limit { Err(payload_too_large("payload", payload.len(), limit)) } else { Ok(()) }
}
