//! The baseline: a bidirectional stream of the same envelopes on bare tonic, one future per request, and nothing else:
//! no routing, deadlines, bounded queues or counters.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures_util::{Stream, StreamExt as _};
use prost::Message as _;
use tokio::sync::mpsc;
use tokio_stream::wrappers::{TcpListenerStream, UnboundedReceiverStream};
use tonic::body::Body;
use tonic::codec::{BufferSettings, Codec, DecodeBuf, Decoder, EncodeBuf, Encoder, Streaming};
use tonic::{Request, Response, Status};

use crate::load::Load;
use crate::message::Echo;
use crate::meter::Meter;
use crate::until_dismissed;
use crate::waiting::Waiting;

const PATH: &str = "/quark.QuarkTransport/ActorStream";

/// HTTP/2 windows as large as Quark's, which matter for large payloads.
const WINDOW: u32 = 4 * 1024 * 1024;
/// Frames, unless they are of the smallest size, which is the default.
const FRAME: u32 = 256 * 1024;

pub(crate) fn frame_of(subject: &str) -> Option<u32> {
    (subject == "tonic-frames").then_some(FRAME)
}

#[derive(Clone, Copy)]
struct EchoCodec;

impl Codec for EchoCodec {
    type Encode = Echo;
    type Decode = Echo;
    type Encoder = Self;
    type Decoder = Self;
    fn encoder(&mut self) -> Self {
        *self
    }
    fn decoder(&mut self) -> Self {
        *self
    }
}

impl Encoder for EchoCodec {
    type Item = Echo;
    type Error = Status;
    fn encode(&mut self, item: Echo, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        item.encode(buffer).map_err(|error| Status::internal(error.to_string()))
    }
    fn buffer_settings(&self) -> BufferSettings {
        BufferSettings::default()
    }
}

impl Decoder for EchoCodec {
    type Item = Echo;
    type Error = Status;
    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<Echo>, Status> {
        Echo::decode(buffer).map(Some).map_err(|error| Status::internal(error.to_string()))
    }
    fn buffer_settings(&self) -> BufferSettings {
        BufferSettings::default()
    }
}

#[derive(Clone)]
struct Service;

impl tower_service::Service<http::Request<Body>> for Service {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;
    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }
    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        Box::pin(async move { Ok(tonic::server::Grpc::new(EchoCodec).streaming(EchoStream, request).await) })
    }
}

struct EchoStream;

impl tonic::server::StreamingService<Echo> for EchoStream {
    type Response = Echo;
    type ResponseStream = Pin<Box<dyn Stream<Item = Result<Echo, Status>> + Send>>;
    type Future = std::future::Ready<Result<Response<Self::ResponseStream>, Status>>;
    fn call(&mut self, request: Request<Streaming<Echo>>) -> Self::Future {
        let answers = request.into_inner().map(|echo| echo.map(Echo::answered));
        let answers: Self::ResponseStream = Box::pin(answers);
        std::future::ready(Ok(Response::new(answers)))
    }
}

pub(crate) async fn serve(frame: Option<u32>) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    println!("ready {}", listener.local_addr().expect("an address"));
    let connections = TcpListenerStream::new(listener).inspect(|connection| {
        if let Ok(stream) = connection {
            let _ = stream.set_nodelay(true);
        }
    });
    let server = tonic::transport::Server::builder()
        .initial_stream_window_size(WINDOW)
        .initial_connection_window_size(16 * WINDOW)
        .max_frame_size(frame)
        .serve_with_incoming(Service, connections);
    tokio::select! {
        served = server => served.expect("a server"),
        () = until_dismissed() => {}
    }
}

pub(crate) async fn call(load: Load, frame: Option<u32>) {
    let channel = tonic::transport::Endpoint::from_shared(format!("http://{}", load.address()));
    let channel = channel
        .expect("an address")
        .tcp_nodelay(true)
        .initial_stream_window_size(WINDOW)
        .initial_connection_window_size(16 * WINDOW)
        .max_frame_size(frame)
        .connect()
        .await
        .expect("a connection");
    let mut grpc = tonic::client::Grpc::new(channel);
    grpc.ready().await.expect("a connection");
    let (sender, receiver) = mpsc::unbounded_channel();
    let requests = Request::new(UnboundedReceiverStream::new(receiver));
    let path = http::uri::PathAndQuery::from_static(PATH);
    let mut answers = grpc.streaming(requests, path, EchoCodec).await.expect("a stream").into_inner();
    let waiting = Arc::new(Waiting::default());
    let completing = waiting.clone();
    tokio::spawn(async move {
        while let Ok(Some(echo)) = answers.message().await {
            completing.end(echo);
        }
        panic!("the stream ended");
    });
    let size = load.payload;
    let payload = Bytes::from(vec![7; size]);
    let call = move || {
        let (slot, answer) = waiting.begin();
        let sent = sender.send(Echo::request(slot, payload.clone()));
        async move {
            sent.expect("the stream is open");
            assert_eq!(answer.await.expect("an answer").response_payload.len(), size);
        }
    };
    Meter::new(load).run(call).await;
}
