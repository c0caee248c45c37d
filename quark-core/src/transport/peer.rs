//! One silo that we talk to: its outbox, where it can be reached, and the task that keeps a link to it when one is
//! wanted. Which of two links survives when both sides dialled at once is decided here.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use futures_util::StreamExt as _;
use tokio::sync::Notify;

use super::carrier::{Address, Inbound, Incoming};
use super::control;
use super::engine::Engine;
use super::link::{Link, Outgoing, PeerKind};
use super::outbox::Outbox;
use super::turns::Turns;
use crate::error::{Error, ErrorKind, Result};
use crate::id::SiloId;
use crate::retry::Backoff;
use crate::silo_info::SiloInfo;
use crate::telemetry::LINK;

/// A silo that we talk to.
pub(crate) struct Peer {
    pub(crate) id: SiloId,
    pub(crate) outbox: Arc<Outbox>,
    /// Its endpoint is known: not so as long as it is known only by a stream that it opened.
    has_endpoint: AtomicBool,
    /// No link is made any more.
    retired: AtomicBool,
    state: Mutex<State>,
    wake: Notify,
}

#[derive(Default)]
struct State {
    address: Option<Address>,
    /// Its row says that it is one of ours, so its announcement is waited for.
    announces: bool,
    /// It announced itself on an earlier link.
    has_announced: bool,
    /// A link is wanted although nothing waits to be sent.
    wanted: bool,
    dialling: bool,
    /// A link that the peer dialled while we were dialling too; used when our attempt fails.
    spare: Option<Arc<Link>>,
    /// Our own link gives way to one that the peer dialled: (ours, theirs).
    moving: Option<(Arc<Link>, Arc<Link>)>,
}

impl Peer {
    pub(crate) fn new(id: SiloId, outbox_capacity: u32, turns: Arc<Turns>) -> Arc<Self> {
        let outbox = Outbox::new(id.clone(), outbox_capacity, turns);
        Arc::new(Self {
            id,
            outbox,
            has_endpoint: AtomicBool::new(false),
            retired: AtomicBool::new(false),
            state: Mutex::default(),
            wake: Notify::new(),
        })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no panic while a peer is locked")
    }

    /// Where it can be reached from now on.
    pub(crate) fn update(&self, info: &SiloInfo) {
        let mut state = self.lock();
        state.address = Some(Address { endpoint: info.endpoint.clone(), speaks: info.transports });
        state.announces = info.protocol_version.is_some();
        drop(state);
        self.has_endpoint.store(true, Ordering::Release);
        self.wake.notify_one();
    }

    pub(crate) fn has_endpoint(&self) -> bool {
        self.has_endpoint.load(Ordering::Acquire)
    }

    /// A link is wanted now.
    pub(crate) fn want_link(&self) {
        self.lock().wanted = true;
        self.wake.notify_one();
    }

    /// Something was put into the outbox.
    pub(crate) fn nudge(&self) {
        self.wake.notify_one();
    }

    /// No link is made any more; one that is there lives until the other side ends it.
    pub(crate) fn retire(&self) {
        self.retired.store(true, Ordering::Release);
        self.wake.notify_one();
    }

    pub(crate) fn is_retired(&self) -> bool {
        self.retired.load(Ordering::Acquire)
    }

    /// Whether it is known where the silo can be reached, or it is linked.
    pub(crate) fn is_reachable_in_principle(&self) -> bool {
        self.lock().address.is_some() || self.outbox.has_link()
    }

    /// The peer dialled us. The link dialled by the smaller id stays; the other one gives way without losing anything.
    pub(crate) fn adopt(self: &Arc<Self>, accepted: &Arc<Link>, we_are_smaller: bool) {
        let mut state = self.lock();
        let current = self.outbox.lock().link().cloned();
        match current {
            Some(current) if current.is_dialled() && !we_are_smaller => {
                // Everything sent on ours is handed over before anything is sent on theirs.
                current.detach();
                current.control(control::about(control::FENCE, String::new()));
                state.moving = Some((current, accepted.clone()));
            }
            Some(current) if current.is_dialled() => state.spare = Some(accepted.clone()),
            None if state.dialling && we_are_smaller => state.spare = Some(accepted.clone()),
            // The peer dialled again: its older link is dead or about to be.
            Some(current) => {
                current.detach();
                accepted.attach(&self.outbox);
            }
            None => accepted.attach(&self.outbox),
        }
        drop(state);
        self.wake.notify_one();
    }

    /// The peer handed over everything that went out on `link`: move to the other one.
    pub(crate) fn fence_passed(&self, link: &Arc<Link>) {
        let mut state = self.lock();
        if let Some((ours, theirs)) = state.moving.take_if(|(ours, _)| Arc::ptr_eq(ours, link)) {
            theirs.attach(&self.outbox);
            drop(state);
            ours.finish();
        }
    }

    /// A link to this peer is over.
    pub(crate) fn link_closed(&self, link: &Arc<Link>) {
        let mut state = self.lock();
        state.spare.take_if(|spare| Arc::ptr_eq(spare, link));
        if let Some((ours, theirs)) =
            state.moving.take_if(|(a, b)| Arc::ptr_eq(a, link) || Arc::ptr_eq(b, link))
        {
            let remaining = if Arc::ptr_eq(&ours, link) { theirs } else { ours };
            remaining.attach(&self.outbox);
        } else if !self.outbox.has_link()
            && let Some(spare) = state.spare.take()
        {
            spare.attach(&self.outbox);
        }
        drop(state);
        self.wake.notify_one();
    }

