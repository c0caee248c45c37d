//! The envelope: one message of the wire, with every field of the contract. Pure.
//!
//! Made by whoever calls, completed by the pending table (its id) and by the link (the time left), answered by
//! [`Envelope::into_response`]. How it is encoded is the business of the transport.

use std::time::{SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use compact_str::CompactString;

use crate::error::{Delivered, Error, ErrorKind, Result};

/// A text of an envelope: a `String` that needs no memory of its own while it is short.
pub type Text = CompactString;

/// What a message is. Peers that do not announce themselves leave it unspecified: direction decides.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[repr(i32)]
pub enum EnvelopeKind {
    /// Not said.
    #[default]
    Unspecified = 0,
    /// A request, possibly one way.
    Request = 1,
    /// The one answer to a request.
    Response = 2,
    /// A matter of the link; `method_name` says which.
    Control = 3,
}

impl EnvelopeKind {
    /// The kind with this number, if it is a known one.
    #[must_use]
    pub const fn from_number(number: i32) -> Option<Self> {
        match number {
            0 => Some(Self::Unspecified),
            1 => Some(Self::Request),
            2 => Some(Self::Response),
            3 => Some(Self::Control),
            _ => None,
        }
    }
}

/// One message. An empty string or 0 means that a field is absent, as on the wire.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Envelope {
    /// Opaque, at most 64 bytes, unique per sender; empty until it is sent unless the sender chose one.
    pub message_id: Text,
    /// The actor's id.
    pub actor_id: Text,
    /// The actor's type.
    pub actor_type: Text,
    /// The method.
    pub method_name: Text,
    /// The request's arguments, opaque to Quark.
    pub payload: Bytes,
    /// Ties together what belongs together; a response repeats it.
    pub correlation_id: Text,
    /// When the message was made: Unix milliseconds, UTC, to some milliseconds. For people; no decision depends on it.
    pub timestamp: i64,
    /// The answer's content; an empty one is an answer too.
    pub response_payload: Bytes,
    /// Whether this is an error response.
    pub is_error: bool,
    /// The error's message.
    pub error_message: Text,
    /// Request, response or control.
    pub kind: EnvelopeKind,
    /// Milliseconds left until the deadline when it was sent; 0 when nothing was said.
    pub timeout_ms: u64,
    /// Nobody waits for an answer.
    pub one_way: bool,
    /// The number of the error's [`ErrorKind`]; 0 when the peer sends none.
    pub error_code: u32,
    /// Of an error: whether the handler got the request.
    pub delivered: Option<Delivered>,
    /// How often the request was passed on; at most once.
    pub hop_count: u32,
    /// The silo or client that made the request, where it is not who sent it; see [`Request::caller`](crate::Request::caller).
    pub origin: Text,
    /// W3C Trace Context.
    pub traceparent: Text,
    /// The version of the view by which the sender chose the target; of an error, the one that the target knows.
    pub view_version: u64,
    /// The target was chosen by another rule than the ring: whoever serves the type may handle it.
    pub anywhere: bool,
    /// Of an error: the call may be made again without the risk of running twice.
    pub retryable: bool,
    /// Bytes of the payload that came, or went, in parts before this message; a matter of the link.
    pub(crate) parts_bytes: u64,
}

impl Envelope {
    /// A request made now.
    #[must_use]
    pub fn request(
        actor_type: impl Into<Text>,
        actor_id: impl Into<Text>,
        method_name: impl Into<Text>,
        payload: impl Into<Bytes>,
    ) -> Self {
        Self {
            actor_type: actor_type.into(),
            actor_id: actor_id.into(),
            method_name: method_name.into(),
            payload: payload.into(),
            timestamp: unix_millis(),
            kind: EnvelopeKind::Request,
            ..Self::default()
        }
    }

    /// The same with a message id of the sender's own; it must be unique among the sender's messages in flight.
    #[must_use]
    pub fn with_message_id(mut self, id: impl Into<Text>) -> Self {
        self.message_id = id.into();
        self
    }

    /// The same with a correlation id.
    #[must_use]
    pub fn with_correlation_id(mut self, id: impl Into<Text>) -> Self {
        self.correlation_id = id.into();
        self
    }

    /// The same with a W3C traceparent.
    #[must_use]
    pub fn with_traceparent(mut self, traceparent: impl Into<Text>) -> Self {
        self.traceparent = traceparent.into();
        self
    }

    /// The same as a one-way message.
    #[must_use]
    pub fn one_way(mut self) -> Self {
        self.one_way = true;
        self
    }

    /// The response to this request: it repeats what ties the two together.
    #[must_use]
    pub fn into_response(mut self, result: Result<Bytes>) -> Self {
        self.respond(result);
        self
    }

