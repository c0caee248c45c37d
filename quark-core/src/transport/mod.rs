//! Envelopes between two processes: [`Transport`], usable alone, over a carrier (gRPC, or the loopback of a process).
//!
//! `engine` sends, `receiving` and `accepting` take what comes in, `peer` keeps links, `link` is one stream, `outbox` holds
//! what waits to be sent and `pending` the calls that wait for their ending.

mod abandoned;
mod accepting;
mod calls;
mod carrier;
mod claim;
mod control;
pub mod counted;
mod engine;
mod flight;
#[cfg(any(test, quark_fuzzing))]
pub(crate) mod fuzzing;
mod grpc;
mod lane;
mod link;
mod loopback;
mod networks;
mod origins;
mod outbox;
mod parts;
mod peer;
mod pending;
mod receiving;
mod room;
mod rousing;
mod turns;

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::config::{MAX_TIMEOUT, TransportConfig};
use crate::endpoint::Endpoint;
use crate::envelope::{Envelope, EnvelopeKind};
use crate::error::{Delivered, Error, ErrorKind, Result};
use crate::handler::Handler;
use crate::id::{SiloId, check_name};
use crate::parcel::Parcel;
use crate::request::Request;
use crate::silo_info::SiloInfo;
use crate::telemetry::CounterValues;
use crate::transports::Transports;

pub(crate) use self::calls::Calls;
pub(crate) use self::carrier::Carrier;
pub(crate) use self::claim::Claim;
pub(crate) use self::engine::{Dispatch, Engine, Receive, TOGETHER, check_payload, not_running};
pub use self::loopback::LoopbackNetwork;
pub(crate) use self::networks::Networks;
pub(crate) use self::outbox::Frame;
pub(crate) use self::peer::Peer;
pub use self::pending::Endings;
pub(crate) use self::pending::{Completion, Ticket, Told};

/// A transport, usable alone: sends envelopes to silos whose endpoint it was told, and hands received requests to a
/// handler. A [`Silo`](crate::Silo) is made of one, a membership and a router.
pub struct Transport {
    engine: Arc<Engine>,
    receiver: Arc<HandlerReceiver>,
    listen: Option<Endpoint>,
}

/// Gives every request to the one handler.
struct HandlerReceiver {
    handler: Arc<dyn Handler>,
}

impl Receive for HandlerReceiver {
    fn receive(&self, requests: &mut Vec<Request>) {
        requests.drain(..).for_each(|request| self.handler.handle(request));
    }

    fn link_lost(&self, _peer: &SiloId) {}

    fn resend(&self, frames: Vec<Frame>) {
        // Nobody else could take them; dropping them here leaves their calls to `disconnect`, which ends them.
        drop(frames);
    }
}

impl Transport {
    /// A transport named `local` over gRPC, on the configured networks. It listens at `listen` once started; without, it only dials.
    ///
    /// # Errors
    /// `INVALID_ARGUMENT` naming what cannot be used.
    pub fn new(
        local: SiloId,
        listen: Option<Endpoint>,
        config: TransportConfig,
        handler: Arc<dyn Handler>,
    ) -> Result<Self> {
        config.validate()?;
        let carrier = Arc::new(Networks::new(&local, &config)?);
        Ok(Self::over(local, listen, config, handler, carrier))
    }

    /// The same inside this process: transports of one [`LoopbackNetwork`] reach each other.
    ///
    /// # Errors
    /// `INVALID_ARGUMENT` naming what cannot be used.
    pub fn new_loopback(
        local: SiloId,
        listen: Option<Endpoint>,
        config: TransportConfig,
        handler: Arc<dyn Handler>,
        network: &LoopbackNetwork,
    ) -> Result<Self> {
        config.validate()?;
        let carrier = Arc::new(network.carrier(&config));
        Ok(Self::over(local, listen, config, handler, carrier))
    }

    fn over(
        local: SiloId,
        listen: Option<Endpoint>,
        config: TransportConfig,
        handler: Arc<dyn Handler>,
        carrier: Arc<dyn Carrier>,
    ) -> Self {
        let engine = Engine::new(local, config, carrier);
        Self { engine, receiver: Arc::new(HandlerReceiver { handler }), listen }
    }

    /// Begins to listen. Must be called within a tokio runtime, on which everything then runs.
    ///
    /// # Errors
    /// `ADDRESS_IN_USE`; `NOT_RUNNING` on a second start.
    pub async fn start(&self) -> Result<()> {
        let receiver: Arc<dyn Receive> = self.receiver.clone();
        let result = self.engine.start(Arc::downgrade(&receiver), self.listen.clone()).await;
        if matches!(&result, Err(error) if error.kind() != ErrorKind::NotRunning) {
            self.engine.abort();
        }
        result
    }

