//! Envelopes as protobuf: the only place that knows both.

use bytes::{Buf, Bytes};
use prost::Message as _;
use tonic::Status;
use tonic::codec::{BufferSettings, Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};

use super::generated::EnvelopeMessage;
use crate::envelope::{Envelope, EnvelopeKind};
use crate::error::{Delivered, Error, ErrorKind, Result};

impl Envelope {
    /// The envelope as it stands on the wire, without gRPC's frame.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        EnvelopeMessage::from(self.clone()).encode_to_vec().into()
    }

    /// Reads an envelope from the wire's bytes. Unknown fields are ignored.
    ///
    /// # Errors
    /// `PROTOCOL` when they are no envelope.
    pub fn decode(bytes: impl Buf) -> Result<Self> {
        let message = EnvelopeMessage::decode(bytes)
            .map_err(|error| Error::new(ErrorKind::Protocol, format!("not an envelope: {error}")))?;
        Ok(message.into())
    }
}

impl From<Envelope> for EnvelopeMessage {
    fn from(envelope: Envelope) -> Self {
        Self {
            message_id: envelope.message_id,
            actor_id: envelope.actor_id,
            actor_type: envelope.actor_type,
            method_name: envelope.method_name,
            payload: envelope.payload,
            correlation_id: envelope.correlation_id,
            timestamp: envelope.timestamp,
            response_payload: envelope.response_payload,
            is_error: envelope.is_error,
            error_message: envelope.error_message,
            kind: envelope.kind as i32,
            timeout_ms: envelope.timeout_ms,
            one_way: envelope.one_way,
            error_code: envelope.error_code,
            delivered: envelope.delivered.map_or(0, |delivered| delivered as i32),
            hop_count: envelope.hop_count,
            origin: envelope.origin,
            traceparent: envelope.traceparent,
            view_version: envelope.view_version,
            anywhere: envelope.anywhere,
            retryable: envelope.retryable,
            parts_bytes: envelope.parts_bytes,
        }
    }
}

impl From<EnvelopeMessage> for Envelope {
    fn from(message: EnvelopeMessage) -> Self {
        Self {
            message_id: message.message_id,
            actor_id: message.actor_id,
            actor_type: message.actor_type,
            method_name: message.method_name,
            payload: message.payload,
            correlation_id: message.correlation_id,
            timestamp: message.timestamp,
            response_payload: message.response_payload,
            is_error: message.is_error,
            error_message: message.error_message,
            kind: EnvelopeKind::from_number(message.kind).unwrap_or_default(),
            timeout_ms: message.timeout_ms,
            one_way: message.one_way,
            error_code: message.error_code,
            delivered: Delivered::from_number(message.delivered),
            hop_count: message.hop_count,
            origin: message.origin,
            traceparent: message.traceparent,
            view_version: message.view_version,
            anywhere: message.anywhere,
            retryable: message.retryable,
            parts_bytes: message.parts_bytes,
        }
    }
}

/// tonic's way to the two functions above.
pub(super) struct EnvelopeCodec;

/// Everything that is ready goes out in writes of about this size.
const WRITE_BYTES: usize = 16 * 1024;

fn buffers() -> BufferSettings {
    BufferSettings::new(WRITE_BYTES, WRITE_BYTES)
}

impl Codec for EnvelopeCodec {
    type Encode = Box<Envelope>;
    type Decode = Box<Envelope>;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for EnvelopeCodec {
    type Item = Box<Envelope>;
    type Error = Status;

    fn encode(&mut self, envelope: Box<Envelope>, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        EnvelopeMessage::from(*envelope)
            .encode(buffer)
            .map_err(|error| Status::internal(format!("an envelope could not be encoded: {error}")))
    }

    fn buffer_settings(&self) -> BufferSettings {
        buffers()
    }
}

impl Decoder for EnvelopeCodec {
    type Item = Box<Envelope>;
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<Box<Envelope>>, Status> {
        match EnvelopeMessage::decode(buffer) {
            Ok(message) => Ok(Some(Box::new(message.into()))),
            Err(error) => Err(Status::invalid_argument(format!("not an envelope: {error}"))),
        }
    }

    fn buffer_settings(&self) -> BufferSettings {
        buffers()
    }
}
