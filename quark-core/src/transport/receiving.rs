//! What comes in on a link: responses end calls, requests go to whoever uses the transport, control messages are about
//! the link itself.

use std::pin::Pin;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::Stream as _;
use tokio::time::Instant;

use super::calls::Freed;
use super::carrier::{Inbound, Incoming};
use super::control;
use super::engine::{Engine, MAX_TIMEOUT_MS, not_running};
use super::link::{Link, PeerKind};
use super::parts::Parts;
use super::turns::{Sender, Turn};
use crate::batch;
use crate::envelope::{Envelope, EnvelopeKind};
use crate::error::{Delivered, Error, ErrorKind, Result};
use crate::id::{MAX_MESSAGE_ID_BYTES, SiloId};
use crate::parcel::Parcel;
use crate::request::{Asker, Request, payload_too_large};

/// Messages read from a link before others get a turn.
const READ_AT_ONCE: usize = 256;

/// The reading half of a link.
struct Reader<'a> {
    engine: &'a Engine,
    link: &'a Arc<Link>,
    /// Whose requests come here, and since which of its turns; unknown before the first.
    sender: Option<(Arc<Sender>, Turn)>,
    /// When this batch came; the clock is not read for each message.
    now: Instant,
    /// It came on a link that a later one of the same sender has replaced.
    is_stale: bool,
    /// Requests of this batch that are still to be handed over, which is done for many at once.
    arrived: Vec<Request>,
    freed: Freed<'a>,
    requests: Parts,
    responses: Parts,
}

/// What ends a batch.
enum End {
    /// There is more to read.
    Full,
    /// A turn begins.
    Turn(Turn),
    Stream,
}

impl Engine {
    /// Reads a link until it ends, then ends what was lost with it.
    pub(crate) fn read(
        self: Arc<Self>,
        link: Arc<Link>,
        mut incoming: Incoming,
    ) -> impl Future<Output = ()> + Send + 'static {
        /// Closes the link also when the task is aborted, and when it never ran: a link that nobody closes and its outbox
        /// keep each other.
        struct Close(Arc<Engine>, Arc<Link>, Option<Error>);
        impl Drop for Close {
            fn drop(&mut self) {
                self.0.close_link(&self.1, self.2.take());
            }
        }
        self.add_link(&link);
        let close = Close(self.clone(), link.clone(), None);
        async move {
            let mut close = close;
            let _present = self.senders().present(link.peer());
            let mut reader = Reader {
                engine: &self,
                link: &link,
                sender: None,
                now: Instant::now(),
                is_stale: false,
                arrived: Vec::new(),
                freed: self.calls().freed(),
                requests: Parts::default(),
                responses: Parts::default(),
            };
            let ended = std::future::poll_fn(|cx| batch::run(|| reader.poll_read(&mut incoming, cx))).await;
            if ended.is_ok() && !link.is_dialled() {
                link.peer_finished();
                std::future::poll_fn(|cx| link.poll_written(cx)).await;
            }
            close.2 = ended.err();
        }
    }
}

