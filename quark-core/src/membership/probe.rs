//! Looking at a silo directly: does anybody accept connections at its endpoint?
//!
//! The one piece of network that providers share. It says what was seen; what follows from it is decided by whoever
//! asked (`judge` for Redis, `gossip::pulse` for gossip).

use std::io;
use std::time::Duration;

use tokio::net::TcpStream;

use crate::endpoint::Endpoint;

/// What a probe of an endpoint saw.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Probe {
    /// Somebody accepted the connection.
    Answered,
    /// The machine answered that nobody listens there: the process is gone.
    Refused,
    /// No answer in time, no such host, no way there: it may live behind a broken network.
    Silent,
}

/// Connects to `endpoint` and hangs up.
pub(super) async fn probe(endpoint: &Endpoint, limit: Duration) -> Probe {
    match tokio::time::timeout(limit, TcpStream::connect((endpoint.host(), endpoint.port()))).await {
        Ok(Ok(_)) => Probe::Answered,
        Ok(Err(error)) if error.kind() == io::ErrorKind::ConnectionRefused => Probe::Refused,
        Ok(Err(_)) | Err(_) => Probe::Silent,
    }
}
