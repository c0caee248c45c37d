//! Dialling: one QUIC connection with the one stream on it. All that are dialled share a UDP socket.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use bytes::Bytes;
use futures_util::Stream;
use futures_util::future::BoxFuture;
use h3::client::SendRequest;
use h3::error::StreamError;
use quinn::crypto::rustls::QuicClientConfig;
use quinn::{ClientConfig, Connection};
use tonic::body::Body;

use super::body::{self, Received};
use super::udp::{Refusals, Socket};
use super::{CLOSING, NOT_LET_IN, NOTHING_WRONG, Quic, ended};
use crate::endpoint::Endpoint;
use crate::error::{Error, ErrorKind, Result};
use crate::id::SiloId;
use crate::probe::Probe;
use crate::silo_info::SiloInfo;
use crate::tls::{NAME, NoHandshake};
use crate::transport::carrier::{Hello, Inbound, Incoming};
use crate::transport::grpc::socket::NoSocket;
use crate::transport::grpc::{client, health};
use crate::transport::link::Outgoing;

/// Where connections begin.
pub(super) struct Dialling {
    quic: Quic,
    sockets: Mutex<Sockets>,
}

/// One for each family of addresses, as soon as it is needed.
#[derive(Default)]
struct Sockets {
    v4: Option<Socket>,
    v6: Option<Socket>,
}

impl Dialling {
    pub(super) fn new(quic: Quic) -> Self {
        Self { quic, sockets: Mutex::default() }
    }

    /// Connects to `to` and opens the stream.
    pub(super) async fn dial(
        self: Arc<Self>,
        to: Endpoint,
        hello: Hello,
        outgoing: Outgoing,
    ) -> Result<Incoming> {
        let opened = self.connect(&to, outgoing.peer()).await.map_err(|no| no.error(&to))?;
        let (grpc, connection) = (opened.grpc(&to)?, opened.connection.clone());
        let at = to.clone();
        let explain = move |error| match connection.close_reason().as_ref().map(ended) {
            Some(NoSocket::NotProved(no)) => NoSocket::NotProved(no).error(&at),
            _ => error,
        };
        let incoming = client::open(grpc, &self.quic.settings, to, &hello, outgoing, explain).await?;
        Ok(Box::pin(Dialled { incoming, _opened: opened }))
    }

    /// Looks who is at a silo's endpoint.
    pub(super) async fn look(&self, silo: &SiloInfo) -> Probe {
        let opened = match self.connect(&silo.endpoint, &silo.silo_id).await {
            Ok(opened) => opened,
            Err(no) => return health::seen(&no),
        };
        let Ok(grpc) = opened.grpc(&silo.endpoint) else { return Probe::Silent };
        health::ask(grpc, silo, &self.quic.cluster).await
    }

    /// Ends what is still open, and waits until its peers were told.
    pub(super) async fn close(&self) {
        let Sockets { v4, v6 } = std::mem::take(&mut *self.sockets.lock().expect("no panic while locked"));
        for socket in [v4, v6].into_iter().flatten() {
            socket.close();
            let _ = tokio::time::timeout(CLOSING, socket.idle()).await;
        }
    }

    async fn connect(&self, to: &Endpoint, silo: &SiloId) -> Result<Opened, NoSocket> {
        let addresses =
            tokio::net::lookup_host((to.host(), to.port())).await.map_err(NoSocket::NotConnected)?;
        let config = self.config().await.map_err(NoSocket::NotConnected)?;
        let mut failed = NoSocket::NotConnected(io::Error::new(io::ErrorKind::NotFound, "no such host"));
        for address in addresses {
            match self.connect_at(address, config.clone(), silo).await {
                Ok(opened) => return Ok(opened),
                // Somebody is there.
                Err(NoSocket::NotProved(no)) => return Err(NoSocket::NotProved(no)),
                Err(no) => failed = no,
            }
        }
        Err(failed)
    }

    async fn config(&self) -> io::Result<ClientConfig> {
        let tls = self.quic.credentials.quic_client().await;
        let tls = QuicClientConfig::try_from(tls).map_err(io::Error::other)?;
        let mut config = ClientConfig::new(Arc::new(tls));
        config.transport_config(self.quic.transport.clone());
        Ok(config)
    }

