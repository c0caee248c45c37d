//! Accepting: the one method of the service, written by hand because generated code would bring more than it does.

use std::convert::Infallible;
use std::future::{Ready, ready};
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures_util::Stream;
use futures_util::future::BoxFuture;
use tokio::net::{TcpListener, TcpStream};
use tonic::body::Body;
use tonic::server::StreamingService;
use tonic::{Status, Streaming};

use super::client::poll_message;
use super::codec::EnvelopeCodec;
use super::connections::{self, Prepare, Remote};
use super::pacing::Paced;
use super::socket::Socket;
use super::{FRAME_BYTES, PATH, Settings, announce, announced, health, status_of};
use crate::endpoint::Endpoint;
use crate::error::{Error, ErrorKind, Result};
use crate::parcel::Parcel;
use crate::telemetry::{LINK, Seldom};
use crate::tls::{Credentials, Proof};
use crate::transport::carrier::{Accept, Inbound};
use crate::transport::link::Outgoing;

/// Streams that a connection may have reset for an error of the peer's before it is closed. h2 has 1,024; a client that
/// does not know `max_streams` yet may open a hundred at first.
const MAX_ERROR_RESETS: usize = 256;

/// Binds the listening socket; the endpoint has the real port.
pub(super) async fn bind(at: &Endpoint) -> Result<(Endpoint, TcpListener)> {
    let failed = |error: io::Error| match error.kind() {
        io::ErrorKind::AddrInUse => {
            Error::new(ErrorKind::AddressInUse, format!("listen={at}: the address is taken"))
        }
        _ => Error::invalid("listen", at, &error.to_string()),
    };
    let listener = TcpListener::bind((at.host(), at.port())).await.map_err(failed)?;
    let port = listener.local_addr().map_err(failed)?.port();
    Ok((at.with_port(port), listener))
}

/// Serves until the signal; then waits for the open streams.
pub(super) async fn serve(
    settings: Settings,
    listener: TcpListener,
    accept: Arc<dyn Accept>,
    signal: tokio::sync::oneshot::Receiver<()>,
) {
    let served = tonic::transport::Server::builder()
        .initial_stream_window_size(settings.window())
        .initial_connection_window_size(settings.connection_window)
        .max_frame_size(FRAME_BYTES)
        .max_concurrent_streams(settings.max_streams)
        .http2_max_header_list_size(settings.max_metadata)
        .http2_max_local_error_reset_streams(Some(MAX_ERROR_RESETS))
        .http2_keepalive_interval(Some(settings.probe_interval))
        .http2_keepalive_timeout(Some(settings.probe_timeout))
        .serve_with_incoming_shutdown(
            Service { settings: settings.clone(), accept, refusals: Arc::default() },
            connections::connections(listener, settings.limits, Greeting(settings.tls)),
            async {
                let _ = signal.await;
            },
        )
        .await;
    if let Err(error) = served {
        tracing::error!(target: LINK, %error, "the listener failed");
    }
}

/// What comes before HTTP/2: the handshake of TLS, where there are certificates.
struct Greeting(Option<Arc<Credentials>>);

impl Prepare for Greeting {
    type Io = Socket;
    type Identity = Proof;

    async fn prepare(&self, socket: TcpStream) -> io::Result<(Socket, Proof)> {
        let Some(credentials) = &self.0 else { return Ok((Socket::plain(socket), Proof::Plaintext)) };
        match credentials.accept(socket).await {
            Ok((stream, proof)) => Ok((Socket::tls(stream), proof)),
            Err(failed) => Err(io::Error::other(Error::from(failed))),
        }
    }
}

#[derive(Clone)]
struct Service {
    settings: Settings,
    accept: Arc<dyn Accept>,
    refusals: Arc<Seldom>,
}

impl tower_service::Service<http::Request<Body>> for Service {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let Self { settings, accept, refusals } = self.clone();
        Box::pin(async move {
            let Some(remote) = request.extensions().get::<Remote<Proof>>().cloned() else {
                return Ok(Status::internal("a request without a connection").into_http());
            };
            answer(&settings, accept, &remote.identity, request, &refusals, || remote.has_asked()).await
        })
    }
}

/// Answers a request of whoever proved to be that; `makes_sense` is told when it is one that can be answered.
pub(super) async fn answer(
    settings: &Settings,
    accept: Arc<dyn Accept>,
    proof: &Proof,
    request: http::Request<Body>,
    refusals: &Arc<Seldom>,
    makes_sense: impl FnOnce(),
) -> Result<http::Response<Body>, Infallible> {
    let is_health = health::is_health(request.uri().path());
    if !is_health && request.uri().path() != PATH {
        let message = "Quark serves quark.QuarkTransport/ActorStream and grpc.health.v1.Health only";
        return Ok(Status::unimplemented(message).into_http());
    }
    makes_sense();
    if is_health {
        return health::answer(&*accept, request).await;
    }
    let mut grpc = tonic::server::Grpc::new(EnvelopeCodec).max_decoding_message_size(settings.max_message);
    let stream = ActorStream { accept, proof: proof.clone(), refusals: refusals.clone() };
    Ok(grpc.streaming(stream, request).await)
}

struct ActorStream {
    accept: Arc<dyn Accept>,
    proof: Proof,
    refusals: Arc<Seldom>,
}

impl StreamingService<Parcel> for ActorStream {
    type Response = Parcel;
    type ResponseStream = Answers;
    type Future = Ready<Result<tonic::Response<Answers>, Status>>;

    fn call(&mut self, request: tonic::Request<Streaming<Parcel>>) -> Self::Future {
        let accepted = announced(request.metadata()).and_then(|hello| self.accept.accept(hello, &self.proof));
        ready(match accepted {
            Err(error) => {
                match self.refusals.now() {
                    Some(others) => tracing::warn!(target: LINK, %error, others, "refused a peer"),
                    None => tracing::debug!(target: LINK, %error, "refused a peer"),
                }
                Err(status_of(&error))
            }
            Ok(accepted) => {
                let mut response = tonic::Response::new(Answers(Paced::new(
                    accepted.run(Box::pin(Asked(request.into_inner()))),
                )));
                announce(&self.accept.hello(), response.metadata_mut());
                Ok(response)
            }
        })
    }
}

/// What the dialling side sends.
struct Asked(Streaming<Parcel>);

impl Stream for Asked {
    type Item = Result<Inbound>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        poll_message(&mut self.0, cx)
    }
}

/// What we send on a stream that we accepted.
struct Answers(Paced<Outgoing>);

impl Stream for Answers {
    type Item = Result<Parcel, Status>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        Pin::new(&mut self.0).poll_next(cx).map(|next| next.map(Ok))
    }
}
