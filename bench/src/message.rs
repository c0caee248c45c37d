//! What the baselines send: the fields that a call of Quark's fills.

use bytes::Bytes;
use prost::Message;

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Echo {
    #[prost(string, tag = "1")]
    pub(crate) message_id: String,
    #[prost(string, tag = "2")]
    pub(crate) actor_id: String,
    #[prost(string, tag = "3")]
    pub(crate) actor_type: String,
    #[prost(string, tag = "4")]
    pub(crate) method_name: String,
    #[prost(bytes = "bytes", tag = "5")]
    pub(crate) payload: Bytes,
    #[prost(string, tag = "6")]
    pub(crate) correlation_id: String,
    #[prost(int64, tag = "7")]
    pub(crate) timestamp: i64,
    #[prost(bytes = "bytes", tag = "8")]
    pub(crate) response_payload: Bytes,
}

impl Echo {
    /// A request whose id is the slot in which its caller waits.
    pub(crate) fn request(slot: usize, payload: Bytes) -> Self {
        Self {
            message_id: format!("{slot:032}"),
            actor_id: "device-0001234".into(),
            actor_type: "Device".into(),
            method_name: "Echo".into(),
            payload,
            correlation_id: format!("{slot:032}"),
            timestamp: 1_790_000_000_000,
            response_payload: Bytes::new(),
        }
    }

    /// The request as its answer.
    pub(crate) fn answered(mut self) -> Self {
        self.response_payload = std::mem::take(&mut self.payload);
        self
    }

    pub(crate) fn slot(&self) -> usize {
        self.message_id.parse().expect("an id of ours")
    }
}
