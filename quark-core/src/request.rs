//! A received request, answered once: by a reply, by a failure, or by being dropped, which is a failure too.
//!
//! It knows neither transport nor inbox; the answer goes to whoever brought it.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::envelope::Envelope;
use crate::error::{Delivered, Error, ErrorKind, Result};
use crate::id::SiloId;
use crate::parcel::Parcel;

/// Where requests come from and answers go: the link that brought the request, or the pending table for a call of the silo to
/// itself.
pub(crate) trait AnswerTo: Send + Sync {
    /// The silo or client at the other end.
    fn silo(&self) -> &SiloId;
    /// Takes the response to the request that was received with this token.
    fn answer(self: Arc<Self>, token: u64, response: Parcel);
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
    envelope: Parcel,
    /// Who sent it, if not who brought it.
    origin: Option<SiloId>,
    deadline: Instant,
    asker: Asker,
    /// Somebody waits for the answer.
    awaited: bool,
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
}

/// Who brought one request, and takes the answer.
#[derive(Clone)]
pub(crate) struct Asker {
    to: Arc<dyn AnswerTo>,
    token: u64,
}

impl Asker {
    /// Who finds the request by its message id.
    pub(crate) fn new(to: Arc<dyn AnswerTo>) -> Self {
        Self { to, token: 0 }
    }

    /// Who finds it by this.
    pub(crate) fn with_token(to: Arc<dyn AnswerTo>, token: u64) -> Self {
        Self { to, token }
    }
}

/// What one handler has and has not let go of: the bytes of payloads in the lower [`BYTES`] bits, the requests above them. One
/// number, since each request changes both.
#[derive(Default)]
pub(crate) struct Load(AtomicU64);

/// Up to 512 GiB, which nobody has.
const BYTES: u32 = 39;

impl Load {
    /// How many requests.
    pub(crate) fn requests(&self) -> usize {
        (self.0.load(Ordering::Acquire) >> BYTES) as usize
    }
}

/// One request's share of a handler's load, given back when it is dropped.
pub(crate) struct Share {
    load: Arc<Load>,
    amount: u64,
}

impl Share {
    /// One request with so many bytes, if there is room for it; a single one may always come.
    ///
    /// # Errors
    /// Of what there is too much.
    pub(crate) fn take(load: &Arc<Load>, bytes: usize, most: Capacity) -> Result<Self, Full> {
        let most_bytes = (most.bytes as u64).min((1 << BYTES) - 1);
        let bytes = (bytes as u64).min(most_bytes);
        let amount = 1 << BYTES | bytes;
        let with_this = |now: u64| {
            if now >> BYTES >= most.requests as u64 {
                Err(Full::OfRequests)
            } else if now % (1 << BYTES) > most_bytes - bytes {
                Err(Full::OfBytes)
            } else {
                Ok(now + amount)
            }
        };
        let mut now = load.0.load(Ordering::Acquire);
        loop {
            match load.0.compare_exchange_weak(now, with_this(now)?, Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => return Ok(Self { load: load.clone(), amount }),
                Err(changed) => now = changed,
            }
        }
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.load.0.fetch_sub(self.amount, Ordering::AcqRel);
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
    /// A request whose answer, if it is `awaited`, goes to who brought it.
    pub(crate) fn new(envelope: Parcel, deadline: Instant, asker: Asker, awaited: bool) -> Self {
        Self {
            envelope,
            origin: None,
            deadline,
            asker,
            awaited,
            taken: !awaited,
            answered: false,
            queued: false,
            watched: AtomicBool::new(false),
            share: None,
        }
    }

    /// It comes from this silo or client, which is not who brought it.
    pub(crate) fn sent_by(mut self, origin: SiloId) -> Self {
        self.origin = Some(origin);
        self
    }

    /// Who passed it on, if it does not come from its caller.
    pub(crate) fn forwarder(&self) -> Option<&SiloId> {
        (self.envelope.hop_count > 0).then(|| self.asker.to.silo())
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
        self.origin.as_ref().unwrap_or_else(|| self.asker.to.silo())
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
        let Asker { to, token } = &self.asker;
        self.awaited && (self.time_left().is_zero() || to.is_abandoned(*token, &self.envelope.message_id))
    }

    /// Waits until nobody waits for the answer any more; for ever with a one-way request, and not at all with one that
    /// was answered.
    pub async fn abandoned(&self) {
        if !self.awaited {
            return std::future::pending().await;
        }
        if self.answered {
            return;
        }
        let (tell, told) = oneshot::channel();
        self.watched.store(true, Ordering::Relaxed);
        let then = move || {
            let _ = tell.send(());
        };
        self.asker.to.on_abandoned(self.asker.token, &self.envelope.message_id, Box::new(then));
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
        let asker = self.asker.clone();
        let request = &self.envelope;
        let mut head = Parcel::default();
        head.message_id.clone_from(&request.message_id);
        head.correlation_id.clone_from(&request.correlation_id);
        if asker.to.repeats_names() {
            head.actor_type.clone_from(&request.actor_type);
            head.actor_id.clone_from(&request.actor_id);
            head.method_name.clone_from(&request.method_name);
        }
        Some(Unanswered(Some((asker, head))))
    }

    /// Takes the request apart, to pass it on: its envelope, and the right to answer it.
    pub(crate) fn into_parts(mut self) -> (Parcel, Option<Unanswered>) {
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
///
/// Who asked, and what the response repeats of the request; gone when it was answered.
pub(crate) struct Unanswered(Option<(Asker, Parcel)>);

impl Unanswered {
    /// Does something when the caller gives up.
    pub(crate) fn on_abandoned(&self, then: Box<dyn FnOnce() + Send>) {
        if let Some((asker, head)) = &self.0 {
            asker.to.on_abandoned(asker.token, &head.message_id, then);
        }
    }

    /// Answers.
    ///
    /// # Errors
    /// `PAYLOAD_TOO_LARGE`, which the caller gets too.
    pub(crate) fn give(mut self, result: Result<Bytes>) -> Result<()> {
        let Some((asker, mut head)) = self.0.take() else { return Ok(()) };
        let limit = asker.to.max_payload();
        let refused = match &result {
            Ok(payload) if payload.len() > limit => {
                Some(payload_too_large("reply", payload.len(), limit).with_delivered(Delivered::Yes))
            }
            _ => None,
        };
        head.respond(refused.clone().map_or(result, Err));
        asker.to.answer(asker.token, head);
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
        if let Some((asker, mut head)) = self.0.take() {
            head.respond(Err(dropped()));
            asker.to.answer(asker.token, head);
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
        if *self.watched.get_mut() {
            self.asker.to.no_longer_watched(&self.envelope.message_id);
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
            .field("caller", self.caller())
            .finish_non_exhaustive()
    }
}
