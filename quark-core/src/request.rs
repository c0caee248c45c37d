//! A received request, answered once: by a reply, by a failure, or by being dropped, which is a failure too.
//!
//! It knows neither transport nor inbox; the answer goes to whoever brought it.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::envelope::Envelope;
use crate::error::{Delivered, Error, ErrorKind, Result};
use crate::id::SiloId;

/// Where answers go: the link that brought the request, or the pending table for a call of the silo to itself.
pub(crate) trait AnswerTo: Send + Sync {
    /// Takes the response to the request that was received with this token.
    fn answer(self: Arc<Self>, token: u64, response: Box<Envelope>);
    /// The largest payload that an answer may have, in bytes.
    fn max_payload(&self) -> usize;
    /// Whether a response must name actor and method again.
    fn repeats_names(&self) -> bool;
    /// Whether the caller of a request that was not answered yet gave up, or cannot be answered any more.
    fn is_abandoned(&self, token: u64, message_id: &str) -> bool;
    /// Does something when that happens; dropped when the request is answered first.
    fn on_abandoned(&self, token: u64, message_id: &str, then: Box<dyn FnOnce() + Send>);
    /// Nobody wants to hear of that any more.
    fn no_longer_watched(&self, message_id: &str);
}

/// A received request.
///
/// Answer it with [`reply`](Self::reply) or [`fail`](Self::fail), from any thread, now or later; a request that is
/// dropped without an answer becomes `HANDLER_FAILED` at the caller.
pub struct Request {
    envelope: Box<Envelope>,
    caller: SiloId,
    deadline: Instant,
    asker: Option<Asker>,
    /// The right to answer was taken away.
    taken: bool,
    /// And used here; of a one-way request, its handler is done.
    answered: bool,
    /// It waits to be handed to its handler.
    queued: bool,
    /// Somebody was to be told when it is abandoned.
    watched: AtomicBool,
    /// Given back when the request is gone; bounds how many a handler may have.
    share: Option<Share>,
    forwarder: Option<SiloId>,
}

/// Who waits for the answer to one request.
#[derive(Clone)]
struct Asker {
    to: Arc<dyn AnswerTo>,
    token: u64,
}

/// What one handler has and has not let go of. Side by side, since each request takes both, on one thread as a rule, and gives
/// them back on another.
#[derive(Default)]
pub(crate) struct Load {
    pub(crate) requests: AtomicUsize,
    /// Of payloads.
    bytes: AtomicUsize,
}

/// One request's share of a handler's load, given back when it is dropped.
pub(crate) struct Share {
    load: Arc<Load>,
    bytes: usize,
}

impl Share {
    /// One request with so many bytes, if there is room for it; a single one may always come.
    ///
    /// # Errors
    /// Of what there is too much.
    pub(crate) fn take(load: &Arc<Load>, bytes: usize, most: Capacity) -> Result<Self, Full> {
        let bytes = bytes.min(most.bytes);
        if load.requests.fetch_add(1, Ordering::AcqRel) >= most.requests {
            load.requests.fetch_sub(1, Ordering::AcqRel);
            return Err(Full::OfRequests);
        }
        let share = Self { load: load.clone(), bytes };
        let room = share.load.bytes.fetch_add(bytes, Ordering::AcqRel) <= most.bytes - bytes;
        if room { Ok(share) } else { Err(Full::OfBytes) }
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.load.bytes.fetch_sub(self.bytes, Ordering::AcqRel);
        self.load.requests.fetch_sub(1, Ordering::AcqRel);
    }
}

/// What one handler may have at once, queued or running.
#[derive(Clone, Copy)]
pub(crate) struct Capacity {
    pub(crate) requests: usize,
    /// Of payloads.
    pub(crate) bytes: usize,
}

/// Of what a handler has too much.
pub(crate) enum Full {
    OfRequests,
    OfBytes,
}

/// Places of which so many may be taken.
pub(crate) type Taken = Arc<AtomicUsize>;

/// Some places, given back when it is dropped.
pub(crate) struct Permit {
    taken: Taken,
    amount: usize,
}

impl Permit {
    /// So many places of `capacity`, if they are free. All of them are enough for anybody.
    pub(crate) fn take(taken: &Taken, amount: usize, capacity: usize) -> Option<Self> {
        let amount = amount.min(capacity);
        if taken.fetch_add(amount, Ordering::AcqRel) > capacity - amount {
            taken.fetch_sub(amount, Ordering::AcqRel);
            return None;
        }
        Some(Self { taken: taken.clone(), amount })
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.taken.fetch_sub(self.amount, Ordering::AcqRel);
    }
}

impl Request {
    /// A request from `caller`; without `answer` it is one way.
    pub(crate) fn new(
        envelope: Box<Envelope>,
        caller: SiloId,
        deadline: Instant,
        answer: Option<(Arc<dyn AnswerTo>, u64)>,
    ) -> Self {
        let asker = answer.map(|(to, token)| Asker { to, token });
        let taken = asker.is_none();
        let watched = AtomicBool::new(false);
        Self {
            envelope,
            caller,
            deadline,
            asker,
            taken,
            answered: false,
            queued: false,
            watched,
            share: None,
            forwarder: None,
        }
    }

