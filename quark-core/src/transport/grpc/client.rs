//! Dialling: one HTTP/2 connection with the one stream on it.

use std::future::{Ready, ready};
use std::io;
use std::pin::Pin;
use std::task::{self, Context, Poll};

use futures_util::Stream;
use futures_util::future::BoxFuture;
use http::uri::PathAndQuery;
use hyper_util::rt::TokioIo;
use tonic::Streaming;
use tonic::body::Body;
use tonic::client::GrpcService;
use tonic::transport::Channel;

use super::codec::EnvelopeCodec;
use super::pacing::Paced;
use super::socket::{self, Socket};
use super::{FRAME_BYTES, PATH, Settings, announce, announced, append_sources, error_of};
use crate::endpoint::Endpoint;
use crate::error::{Error, ErrorKind, Result};
use crate::parcel::Parcel;
use crate::transport::carrier::{Hello, Inbound, Incoming};
use crate::transport::link::Outgoing;

/// Connects to `to` and opens the stream.
pub(super) async fn dial(
    settings: Settings,
    to: Endpoint,
    hello: Hello,
    outgoing: Outgoing,
) -> Result<Incoming> {
    let socket = socket::open(&settings, &to, outgoing.peer()).await.map_err(|failed| failed.error(&to))?;
    let refusal = socket.refusal();
    let channel = channel(&settings, &to, socket).await?;
    let grpc = tonic::client::Grpc::new(channel);
    open(grpc, &settings, to.clone(), &hello, outgoing, move |error| refusal.or(&to, error)).await
}

/// Opens the stream on a connection. `explain` says what is known better of why it did not open.
pub(super) async fn open<T>(
    grpc: tonic::client::Grpc<T>,
    settings: &Settings,
    to: Endpoint,
    hello: &Hello,
    outgoing: Outgoing,
    explain: impl FnOnce(Error) -> Error + Send + 'static,
) -> Result<Incoming>
where
    T: GrpcService<Body, Future: Send> + Send + 'static,
    T::ResponseBody: http_body::Body<Error: Into<BoxError>> + Send + 'static,
    T::Error: std::fmt::Display,
{
    let mut grpc = grpc.max_decoding_message_size(settings.max_message);
    grpc.ready().await.map_err(|error| Error::new(ErrorKind::Unreachable, format!("{to}: {error}")))?;
    let mut request = tonic::Request::new(Paced::new(outgoing));
    announce(hello, request.metadata_mut());
    let opening = async move {
        let response = grpc.streaming(request, PathAndQuery::from_static(PATH), EnvelopeCodec).await;
        let response = response.map_err(|status| explain(error_of(&status, ErrorKind::Unreachable)))?;
        let hello = announced(response.metadata())?;
        Ok((hello, response.into_inner()))
    };
    Ok(Box::pin(Dialled::Opening(Box::pin(opening))))
}

/// HTTP/2 over a connection.
///
/// # Errors
/// `UNREACHABLE`.
pub(super) async fn channel(settings: &Settings, to: &Endpoint, socket: Socket) -> Result<Channel> {
    Channel::from_shared(format!("http://{to}"))
        .map_err(|error| unreachable(to, &error))?
        .initial_stream_window_size(settings.window())
        .initial_connection_window_size(settings.connection_window)
        .max_frame_size(FRAME_BYTES)
        .http2_keep_alive_interval(settings.probe_interval)
        .keep_alive_timeout(settings.probe_timeout)
        .keep_alive_while_idle(true)
        .connect_with_connector(Connected(Some(socket)))
        .await
        .map_err(|error| unreachable(to, &error))
}

pub(super) type BoxError = Box<dyn std::error::Error + Send + Sync>;

fn unreachable(to: &Endpoint, error: &dyn std::error::Error) -> Error {
    let mut message = format!("{to}: {error}");
    append_sources(&mut message, error.source());
    Error::new(ErrorKind::Unreachable, message)
}

/// Gives tonic the connection that is there. It would like to connect anew when that ends; a new link begins with a new look at
/// who is there.
struct Connected(Option<Socket>);

impl tower_service::Service<http::Uri> for Connected {
    type Response = TokioIo<Socket>;
    type Error = io::Error;
    type Future = Ready<io::Result<TokioIo<Socket>>>;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _to: http::Uri) -> Self::Future {
        ready(self.0.take().map(TokioIo::new).ok_or_else(|| io::ErrorKind::NotConnected.into()))
    }
}

/// The incoming half: the headers, then the messages.
enum Dialled {
    Opening(BoxFuture<'static, Result<(Option<Hello>, Messages)>>),
    Open(Messages),
}

type Messages = Streaming<Parcel>;

impl Stream for Dialled {
    type Item = Result<Inbound>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        match &mut *self {
            Self::Opening(opening) => match task::ready!(opening.as_mut().poll(cx)) {
                Ok((hello, messages)) => {
                    *self = Self::Open(messages);
                    Poll::Ready(Some(Ok(Inbound::Hello(hello))))
                }
                Err(error) => Poll::Ready(Some(Err(error))),
            },
            Self::Open(messages) => poll_message(messages, cx),
        }
    }
}

/// The next message of either direction.
pub(super) fn poll_message(
    messages: &mut Streaming<Parcel>,
    cx: &mut Context<'_>,
) -> Poll<Option<Result<Inbound>>> {
    Pin::new(messages).poll_next(cx).map(|next| {
        next.map(|message| match message {
            Ok(envelope) => Ok(Inbound::Envelope(envelope)),
            Err(status) => Err(error_of(&status, ErrorKind::ConnectionLost)),
        })
    })
}
