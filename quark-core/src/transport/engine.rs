//! The transport's core: sends requests to peers, reads what links bring, accepts links. It knows neither who is in
//! the cluster nor which silo owns what; those above it do.

use std::collections::HashMap;
use std::ops::Range;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, RwLock, Weak};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures_util::Stream as _;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::calls::Calls;
use super::carrier::{Accept, Accepted, Carrier, Hello, Inbound, Incoming};
use super::link::{Link, Outgoing, PeerKind};
use super::outbox::{Frame, Outbox, is_final};
use super::peer::{self, Peer};
use super::pending::{Completion, Route, Ticket};
use crate::batch;
use crate::config::TransportConfig;
use crate::endpoint::Endpoint;
use crate::envelope::{Envelope, EnvelopeKind};
use crate::error::{Error, ErrorKind, Result};
use crate::id::SiloId;
use crate::request::{AnswerTo, Permit, Request, payload_too_large};
use crate::silo_info::{PROTOCOL_VERSION, SiloInfo};
use crate::telemetry::{Counters, LINK};

/// Messages read from a link before others get a turn.
const READ_AT_ONCE: usize = 256;

/// Whoever uses the transport: gets the requests, and hints about links.
pub(crate) trait Receive: Send + Sync {
    /// A request came in. Called in the order of arrival; must not block.
    fn receive(&self, request: Request);
    /// A link to this silo broke or could not be made.
    fn link_lost(&self, peer: &SiloId);
    /// These requests were surely not sent and their silo is gone: send them elsewhere.
    fn resend(&self, frames: Vec<Frame>);
}

/// A request to be sent, with whoever waits for its ending; nobody waits for a one-way request.
pub(crate) struct Dispatch {
    pub(crate) envelope: Envelope,
    pub(crate) deadline: Instant,
    pub(crate) completion: Option<Completion>,
}

impl Dispatch {
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
    waiting: Arc<AtomicUsize>,
    leaving: AtomicBool,
    stopped: AtomicBool,
}