    /// It was passed on by this silo, which is not its caller.
    pub(crate) fn passed_on_by(mut self, forwarder: SiloId) -> Self {
        self.forwarder = Some(forwarder);
        self
    }

    /// Who passed it on, if it does not come from its caller.
    pub(crate) fn forwarder(&self) -> Option<&SiloId> {
        self.forwarder.as_ref()
    }

    pub(crate) fn hold(&mut self, share: Share) {
        self.share = Some(share);
    }

    /// The whole envelope.
    #[must_use]
    pub fn envelope(&self) -> &Envelope {
        &self.envelope
    }

    /// The actor's type.
    #[must_use]
    pub fn actor_type(&self) -> &str {
        &self.envelope.actor_type
    }

    /// The actor's id.
    #[must_use]
    pub fn actor_id(&self) -> &str {
        &self.envelope.actor_id
    }

    /// The method.
    #[must_use]
    pub fn method_name(&self) -> &str {
        &self.envelope.method_name
    }

    /// The arguments.
    #[must_use]
    pub fn payload(&self) -> &Bytes {
        &self.envelope.payload
    }

    /// The correlation id, to be passed on with calls made while handling this.
    #[must_use]
    pub fn correlation_id(&self) -> &str {
        &self.envelope.correlation_id
    }

    /// The W3C traceparent, to be passed on with calls made while handling this; empty when the sender gave none that is
    /// valid.
    #[must_use]
    pub fn traceparent(&self) -> &str {
        if crate::trace::is_valid(&self.envelope.traceparent) { &self.envelope.traceparent } else { "" }
    }

    /// Whether it was answered; of a one-way request, whether its handler has tried to.
    #[must_use]
    pub fn is_answered(&self) -> bool {
        self.answered
    }

    /// The silo or client that sent it.
    #[must_use]
    pub fn caller(&self) -> &SiloId {
        &self.caller
    }

    /// When the caller stops waiting.
    #[must_use]
    pub fn deadline(&self) -> Instant {
        self.deadline
    }

    /// How long the caller still waits: zero when its deadline has passed.
    #[must_use]
    pub fn time_left(&self) -> Duration {
        self.deadline.saturating_duration_since(Instant::now())
    }

    /// Whether nobody waits for the answer any more: the caller gave up, its deadline has passed, or its link is gone.
    /// Never so for a one-way request. A handler with much work to do looks now and then.
    #[must_use]
    pub fn is_abandoned(&self) -> bool {
        self.asker.as_ref().is_some_and(|asker| {
            self.time_left().is_zero() || asker.to.is_abandoned(asker.token, &self.envelope.message_id)
        })
    }

    /// Waits until nobody waits for the answer any more; for ever with a one-way request, and not at all with one that
    /// was answered.
    pub async fn abandoned(&self) {
        let Some(asker) = &self.asker else { return std::future::pending().await };
        if self.answered {
            return;
        }
        let (tell, told) = oneshot::channel();
        self.watched.store(true, Ordering::Relaxed);
        let then = move || {
            let _ = tell.send(());
        };
        asker.to.on_abandoned(asker.token, &self.envelope.message_id, Box::new(then));
        // Told, or answered elsewhere: either way it is over.
        let _ = tokio::time::timeout_at(self.deadline, told).await;
    }

    /// The request, from now on in a queue before its handler: dropped there, it was not handed over.
    pub(crate) fn queued(mut self) -> Self {
        self.queued = true;
        self
    }

    /// The request, unless nobody waits for it any more: then it goes no further, and the handler never gets it. Called
    /// right before it is handed over, which may be long after it came.
    pub(crate) fn unless_abandoned(mut self) -> Option<Self> {
        if !self.is_abandoned() {
            self.queued = false;
            return Some(self);
        }
        let message = "the caller gave up, or its deadline passed, before the handler got the request";
        self.refuse(Error::new(ErrorKind::Timeout, message).with_delivered(Delivered::No));
        None
    }

    /// The version of the view by which the sender chose this silo; lets a host fence.
    #[must_use]
    pub fn view_version(&self) -> u64 {
        self.envelope.view_version
    }

    /// Whether nobody waits for an answer.
    #[must_use]
    pub fn is_one_way(&self) -> bool {
        self.envelope.one_way
    }

    /// Replies. An empty reply is a reply; to a one-way request it goes nowhere.
    ///
    /// # Errors
    /// `INVALID_ARGUMENT` when it was answered before, which changes nothing; `PAYLOAD_TOO_LARGE`, which the caller
    /// gets too.
    pub fn reply(&mut self, payload: impl Into<Bytes>) -> Result<()> {
        self.answer(Ok(payload.into()))
    }