impl Reader<'_> {
    fn poll_read(&mut self, incoming: &mut Incoming, cx: &mut Context<'_>) -> Poll<Result<()>> {
        self.now = Instant::now();
        let sender = self.sender.clone();
        // No later turn of the same sender begins while this batch is read and handed over.
        let latest = sender.as_ref().map(|(sender, turn)| (sender.lock(), turn.number));
        self.is_stale = latest.as_ref().is_some_and(|(latest, ours)| **latest > *ours);
        let end = self.read_batch(incoming, cx);
        self.hand_over();
        self.freed.give_back();
        drop(latest);
        match end? {
            Poll::Ready(End::Stream) => return Poll::Ready(Ok(())),
            Poll::Ready(End::Full) => cx.waker().wake_by_ref(),
            Poll::Ready(End::Turn(turn)) => {
                let sender = self.engine.senders().sender(self.link.peer(), turn);
                sender.begin(turn);
                self.sender = Some((sender, turn));
                cx.waker().wake_by_ref();
            }
            Poll::Pending => {}
        }
        Poll::Pending
    }

    fn read_batch(&mut self, incoming: &mut Incoming, cx: &mut Context<'_>) -> Result<Poll<End>> {
        for _ in 0..READ_AT_ONCE {
            if self.link.is_clogged(cx) {
                return Ok(Poll::Pending);
            }
            match Pin::new(&mut *incoming).poll_next(cx) {
                Poll::Ready(Some(Ok(Inbound::Envelope(envelope)))) => {
                    if let Some(turn) = self.arrive(envelope)? {
                        return Ok(Poll::Ready(End::Turn(turn)));
                    }
                }
                Poll::Ready(Some(Ok(Inbound::Hello(hello)))) => {
                    self.engine.check_hello(self.link, hello.as_ref())?;
                }
                Poll::Ready(Some(Err(error))) => return Err(error),
                Poll::Ready(None) => return Ok(Poll::Ready(End::Stream)),
                Poll::Pending => return Ok(Poll::Pending),
            }
        }
        Ok(Poll::Ready(End::Full))
    }

    /// One message came in; a turn that it begins.
    fn arrive(&mut self, envelope: Parcel) -> Result<Option<Turn>> {
        // It is repeated, and remembered, for as long as nobody reads the answer.
        let length = envelope.message_id.len();
        if length > MAX_MESSAGE_ID_BYTES {
            let message = format!("a message id of {length} bytes; the limit is {MAX_MESSAGE_ID_BYTES}");
            return Err(Error::new(ErrorKind::Protocol, message));
        }
        let kind = match self.link.kind() {
            Some(PeerKind::Announced) => envelope.kind,
            // On a stream that we dialled a plain peer answers; on one that it dialled it asks.
            _ if self.link.is_dialled() => EnvelopeKind::Response,
            _ => EnvelopeKind::Request,
        };
        if kind == EnvelopeKind::Request {
            self.request(envelope)?;
            return Ok(None);
        }
        // Nothing overtakes a request.
        self.hand_over();
        match kind {
            EnvelopeKind::Response => self.response(envelope)?,
            EnvelopeKind::Control => return self.control(&envelope),
            _ => self.not_understood(),
        }
        Ok(None)
    }

    /// Hands over what has arrived.
    fn hand_over(&mut self) {
        if self.arrived.is_empty() {
            return;
        }
        match self.engine.receiver().and_then(Weak::upgrade) {
            Some(receiver) => receiver.receive(&mut self.arrived),
            None => self.arrived.drain(..).for_each(|request| request.refuse(not_running())),
        }
    }

    fn not_understood(&self) {
        self.engine.counters().unknown_messages.fetch_add(1, Ordering::Relaxed);
    }

    fn response(&mut self, mut response: Parcel) -> Result<()> {
        let limit = self.engine.config().max_payload;
        if response.parts_bytes > 0 || response.response_payload.len() > limit {
            let (id, last) = (&response.message_id, &response.response_payload);
            match self.responses.complete(id, last, response.parts_bytes, limit)? {
                Ok(payload) => response.response_payload = payload,
                Err(length) => {
                    let error = payload_too_large("reply", length as usize, limit);
                    response.respond(Err(error.with_delivered(Delivered::Yes)));
                }
            }
        }
        if !self.engine.calls().respond(self.link.peer(), response, &mut self.freed) {
            self.engine.counters().late_responses.fetch_add(1, Ordering::Relaxed);
        }
        Ok(())
    }

    fn request(&mut self, mut envelope: Parcel) -> Result<()> {
        // A plain peer does not say so; a silo that it is passed on to wants to know.
        envelope.kind = EnvelopeKind::Request;
        let limit = self.engine.config().max_payload;
        let mut refusal = self.link.origins().check(&envelope).err();
        if envelope.parts_bytes > 0 || envelope.payload.len() > limit {
            let (id, last) = (&envelope.message_id, &envelope.payload);
            match self.requests.complete(id, last, envelope.parts_bytes, limit)? {
                Ok(payload) => envelope.payload = payload,
                Err(length) => refusal = Some(payload_too_large("payload", length as usize, limit)),
            }
        }
        if self.is_stale {
            refusal =
                Some(Error::new(ErrorKind::Unreachable, "came on a link that a later one has replaced"));
        } else if self.link.is_overfull() {
            self.check_hope()?;
            refusal = Some(Error::new(ErrorKind::Overloaded, "the caller reads its answers too slowly"));
        }
        let request = self.engine.request_of(self.link, envelope, self.now);
        match refusal {
            Some(error) => self.engine.refuse(request, error),
            None => self.arrived.push(request),
        }
        Ok(())
    }

    /// # Errors
    /// `OVERLOADED` when the peer goes on and reads none of the answers.
    fn check_hope(&self) -> Result<()> {
        if !self.link.is_overfull() || !self.link.is_hopeless() {
            return Ok(());
        }
        let message = format!("silo {} sends messages and does not read the answers", self.link.peer());
        Err(Error::new(ErrorKind::Overloaded, message))
    }

    fn control(&mut self, message: &Envelope) -> Result<Option<Turn>> {
        self.check_hope()?;
        let (link, id) = (self.link, message.message_id.as_str());
        let peer = || self.engine.peer(link.peer().as_str());
        match message.method_name.as_str() {
            control::REQUEST_PART | control::RESPONSE_PART => {
                let parts = match message.method_name.as_str() {
                    control::REQUEST_PART => &mut self.requests,
                    _ => &mut self.responses,
                };
                parts.add(id, &message.payload, message.parts_bytes, self.engine.config().max_payload)?;
                link.control(control::about(control::PART_SEEN, ""));
            }
            control::PART_SEEN => link.part_seen(),
            control::CANCEL => {
                self.requests.forget(id);
                link.give_up(id);
            }
            control::TURN => match Turn::parse(id) {
                Some(turn) => return Ok(Some(turn)),
                None => self.not_understood(),
            },
            control::FENCE => link.control(control::about(control::FENCE_PASSED, id)),
            control::FENCE_PASSED => {
                if let Some(peer) = peer() {
                    peer.fence_passed(link);
                }
            }
            control::LEAVING => {
                link.detach();
                link.control(control::about(control::LEAVING_SEEN, id));
                if let Some(peer) = peer() {
                    peer.nudge();
                }
            }
            control::LEAVING_SEEN => link.set_quiet(),
            _ => self.not_understood(),
        }
        Ok(None)
    }
}