    /// Answers what came in and waits for what was sent, `drain` at most, then closes every link. Calls that still wait
    /// end with `CONNECTION_LOST` when their request had been sent, else with `NOT_RUNNING`. Stopping twice, or before the
    /// start, has no effect.
    pub async fn stop(&self, drain: Duration) {
        if self.engine.is_running() {
            self.engine.drain(Instant::now() + drain).await;
            self.engine.stop().await;
        }
    }

    /// This end's id.
    #[must_use]
    pub fn local_silo_id(&self) -> &SiloId {
        self.engine.local()
    }

    /// Where it listens, with the real port; nothing before the start, or when it only dials.
    #[must_use]
    pub fn local_endpoint(&self) -> Option<Endpoint> {
        self.engine.endpoint().cloned()
    }

    /// Which networks it speaks.
    #[must_use]
    pub fn transports(&self) -> Transports {
        self.engine.config().transport
    }

    /// Learns where a silo is and links to it. The silo stays known when the link cannot be made: later sends try again.
    ///
    /// # Errors
    /// `UNREACHABLE` with the reason when there is no link within the configured connect timeout; `INCOMPATIBLE`;
    /// `NOT_RUNNING`.
    pub async fn connect(&self, info: &SiloInfo) -> Result<()> {
        self.engine.check_running()?;
        let peer = self.engine.peer_of(info);
        peer.update(info);
        peer.outbox.set_trouble(None);
        peer.want_link();
        let deadline = Instant::now() + self.engine.config().connect_timeout;
        self.engine.linked(&peer, deadline).await
    }

    /// Forgets a silo: no link to it is made any more. Requests that were not sent end with `UNREACHABLE`.
    pub fn disconnect(&self, silo_id: &str) {
        if let Some(peer) = self.engine.peer(silo_id) {
            for frame in peer.outbox.drain() {
                if let Some(ticket) = frame.ticket {
                    let message = format!("silo {silo_id} was disconnected before the request was sent");
                    self.engine.calls().fail(ticket, Error::new(ErrorKind::Unreachable, message));
                }
            }
            // Not within the `if let`: its lock would be held while the link lets go of the outbox.
            let link = peer.outbox.lock().link().cloned();
            if let Some(link) = link {
                link.finish();
            }
        }
        self.engine.remove_peer(silo_id);
    }

    /// Sends a request and waits for the response envelope. To the own id it goes straight to the own handler.
    ///
    /// A one-way envelope returns an empty response as soon as it is queued.
    ///
    /// # Errors
    /// Those of the contract; an error that the handler gave is an `Ok` here, as it is a response: see
    /// [`Envelope::into_result`].
    pub async fn send(&self, target: &str, envelope: Envelope, timeout: Duration) -> Result<Envelope> {
        self.engine.check_running()?;
        check_name("target", target, crate::id::MAX_SILO_ID_BYTES)?;
        let (envelope, deadline) = self.engine.prepare(Parcel::from(envelope), timeout, Instant::now())?;
        if target == self.engine.local().as_str() {
            let one_way = envelope.one_way;
            let (sender, receiver) = oneshot::channel();
            let completion = (!one_way).then_some(Completion::Future(sender));
            let (ticket, request) =
                self.engine.local_request(Dispatch::new(envelope, deadline, completion))?;
            self.receiver.handler.handle(request);
            return self.ending(ticket, receiver).await.map(Parcel::open);
        }
        let peer = self.engine.peer(target).ok_or_else(|| {
            Error::new(ErrorKind::Unreachable, format!("silo {target:?} is not known; connect to it first"))
        })?;
        let (sender, receiver) = oneshot::channel();
        let completion = (!envelope.one_way).then_some(Completion::Future(sender));
        let dispatch = Dispatch::new(envelope, deadline, completion);
        let ticket = self.engine.send(&peer, dispatch).await.map_err(|(_, error)| error)?;
        self.ending(ticket, receiver).await.map(Parcel::open)
    }

    async fn ending(
        &self,
        ticket: Option<Ticket>,
        receiver: oneshot::Receiver<Result<Parcel>>,
    ) -> Result<Parcel> {
        match ticket {
            None => match receiver.await {
                Ok(refused) => refused,
                Err(_) => Ok(Parcel::default()),
            },
            Some(ticket) => Waiting::new(self.engine.calls(), ticket, receiver).await,
        }
    }