    /// Fails: the caller gets `HANDLER_FAILED` with this message.
    ///
    /// # Errors
    /// `INVALID_ARGUMENT` when it was answered before, which changes nothing.
    pub fn fail(&mut self, message: impl Into<String>) -> Result<()> {
        self.answer(Err(Error::new(ErrorKind::HandlerFailed, message)))
    }

    /// Answers with an error of Quark's own, for a request that no handler got.
    pub(crate) fn refuse(mut self, error: Error) {
        let _ = self.answer(Err(error));
    }

    /// Takes the right to answer away; the request alone can no longer be answered.
    pub(crate) fn take_answer(&mut self) -> Option<Unanswered> {
        if std::mem::replace(&mut self.taken, true) {
            return None;
        }
        let Asker { to, token } = self.asker.clone()?;
        let request = &self.envelope;
        let mut head = Envelope {
            message_id: request.message_id.clone(),
            correlation_id: request.correlation_id.clone(),
            ..Envelope::default()
        };
        if to.repeats_names() {
            head.actor_type.clone_from(&request.actor_type);
            head.actor_id.clone_from(&request.actor_id);
            head.method_name.clone_from(&request.method_name);
        }
        Some(Unanswered { to, token, head: Some(Box::new(head)) })
    }

    /// Takes the request apart, to pass it on: its envelope, and the right to answer it.
    pub(crate) fn into_parts(mut self) -> (Box<Envelope>, Option<Unanswered>) {
        let answer = self.take_answer();
        (std::mem::take(&mut self.envelope), answer)
    }

    fn answer(&mut self, result: Result<Bytes>) -> Result<()> {
        // Its handler is done with it, whoever keeps the object: a traceback does, for example.
        self.share = None;
        if self.envelope.one_way {
            self.answered = true;
            return Ok(());
        }
        match self.take_answer() {
            Some(answer) => {
                self.answered = true;
                answer.give(result)
            }
            None => Err(Error::invalid("request", self.envelope.message_id.as_str(), "was answered before")),
        }
    }
}

/// The right to answer one request, apart from it. Dropped without an answer, it fails the call.
pub(crate) struct Unanswered {
    to: Arc<dyn AnswerTo>,
    token: u64,
    /// What the response repeats of the request; gone when it was answered.
    head: Option<Box<Envelope>>,
}

impl Unanswered {
    /// Does something when the caller gives up.
    pub(crate) fn on_abandoned(&self, then: Box<dyn FnOnce() + Send>) {
        if let Some(head) = &self.head {
            self.to.on_abandoned(self.token, &head.message_id, then);
        }
    }

    /// Answers.
    ///
    /// # Errors
    /// `PAYLOAD_TOO_LARGE`, which the caller gets too.
    pub(crate) fn give(mut self, result: Result<Bytes>) -> Result<()> {
        let limit = self.to.max_payload();
        let refused = match &result {
            Ok(payload) if payload.len() > limit => {
                Some(payload_too_large("reply", payload.len(), limit).with_delivered(Delivered::Yes))
            }
            _ => None,
        };
        let result = refused.clone().map_or(result, Err);
        if let Some(mut head) = self.head.take() {
            head.respond(result);
            self.to.clone().answer(self.token, head);
        }
        refused.map_or(Ok(()), Err)
    }

    /// Answers with the outcome of a handler: whatever it failed with, its failure is `HANDLER_FAILED`.
    ///
    /// # Errors
    /// `PAYLOAD_TOO_LARGE`, which the caller gets too.
    pub(crate) fn finish(self, result: Result<Bytes>) -> Result<()> {
        self.give(result.map_err(|error| match error.kind() {
            ErrorKind::HandlerFailed => error,
            // A call that the handler made failed; what that says of delivery is not about this request.
            _ => Error::new(ErrorKind::HandlerFailed, error.to_string()),
        }))
    }
}

impl Drop for Unanswered {
    fn drop(&mut self) {
        if let Some(mut head) = self.head.take() {
            head.respond(Err(dropped()));
            self.to.clone().answer(self.token, head);
        }
    }
}

fn dropped() -> Error {
    Error::new(ErrorKind::HandlerFailed, "the request was dropped without an answer")
}

/// `PAYLOAD_TOO_LARGE` with both sizes.
pub(crate) fn payload_too_large(what: &str, size: usize, limit: usize) -> Error {
    Error::new(ErrorKind::PayloadTooLarge, format!("the {what} has {size} bytes, the limit is {limit}"))
}

impl Drop for Request {
    fn drop(&mut self) {
        if !self.taken {
            let error = if self.queued { crate::transport::not_running() } else { dropped() };
            let _ = self.answer(Err(error));
        }
        if let Some(asker) = self.asker.as_ref().filter(|_| self.watched.load(Ordering::Relaxed)) {
            asker.to.no_longer_watched(&self.envelope.message_id);
        }
    }
}

impl fmt::Debug for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Request")
            .field("actor_type", &self.actor_type())
            .field("actor_id", &self.actor_id())
            .field("method_name", &self.method_name())
            .field("payload_len", &self.payload().len())
            .field("caller", &self.caller)
            .finish_non_exhaustive()
    }
}
