//! Control messages: matters of a link between two announced peers. `method_name` says which, `message_id` what it is
//! about.

use bytes::Bytes;

use crate::envelope::{Envelope, EnvelopeKind, Text};
use crate::parcel::Parcel;

/// "Say when you have handed over everything before this."
pub(crate) const FENCE: &str = "fence";
/// The answer to it.
pub(crate) const FENCE_PASSED: &str = "fence-passed";
/// "Send nothing new on this link, I am leaving."
pub(crate) const LEAVING: &str = "leaving";
/// The answer to it; nothing follows but answers.
pub(crate) const LEAVING_SEEN: &str = "leaving-seen";
/// "My requests come on this link from now on"; the id is a number that grows from link to link. What is read from an
/// older link later is refused, so that nothing overtakes across a reconnect.
pub(crate) const TURN: &str = "turn";
/// "Nobody waits for the answer to this request any more."
pub(crate) const CANCEL: &str = "cancel";
/// A part of a request's payload; the request itself follows with the last part.
pub(crate) const REQUEST_PART: &str = "request-part";
/// A part of a response's payload; the response itself follows with the last part.
pub(crate) const RESPONSE_PART: &str = "response-part";

/// "A part has come"; lets the next one leave.
pub(crate) const PART_SEEN: &str = "part-seen";

/// A message without content.
pub(crate) fn about(what: &str, id: impl Into<Text>) -> Parcel {
    Parcel::from(Envelope {
        kind: EnvelopeKind::Control,
        method_name: what.into(),
        message_id: id.into(),
        ..Envelope::default()
    })
}

/// A part of a payload that begins at `offset`.
pub(crate) fn part(what: &str, id: &str, bytes: Bytes, offset: usize) -> Parcel {
    let mut part = about(what, id);
    part.payload = bytes;
    part.parts_bytes = offset as u64;
    part
}