    /// What was only counted since the start.
    #[must_use]
    pub fn counters(&self) -> CounterValues {
        self.engine.counters().values()
    }
}

impl Drop for Transport {
    fn drop(&mut self) {
        self.engine.abort();
    }
}

/// A call that a future waits for. Dropping it forgets the call.
pub(crate) struct Waiting<'a> {
    calls: &'a Calls,
    ticket: Ticket,
    receiver: oneshot::Receiver<Result<Parcel>>,
    done: bool,
}

impl<'a> Waiting<'a> {
    pub(crate) fn new(calls: &'a Calls, ticket: Ticket, receiver: oneshot::Receiver<Result<Parcel>>) -> Self {
        Self { calls, ticket, receiver, done: false }
    }
}

impl Future for Waiting<'_> {
    type Output = Result<Parcel>;

    fn poll(
        mut self: std::pin::Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Self::Output> {
        std::pin::Pin::new(&mut self.receiver).poll(cx).map(|ended| {
            self.done = true;
            ended.unwrap_or_else(|_| Err(not_running()))
        })
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        if !self.done {
            self.calls.forget(self.ticket);
        }
    }
}

impl Engine {
    /// Checks and completes a request of a caller's, and says when it must have ended: also, at the latest, when the caller
    /// of the request that is being handled here stops waiting.
    ///
    /// # Errors
    /// `INVALID_ARGUMENT`, `PAYLOAD_TOO_LARGE`; `TIMEOUT` when that has been already.
    pub(crate) fn prepare(
        &self,
        mut envelope: Parcel,
        timeout: Duration,
        now: Instant,
    ) -> Result<(Parcel, Instant)> {
        crate::config::check_timeout("timeout", timeout)?;
        let latest = crate::context::inherit(&mut envelope);
        let envelope = self.outbound(envelope)?;
        let deadline = now + timeout.min(MAX_TIMEOUT);
        match latest {
            Some(latest) if latest <= now => {
                let message = "the request that is being handled has no time left, its caller has given up";
                Err(Error::new(ErrorKind::Timeout, message).with_delivered(Delivered::No))
            }
            Some(latest) => Ok((envelope, deadline.min(latest))),
            None => Ok((envelope, deadline)),
        }
    }

    /// Checks and completes an envelope that leaves this silo.
    ///
    /// # Errors
    /// `INVALID_ARGUMENT`, `PAYLOAD_TOO_LARGE`.
    fn outbound(&self, mut envelope: Parcel) -> Result<Parcel> {
        crate::id::check_actor(&envelope.actor_type, &envelope.actor_id)?;
        crate::id::check_method(&envelope.method_name)?;
        if envelope.message_id.len() > crate::id::MAX_MESSAGE_ID_BYTES {
            return Err(Error::invalid(
                "message_id",
                envelope.message_id.as_str(),
                "is longer than 64 bytes",
            ));
        }
        check_payload(&envelope.payload, self.config().max_payload)?;
        crate::trace::check(&envelope.traceparent)?;
        envelope.kind = EnvelopeKind::Request;
        if envelope.timestamp == 0 {
            envelope.timestamp = crate::envelope::unix_millis();
        }
        if envelope.one_way && envelope.message_id.is_empty() {
            envelope.message_id = uuid::Uuid::new_v4().simple().to_string().into();
        }
        Ok(envelope)
    }

    /// A request of this silo to itself: it is in the pending table like any other, so deadlines and limits hold.
    ///
    /// # Errors
    /// `OVERLOADED` when the pending table is full; `INVALID_ARGUMENT` for a message id in flight.
    pub(crate) fn local_request(&self, dispatch: Dispatch) -> Result<(Option<Ticket>, Request)> {
        let Dispatch { mut envelope, deadline, completion, .. } = dispatch;
        let Some(completion) = completion else {
            return Ok((None, self.calls().request(envelope, deadline, None)));
        };
        let Ok(place) = self.calls().places().try_acquire() else {
            let error = Error::new(ErrorKind::Overloaded, "too many calls wait for their ending");
            completion.complete(Err(error.clone()));
            return Err(error);
        };
        place.forget();
        match self.calls().begin(|table| table.add(&mut envelope, deadline, None, completion)) {
            Ok(ticket) => Ok((Some(ticket), self.calls().request(envelope, deadline, Some(ticket)))),
            Err((error, completion)) => {
                self.calls().places().add_permits(1);
                completion.complete(Err(error.clone()));
                Err(error)
            }
        }
    }
}