impl Engine {
    pub(crate) fn new(local: SiloId, config: TransportConfig, carrier: Arc<dyn Carrier>) -> Arc<Self> {
        Arc::new_cyclic(|this| Self {
            this: this.clone(),
            local,
            incarnation: AtomicU64::new(0),
            calls: Calls::new(config.max_pending, config.max_payload),
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
            leaving: AtomicBool::new(false),
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

    // ---- Sending -------------------------------------------------------------------------------------------------

    /// The peer with this id, if it is known.
    pub(crate) fn peer(&self, id: &str) -> Option<Arc<Peer>> {
        self.peers.read().expect("no panic while locked").get(id).cloned()
    }

    /// The peer of this silo; made when it is first needed.
    pub(crate) fn peer_of(&self, info: &SiloInfo) -> Arc<Peer> {
        if let Some(peer) = self.peer(info.silo_id.as_str()) {
            return peer;
        }
        let peer = self.peer_named(&info.silo_id);
        peer.update(info);
        peer
    }

    fn peer_named(&self, id: &SiloId) -> Arc<Peer> {
        let mut peers = self.peers.write().expect("no panic while locked");
        if let Some(peer) = peers.get(id) {
            return peer.clone();
        }
        let peer = Peer::new(id.clone(), self.config.outbox_capacity);
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

    /// A silo is gone: what no link has taken is sent elsewhere; what was sent may still be answered.
    pub(crate) fn remove_peer(&self, id: &str) {
        let removed = self.peers.write().expect("no panic while locked").remove(id);
        if let Some(peer) = removed {
            peer.retire();
            let frames = peer.outbox.drain();
            self.with_receiver(|receiver| receiver.resend(frames));
        }
    }

    fn with_receiver(&self, work: impl FnOnce(&dyn Receive)) {
        if let Some(receiver) = self.receiver.get().and_then(Weak::upgrade) {
            work(&*receiver);
        }
    }

    /// Sends at once when there is room, and says so; otherwise gives the dispatch back.
    pub(crate) fn try_send(&self, peer: &Arc<Peer>, dispatch: Dispatch) -> Result<Option<Ticket>, Dispatch> {
        let cost = peer.outbox.cost(&dispatch.envelope);
        let Ok(space) = peer.outbox.space.try_acquire_many(cost) else { return Err(dispatch) };
        if dispatch.completion.is_some() {
            let Ok(place) = self.calls.places().try_acquire() else { return Err(dispatch) };
            place.forget();
        }
        space.forget();
        Ok(self.enqueue(peer, dispatch, cost))
    }

    /// Sends, waiting for room until the deadline.
    ///
    /// # Errors
    /// `OVERLOADED` or `UNREACHABLE`, with the dispatch, when there was no room until then.
    pub(crate) async fn send(
        &self,
        peer: &Arc<Peer>,
        dispatch: Dispatch,
    ) -> Result<Option<Ticket>, (Dispatch, Error)> {
        let dispatch = match self.try_send(peer, dispatch) {
            Ok(ticket) => return Ok(ticket),
            Err(dispatch) => dispatch,
        };
        let cost = peer.outbox.cost(&dispatch.envelope);
        let (deadline, waits) = (dispatch.deadline, dispatch.completion.is_some());
        let room = async {
            let space = peer.outbox.space.acquire_many(cost).await.expect("never closed");
            if waits {
                self.calls.places().acquire().await.expect("never closed").forget();
            }
            space.forget();
        };
        match tokio::time::timeout_at(deadline, room).await {
            Ok(()) => Ok(self.enqueue(peer, dispatch, cost)),
            Err(_) => Err((dispatch, no_room(peer))),
        }
    }

    /// Waits until there is a link to the peer.
    ///
    /// # Errors
    /// `UNREACHABLE` when there is none until the deadline; what the peer said when it turned us away.
    pub(crate) async fn linked(&self, peer: &Arc<Peer>, deadline: Instant) -> Result<()> {
        if peer.outbox.has_link() {
            return Ok(());
        }
        peer.want_link();
        match tokio::time::timeout_at(deadline, peer.outbox.until_linked()).await {
            Ok(result) => result,
            Err(_) => Err(no_link(peer)),
        }
    }

    /// Puts a request into the outbox; room was acquired before. The call is in the table before a link can take it.
    fn enqueue(&self, peer: &Arc<Peer>, dispatch: Dispatch, cost: u32) -> Option<Ticket> {
        let Dispatch { mut envelope, deadline, completion } = dispatch;
        let mut queue = peer.outbox.lock();
        let ticket = match completion {
            None => None,
            Some(completion) => {
                let route = Route { outbox: peer.outbox.clone(), number: queue.next_number() };
                match self.calls.begin(&mut envelope, deadline, Some(route), completion) {
                    Ok(ticket) => Some(ticket),
                    Err((error, completion)) => {
                        drop(queue);
                        peer.outbox.space.add_permits(cost as usize);
                        completion.complete(Err(error));
                        return None;
                    }
                }
            }
        };
        queue.push(Frame { envelope, deadline, ticket, cost });
        let linked = queue.link().is_some();
        drop(queue);
        if !linked {
            self.unlinked(peer);
        }
        // Pushed while the engine stopped or the peer was removed: nobody else will look at it.
        if self.stopped.load(Ordering::Acquire) {
            self.calls.fail_every(&not_running());
        } else if peer.is_retired() {
            let frames = peer.outbox.drain();
            self.with_receiver(|receiver| receiver.resend(frames));
        }
        ticket
    }

    /// Puts a frame that was not sent into another silo's outbox. It keeps its place in the table; the order among
    /// such frames is kept.
    pub(crate) fn resend(&self, peer: &Arc<Peer>, mut frame: Frame) {
        frame.cost = peer.outbox.cost(&frame.envelope);
        // These were admitted once; the new outbox may pass its capacity by what the old one held.
        let taken = peer.outbox.space.forget_permits(frame.cost as usize);
        frame.cost = u32::try_from(taken).unwrap_or(0);
        let mut queue = peer.outbox.lock();
        if let Some(ticket) = frame.ticket {
            let route = Route { outbox: peer.outbox.clone(), number: queue.next_number() };
            if !self.calls.reroute(ticket, Some(route)) {
                drop(queue);
                peer.outbox.space.add_permits(taken);
                return;
            }
        }
        queue.push(frame);
        let linked = queue.link().is_some();
        drop(queue);
        if !linked {
            self.unlinked(peer);
        }
    }

    /// Makes a request to this silo of a frame that was meant for another one.
    pub(crate) fn take_over(&self, frame: Frame) -> Option<Request> {
        let answer = match frame.ticket {
            None => None,
            Some(ticket) if self.calls.reroute(ticket, None) => {
                Some((self.calls.clone() as Arc<dyn AnswerTo>, ticket.to_bits()))
            }
            Some(_) => return None,
        };
        Some(Request::new(frame.envelope, self.local.clone(), frame.deadline, answer))
    }

    /// A place among the calls that wait for room in a task of their own; there are as many as may be pending.
    pub(crate) fn take_waiting_place(&self) -> Option<Permit> {
        Permit::take(&self.waiting, self.config.max_pending)
    }

    fn unlinked(&self, peer: &Arc<Peer>) {
        if !peer.is_reachable_in_principle() {
            peer.outbox.set_trouble(Some(Error::new(ErrorKind::Unreachable, "its endpoint is not known")));
        }
        peer.nudge();
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
    pub(crate) fn lose(&self, outbox: &Arc<Outbox>, numbers: &Range<u64>, error: &Error) {
        let lost = self.calls.fail_sent(outbox, numbers, error);
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

    /// Reads a link until it ends, then ends what was lost with it.
    pub(crate) async fn read(self: Arc<Self>, link: Arc<Link>, mut incoming: Incoming) {
        /// Closes the link also when the task is aborted.
        struct Close<'a>(&'a Arc<Engine>, &'a Arc<Link>, Option<Error>);
        impl Drop for Close<'_> {
            fn drop(&mut self) {
                self.0.close_link(self.1, self.2.take());
            }
        }
        self.links.lock().expect("no panic while locked").push(link.clone());
        let mut close = Close(&self, &link, None);
        let ended = std::future::poll_fn(|cx| batch::run(|| self.poll_read(&link, &mut incoming, cx))).await;
        if ended.is_ok() && !link.is_dialled() {
            // The peer has asked its last and waits for the answers.
            link.finish();
            std::future::poll_fn(|cx| link.poll_written(cx)).await;
        }
        close.2 = ended.err();
    }

    fn poll_read(&self, link: &Arc<Link>, incoming: &mut Incoming, cx: &mut Context<'_>) -> Poll<Result<()>> {
        for _ in 0..READ_AT_ONCE {
            if link.is_clogged(cx) {
                return Poll::Pending;
            }
            match Pin::new(&mut *incoming).poll_next(cx) {
                Poll::Ready(Some(Ok(Inbound::Envelope(envelope)))) => self.arrive(link, envelope),
                Poll::Ready(Some(Ok(Inbound::Hello(hello)))) => self.check_hello(link, hello.as_ref())?,
                Poll::Ready(Some(Err(error))) => return Poll::Ready(Err(error)),
                Poll::Ready(None) => return Poll::Ready(Ok(())),
                Poll::Pending => return Poll::Pending,
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    fn close_link(&self, link: &Arc<Link>, error: Option<Error>) {
        self.links.lock().expect("no panic while locked").retain(|other| !Arc::ptr_eq(other, link));
        if let Some(error) = &error {
            tracing::debug!(target: LINK, silo = %link.peer(), %error, "link broke");
        }
        if let Some((outbox, sent)) = link.close() {
            let error = match error {
                // The peer turned us away before it looked at any request.
                Some(error) if link.kind().is_none() && is_final(&error) => error,
                _ => connection_lost(link.peer()),
            };
            self.lose(&outbox, &sent, &error);
        }
        if let Some(peer) = self.peer(link.peer().as_str()) {
            peer.link_closed(link);
        }
    }

    /// One message came in.
    fn arrive(&self, link: &Arc<Link>, envelope: Envelope) {
        let kind = match link.kind() {
            Some(PeerKind::Announced) => envelope.kind,
            // On a stream that we dialled a plain peer answers; on one that it dialled it asks.
            _ if link.is_dialled() => EnvelopeKind::Response,
            _ => EnvelopeKind::Request,
        };
        match kind {
            EnvelopeKind::Response => {
                if !self.calls.respond(envelope) {
                    self.counters.late_responses.fetch_add(1, Ordering::Relaxed);
                }
            }
            EnvelopeKind::Request => self.receive(link, envelope),
            EnvelopeKind::Control => self.control(link, envelope),
            EnvelopeKind::Unspecified => {
                self.counters.unknown_messages.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    fn receive(&self, link: &Arc<Link>, mut envelope: Envelope) {
        let timeout = match envelope.timeout_ms {
            0 => self.config.default_timeout,
            ms => Duration::from_millis(ms.min(MAX_TIMEOUT_MS)),
        };
        if envelope.correlation_id.is_empty() {
            envelope.correlation_id.clone_from(&envelope.message_id);
        }
        let caller = Some(&envelope.origin).filter(|origin| !origin.is_empty());
        let caller =
            caller.and_then(|origin| SiloId::new(origin).ok()).unwrap_or_else(|| link.peer().clone());
        let answer = (!envelope.one_way).then(|| {
            link.owe();
            (link.clone() as Arc<dyn AnswerTo>, 0)
        });
        let request = Request::new(envelope, caller, Instant::now() + timeout, answer);
        match self.receiver.get().and_then(Weak::upgrade) {
            Some(receiver) => receiver.receive(request),
            None => request.refuse(not_running()),
        }
    }

    fn control(&self, link: &Arc<Link>, message: Envelope) {
        match message.method_name.as_str() {
            peer::FENCE => link.control(Envelope::control(peer::FENCE_PASSED, message.message_id)),
            peer::FENCE_PASSED => {
                if let Some(peer) = self.peer(link.peer().as_str()) {
                    peer.fence_passed(link);
                }
            }
            peer::LEAVING => {
                link.detach();
                link.control(Envelope::control(peer::LEAVING_SEEN, message.message_id));
                if let Some(peer) = self.peer(link.peer().as_str()) {
                    peer.nudge();
                }
            }
            peer::LEAVING_SEEN => link.set_quiet(),
            _ => {
                self.counters.unknown_messages.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    // ---- Stopping ------------------------------------------------------------------------------------------------

    /// Asks the peers to send nothing new, answers what came in, waits for what was sent; until `deadline` at most.
    pub(crate) async fn drain(&self, deadline: Instant) {
        self.leaving.store(true, Ordering::Release);
        for link in self.links_now() {
            if link.kind() == Some(PeerKind::Announced) {
                link.control(Envelope::control(peer::LEAVING, String::new()));
            } else {
                link.set_quiet();
            }
        }
        let mut look = tokio::time::interval(Duration::from_millis(5));
        while Instant::now() < deadline {
            let quiet = self.links_now().iter().all(|link| link.is_quiet() && link.is_idle());
            if quiet && self.calls.len() == 0 {
                return;
            }
            look.tick().await;
        }
    }

    fn links_now(&self) -> Vec<Arc<Link>> {
        self.links.lock().expect("no panic while locked").clone()
    }

    /// Ends everything: calls that still wait end with `NOT_RUNNING`.
    pub(crate) async fn stop(&self) {
        if self.stopped.swap(true, Ordering::AcqRel) {
            return;
        }
        for link in self.links_now() {
            link.finish();
        }
        // Lets the last answers leave; a peer that does not read them is not waited for.
        let flushed = async {
            while self.links_now().iter().any(|link| !link.is_idle()) {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            self.carrier.close().await;
        };
        let _ = tokio::time::timeout(Duration::from_millis(500), flushed).await;
        self.abort();
    }

    /// Ends everything without waiting for anything.
    pub(crate) fn abort(&self) {
        self.stopped.store(true, Ordering::Release);
        let tasks = std::mem::take(&mut *self.tasks.lock().expect("no panic while locked"));
        drop(tasks);
        self.carrier.abort();
        for link in self.links_now() {
            self.close_link(&link, None);
        }
        let peers = std::mem::take(&mut *self.peers.write().expect("no panic while locked"));
        for peer in peers.values() {
            peer.retire();
            peer.outbox.drain();
        }
        self.calls.fail_every(&not_running());
    }
}

/// A deadline further away than this is cut to it, so that adding it to a clock cannot overflow.
const MAX_TIMEOUT_MS: u64 = 366 * 24 * 3600 * 1000;

pub(crate) fn not_running() -> Error {
    Error::new(ErrorKind::NotRunning, "the silo is not running")
}

/// Why a call could not even be queued until its deadline.
fn no_room(peer: &Peer) -> Error {
    if peer.outbox.has_link() {
        Error::new(
            ErrorKind::Overloaded,
            format!("the queue to silo {} was full until the deadline", peer.id),
        )
    } else {
        no_link(peer)
    }
}

fn no_link(peer: &Peer) -> Error {
    let reason = peer.outbox.trouble().map(|error| format!(": {}", error.message())).unwrap_or_default();
    Error::new(ErrorKind::Unreachable, format!("no link to silo {} before the deadline{reason}", peer.id))
}

pub(crate) fn connection_lost(peer: &SiloId) -> Error {
    Error::new(ErrorKind::ConnectionLost, format!("the link to silo {peer} broke after the request was sent"))
}

/// # Errors
/// `PAYLOAD_TOO_LARGE` with both sizes.
pub(crate) fn check_payload(payload: &Bytes, limit: usize) -> Result<()> {
    if payload.len() > limit { Err(payload_too_large("payload", payload.len(), limit)) } else { Ok(()) }
}

impl Accept for Engine {
    fn accept(&self, hello: Option<Hello>) -> Result<Box<dyn Accepted>> {
        if self.leaving.load(Ordering::Acquire) {
            return Err(Error::new(ErrorKind::Unreachable, format!("silo {} is leaving", self.local)));
        }
        let (peer, kind) = match hello {
            None => (SiloId::plain(), PeerKind::Plain),
            Some(hello) => {
                self.check_cluster(&hello)?;
                if hello.silo_id == self.local {
                    return Err(Error::new(
                        ErrorKind::IdInUse,
                        format!("this silo has the id {} itself", self.local),
                    ));
                }
                (hello.silo_id, PeerKind::Announced)
            }
        };
        let link = Link::new(self.this.clone(), peer, false, Some(kind));
        Ok(Box::new(Stream { engine: self.this.upgrade().ok_or_else(not_running)?, link }))
    }

    fn hello(&self) -> Hello {
        self.hello()
    }
}

/// An accepted stream.
struct Stream {
    engine: Arc<Engine>,
    link: Arc<Link>,
}

impl Accepted for Stream {
    fn run(self: Box<Self>, incoming: Incoming) -> Outgoing {
        let Self { engine, link } = *self;
        let outgoing = Outgoing::new(link.clone());
        if link.kind() == Some(PeerKind::Announced) && !link.peer().is_client() {
            engine.peer_named(link.peer()).adopt(&link, engine.local < *link.peer());
        }
        let reader = engine.clone();
        engine.spawn(async move { reader.read(link, incoming).await });
        outgoing
    }
}