impl Engine {
    /// A request that came in on this link, now, and is answered there.
    fn request_of(&self, link: &Arc<Link>, mut envelope: Parcel, now: Instant) -> Request {
        let timeout = match envelope.timeout_ms {
            0 => self.config().default_timeout,
            ms => Duration::from_millis(ms.min(MAX_TIMEOUT_MS)),
        };
        if envelope.correlation_id.is_empty() {
            envelope.correlation_id = envelope.message_id.clone();
        }
        let origin = match envelope.origin.as_str() {
            origin if origin.is_empty() || origin == link.peer().as_str() => None,
            origin => SiloId::new(origin).ok(),
        };
        let awaited = !envelope.one_way;
        if awaited {
            link.owe();
        }
        let request = Request::new(envelope, now + timeout, Asker::new(link.clone()), awaited);
        match origin {
            Some(origin) => request.sent_by(origin),
            None => request,
        }
    }

    /// Refuses a request that no handler got; of a one-way request that is only counted.
    pub(crate) fn refuse(&self, request: Request, error: Error) {
        if request.is_one_way() {
            self.counters().one_way_refused.fetch_add(1, Ordering::Relaxed);
            let actor_type = request.actor_type();
            tracing::debug!(target: crate::telemetry::HANDLER, actor_type, %error, "refused a one-way request");
        }
        request.refuse(error);
    }
}

#[cfg(test)]
mod tests {
    use futures_util::StreamExt as _;

    use super::*;
    use crate::config::TransportConfig;
    use crate::tls::Proof;
    use crate::transport::carrier::{Accept as _, Hello};
    use crate::transport::networks::Networks;

    /// Takes nothing.
    struct Nobody;

    impl crate::transport::Receive for Nobody {
        fn receive(&self, requests: &mut Vec<Request>) {
            requests.clear();
        }
        fn link_lost(&self, _peer: &SiloId) {}
        fn resend(&self, _frames: Vec<crate::transport::Frame>) {}
    }

    async fn engine() -> (Arc<Engine>, Arc<dyn crate::transport::Receive>) {
        engine_for(Arc::new(Nobody)).await
    }

    async fn engine_for(
        receiver: Arc<dyn crate::transport::Receive>,
    ) -> (Arc<Engine>, Arc<dyn crate::transport::Receive>) {
        let config = TransportConfig { answer_capacity: 1 << 16, ..Default::default() };
        let me: SiloId = "me".parse().unwrap();
        let carrier = Arc::new(Networks::new(&me, &config).unwrap());
        let engine = Engine::new(me, config, carrier);
        engine.start(Arc::downgrade(&receiver), None).await.unwrap();
        (engine, receiver)
    }

