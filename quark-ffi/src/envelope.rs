//! One message with every field of the wire, for those who want more than a call.

use std::collections::BTreeMap;
use std::ffi::c_char;
use std::ptr;

use quark_core::{Delivered, Envelope, EnvelopeKind, Error, Result};

use crate::guard;
use crate::handle::{self, Out};
use crate::status::{quark_error_t, quark_status_t};
use crate::text::Text;
use crate::view::{quark_bytes_t, quark_bytes_view_t};

/// Text: opaque, at most 64 bytes, unique per sender; empty until it is sent unless you choose one.
pub const QUARK_ENVELOPE_MESSAGE_ID: i32 = 1;
/// Text: the actor's id.
pub const QUARK_ENVELOPE_ACTOR_ID: i32 = 2;
/// Text: the actor's type.
pub const QUARK_ENVELOPE_ACTOR_TYPE: i32 = 3;
/// Text: the method.
pub const QUARK_ENVELOPE_METHOD_NAME: i32 = 4;
/// Bytes: the request's arguments.
pub const QUARK_ENVELOPE_PAYLOAD: i32 = 5;
/// Text: ties together what belongs together; a response repeats it.
pub const QUARK_ENVELOPE_CORRELATION_ID: i32 = 6;
/// Number: when the message was made, in Unix milliseconds, UTC.
pub const QUARK_ENVELOPE_TIMESTAMP: i32 = 7;
/// Bytes: the reply.
pub const QUARK_ENVELOPE_RESPONSE_PAYLOAD: i32 = 8;
/// Number: 1 for an error response.
pub const QUARK_ENVELOPE_IS_ERROR: i32 = 9;
/// Text: the error's message.
pub const QUARK_ENVELOPE_ERROR_MESSAGE: i32 = 10;
/// Number: 1 request, 2 response, 3 control; 0 not said.
pub const QUARK_ENVELOPE_KIND: i32 = 12;
/// Number: milliseconds left until the deadline when it was sent.
pub const QUARK_ENVELOPE_TIMEOUT_MS: i32 = 13;
/// Number: 1 when nobody waits for an answer.
pub const QUARK_ENVELOPE_ONE_WAY: i32 = 14;
/// Number: the error's code, a `quark_status_t`.
pub const QUARK_ENVELOPE_ERROR_CODE: i32 = 15;
/// Number: of an error, one of `QUARK_DELIVERED_...`; 0 not said.
pub const QUARK_ENVELOPE_DELIVERED: i32 = 16;
/// Number: how often the request was passed on.
pub const QUARK_ENVELOPE_HOP_COUNT: i32 = 17;
/// Text: the silo or client that made the request.
pub const QUARK_ENVELOPE_ORIGIN: i32 = 18;
/// Text: W3C Trace Context.
pub const QUARK_ENVELOPE_TRACEPARENT: i32 = 19;
/// Number: the version of the view by which the sender chose the target.
pub const QUARK_ENVELOPE_VIEW_VERSION: i32 = 20;

/// One message. Its fields are named by their numbers on the wire (`QUARK_ENVELOPE_...`), so that further ones need no
/// further functions; empty or 0 means absent. Yours; not for two threads at once.
pub struct quark_envelope_t {
    envelope: Envelope,
    /// Texts that C has asked for; those of a field go when it is set.
    texts: BTreeMap<i32, Text>,
}

impl quark_envelope_t {
    pub(crate) fn new(envelope: Envelope) -> Self {
        let texts = [
            QUARK_ENVELOPE_MESSAGE_ID,
            QUARK_ENVELOPE_ACTOR_ID,
            QUARK_ENVELOPE_ACTOR_TYPE,
            QUARK_ENVELOPE_METHOD_NAME,
            QUARK_ENVELOPE_CORRELATION_ID,
            QUARK_ENVELOPE_ERROR_MESSAGE,
            QUARK_ENVELOPE_ORIGIN,
            QUARK_ENVELOPE_TRACEPARENT,
        ];
        Self { envelope, texts: texts.map(|field| (field, Text::default())).into() }
    }

    pub(crate) fn envelope(&self) -> &Envelope {
        &self.envelope
    }