    /// The address to dial, when a link is wanted and there is none.
    fn to_dial(&self) -> Option<(Address, bool)> {
        let state = self.lock();
        let wanted = state.wanted || !self.outbox.is_empty();
        if !wanted || state.moving.is_some() || self.outbox.has_link() {
            return None;
        }
        let announces = state.announces || state.has_announced;
        state.address.clone().map(|address| (address, announces))
    }

    /// Keeps a link while one is wanted; ends when the peer is retired.
    pub(crate) async fn keep_linked(self: Arc<Self>, engine: Arc<Engine>) {
        let mut backoff = Backoff::for_links();
        loop {
            let Some((address, announces)) = self.to_dial() else {
                if self.is_retired() {
                    return;
                }
                self.wake.notified().await;
                continue;
            };
            if self.is_retired() {
                return;
            }
            self.lock().dialling = true;
            let attempt = tokio::select! {
                biased;
                attempt = self.dial(&engine, address.clone(), announces) => attempt,
                () = self.linked_otherwise() => Ok(None),
            };
            let endpoint = &address.endpoint;
            let spare = {
                let mut state = self.lock();
                state.dialling = false;
                if self.outbox.has_link() { None } else { state.spare.take() }
            };
            match attempt {
                Ok(Some((link, incoming))) => {
                    backoff.reset();
                    self.outbox.set_trouble(None);
                    tracing::debug!(target: LINK, silo = %self.id, %endpoint, "linked");
                    self.lock().wanted = false;
                    engine.clone().read(link, incoming).await;
                    engine.link_lost(&self.id);
                }
                Ok(None) => {}
                Err(error) => {
                    tracing::debug!(target: LINK, silo = %self.id, %endpoint, %error, attempt = backoff.attempts(), "no link");
                    if let Some(spare) = spare {
                        spare.attach(&self.outbox);
                        continue;
                    }
                    engine.dial_failed(&self, error);
                    let wait = tokio::time::sleep(backoff.next_wait());
                    tokio::select! {
                        biased;
                        () = wait => {}
                        () = self.linked_or_moved(&address) => {}
                    }
                }
            }
        }
    }

    /// Until the peer's own link is in use.
    async fn linked_otherwise(&self) {
        while !self.outbox.has_link() && !self.is_retired() {
            self.wake.notified().await;
        }
    }

    /// Until the peer's own link is in use, or the peer is to be found elsewhere.
    async fn linked_or_moved(&self, address: &Address) {
        while !self.outbox.has_link() && !self.is_retired() && self.lock().address.as_ref() == Some(address) {
            self.wake.notified().await;
        }
    }

    /// Opens a stream and puts it to use; nothing when another link came first.
    async fn dial(
        &self,
        engine: &Arc<Engine>,
        address: Address,
        announces: bool,
    ) -> Result<Option<(Arc<Link>, Incoming)>> {
        let link = engine.new_link(self.id.clone(), None);
        let timeout = engine.config().connect_timeout;
        let endpoint = address.endpoint.clone();
        let dialled = engine.carrier().dial(address, engine.hello(), Outgoing::new(link.clone()));
        let mut incoming = tokio::time::timeout(timeout, dialled).await.unwrap_or_else(|_| {
            Err(Error::new(ErrorKind::Unreachable, format!("{endpoint} did not answer within {timeout:?}")))
        })?;
        if announces {
            // A silo of ours announces itself at once. Before it has, nothing is sent: it might be another one, or be
            // stopped, and read this link beside a later one when it wakes.
            match tokio::time::timeout(timeout, incoming.next()).await {
                Ok(Some(Ok(Inbound::Hello(hello)))) => engine.check_hello(&link, hello.as_ref())?,
                Ok(Some(Ok(Inbound::Envelope(_)))) => {
                    return Err(Error::new(
                        ErrorKind::Protocol,
                        format!("{endpoint} sent a message before its headers"),
                    ));
                }
                Ok(Some(Err(error))) => return Err(error),
                Ok(None) => {
                    return Err(Error::new(ErrorKind::Unreachable, format!("{endpoint} closed the stream")));
                }
                Err(_) => {
                    // A plain peer may have taken its place.
                    self.lock().has_announced = false;
                    let message =
                        format!("{endpoint} accepted, and did not announce itself within {timeout:?}");
                    return Err(Error::new(ErrorKind::Unreachable, message));
                }
            }
        }
        let state = self.lock();
        if self.outbox.has_link() {
            drop(state);
            link.finish();
            return Ok(None);
        }
        link.attach(&self.outbox);
        drop(state);
        Ok(Some((link, incoming)))
    }
}

impl Engine {
    /// Checks who answered at the endpoint that we dialled.
    pub(crate) fn check_hello(&self, link: &Arc<Link>, hello: Option<&super::carrier::Hello>) -> Result<()> {
        let Some(hello) = hello else {
            link.set_kind(PeerKind::Plain);
            return Ok(());
        };
        self.check_cluster(hello)?;
        if hello.silo_id != *link.peer() {
            let message = format!("the silo at that endpoint is {}, not {}", hello.silo_id, link.peer());
            return Err(Error::new(ErrorKind::Unreachable, message));
        }
        link.set_kind(PeerKind::Announced);
        if let Some(peer) = self.peer(link.peer().as_str()) {
            peer.lock().has_announced = true;
        }
        Ok(())
    }
}
