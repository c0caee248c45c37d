//! The core of Quark: location-transparent messaging to actors.
//!
//! A program embeds a [`Silo`]; silos find each other through a [`Membership`]; a call to an actor goes to the one silo
//! that owns it on the [`HashRing`], wherever that is, and the reply comes back.
//!
//! ```no_run
//! use quark_core::{Request, Silo};
//!
//! # async fn example() -> quark_core::Result<()> {
//! let silo = Silo::builder("silo-1")
//!     .membership("gossip://127.0.0.1:0".parse()?)
//!     .handler(|request: Request| async move { Ok(request.payload().to_ascii_uppercase()) })
//!     .start()
//!     .await?;
//! let reply = silo.call(("Greeter", "ann"), "greet", "hello").await?;
//! # Ok(()) }
//! ```

mod ascii;
mod batch;
mod caller;
mod config;
mod context;
mod drain;
mod endpoint;
mod envelope;
mod error;
mod explanation;
#[doc(hidden)]
#[cfg(any(test, quark_fuzzing))]
pub mod fuzzing;
mod handler;
mod health;
pub mod host;
mod id;
mod inbox;
mod membership;
mod ownership;
mod parcel;
mod placement;
mod probe;
mod request;
mod retry;
mod ring;
mod router;
mod silo;
mod silo_info;
mod telemetry;
mod tls;
mod trace;
mod transport;
mod transports;

#[doc(hidden)]
pub use transport::counted;

pub use caller::{Actor, Call, CallHandle, Caller, Message, Notification};
pub use config::{MAX_TIMEOUT, SiloConfig, TransportConfig, timeout_from_seconds};
pub use drain::Drain;
pub use endpoint::Endpoint;
pub use envelope::{Envelope, EnvelopeKind, Text};
pub use error::{Delivered, Error, ErrorKind, Result};
pub use explanation::Explanation;
pub use handler::{BoxFuture, Handler};
pub use health::Health;
pub use id::SiloId;
pub use membership::{
    Membership, MembershipConfig, MembershipEvent, MembershipUrl, RedisCredentials, RedisUrl, Role, View,
};
pub use ownership::{OwnershipChange, OwnershipWatch};
pub use placement::{Placement, PlacementPolicy};
pub use request::Request;
pub use ring::{HashRange, HashRanges, HashRing, hash, hash_actor};
pub use silo::{Client, ClientBuilder, Silo, SiloBuilder};
pub use silo_info::{DEFAULT_VIRTUAL_NODES, PROTOCOL_VERSION, SiloInfo, SiloStatus};
pub use telemetry::{CounterValues, HANDLER, LINK, MEMBERSHIP, SILO};
pub use tls::{Identity, Tls};
pub use transport::{Endings, LoopbackNetwork, Transport};
pub use transports::Transports;
