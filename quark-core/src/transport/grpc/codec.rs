//! Envelopes as messages of gRPC.

use bytes::{Buf, Bytes};
use tonic::Status;
use tonic::codec::{BufferSettings, Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};

use super::fields;
use crate::envelope::Envelope;
use crate::error::{Error, ErrorKind, Result};
use crate::parcel::Parcel;

impl Envelope {
    /// The envelope as it stands on the wire, without gRPC's frame.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        let mut bytes = Vec::with_capacity(fields::most(self));
        fields::write(self, &mut bytes);
        bytes.into()
    }

    /// Reads an envelope from the wire's bytes. Unknown fields are ignored.
    ///
    /// # Errors
    /// `PROTOCOL` when they are no envelope.
    pub fn decode(mut bytes: impl Buf) -> Result<Self> {
        let not_one = |problem| Error::new(ErrorKind::Protocol, format!("not an envelope: {problem}"));
        fields::take(&mut bytes).map(Parcel::open).map_err(not_one)
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
    type Encode = Parcel;
    type Decode = Parcel;
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
    type Item = Parcel;
    type Error = Status;

    fn encode(&mut self, envelope: Parcel, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        buffer.reserve(fields::most(&envelope));
        fields::write(&envelope, buffer);
        Ok(())
    }

    fn buffer_settings(&self) -> BufferSettings {
        buffers()
    }
}

impl Decoder for EnvelopeCodec {
    type Item = Parcel;
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<Parcel>, Status> {
        let not_one = |problem| Status::invalid_argument(format!("not an envelope: {problem}"));
        fields::take(buffer).map(Some).map_err(not_one)
    }

    fn buffer_settings(&self) -> BufferSettings {
        buffers()
    }
}
