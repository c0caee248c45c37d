//! Accepting: QUIC connections, their handshakes, and the requests on them. What is held to limits is what is held to them over
//! TCP, by the same counting.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use bytes::Bytes;
use h3::server::RequestResolver;
use quinn::crypto::rustls::QuicServerConfig;
use quinn::{Connection, ServerConfig};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout_at};
use tonic::body::Body;

use super::body::{self, Received};
use super::udp::Socket;
use super::{NOT_LET_IN, NOTHING_WRONG, Quic, ended};
use crate::endpoint::Endpoint;
use crate::error::{Error, ErrorKind, Result};
use crate::telemetry::{LINK, Seldom};
use crate::tls::Proof;
use crate::transport::carrier::Accept;
use crate::transport::grpc::connections::{Place, Places};
use crate::transport::grpc::server;
use crate::transport::grpc::socket::NoSocket;

/// Handshakes under way at once of which none costs the dialling side more than one datagram; more have to show first that
/// they are where they say.
const UNPROVED: usize = 32;
/// What may be kept of a connection that nobody looked at yet, and of all of them, in bytes.
const UNSEEN_BYTES: u64 = 64 * 1024;
const ALL_UNSEEN_BYTES: u64 = 8 * 1024 * 1024;

/// Binds the listening socket; the endpoint has the real port.
pub(super) async fn bind(quic: &Quic, at: &Endpoint) -> Result<(Endpoint, Socket)> {
    let failed = |error: io::Error| match error.kind() {
        io::ErrorKind::AddrInUse => Error::new(
            ErrorKind::AddressInUse,
            format!("listen={at}: the UDP port is taken, which HTTP/3 listens on"),
        ),
        _ => Error::invalid("listen", at, &error.to_string()),
    };
    let mut addresses = tokio::net::lookup_host((at.host(), at.port())).await.map_err(failed)?;
    let address = addresses.next().ok_or_else(|| failed(io::ErrorKind::NotFound.into()))?;
    let config = config(quic).await?;
    let socket = Socket::bind(address, Some(config), quic.credentials.secret()).map_err(failed)?;
    let port = socket.endpoint.local_addr().map_err(failed)?.port();
    Ok((at.with_port(port), socket))
}

/// What a connection is accepted with now.
async fn config(quic: &Quic) -> Result<ServerConfig> {
    let tls = quic.credentials.quic_server().await?;
    let tls = QuicServerConfig::try_from(tls)
        .map_err(|error| Error::new(ErrorKind::Internal, format!("TLS cannot be used for QUIC: {error}")))?;
    let mut config = ServerConfig::with_crypto(Arc::new(tls));
    config
        .transport_config(quic.transport.clone())
        // Silos stay where they are, and addresses are counted.
        .migration(false)
        .incoming_buffer_size(UNSEEN_BYTES)
        .incoming_buffer_size_total(ALL_UNSEEN_BYTES);
    Ok(config)
}

/// Serves until the signal; then waits for the open streams.
pub(super) async fn serve(
    quic: Quic,
    socket: Socket,
    accept: Arc<dyn Accept>,
    closing: watch::Receiver<bool>,
) {
    let mut server = Serving {
        quic,
        socket: socket.clone(),
        accept,
        closing: closing.clone(),
        places: Arc::default(),
        shaking: Arc::default(),
        refusals: Arc::default(),
        connections: JoinSet::new(),
    };
    let mut signal = closing;
    loop {
        tokio::select! {
            incoming = socket.endpoint.accept() => match incoming {
                Some(incoming) => server.begin(incoming),
                None => break,
            },
            Some(_) = server.connections.join_next() => {}
            _ = signal.wait_for(|closing| *closing) => break,
        }
    }
    // Whoever dials now is told at once.
    let refuse = async {
        while let Some(incoming) = socket.endpoint.accept().await {
            incoming.refuse();
        }
    };
    let open = async { while server.connections.join_next().await.is_some() {} };
    tokio::select! {
        () = refuse => {}
        () = open => {}
    }
}

struct Serving {
    quic: Quic,
    socket: Socket,
    accept: Arc<dyn Accept>,
    closing: watch::Receiver<bool>,
    places: Arc<Places>,
    /// Handshakes under way.
    shaking: Arc<AtomicUsize>,
    /// Peers that were not let in.
    refusals: Arc<Seldom>,
    connections: JoinSet<()>,
}

impl Serving {
    fn begin(&mut self, incoming: quinn::Incoming) {
        // Anybody can write another's address on a datagram.
        if self.shaking.load(Ordering::Relaxed) >= UNPROVED && incoming.may_retry() {
            let _ = incoming.retry();
            return;
        }
        let address = incoming.remote_address();
        let place = match self.places.take(address.ip(), &self.quic.settings.limits) {
            Ok(place) => place,
            Err(reason) => {
                incoming.refuse();
                return self.places.closed(address, reason);
            }
        };
        let shaking = Shaking::new(&self.shaking);
        let connection = Accepting {
            quic: self.quic.clone(),
            accept: self.accept.clone(),
            closing: self.closing.clone(),
            address,
            deadline: Instant::now() + self.quic.settings.limits.handshake,
            asked: Arc::default(),
            refusals: self.refusals.clone(),
            _place: place,
        };
        let refusals = self.socket.refusals();
        self.connections.spawn(async move {
            let prepared = timeout_at(connection.deadline, connection.prepare(incoming)).await;
            drop(shaking);
            let error = match prepared {
                Ok(Ok((http, quic, proof))) => {
                    tokio::select! {
                        () = connection.serve(http, &quic, proof) => {}
                        () = refusals.close(quic.clone()) => {}
                    }
                    return;
                }
                Ok(Err(error)) => error,
                Err(_) => Error::new(ErrorKind::Timeout, "the handshake took too long"),
            };
            tracing::debug!(target: LINK, %address, %error, "no handshake");
        });
    }
}