    fn text(&mut self, field: i32) -> Result<&mut quark_core::Text> {
        let envelope = &mut self.envelope;
        Ok(match field {
            QUARK_ENVELOPE_MESSAGE_ID => &mut envelope.message_id,
            QUARK_ENVELOPE_ACTOR_ID => &mut envelope.actor_id,
            QUARK_ENVELOPE_ACTOR_TYPE => &mut envelope.actor_type,
            QUARK_ENVELOPE_METHOD_NAME => &mut envelope.method_name,
            QUARK_ENVELOPE_CORRELATION_ID => &mut envelope.correlation_id,
            QUARK_ENVELOPE_ERROR_MESSAGE => &mut envelope.error_message,
            QUARK_ENVELOPE_ORIGIN => &mut envelope.origin,
            QUARK_ENVELOPE_TRACEPARENT => &mut envelope.traceparent,
            _ => return Err(Error::invalid("field", field, "is no text of an envelope")),
        })
    }

    fn read_text(&self, field: i32) -> *const c_char {
        let envelope = &self.envelope;
        let text = match field {
            QUARK_ENVELOPE_MESSAGE_ID => &envelope.message_id,
            QUARK_ENVELOPE_ACTOR_ID => &envelope.actor_id,
            QUARK_ENVELOPE_ACTOR_TYPE => &envelope.actor_type,
            QUARK_ENVELOPE_METHOD_NAME => &envelope.method_name,
            QUARK_ENVELOPE_CORRELATION_ID => &envelope.correlation_id,
            QUARK_ENVELOPE_ERROR_MESSAGE => &envelope.error_message,
            QUARK_ENVELOPE_ORIGIN => &envelope.origin,
            QUARK_ENVELOPE_TRACEPARENT => &envelope.traceparent,
            _ => return ptr::null(),
        };
        self.texts.get(&field).map_or(ptr::null(), |kept| kept.of(text))
    }

    fn number(&self, field: i32) -> Option<i64> {
        let envelope = &self.envelope;
        let wide = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
        Some(match field {
            QUARK_ENVELOPE_TIMESTAMP => envelope.timestamp,
            QUARK_ENVELOPE_IS_ERROR => envelope.is_error.into(),
            QUARK_ENVELOPE_KIND => (envelope.kind as i32).into(),
            QUARK_ENVELOPE_TIMEOUT_MS => wide(envelope.timeout_ms),
            QUARK_ENVELOPE_ONE_WAY => envelope.one_way.into(),
            QUARK_ENVELOPE_ERROR_CODE => envelope.error_code.into(),
            QUARK_ENVELOPE_DELIVERED => envelope.delivered.map_or(0, |delivered| delivered as i64),
            QUARK_ENVELOPE_HOP_COUNT => envelope.hop_count.into(),
            QUARK_ENVELOPE_VIEW_VERSION => wide(envelope.view_version),
            _ => return None,
        })
    }

    fn set_number(&mut self, field: i32, value: i64) -> Result<()> {
        let envelope = &mut self.envelope;
        let out_of_range = || Error::invalid("value", value, "is out of the field's range");
        let flag = || match value {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(out_of_range()),
        };
        let narrow = || u32::try_from(value).map_err(|_| out_of_range());
        let wide = || u64::try_from(value).map_err(|_| out_of_range());
        let small = || i32::try_from(value).map_err(|_| out_of_range());
        match field {
            QUARK_ENVELOPE_TIMESTAMP => envelope.timestamp = value,
            QUARK_ENVELOPE_IS_ERROR => envelope.is_error = flag()?,
            QUARK_ENVELOPE_KIND => {
                envelope.kind = EnvelopeKind::from_number(small()?).ok_or_else(out_of_range)?;
            }
            QUARK_ENVELOPE_TIMEOUT_MS => envelope.timeout_ms = wide()?,
            QUARK_ENVELOPE_ONE_WAY => envelope.one_way = flag()?,
            QUARK_ENVELOPE_ERROR_CODE => envelope.error_code = narrow()?,
            QUARK_ENVELOPE_DELIVERED if value == 0 => envelope.delivered = None,
            QUARK_ENVELOPE_DELIVERED => {
                envelope.delivered = Some(Delivered::from_number(small()?).ok_or_else(out_of_range)?);
            }
            QUARK_ENVELOPE_HOP_COUNT => envelope.hop_count = narrow()?,
            QUARK_ENVELOPE_VIEW_VERSION => envelope.view_version = wide()?,
            _ => return Err(Error::invalid("field", field, "is no number of an envelope")),
        }
        Ok(())
    }
}

/// An empty envelope. To be sent, it needs at least the actor's type and id.
#[unsafe(no_mangle)]
pub extern "C" fn quark_envelope_new() -> *mut quark_envelope_t {
    guard::value(ptr::null_mut(), || Box::into_raw(Box::new(quark_envelope_t::new(Envelope::default()))))
}

