//! The same stream over HTTP/3: one QUIC connection for each pair of silos. Types of quinn and h3 stay here; gRPC's framing,
//! its statuses and the messages are tonic's and those of HTTP/2.

mod body;
mod dialling;
mod serving;
mod udp;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use quinn::VarInt;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use self::dialling::Dialling;
use super::Settings;
use super::socket::NoSocket;
use crate::config::TransportConfig;
use crate::endpoint::Endpoint;
use crate::error::{Error, ErrorKind, Result};
use crate::id::SiloId;
use crate::probe::{Probe, Prober};
use crate::silo_info::SiloInfo;
use crate::tls::{Credentials, NoHandshake};
use crate::transport::carrier::{Accept, Address, Carrier, Hello, Incoming};
use crate::transport::link::Outgoing;

/// Streams of one direction: HTTP/3 has three.
const ONE_WAY_STREAMS: u32 = 8;
/// How long what is still open may take when the carrier closes.
const CLOSING: Duration = Duration::from_millis(300);

/// Why a connection is closed: nothing is wrong (RFC 9114, `H3_NO_ERROR`).
const NOTHING_WRONG: VarInt = VarInt::from_u32(0x100);
/// Whoever is there is not let in; the reason is for people.
const NOT_LET_IN: VarInt = VarInt::from_u32(0x5155_0001);
/// Datagrams come back, and the peer says nothing.
const NOBODY_THERE: VarInt = VarInt::from_u32(0x5155_0002);

/// The carrier over HTTP/3.
pub(crate) struct Http3Carrier {
    quic: Quic,
    dialling: Arc<Dialling>,
    server: Mutex<Option<Server>>,
}

/// What both directions of the carrier know.
#[derive(Clone)]
struct Quic {
    settings: Settings,
    cluster: String,
    credentials: Arc<Credentials>,
    transport: Arc<quinn::TransportConfig>,
}

struct Server {
    socket: udp::Socket,
    closing: watch::Sender<bool>,
    task: JoinHandle<()>,
}

impl Http3Carrier {
    /// # Errors
    /// `INVALID_ARGUMENT` without certificates.
    pub(super) fn with(settings: Settings, config: &TransportConfig) -> Result<Self> {
        let credentials = settings.tls.clone().ok_or_else(|| {
            Error::invalid(
                "transport",
                config.transport.to_string(),
                "needs tls: HTTP/3 is never spoken without",
            )
        })?;
        let transport = Arc::new(transport(&settings));
        let quic = Quic { settings, cluster: config.cluster.clone(), credentials, transport };
        Ok(Self { dialling: Arc::new(Dialling::new(quic.clone())), quic, server: Mutex::default() })
    }
}

/// What QUIC is set to, on both sides.
fn transport(settings: &Settings) -> quinn::TransportConfig {
    let mut transport = quinn::TransportConfig::default();
    // A connection is given up when nothing has come for this long; before that something is asked for. Where a probe has
    // less time than lies between two, it is asked for more often.
    let silence = quinn::IdleTimeout::try_from(settings.probe_timeout);
    transport
        .max_idle_timeout(Some(silence.unwrap_or_else(|_| VarInt::MAX.into())))
        .keep_alive_interval(Some(settings.probe_interval.min(settings.probe_timeout / 2)))
        .max_concurrent_bidi_streams(VarInt::from_u32(settings.max_streams))
        .max_concurrent_uni_streams(VarInt::from_u32(ONE_WAY_STREAMS))
        .stream_receive_window(VarInt::from_u32(settings.window()))
        .receive_window(VarInt::from_u32(settings.connection_window))
        .send_window(u64::from(settings.window()))
        // Datagrams are for asking whether somebody is there, and empty.
        .datagram_receive_buffer_size(Some(1024))
        .datagram_send_buffer_size(1024);
    transport
}

impl Carrier for Http3Carrier {
    fn dial(&self, to: Address, hello: Hello, outgoing: Outgoing) -> BoxFuture<'static, Result<Incoming>> {
        self.dialling.clone().dial(to.endpoint, hello, outgoing).boxed()
    }

    fn listen(&self, at: Endpoint, accept: Arc<dyn Accept>) -> BoxFuture<'_, Result<Endpoint>> {
        async move {
            let (bound, socket) = serving::bind(&self.quic, &at).await?;
            let (closing, signal) = watch::channel(false);
            let task = tokio::spawn(serving::serve(self.quic.clone(), socket.clone(), accept, signal));
            *self.server.lock().expect("no panic while locked") = Some(Server { socket, closing, task });
            Ok(bound)
        }
        .boxed()
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        async move {
            let server = self.server.lock().expect("no panic while locked").take();
            if let Some(Server { socket, closing, mut task }) = server {
                let _ = closing.send(true);
                // Our streams have ended, a stranger's may not.
                if tokio::time::timeout(CLOSING, &mut task).await.is_err() {
                    task.abort();
                }
                socket.close();
                // Until everybody was told.
                let _ = tokio::time::timeout(CLOSING, socket.idle()).await;
            }
            self.dialling.close().await;
        }
        .boxed()
    }

    fn abort(&self) {
        if let Some(server) = self.server.lock().expect("no panic while locked").take() {
            server.task.abort();
            server.socket.close();
        }
    }
}

impl Prober for Http3Carrier {
    fn probe(&self, _from: &SiloId, silo: &SiloInfo, limit: Duration) -> BoxFuture<'static, Probe> {
        let (dialling, silo) = (self.dialling.clone(), silo.clone());
        async move {
            let look = dialling.look(&silo);
            tokio::time::timeout(limit, look).await.unwrap_or(Probe::Silent)
        }
        .boxed()
    }
}

impl Drop for Http3Carrier {
    fn drop(&mut self) {
        self.abort();
    }
}

/// Why there is no connection, or no longer.
fn ended(error: &quinn::ConnectionError) -> NoSocket {
    use quinn::ConnectionError::{ApplicationClosed, ConnectionClosed, TimedOut, TransportError};
    let broken = |kind, text: String| NoSocket::NotConnected(std::io::Error::new(kind, text));
    let said = match error {
        TransportError(problem) => NoHandshake::of_quic(problem.code.into(), true, &problem.reason),
        ConnectionClosed(closed) => NoHandshake::of_quic(closed.error_code.into(), false, ""),
        ApplicationClosed(closed) if closed.error_code == NOT_LET_IN => {
            let reason = String::from_utf8_lossy(&closed.reason);
            let error = Error::new(ErrorKind::Unauthenticated, format!("the peer refused: {reason}"));
            Some(NoHandshake::Untrusted(error))
        }
        _ => None,
    };
    match (said, error) {
        (Some(no), _) => NoSocket::NotProved(no),
        (None, ConnectionClosed(closed))
            if closed.error_code == quinn::TransportErrorCode::CONNECTION_REFUSED =>
        {
            broken(
                std::io::ErrorKind::ConnectionReset,
                "the peer has as many connections as it takes".to_owned(),
            )
        }
        (None, TimedOut) => broken(std::io::ErrorKind::TimedOut, "the peer is silent".to_owned()),
        (None, other) => broken(std::io::ErrorKind::Other, other.to_string()),
    }
}
