//! A received request, answered once: by a reply, by a failure, or by being dropped, which is a failure too.
//!
//! It knows neither transport nor inbox; the answer goes to whoever brought it.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use tokio::time::Instant;

use crate::envelope::Envelope;
use crate::error::{Delivered, Error, ErrorKind, Result};
use crate::id::SiloId;

/// Where answers go: the link that brought the request, or the pending table for a call of the silo to itself.
pub(crate) trait AnswerTo: Send + Sync {
    /// Takes the response to the request that was received with this token.
    fn answer(self: Arc<Self>, token: u64, response: Envelope);
    /// The largest payload that an answer may have, in bytes.
    fn max_payload(&self) -> usize;
    /// Whether a response must name actor and method again.
    fn repeats_names(&self) -> bool;
}

/// A received request.
///
/// Answer it with [`reply`](Self::reply) or [`fail`](Self::fail), from any thread, now or later; a request that is
/// dropped without an answer becomes `HANDLER_FAILED` at the caller.
pub struct Request {
    envelope: Envelope,
    caller: SiloId,
    deadline: Instant,
    answer: Option<Answer>,
    /// Given back when the request is gone; bounds how many a handler may have.
    _permit: Option<Permit>,
}

/// The right to answer one request.
pub(crate) struct Answer {
    to: Arc<dyn AnswerTo>,
    token: u64,
}

/// One place in a handler's inbox.
pub(crate) struct Permit(Arc<AtomicUsize>);

impl Permit {
    /// A place, if fewer than `capacity` are taken.
    pub(crate) fn take(taken: &Arc<AtomicUsize>, capacity: usize) -> Option<Self> {
        if taken.fetch_add(1, Ordering::AcqRel) >= capacity {
            taken.fetch_sub(1, Ordering::AcqRel);
            return None;
        }
        Some(Self(taken.clone()))
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

impl Request {
    /// A request from `caller`; without `answer` it is one way.
    pub(crate) fn new(
        envelope: Envelope,
        caller: SiloId,
        deadline: Instant,
        answer: Option<(Arc<dyn AnswerTo>, u64)>,
    ) -> Self {
        let answer = answer.map(|(to, token)| Answer { to, token });
        Self { envelope, caller, deadline, answer, _permit: None }
    }

    pub(crate) fn hold(&mut self, permit: Permit) {
        self._permit = Some(permit);
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
        let Answer { to, token } = self.answer.take()?;
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
        Some(Unanswered { to, token, head: Some(head) })
    }

    /// Takes the request apart, to pass it on: its envelope, and the right to answer it.
    pub(crate) fn into_parts(mut self) -> (Envelope, Option<Unanswered>) {
        let answer = self.take_answer();
        (std::mem::take(&mut self.envelope), answer)
    }

    fn answer(&mut self, result: Result<Bytes>) -> Result<()> {
        if self.envelope.one_way {
            return Ok(());
        }
        match self.take_answer() {
            Some(answer) => answer.give(result),
            None => Err(Error::invalid("request", self.envelope.message_id.as_str(), "was answered before")),
        }
    }
}

/// The right to answer one request, apart from it. Dropped without an answer, it fails the call.
pub(crate) struct Unanswered {
    to: Arc<dyn AnswerTo>,
    token: u64,
    /// What the response repeats of the request; gone when it was answered.
    head: Option<Envelope>,
}

impl Unanswered {
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
        if let Some(head) = self.head.take() {
            self.to.clone().answer(self.token, head.into_response(result));
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
        if let Some(head) = self.head.take() {
            self.to.clone().answer(self.token, head.into_response(Err(dropped())));
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
        if self.answer.is_some() {
            let _ = self.answer(Err(dropped()));
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
