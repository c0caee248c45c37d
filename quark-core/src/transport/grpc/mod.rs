//! The carrier over gRPC: one bidirectional stream of HTTP/2 for each pair of silos. Types of tonic and prost stay here.

mod client;
mod codec;
mod connections;
mod fields;
mod flood;
#[cfg(any(test, quark_fuzzing))]
pub(super) mod fuzzing;
#[cfg(test)]
mod generated;
mod health;
mod http3;
mod pacing;
mod server;
mod socket;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use tokio::task::JoinHandle;
use tonic::metadata::{MetadataMap, MetadataValue};
use tonic::{Code, Status};

pub(super) use self::http3::Http3Carrier;
use super::carrier::{Accept, Address, Carrier, Hello, Incoming};
use super::link::Outgoing;
use super::parts::LARGEST_PART;
use crate::config::TransportConfig;
use crate::endpoint::Endpoint;
use crate::error::{Error, ErrorKind, Result};
use crate::id::SiloId;
use crate::probe::{Probe, Prober};
use crate::silo_info::SiloInfo;
use crate::tls::Credentials;

/// The path of the one method.
const PATH: &str = "/quark.QuarkTransport/ActorStream";

const PROTOCOL: &str = "quark-protocol";
const CLUSTER: &str = "quark-cluster";
const SILO_ID: &str = "quark-silo-id-bin";
const INCARNATION: &str = "quark-incarnation";
/// On a refusal: the number of the error's kind.
const ERROR_CODE: &str = "quark-error-code";

/// The largest frame of HTTP/2 that we take, in bytes. One is a write and two reads, of which frames of the smallest size
/// (16 KiB) take so many that they are what a large payload waits for.
const FRAME_BYTES: u32 = LARGEST_PART as u32;

/// What an envelope may need beside its payload: ids, names, trace context, an error's message.
const ENVELOPE_SLACK: usize = 64 * 1024;

/// The carrier over gRPC.
pub(crate) struct GrpcCarrier {
    settings: Settings,
    cluster: String,
    server: Mutex<Option<Server>>,
}

struct Server {
    shutdown: tokio::sync::oneshot::Sender<()>,
    task: JoinHandle<()>,
}

/// What both directions of the carrier are set to.
#[derive(Clone)]
struct Settings {
    /// Largest message, in bytes.
    max_message: usize,
    /// Largest list of headers, in bytes.
    max_metadata: u32,
    /// Streams that one connection may have open.
    max_streams: u32,
    /// Window of a connection, in bytes: what may come while nobody reads.
    connection_window: u32,
    /// How long a connection may be silent before it is probed.
    probe_interval: Duration,
    /// How long a probe may go unanswered before the connection is closed.
    probe_timeout: Duration,
    /// What makes connections safe.
    tls: Option<Arc<Credentials>>,
    allow_plaintext: bool,
    /// What connections that come in are held to.
    limits: connections::Limits,
}

impl Settings {
    /// Window of a stream, in bytes. h2 closes a connection when the small frames that nobody has read yet cost it more
    /// memory than half of the connection's window; a sixteenth of that, full of the smallest messages, costs less.
    fn window(&self) -> u32 {
        self.connection_window / 16
    }
}

impl Settings {
    /// # Errors
    /// `INVALID_ARGUMENT` when the certificates cannot be used.
    fn new(local: &SiloId, config: &TransportConfig) -> Result<Self> {
        let tls = config.tls.as_ref().map(|tls| Credentials::load(tls, local, config));
        Ok(Self {
            max_message: config.max_payload.max(LARGEST_PART).saturating_add(ENVELOPE_SLACK),
            max_metadata: config.max_metadata,
            max_streams: config.max_streams,
            connection_window: config.connection_window,
            probe_interval: config.probe_interval,
            probe_timeout: config.probe_timeout,
            tls: tls.transpose()?,
            allow_plaintext: config.allow_plaintext,
            limits: connections::Limits {
                total: config.max_connections,
                per_address: config.max_connections_per_address,
                handshake: config.handshake_timeout,
            },
        })
    }
}

impl GrpcCarrier {
    fn with(settings: Settings, config: &TransportConfig) -> Self {
        Self { settings, cluster: config.cluster.clone(), server: Mutex::default() }
    }
}

/// The carriers that are configured, over the same certificates.
///
/// # Errors
/// `INVALID_ARGUMENT` when the certificates cannot be used.
pub(super) fn carriers(
    local: &SiloId,
    config: &TransportConfig,
) -> Result<(Option<GrpcCarrier>, Option<Http3Carrier>)> {
    let settings = Settings::new(local, config)?;
    let http3 = config.transport.has_http3().then(|| Http3Carrier::with(settings.clone(), config));
    let http2 = config.transport.has_http2().then(|| GrpcCarrier::with(settings, config));
    Ok((http2, http3.transpose()?))
}