    async fn connect_at(
        &self,
        address: SocketAddr,
        config: ClientConfig,
        silo: &SiloId,
    ) -> Result<Opened, NoSocket> {
        let (connecting, mut refusals) = self.begin(address, config).map_err(NoSocket::NotConnected)?;
        let connection = tokio::select! {
            biased;
            connected = connecting => connected.map_err(|error| ended(&error))?,
            () = refusals.of(address) => {
                return Err(NoSocket::NotConnected(io::ErrorKind::ConnectionRefused.into()));
            }
        };
        if let Err(no) = self.quic.credentials.quic_expect(connection.peer_identity(), silo) {
            connection.close(NOT_LET_IN, b"another silo was dialled");
            return Err(NoSocket::NotProved(no));
        }
        Opened::over(connection, refusals, self.quic.settings.max_metadata).await
    }

    fn begin(&self, to: SocketAddr, config: ClientConfig) -> io::Result<(quinn::Connecting, Refusals)> {
        let mut sockets = self.sockets.lock().expect("no panic while locked");
        let (socket, any): (_, SocketAddr) = match to {
            SocketAddr::V4(_) => (&mut sockets.v4, (Ipv4Addr::UNSPECIFIED, 0).into()),
            SocketAddr::V6(_) => (&mut sockets.v6, (Ipv6Addr::UNSPECIFIED, 0).into()),
        };
        // A socket that broke is replaced.
        for fresh in [false, true] {
            if fresh || socket.is_none() {
                *socket = Some(Socket::bind(any, None, None)?);
            }
            let Some(socket) = &*socket else { continue };
            let refusals = socket.refusals();
            match socket.endpoint.connect_with(config.clone(), to, NAME) {
                Ok(connecting) => return Ok((connecting, refusals)),
                Err(quinn::ConnectError::EndpointStopping) => {}
                Err(error) => return Err(io::Error::other(error)),
            }
        }
        Err(io::ErrorKind::NotConnected.into())
    }
}

/// A connection; it ends when this is dropped.
struct Opened {
    connection: Connection,
    requests: SendRequest<h3_quinn::OpenStreams, Bytes>,
}

impl Opened {
    async fn over(connection: Connection, refusals: Refusals, max_metadata: u32) -> Result<Self, NoSocket> {
        let mut builder = h3::client::builder();
        builder.send_grease(false).max_field_section_size(u64::from(max_metadata));
        let built = builder.build(h3_quinn::Connection::new(connection.clone())).await;
        let (mut driver, requests) = built.map_err(|error| {
            let error = connection.close_reason().map_or_else(|| io::Error::other(error), io::Error::other);
            NoSocket::NotConnected(error)
        })?;
        let watched = connection.clone();
        tokio::spawn(async move {
            tokio::select! {
                _ = driver.wait_idle() => {}
                () = refusals.close(watched) => {}
            }
        });
        Ok(Self { connection, requests })
    }

    fn grpc(&self, to: &Endpoint) -> Result<tonic::client::Grpc<Requests>> {
        let origin = format!("https://{to}")
            .parse()
            .map_err(|error| Error::new(ErrorKind::Unreachable, format!("{to}: {error}")))?;
        let requests = Requests { connection: self.connection.clone(), requests: self.requests.clone() };
        Ok(tonic::client::Grpc::with_origin(requests, origin))
    }
}

impl Drop for Opened {
    fn drop(&mut self) {
        self.connection.close(NOTHING_WRONG, b"");
    }
}

/// tonic's way to ask something on a connection.
struct Requests {
    connection: Connection,
    requests: SendRequest<h3_quinn::OpenStreams, Bytes>,
}

type Answered = Received<h3::client::RequestStream<h3_quinn::RecvStream, Bytes>>;

impl tower_service::Service<http::Request<Body>> for Requests {
    type Response = http::Response<Answered>;
    type Error = StreamError;
    type Future = BoxFuture<'static, Result<Self::Response, StreamError>>;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), StreamError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let (connection, mut requests) = (self.connection.clone(), self.requests.clone());
        Box::pin(async move {
            let (parts, body) = request.into_parts();
            let stream = requests.send_request(http::Request::from_parts(parts, ())).await?;
            let (sending, mut receiving) = stream.split();
            // Beside the answer: neither side waits for the other's first word.
            tokio::spawn(body::send(body, sending, connection));
            let answer = receiving.recv_response().await?;
            Ok(answer.map(|()| Received::new(receiving)))
        })
    }
}

/// A stream with the connection it is on.
struct Dialled {
    incoming: Incoming,
    _opened: Opened,
}

impl Stream for Dialled {
    type Item = Result<Inbound>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.incoming.as_mut().poll_next(cx)
    }
}

impl From<NoHandshake> for NoSocket {
    fn from(no: NoHandshake) -> Self {
        Self::NotProved(no)
    }
}
