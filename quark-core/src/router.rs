//! Where a request goes: to the own inbox, to the owner's link, or on to whoever owns the actor by now.
//!
//! The router reads the current view and the policy of the actor's type; it makes deadlines and leaves keeping them to
//! the pending table.

mod callbacks;
mod ownership;
mod routes;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::sync::{oneshot, watch};
use tokio::time::Instant;

pub(crate) use self::callbacks::Called;
use self::routes::Routes;
use crate::envelope::Envelope;
use crate::error::{Error, ErrorKind, Result};
use crate::id::SiloId;
use crate::inbox::{Inbox, Slots};
use crate::membership::{Membership, MembershipEvent, View};
use crate::ownership::Watches;
use crate::parcel::Parcel;
use crate::placement::{Placements, check_not_asking};
use crate::request::Request;
use crate::silo_info::SiloStatus;
use crate::transport::{Claim, Completion, Dispatch, Engine, Frame, Peer, Receive, Ticket, Waiting};

/// The router of one silo or client.
pub(crate) struct Router {
    this: Weak<Self>,
    engine: Arc<Engine>,
    membership: Arc<Membership>,
    routes: ArcSwap<Routes>,
    /// The version of the view that calls follow.
    followed: watch::Sender<u64>,
    placements: Placements,
    inbox: Inbox,
    leaving: AtomicBool,
    /// The only types that this silo serves, if it declares any.
    declared_types: Option<Box<[String]>>,
    watches: Watches,
}

/// How long a change waits until calls follow it.
const CATCHING_UP: Duration = Duration::from_secs(1);

/// Where one call goes.
enum Target<'a> {
    Here,
    There(&'a Arc<Peer>),
}

impl Router {
    pub(crate) fn new(
        engine: Arc<Engine>,
        membership: Arc<Membership>,
        placements: Placements,
        inbox: Inbox,
        declared_types: Option<Vec<String>>,
    ) -> Arc<Self> {
        let routes = ArcSwap::from_pointee(Routes::new(membership.view()));
        Arc::new_cyclic(|this| Self {
            this: this.clone(),
            engine,
            membership,
            routes,
            followed: watch::Sender::default(),
            placements,
            inbox,
            leaving: AtomicBool::new(false),
            declared_types: declared_types.map(Vec::into_boxed_slice),
            watches: Watches::default(),
        })
    }

    pub(crate) fn engine(&self) -> &Arc<Engine> {
        &self.engine
    }

    pub(crate) fn membership(&self) -> &Arc<Membership> {
        &self.membership
    }

    pub(crate) fn inbox(&self) -> &Inbox {
        &self.inbox
    }

    pub(crate) fn view(&self) -> Arc<View> {
        self.routes.load().view.clone()
    }

    /// From now on requests go elsewhere where that is possible.
    pub(crate) fn set_leaving(&self) {
        self.leaving.store(true, Ordering::Release);
        self.look_at_ownership();
    }

    /// Ends everything at once; nobody is told.
    pub(crate) fn abort(&self) {
        self.engine.abort();
        self.membership.abort();
        self.inbox.close();
        self.look_at_ownership();
    }

    // ---- Views ---------------------------------------------------------------------------------------------------

    /// Takes a new view: requests follow it from now on, those that were not sent yet too.
    pub(crate) fn set_view(&self, view: Arc<View>) {
        self.engine.set_incarnation(self.membership.incarnation());
        let before = self.routes.swap(Arc::new(Routes::new(view.clone())));
        for event in view.events_since(&before.view) {
            match event {
                MembershipEvent::Joined(info) | MembershipEvent::Updated(info) => {
                    self.engine.update_peer(&info);
                    if info.status == SiloStatus::ShuttingDown {
                        self.engine.empty_outbox(info.silo_id.as_str());
                    }
                }
                MembershipEvent::Left(info) => self.engine.remove_peer(info.silo_id.as_str()),
            }
        }
        self.look_at_ownership();
        self.followed.send_replace(view.version());
    }

    /// Follows the membership until it ends.
    pub(crate) async fn follow_views(self: Arc<Self>) {
        let mut views = self.membership.watch();
        loop {
            let view = views.borrow_and_update().clone();
            self.set_view(view);
            if views.changed().await.is_err() {
                return;
            }
        }
    }

    /// Changes what this silo says of itself; calls follow the change when this returns.
    pub(crate) async fn change<'a, F: Future<Output = Result<()>>>(
        &'a self,
        change: impl FnOnce(&'a Membership) -> F,
    ) -> Result<()> {
        self.engine.check_running()?;
        let changed = change(&self.membership).await;
        // The view follows at once, unless this silo stops meanwhile.
        let version = self.membership.view().version();
        let mut followed = self.followed.subscribe();
        let caught_up = followed.wait_for(|followed| *followed >= version);
        let _ = tokio::time::timeout(CATCHING_UP, caught_up).await;
        changed
    }