/// One of the handshakes under way.
struct Shaking(Arc<AtomicUsize>);

impl Shaking {
    fn new(all: &Arc<AtomicUsize>) -> Self {
        all.fetch_add(1, Ordering::Relaxed);
        Self(all.clone())
    }
}

impl Drop for Shaking {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

type Http = h3::server::Connection<h3_quinn::Connection, Bytes>;
type Asked = RequestResolver<h3_quinn::Connection, Bytes>;

/// A connection that comes in.
struct Accepting {
    quic: Quic,
    accept: Arc<dyn Accept>,
    closing: watch::Receiver<bool>,
    address: SocketAddr,
    /// When a request must have come.
    deadline: Instant,
    /// One came that makes sense.
    asked: Arc<AtomicBool>,
    refusals: Arc<Seldom>,
    _place: Place,
}

impl Accepting {
    /// The handshake, and who dialled.
    async fn prepare(&self, incoming: quinn::Incoming) -> Result<(Http, Connection, Proof)> {
        let unreachable =
            |error: &dyn std::fmt::Display| Error::new(ErrorKind::Unreachable, error.to_string());
        let config = Arc::new(config(&self.quic).await?);
        let connecting = incoming.accept_with(config).map_err(|error| unreachable(&error))?;
        let connection = connecting.await.map_err(|error| match ended(&error) {
            NoSocket::NotProved(no) => no.into(),
            NoSocket::NotConnected(error) => unreachable(&error),
        })?;
        let proof = self.quic.credentials.quic_proof(connection.peer_identity()).inspect_err(|error| {
            connection.close(NOT_LET_IN, error.message().as_bytes());
        })?;
        let mut builder = h3::server::builder();
        builder.send_grease(false).max_field_section_size(u64::from(self.quic.settings.max_metadata));
        let http = builder.build(h3_quinn::Connection::new(connection.clone())).await;
        Ok((http.map_err(|error| unreachable(&error))?, connection, proof))
    }

    /// Answers what is asked, until the connection ends; or, once the carrier closes, until what was asked is answered.
    async fn serve(&self, mut http: Http, connection: &Connection, proof: Proof) {
        let mut closing = self.closing.clone();
        let mut requests = JoinSet::new();
        loop {
            tokio::select! {
                asked = http.accept() => match asked {
                    Ok(Some(asked)) => {
                        let answering = self.answering(connection.clone(), proof.clone());
                        requests.spawn(answering.answer(asked));
                    }
                    Ok(None) | Err(_) => break,
                },
                Some(_) = requests.join_next() => {}
                () = tokio::time::sleep_until(self.deadline), if !self.asked.load(Ordering::Relaxed) => {
                    // It may have asked since this began to wait.
                    if !self.asked.load(Ordering::Relaxed) {
                        tracing::debug!(target: LINK, address = %self.address, "no request within the time for the handshake");
                        break;
                    }
                }
                _ = closing.wait_for(|closing| *closing), if requests.is_empty() => break,
            }
        }
        connection.close(NOTHING_WRONG, b"");
    }

    fn answering(&self, connection: Connection, proof: Proof) -> Answering {
        Answering {
            quic: self.quic.clone(),
            accept: self.accept.clone(),
            connection,
            proof,
            asked: self.asked.clone(),
            refusals: self.refusals.clone(),
        }
    }
}

/// What it takes to answer one request.
struct Answering {
    quic: Quic,
    accept: Arc<dyn Accept>,
    connection: Connection,
    proof: Proof,
    asked: Arc<AtomicBool>,
    refusals: Arc<Seldom>,
}

impl Answering {
    async fn answer(self, asked: Asked) {
        // Its headers have the time of a handshake again.
        let headers = tokio::time::timeout(self.quic.settings.limits.handshake, asked.resolve_request());
        let Ok(Ok((request, stream))) = headers.await else { return };
        let (mut sending, receiving) = stream.split();
        let request = request.map(|()| Body::new(Received::new(receiving)));
        let makes_sense = || self.asked.store(true, Ordering::Relaxed);
        let Ok(answer) = server::answer(
            &self.quic.settings,
            self.accept,
            &self.proof,
            request,
            &self.refusals,
            makes_sense,
        )
        .await;
        let (parts, body) = answer.into_parts();
        if sending.send_response(http::Response::from_parts(parts, ())).await.is_ok() {
            body::send(body, sending, self.connection).await;
        }
    }
}
