//! Bodies: what a stream of HTTP/3 brings, as tonic reads it, and what tonic writes, onto a stream of HTTP/3.

use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf as _, Bytes};
use h3::error::{Code, StreamError};
use h3::{client, server};
use http::HeaderMap;
use http_body::{Body, Frame};
use quinn::Connection;

type Receiving = h3_quinn::RecvStream;
type Sending = h3_quinn::SendStream<Bytes>;

/// The receiving half of a stream.
pub(super) trait Receive: Unpin {
    fn poll_data(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Bytes>, StreamError>>;
    fn poll_trailers(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<HeaderMap>, StreamError>>;
}

/// The sending half.
pub(super) trait Send: std::marker::Send {
    fn data(&mut self, data: Bytes) -> impl Future<Output = Result<(), StreamError>> + std::marker::Send;
    fn trailers(
        &mut self,
        trailers: HeaderMap,
    ) -> impl Future<Output = Result<(), StreamError>> + std::marker::Send;
    fn finish(&mut self) -> impl Future<Output = Result<(), StreamError>> + std::marker::Send;
    fn cancel(&mut self);
}

macro_rules! halves {
    ($side:ident) => {
        impl Receive for $side::RequestStream<Receiving, Bytes> {
            fn poll_data(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Bytes>, StreamError>> {
                let data = ready!(self.poll_recv_data(cx))?;
                Poll::Ready(Ok(data.map(|mut data| data.copy_to_bytes(data.remaining()))))
            }

            fn poll_trailers(
                &mut self,
                cx: &mut Context<'_>,
            ) -> Poll<Result<Option<HeaderMap>, StreamError>> {
                self.poll_recv_trailers(cx)
            }
        }

        impl Send for $side::RequestStream<Sending, Bytes> {
            async fn data(&mut self, data: Bytes) -> Result<(), StreamError> {
                self.send_data(data).await
            }

            async fn trailers(&mut self, trailers: HeaderMap) -> Result<(), StreamError> {
                self.send_trailers(trailers).await
            }

            async fn finish(&mut self) -> Result<(), StreamError> {
                self.finish().await
            }

            fn cancel(&mut self) {
                self.stop_stream(Code::H3_REQUEST_CANCELLED);
            }
        }
    };
}

halves!(client);
halves!(server);

/// What a stream brings.
pub(super) struct Received<S> {
    stream: S,
    part: Part,
}

enum Part {
    Data,
    Trailers,
    End,
}

impl<S> Received<S> {
    pub(super) fn new(stream: S) -> Self {
        Self { stream, part: Part::Data }
    }
}

impl<S: Receive> Body for Received<S> {
    type Data = Bytes;
    type Error = StreamError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, StreamError>>> {
        let this = &mut *self;
        if matches!(this.part, Part::Data) {
            match ready!(this.stream.poll_data(cx)).transpose() {
                Some(data) => return Poll::Ready(Some(data.map(Frame::data))),
                None => this.part = Part::Trailers,
            }
        }
        if matches!(this.part, Part::Trailers) {
            let trailers = ready!(this.stream.poll_trailers(cx)).transpose();
            this.part = Part::End;
            return Poll::Ready(trailers.map(|trailers| trailers.map(Frame::trailers)));
        }
        Poll::Ready(None)
    }
}

/// Writes a body onto a stream, and ends the stream. When the connection ends it does not wait for the body: that may have
/// nothing to say for long.
pub(super) async fn send<B>(body: B, mut stream: impl Send, connection: Connection)
where
    B: Body<Data = Bytes>,
{
    let written = tokio::select! {
        biased;
        written = write(body, &mut stream) => written,
        _ = connection.closed() => return,
    };
    if written.is_err() {
        stream.cancel();
    }
}

/// # Errors
/// When the body has one, or the peer reads no more.
async fn write<B>(body: B, stream: &mut impl Send) -> Result<(), ()>
where
    B: Body<Data = Bytes>,
{
    let mut body = std::pin::pin!(body);
    while let Some(frame) = poll_fn(|cx| body.as_mut().poll_frame(cx)).await {
        match frame.map_err(drop)?.into_data() {
            Ok(data) => stream.data(data).await.map_err(drop)?,
            Err(frame) => {
                if let Ok(trailers) = frame.into_trailers() {
                    stream.trailers(trailers).await.map_err(drop)?;
                }
            }
        }
    }
    stream.finish().await.map_err(drop)
}