    /// Follows the health until the membership ends.
    pub(crate) async fn follow_health(self: Arc<Self>) {
        let mut health = self.membership.watch_health();
        loop {
            let is_isolated = health.borrow_and_update().is_isolated();
            self.engine.set_serving(!is_isolated);
            if health.changed().await.is_err() {
                return;
            }
        }
    }

    /// # Errors
    /// `ISOLATED` while this silo is cut off, was told that it is out, or is not sure that it is in.
    fn check_may_own(&self) -> Result<()> {
        if self.membership.may_serve() { Ok(()) } else { Err(self.isolated()) }
    }

    fn isolated(&self) -> Error {
        let message = format!("silo {} is cut off, or was, and owns nothing now", self.engine.local());
        Error::new(ErrorKind::Isolated, message)
    }

    // ---- Out -----------------------------------------------------------------------------------------------------

    fn target<'a>(&self, routes: &'a Routes, envelope: &mut Envelope) -> Result<Target<'a>> {
        let (actor_type, actor_id) = (&envelope.actor_type, &envelope.actor_id);
        let chosen = self.placements.place(actor_type, actor_id, &routes.view, self.engine.local())?;
        envelope.view_version = routes.view.version();
        envelope.anywhere = !self.placements.is_by_ring(actor_type);
        if *chosen == *self.engine.local() {
            if !envelope.anywhere {
                self.check_may_own()?;
            }
            return Ok(Target::Here);
        }
        match routes.to(&self.engine, chosen.as_str()) {
            Some(peer) => Ok(Target::There(peer)),
            None => Err(Error::new(
                ErrorKind::NoSilo,
                format!("silo {chosen} owns {actor_type}/{actor_id} and is not in the view"),
            )),
        }
    }

    /// Checks and completes what a caller gave.
    fn prepare(
        &self,
        envelope: Parcel,
        timeout: Option<Duration>,
        now: Instant,
    ) -> Result<(Parcel, Instant)> {
        self.engine.check_running()?;
        check_not_asking()?;
        self.engine.prepare(envelope, timeout.unwrap_or(self.engine.config().default_timeout), now)
    }

    /// Calls and waits for the ending.
    pub(crate) async fn call(&self, envelope: Parcel, timeout: Option<Duration>) -> Result<Parcel> {
        let (mut envelope, deadline) = self.prepare(envelope, timeout, Instant::now())?;
        let (sender, receiver) = oneshot::channel();
        let completion = Some(Completion::Future(sender));
        let sent = match self.target(&self.routes.load(), &mut envelope)? {
            Target::Here => Ok(self.deliver_here(Dispatch::new(envelope, deadline, completion))?),
            Target::There(peer) => {
                let dispatch = Dispatch::new(envelope, deadline, completion);
                self.engine.try_send(peer, dispatch).map_err(|dispatch| (peer.clone(), dispatch))
            }
        };
        let ticket = match sent {
            Ok(ticket) => ticket,
            Err((peer, dispatch)) => {
                self.engine.send_later(&peer, dispatch).await.map_err(|(_, error)| error)?
            }
        };
        match ticket {
            Some(ticket) => Waiting::new(self.engine.calls(), ticket, receiver).await,
            None => receiver.await.unwrap_or_else(|_| Err(crate::transport::not_running())),
        }
    }

    /// Sends one way: returns when the request is queued on a live link, or in the own inbox.
    pub(crate) async fn notify(&self, mut envelope: Parcel, timeout: Option<Duration>) -> Result<()> {
        envelope.one_way = true;
        let (mut envelope, deadline) = self.prepare(envelope, timeout, Instant::now())?;
        let peer = match self.target(&self.routes.load(), &mut envelope)? {
            Target::Here => None,
            Target::There(peer) => Some(peer.clone()),
        };
        match peer {
            None => self.deliver_here(Dispatch::new(envelope, deadline, None)).map(drop),
            Some(peer) => self.post(&peer, envelope, deadline).await,
        }
    }

    /// Puts a one-way request into the outbox, in its place among the others, and waits until it is on a live link.
    async fn post(&self, peer: &Arc<Peer>, envelope: Parcel, deadline: Instant) -> Result<()> {
        let (claim, mut claimant) = Claim::new();
        let dispatch = Dispatch { envelope, deadline, completion: None, claim: Some(claim) };
        self.engine.send(peer, dispatch).await.map_err(|(_, error)| error)?;
        if !peer.outbox.has_link() || !self.engine.is_running() {
            let _ = tokio::time::timeout_at(deadline, claimant.settled()).await;
            if claimant.give_up() {
                return Err(self.engine.not_sent(peer));
            }
        }
        claimant.leave_it();
        Ok(())
    }

    /// A call to the silo itself: no network, no protobuf, the same inbox.
    fn deliver_here(&self, dispatch: Dispatch) -> Result<Option<Ticket>> {
        let one_way = dispatch.completion.is_none();
        let (ticket, request) = self.engine.local_request(dispatch)?;
        match self.inbox.admit(request) {
            Ok(()) => Ok(ticket),
            Err((request, error)) if one_way => {
                drop(request);
                Err(error)
            }
            // The caller hears of it through the completion.
            Err((request, error)) => {
                request.refuse(error);
                Ok(ticket)
            }
        }
    }

    // ---- In ------------------------------------------------------------------------------------------------------

    fn admit(&self, request: Request) {
        self.admit_at(&self.inbox.slots(), request);
    }

    fn admit_at(&self, slots: &Option<Arc<Slots>>, request: Request) {
        if let Err((request, error)) = self.inbox.admit_at(slots, request) {
            self.engine.refuse(request, error);
        }
    }

    /// Hands a request that came in to a handler, passes it on, or refuses it, by this view.
    fn take_in(&self, routes: &Routes, slots: &Option<Arc<Slots>>, may_own: bool, request: Request) {
        let (actor_type, actor_id) = (request.actor_type(), request.actor_id());
        if let Err(error) = crate::id::check_actor(actor_type, actor_id) {
            return self.engine.refuse(request, error);
        }
        if request.envelope().anywhere || !self.placements.is_by_ring(actor_type) {
            return self.admit_at(slots, request);
        }
        if !may_own {
            return self.engine.refuse(request, self.isolated());
        }
        let view = &routes.view;
        let owner = view.owner(actor_type, actor_id);
        let ours = owner.is_none_or(|owner| owner == self.engine.local());
        let passed_on = request.envelope().hop_count > 0;
        // Who passes on what this silo takes for his knows better: he leaves, or has a later view.
        let given_up = passed_on && owner == request.forwarder();
        if ours || given_up || (passed_on && self.leaving.load(Ordering::Acquire)) {
            return self.admit_at(slots, request);
        }
        match owner.and_then(|owner| routes.to(&self.engine, owner.as_str())) {
            Some(owner) if !passed_on => self.forward(request, owner),
            _ => {
                let message = format!(
                    "silo {} does not own {actor_type}/{actor_id} by its view {}",
                    self.engine.local(),
                    view.version()
                );
                let refusal = Error::new(ErrorKind::NotOwner, message).with_view_version(view.version());
                self.engine.refuse(request, refusal);
            }
        }
    }

    fn send_again(&self, mut frame: Frame) {
        match self.target(&self.routes.load(), &mut frame.envelope) {
            Ok(Target::There(peer)) => self.engine.resend(peer, frame),
            Ok(Target::Here) => {
                if let Some(request) = self.engine.take_over(frame) {
                    self.admit(request);
                }
            }
            Err(error) => {
                if let Some(ticket) = frame.ticket {
                    self.engine.calls().fail(ticket, error);
                }
            }
        }
    }

    /// Passes a request on to the actor's owner, once and without trying again.
    fn forward(&self, request: Request, owner: &Arc<Peer>) {
        let (deadline, caller) = (request.deadline(), request.caller().clone());
        let (mut envelope, answer) = request.into_parts();
        // Without one it would be this silo that made it.
        if envelope.origin.is_empty() {
            envelope.origin = caller.as_str().into();
        }
        envelope.hop_count += 1;
        envelope.view_version = self.routes.load().view.version();
        // The owner answers to an id of ours; what waits here knows the caller's.
        envelope.message_id.clear();
        let cancel = Arc::new(OnceLock::new());
        let completion = answer.map(|answer| {
            let (cancel, calls) = (cancel.clone(), self.engine.calls().clone());
            answer.on_abandoned(Box::new(move || {
                if let Some(ticket) = cancel.get() {
                    calls.cancel(*ticket);
                }
            }));
            Completion::Callback(Box::new(move |result| drop(answer.give(result))))
        });
        match self.engine.try_send(owner, Dispatch::new(envelope, deadline, completion)) {
            Ok(ticket) => {
                if let Some(ticket) = ticket {
                    let _ = cancel.set(ticket);
                }
            }
            Err(dispatch) => dispatch
                .fail(Error::new(ErrorKind::Overloaded, format!("the queue to silo {} is full", owner.id))),
        }
    }
}

impl Receive for Router {
    fn receive(&self, requests: &mut Vec<Request>) {
        let (routes, slots, may_own) = (self.routes.load(), self.inbox.slots(), self.membership.may_serve());
        requests.drain(..).for_each(|request| self.take_in(&routes, &slots, may_own, request));
    }

    fn link_lost(&self, peer: &SiloId) {
        if let Some(info) = self.view().silo(peer.as_str()) {
            self.membership.suspect(info);
        }
    }

    /// What was not sent goes to whoever owns the actor now.
    fn resend(&self, frames: Vec<Frame>) {
        for frame in frames {
            match (self.placements.policy(&frame.envelope.actor_type), self.this.upgrade()) {
                (Some(policy), Some(router)) => {
                    policy.ask_again(Box::new(move || router.send_again(frame)));
                }
                _ => self.send_again(frame),
            }
        }
    }
}
