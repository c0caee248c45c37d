//! Lends chitchat a UDP socket that is already bound, so that its real port is known before anything is said, and that
//! outlives every error: to chitchat a receive error is the end, and so are some messages.
//!
//! The bytes are made by chitchat's own socket, which this one wraps. `anyhow` is chitchat's word and ends here.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Mutex;
use std::time::Duration;

use chitchat::transport::{RecvOutcome, SendOutcome, Socket, Transport, UdpSocket};
use chitchat::{ChitchatEnvelope, ChitchatMessage};

use crate::telemetry::MEMBERSHIP;

/// How long to wait after an error, so that a lasting one does not spin.
const AFTER_ERROR: Duration = Duration::from_millis(20);

type Boxed<'a, T> = Pin<Box<dyn Future<Output = anyhow::Result<T>> + Send + 'a>>;

/// A bound socket, waiting for chitchat to open it.
pub(super) struct BoundTransport {
    socket: Mutex<Option<UdpSocket>>,
    address: SocketAddr,
}

impl BoundTransport {
    pub(super) async fn bind(address: SocketAddr) -> io::Result<Self> {
        let bound = async {
            let socket = UdpSocket::open(address).await?;
            let address = socket.local_addr()?;
            Ok(Self { socket: Mutex::new(Some(socket)), address })
        };
        bound.await.map_err(|error: anyhow::Error| match error.downcast::<io::Error>() {
            Ok(error) => error,
            Err(error) => io::Error::other(format!("{error:#}")),
        })
    }

    /// Where it is bound.
    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Transport for BoundTransport {
    fn open<'a, 'b>(&'a self, address: SocketAddr) -> Boxed<'b, Box<dyn Socket>>
    where
        'a: 'b,
        Self: 'b,
    {
        Box::pin(async move {
            let bound = self.socket.lock().expect("no panic while locked").take();
            let socket = match bound {
                Some(socket) => socket,
                None => UdpSocket::open(address).await?,
            };
            Ok(Box::new(TenaciousSocket(socket)) as Box<dyn Socket>)
        })
    }
}

/// Whether chitchat outlives this message. It panics over a key that does not begin with an ASCII character, and over a node
/// whose latest version is said to be lower than one of its values'. Messages can be looked into in their debug form only:
/// a line for each field, in which texts are quoted, so that none can be taken for another.
fn is_bearable(message: &ChitchatMessage) -> bool {
    let (ChitchatMessage::SynAck { delta, .. } | ChitchatMessage::Ack { delta }) = message else {
        return true;
    };
    // But for the names of nodes, of which none of ours has a line break.
    if format!("{delta:?}").contains(char::is_control) {
        return false;
    }
    let (mut version, mut latest) = (0, u64::MAX);
    for line in format!("{delta:#?}").lines().map(str::trim) {
        let number = |name: &str| line.strip_prefix(name)?.strip_suffix(',')?.parse::<u64>().ok();
        if line.strip_prefix("key: \"").is_some_and(|key| !key.starts_with(|c: char| c.is_ascii_alphabetic()))
        {
            return false;
        }
        if line == "NodeDelta {" {
            (version, latest) = (0, u64::MAX);
        }
        version = number("version: ").unwrap_or_default().max(version);
        latest = number("max_version: ").unwrap_or(latest);
        // Whichever of the two comes first.
        if version > latest {
            return false;
        }
    }
    true
}

struct TenaciousSocket(UdpSocket);

impl Socket for TenaciousSocket {
    fn local_addr(&self) -> anyhow::Result<SocketAddr> {
        self.0.local_addr()
    }

    fn send<'a, 'b>(&'a mut self, to: SocketAddr, envelope: ChitchatEnvelope) -> Boxed<'b, SendOutcome>
    where
        'a: 'b,
        Self: 'b,
    {
        Box::pin(async move {
            // A lost datagram is part of gossip, whoever lost it.
            Ok(self.0.send(to, envelope).await.unwrap_or_else(|error| {
                tracing::debug!(target: MEMBERSHIP, %error, %to, "gossip not sent");
                SendOutcome { num_bytes_sent: 0 }
            }))
        })
    }

    fn recv<'a, 'b>(&'a mut self) -> Boxed<'b, RecvOutcome>
    where
        'a: 'b,
        Self: 'b,
    {
        Box::pin(async move {
            loop {
                match self.0.recv().await {
                    Ok(received) if is_bearable(&received.envelope.message) => return Ok(received),
                    Ok(RecvOutcome { from_addr: from, .. }) => {
                        tracing::debug!(target: MEMBERSHIP, %from, "gossip that is not of ours skipped");
                    }
                    Err(error) => {
                        tracing::debug!(target: MEMBERSHIP, %error, "gossip not received");
                        tokio::time::sleep(AFTER_ERROR).await;
                    }
                }
            }
        })
    }
}