/// Frees an envelope. NULL is allowed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn quark_envelope_free(envelope: *mut quark_envelope_t) {
    // SAFETY: the header demands NULL or an envelope that is not used again.
    guard::value((), || drop(unsafe { handle::take(envelope) }));
}

/// Sets a text, which is copied.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn quark_envelope_set_text(
    envelope: *mut quark_envelope_t,
    field: i32,
    value: *const c_char,
) -> quark_status_t {
    guard::status(|| {
        // SAFETY: the header demands NULL or a live envelope, and NULL or a string.
        let (envelope, value) =
            unsafe { (handle::borrow_mut(envelope, "envelope")?, handle::text(value, "value")?) };
        *envelope.text(field)? = value.into();
        envelope.texts.insert(field, Text::default());
        Ok(())
    })
}

/// A text of the envelope; NULL when `field` is none. Lives until the field is set or the envelope is freed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn quark_envelope_text(envelope: *const quark_envelope_t, field: i32) -> *const c_char {
    // SAFETY: the header demands NULL or a live envelope.
    guard::value(ptr::null(), || match unsafe { envelope.as_ref() } {
        Some(envelope) => envelope.read_text(field),
        None => ptr::null(),
    })
}

/// Sets a number.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn quark_envelope_set_number(
    envelope: *mut quark_envelope_t,
    field: i32,
    value: i64,
) -> quark_status_t {
    // SAFETY: the header demands NULL or a live envelope.
    guard::status(|| unsafe { handle::borrow_mut(envelope, "envelope") }?.set_number(field, value))
}

/// A number of the envelope; 0 when `field` is none.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn quark_envelope_number(envelope: *const quark_envelope_t, field: i32) -> i64 {
    // SAFETY: the header demands NULL or a live envelope.
    guard::value(0, || unsafe { envelope.as_ref() }.and_then(|e| e.number(field)).unwrap_or(0))
}

/// Sets bytes, which are copied.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn quark_envelope_set_bytes(
    envelope: *mut quark_envelope_t,
    field: i32,
    value: quark_bytes_view_t,
) -> quark_status_t {
    guard::status(|| {
        // SAFETY: the header demands NULL or a live envelope, and a valid view.
        let (envelope, value) = unsafe { (handle::borrow_mut(envelope, "envelope")?, value.copy("value")?) };
        match field {
            QUARK_ENVELOPE_PAYLOAD => envelope.envelope.payload = value,
            QUARK_ENVELOPE_RESPONSE_PAYLOAD => envelope.envelope.response_payload = value,
            _ => return Err(Error::invalid("field", field, "is no bytes of an envelope")),
        }
        Ok(())
    })
}

/// Bytes of the envelope; none when `field` is none. Live until the field is set or the envelope is freed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn quark_envelope_bytes(
    envelope: *const quark_envelope_t,
    field: i32,
) -> quark_bytes_view_t {
    guard::value(quark_bytes_view_t::EMPTY, || {
        // SAFETY: the header demands NULL or a live envelope.
        let Some(envelope) = (unsafe { envelope.as_ref() }) else { return quark_bytes_view_t::EMPTY };
        match field {
            QUARK_ENVELOPE_PAYLOAD => quark_bytes_view_t::of(&envelope.envelope.payload),
            QUARK_ENVELOPE_RESPONSE_PAYLOAD => quark_bytes_view_t::of(&envelope.envelope.response_payload),
            _ => quark_bytes_view_t::EMPTY,
        }
    })
}

/// The envelope as protobuf, as it stands on the wire.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn quark_envelope_encode(
    envelope: *const quark_envelope_t,
    bytes: *mut *mut quark_bytes_t,
    error: *mut *mut quark_error_t,
) -> quark_status_t {
    // SAFETY: the header demands NULL or valid pointers.
    unsafe {
        guard::status_and_error(error, || {
            let (envelope, bytes) = (handle::borrow(envelope, "envelope")?, Out::new(bytes, "bytes")?);
            bytes.give(quark_bytes_t(envelope.envelope.encode()));
            Ok(())
        })
    }
}

/// Reads an envelope from protobuf; fields that are not known are ignored. `QUARK_PROTOCOL` when it is none.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn quark_envelope_decode(
    bytes: quark_bytes_view_t,
    envelope: *mut *mut quark_envelope_t,
    error: *mut *mut quark_error_t,
) -> quark_status_t {
    // SAFETY: the header demands NULL or valid pointers.
    unsafe {
        guard::status_and_error(error, || {
            let (bytes, envelope) = (bytes.copy("bytes")?, Out::new(envelope, "envelope")?);
            envelope.give(quark_envelope_t::new(Envelope::decode(bytes)?));
            Ok(())
        })
    }
}