impl Carrier for GrpcCarrier {
    fn dial(&self, to: Address, hello: Hello, outgoing: Outgoing) -> BoxFuture<'static, Result<Incoming>> {
        client::dial(self.settings.clone(), to.endpoint, hello, outgoing).boxed()
    }

    fn listen(&self, at: Endpoint, accept: Arc<dyn Accept>) -> BoxFuture<'_, Result<Endpoint>> {
        async move {
            let (bound, listener) = server::bind(&at).await?;
            if self.settings.tls.is_none()
                && !self.settings.allow_plaintext
                && !listener.local_addr().is_ok_and(|address| socket::is_here(&address))
            {
                let problem =
                    format!("is reachable beyond this machine and there is no TLS; {}", socket::PERMISSION);
                return Err(Error::invalid("listen", &at, &problem));
            }
            let (shutdown, signal) = tokio::sync::oneshot::channel();
            let task = tokio::spawn(server::serve(self.settings.clone(), listener, accept, signal));
            *self.server.lock().expect("no panic while locked") = Some(Server { shutdown, task });
            Ok(bound)
        }
        .boxed()
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        async move {
            let server = self.server.lock().expect("no panic while locked").take();
            if let Some(Server { shutdown, mut task }) = server {
                let _ = shutdown.send(());
                // tonic waits for open streams without limit; ours have ended, a stranger's may not.
                if tokio::time::timeout(Duration::from_millis(300), &mut task).await.is_err() {
                    task.abort();
                }
            }
        }
        .boxed()
    }

    fn abort(&self) {
        if let Some(server) = self.server.lock().expect("no panic while locked").take() {
            server.task.abort();
        }
    }
}

impl Prober for GrpcCarrier {
    fn probe(&self, _from: &SiloId, silo: &SiloInfo, limit: Duration) -> BoxFuture<'static, Probe> {
        health::look(self.settings.clone(), silo.clone(), self.cluster.clone(), limit).boxed()
    }
}

impl Drop for GrpcCarrier {
    fn drop(&mut self) {
        self.abort();
    }
}

/// Writes an announcement into metadata.
fn announce(hello: &Hello, metadata: &mut MetadataMap) {
    let ascii = |text: String| text.parse().expect("digits and cluster names are ASCII");
    metadata.insert(PROTOCOL, ascii(hello.protocol.to_string()));
    metadata.insert(CLUSTER, ascii(hello.cluster.clone()));
    metadata.insert_bin(SILO_ID, MetadataValue::from_bytes(hello.silo_id.as_str().as_bytes()));
    metadata.insert(INCARNATION, ascii(hello.incarnation.to_string()));
}

/// Reads an announcement; a peer without `quark-protocol` is plain.
fn announced(metadata: &MetadataMap) -> Result<Option<Hello>> {
    let bad =
        |what: &str| Error::new(ErrorKind::Protocol, format!("metadata {what} is missing or cannot be read"));
    let Some(protocol) = metadata.get(PROTOCOL) else { return Ok(None) };
    let text = |name| metadata.get(name).and_then(|value| value.to_str().ok());
    let silo_id = metadata.get_bin(SILO_ID).and_then(|value| value.to_bytes().ok());
    let silo_id = silo_id.as_deref().and_then(|bytes| std::str::from_utf8(bytes).ok());
    Ok(Some(Hello {
        protocol: protocol.to_str().ok().and_then(|p| p.parse().ok()).ok_or_else(|| bad(PROTOCOL))?,
        cluster: text(CLUSTER).ok_or_else(|| bad(CLUSTER))?.to_owned(),
        silo_id: silo_id.and_then(|id| SiloId::new(id).ok()).ok_or_else(|| bad(SILO_ID))?,
        incarnation: text(INCARNATION).and_then(|n| n.parse().ok()).unwrap_or(0),
    }))
}

/// A refusal as the other side's status.
fn status_of(error: &Error) -> Status {
    let code = match error.kind() {
        ErrorKind::Unauthenticated => Code::Unauthenticated,
        ErrorKind::Unreachable | ErrorKind::NotRunning => Code::Unavailable,
        _ => Code::FailedPrecondition,
    };
    let mut status = Status::new(code, error.message());
    status.metadata_mut().insert(ERROR_CODE, error.kind().number().into());
    status
}

/// What the other side's status means; `otherwise` when it is no refusal of Quark's.
fn error_of(status: &Status, otherwise: ErrorKind) -> Error {
    let number = status.metadata().get(ERROR_CODE).and_then(|value| value.to_str().ok());
    let refusal = number.and_then(|text| text.parse().ok()).and_then(ErrorKind::from_number);
    let kind = match (refusal, status.code()) {
        (Some(kind), _) => kind,
        (None, Code::Unauthenticated | Code::PermissionDenied) => ErrorKind::Unauthenticated,
        (None, Code::OutOfRange | Code::InvalidArgument) => ErrorKind::Protocol,
        (None, _) => otherwise,
    };
    let mut message =
        if status.message().is_empty() { status.code().to_string() } else { status.message().to_owned() };
    append_sources(&mut message, std::error::Error::source(status));
    Error::new(kind, message)
}

/// tonic says "transport error" and keeps the reason in the sources.
fn append_sources(message: &mut String, mut source: Option<&(dyn std::error::Error + 'static)>) {
    while let Some(error) = source {
        let text = error.to_string();
        if !message.contains(&text) {
            message.push_str(": ");
            message.push_str(&text);
        }
        source = error.source();
    }
}