    /// Becomes the response to the request that it is.
    pub(crate) fn respond(&mut self, result: Result<Bytes>) {
        // Field by field: this is done for each call, and an envelope is large.
        self.payload.clear();
        self.timestamp = unix_millis();
        self.kind = EnvelopeKind::Response;
        self.timeout_ms = 0;
        self.one_way = false;
        self.hop_count = 0;
        self.origin.clear();
        self.traceparent.clear();
        self.view_version = 0;
        self.anywhere = false;
        self.parts_bytes = 0;
        self.is_error = result.is_err();
        match result {
            Ok(payload) => {
                self.response_payload = payload;
                self.error_message.clear();
                self.error_code = 0;
                self.delivered = None;
                self.retryable = false;
            }
            Err(error) => {
                self.response_payload.clear();
                self.error_message = shortened(error.message());
                self.error_code = error.kind().number().unsigned_abs();
                self.delivered = Some(error.delivered());
                self.retryable = error.is_retryable();
                self.view_version = error.view_version().unwrap_or(0);
            }
        }
    }

    /// What a response says: the reply, or the error. An error of a peer without codes is a failed handler.
    ///
    /// # Errors
    /// The error that the response carries.
    pub fn into_result(mut self) -> Result<Bytes> {
        self.take_result()
    }

    /// The same; what it says is gone from it then.
    pub(crate) fn take_result(&mut self) -> Result<Bytes> {
        if !self.is_error {
            return Ok(std::mem::take(&mut self.response_payload));
        }
        let kind = match self.error_code {
            0 => ErrorKind::HandlerFailed,
            code => i32::try_from(code).ok().and_then(ErrorKind::from_number).unwrap_or(ErrorKind::Protocol),
        };
        let error =
            Error::new(kind, std::mem::take(&mut self.error_message)).with_view_version(self.view_version);
        match self.delivered {
            Some(delivered) => Err(error.with_delivered(delivered).with_retryable(self.retryable)),
            None => Err(error),
        }
    }

    /// The bytes that count against the payload limit.
    #[must_use]
    pub fn payload_len(&self) -> usize {
        self.payload.len() + self.response_payload.len()
    }
}

/// An error's message as it travels: at most 16 KiB.
fn shortened(message: &str) -> Text {
    const LIMIT: usize = 16 * 1024;
    message[..message.floor_char_boundary(LIMIT)].into()
}

/// Now, as Unix milliseconds, as of the system's last tick, which is some milliseconds ago: to read the time to the nanosecond
/// takes five times as long, and each message says when it was made.
pub(crate) fn unix_millis() -> i64 {
    #[cfg(target_os = "linux")]
    if let Ok(now) = nix::time::clock_gettime(nix::time::ClockId::CLOCK_REALTIME_COARSE) {
        return now.tv_sec().saturating_mul(1000).saturating_add(now.tv_nsec() / 1_000_000);
    }
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(now.as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_response_repeats_ids_and_carries_the_reply() {
        let request =
            Envelope::request("Counter", "42", "add", "1").with_message_id("m").with_correlation_id("c");
        let response = request.into_response(Ok(Bytes::new()));
        assert_eq!((response.message_id.as_str(), response.correlation_id.as_str()), ("m", "c"));
        assert_eq!(response.kind, EnvelopeKind::Response);
        assert_eq!(response.into_result().unwrap(), Bytes::new());
    }

    #[test]
    fn a_response_has_nothing_else_of_the_request() {
        let mut asked = Envelope::request("T", "1", "m", "x").with_message_id("m").with_correlation_id("c");
        let plain = asked.clone().into_response(Ok(Bytes::from_static(b"y")));
        let refused = asked.clone().into_response(Err(Error::new(ErrorKind::NoHandler, "no")));
        asked = Envelope {
            response_payload: Bytes::from_static(b"z"),
            is_error: true,
            error_message: "e".into(),
            timeout_ms: 1,
            one_way: true,
            error_code: 3,
            delivered: Some(Delivered::Yes),
            hop_count: 1,
            origin: "o".into(),
            traceparent: "t".into(),
            view_version: 4,
            anywhere: true,
            retryable: true,
            parts_bytes: 5,
            ..asked
        };
        for (of_plain, result) in
            [(plain, Ok(Bytes::from_static(b"y"))), (refused, Err(Error::new(ErrorKind::NoHandler, "no")))]
        {
            let response = Envelope { timestamp: of_plain.timestamp, ..asked.clone().into_response(result) };
            assert_eq!(response, of_plain);
        }
    }

    #[test]
    fn an_error_travels_whole() {
        for kind in ErrorKind::ALL {
            let error = Error::new(*kind, "no").with_delivered(Delivered::Yes).with_retryable(true);
            let error = error.with_view_version(7);
            let response = Envelope::request("T", "1", "", "").into_response(Err(error.clone()));
            assert_eq!(response.into_result().unwrap_err(), error);
        }
    }

    #[test]
    fn an_error_without_code_is_a_failed_handler() {
        let plain = Envelope { is_error: true, error_message: "oops".into(), ..Envelope::default() };
        let error = plain.into_result().unwrap_err();
        assert_eq!((error.kind(), error.delivered()), (ErrorKind::HandlerFailed, Delivered::Yes));
    }
}
