//! Lends chitchat a UDP socket that is already bound, so that its real port is known before anything is said, and that
//! outlives every error: to chitchat a receive error is the end.
//!
//! The bytes are made by chitchat's own socket, which this one wraps. `anyhow` is chitchat's word and ends here.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Mutex;
use std::time::Duration;

use chitchat::ChitchatEnvelope;
use chitchat::transport::{RecvOutcome, SendOutcome, Socket, Transport, UdpSocket};

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
                    Ok(received) => return Ok(received),
                    Err(error) => tracing::debug!(target: MEMBERSHIP, %error, "gossip not received"),
                }
                tokio::time::sleep(AFTER_ERROR).await;
            }
        })
    }
}