    /// This peer dials, says these and stays. Gives what goes out to it.
    fn dialled_by(engine: &Engine, peer: &str, says: Vec<Envelope>) -> crate::transport::link::Outgoing {
        let hello = Hello { silo_id: peer.parse().unwrap(), ..engine.hello() };
        let says = says.into_iter().map(|message| Ok(Inbound::Envelope(message.into())));
        let endless = futures_util::stream::iter(says).chain(futures_util::stream::pending());
        engine.accept(Some(hello), &Proof::Plaintext).unwrap().run(Box::pin(endless))
    }

    async fn settle() {
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
    }

    /// How a link ends that brings these messages while nobody reads what goes out: true when it breaks.
    async fn breaks(messages: Vec<Envelope>) -> bool {
        let (engine, _nobody) = engine().await;
        let _unread = dialled_by(&engine, "peer", messages);
        settle().await;
        // A peer that is cut off has no link; one that waits has.
        engine.links_of(&"peer".parse().unwrap()) == 0
    }

    #[tokio::test]
    async fn only_the_peer_that_was_asked_may_answer() {
        let (engine, _nobody) = engine().await;
        let mut asked = dialled_by(&engine, "asked", vec![]);
        let (sender, mut ending) = tokio::sync::oneshot::channel();
        let dispatch = crate::transport::Dispatch::new(
            request("7", "").into(),
            Instant::now() + Duration::from_secs(60),
            Some(crate::transport::Completion::Future(sender)),
        );
        engine.try_send(&engine.peer("asked").unwrap(), dispatch).ok().unwrap();
        while asked.next().await.unwrap().message_id != "7" {}
        let mut answer = request("7", "");
        answer.kind = EnvelopeKind::Response;
        let _forger = dialled_by(&engine, "forger", vec![answer.clone()]);
        settle().await;
        assert!(ending.try_recv().is_err(), "a forged answer ended the call");
        let _again = dialled_by(&engine, "asked", vec![answer]);
        settle().await;
        assert!(ending.try_recv().unwrap().is_ok());
    }

    #[tokio::test]
    async fn an_answer_does_not_overtake_a_request_that_came_with_it() {
        type Order = Arc<std::sync::Mutex<Vec<&'static str>>>;
        struct Noting(Order);
        impl crate::transport::Receive for Noting {
            fn receive(&self, requests: &mut Vec<Request>) {
                self.0.lock().unwrap().extend(requests.drain(..).map(|_| "request"));
            }
            fn link_lost(&self, _peer: &SiloId) {}
            fn resend(&self, _frames: Vec<crate::transport::Frame>) {}
        }
        let order = Order::default();
        let (engine, _noting) = engine_for(Arc::new(Noting(order.clone()))).await;
        let mut asked = dialled_by(&engine, "asked", vec![]);
        let noted = order.clone();
        let ending = Box::new(move |_| noted.lock().unwrap().push("answer"));
        let dispatch = crate::transport::Dispatch::new(
            request("7", "").into(),
            Instant::now() + Duration::from_secs(60),
            Some(crate::transport::Completion::Callback(ending)),
        );
        engine.try_send(&engine.peer("asked").unwrap(), dispatch).ok().unwrap();
        while asked.next().await.unwrap().message_id != "7" {}
        let mut answer = request("7", "");
        answer.kind = EnvelopeKind::Response;
        let says = vec![request("1", "").one_way(), request("2", "").one_way(), answer];
        let _again = dialled_by(&engine, "asked", says);
        settle().await;
        assert_eq!(*order.lock().unwrap(), ["request", "request", "answer"]);
    }

    fn request(id: &str, name: &str) -> Envelope {
        Envelope::request("T", "1", name, "").with_message_id(id)
    }

    #[tokio::test]
    async fn a_message_id_over_the_limit_breaks_the_link() {
        assert!(!breaks(vec![request(&"x".repeat(64), "")]).await);
        assert!(breaks(vec![request(&"x".repeat(65), "")]).await);
        assert!(breaks(vec![control::about(control::CANCEL, "x".repeat(1 << 20)).open()]).await);
    }

    #[tokio::test]
    async fn a_peer_that_has_control_messages_answered_and_never_reads_is_cut_off() {
        assert!(!breaks(vec![control::about(control::FENCE, "").open(); 200]).await);
        assert!(breaks(vec![control::about(control::FENCE, "").open(); 3_000]).await);
    }

    #[tokio::test]
    async fn texts_that_an_answer_repeats_count_as_what_waits() {
        let long = request("1", "").with_correlation_id("x".repeat(100_000));
        assert!(!breaks(vec![long.clone(); 10]).await);
        assert!(breaks(vec![long; 400]).await);
    }
}
