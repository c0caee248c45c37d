//! What carries envelopes between two processes: the seam between the transport and its networks.
//!
//! A carrier opens streams and accepts them; it knows nothing of calls, actors or deadlines. gRPC over HTTP/2 is one,
//! the same over HTTP/3 another, the loopback inside a process a third; all pass the same contract suite.

use std::pin::Pin;
use std::sync::Arc;

use futures_util::Stream;
use futures_util::future::BoxFuture;
use tokio::sync::watch;

use super::link::Outgoing;
use crate::endpoint::Endpoint;
use crate::error::Result;
use crate::id::SiloId;
use crate::parcel::Parcel;
use crate::probe::Prober;
use crate::tls::Proof;
use crate::transports::Transports;

/// What one end of a stream announces of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Hello {
    pub(crate) protocol: u32,
    pub(crate) cluster: String,
    pub(crate) silo_id: SiloId,
    pub(crate) incarnation: u64,
}

/// Where a silo is, and what it speaks there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Address {
    pub(crate) endpoint: Endpoint,
    pub(crate) speaks: Transports,
}

/// What comes in on a stream.
pub(crate) enum Inbound {
    /// The peer's announcement, or its absence: a plain peer. Comes once on a stream that we dialled, possibly late.
    Hello(Option<Hello>),
    /// A message. In a box, like everywhere on its way: it is large, and would be copied a dozen times.
    Envelope(Parcel),
}

/// The incoming half of a stream. An error ends it.
pub(crate) type Incoming = Pin<Box<dyn Stream<Item = Result<Inbound>> + Send>>;

/// Takes accepted streams.
pub(crate) trait Accept: Send + Sync {
    /// Decides on a peer that opened a stream; `None` for a plain one. The proof is what the network knows of who it is.
    fn accept(&self, hello: Option<Hello>, proof: &Proof) -> Result<Box<dyn Accepted>>;
    /// What this end announces.
    fn hello(&self) -> Hello;
    /// Whether this end serves, for those who watch it from outside.
    fn serving(&self) -> watch::Receiver<bool>;
}

/// A stream that was accepted.
pub(crate) trait Accepted: Send {
    /// Takes the stream: reads `incoming` in a task of its own and returns what goes out.
    fn run(self: Box<Self>, incoming: Incoming) -> Outgoing;
}

/// A network.
pub(crate) trait Carrier: Prober {
    /// Opens a stream to `to`, where the peer of `outgoing` should be; with TLS it is that one, or there is no stream.
    /// Resolves when bytes can flow, which may be before the peer's announcement.
    fn dial(&self, to: Address, hello: Hello, outgoing: Outgoing) -> BoxFuture<'static, Result<Incoming>>;

    /// Begins to accept streams at `at`; returns where it listens, with the real port.
    fn listen(&self, at: Endpoint, accept: Arc<dyn Accept>) -> BoxFuture<'_, Result<Endpoint>>;

    /// Stops accepting and closes what is still open.
    fn close(&self) -> BoxFuture<'_, ()>;

    /// Stops accepting, without waiting for anything.
    fn abort(&self);
}
