//! The baseline: a bidirectional stream of the same envelopes on bare tonic, one future per request, and nothing else:
//! no routing, deadlines, bounded queues or counters.

use std::cell::RefCell;
use std::convert::Infallible;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures_util::{Stream, StreamExt as _};
use prost::Message;
use tokio::sync::{mpsc, oneshot};
use tokio_stream::wrappers::{TcpListenerStream, UnboundedReceiverStream};
use tonic::body::Body;
use tonic::codec::{BufferSettings, Codec, DecodeBuf, Decoder, EncodeBuf, Encoder, Streaming};
use tonic::{Request, Response, Status};

use crate::meter::Meter;
use crate::{PAYLOAD, until_dismissed};

const PATH: &str = "/quark.QuarkTransport/ActorStream";

/// The fields that a call fills.
#[derive(Clone, PartialEq, Message)]
struct Echo {
    #[prost(string, tag = "1")]
    message_id: String,
    #[prost(string, tag = "2")]
    actor_id: String,
    #[prost(string, tag = "3")]
    actor_type: String,
    #[prost(string, tag = "4")]
    method_name: String,
    #[prost(bytes = "bytes", tag = "5")]
    payload: Bytes,
    #[prost(string, tag = "6")]
    correlation_id: String,
    #[prost(int64, tag = "7")]
    timestamp: i64,
    #[prost(bytes = "bytes", tag = "8")]
    response_payload: Bytes,
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
        let answers = request.into_inner().map(|echo| {
            echo.map(|mut echo| {
                echo.response_payload = std::mem::take(&mut echo.payload);
                echo
            })
        });
        let answers: Self::ResponseStream = Box::pin(answers);
        std::future::ready(Ok(Response::new(answers)))
    }
}

pub(crate) async fn serve() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    println!("ready {}", listener.local_addr().expect("an address"));
    let connections = TcpListenerStream::new(listener).inspect(|connection| {
        if let Ok(stream) = connection {
            let _ = stream.set_nodelay(true);
        }
    });
    let server = tonic::transport::Server::builder().serve_with_incoming(Service, connections);
    tokio::select! {
        served = server => served.expect("a server"),
        () = until_dismissed() => {}
    }
}

#[derive(Default)]
struct Waiting {
    slots: Vec<Option<oneshot::Sender<Echo>>>,
    free: Vec<usize>,
}

pub(crate) async fn call(address: &str, meter: Meter) {
    let channel = tonic::transport::Endpoint::from_shared(format!("http://{address}")).expect("an address");
    let channel = channel.tcp_nodelay(true).connect().await.expect("a connection");
    let mut grpc = tonic::client::Grpc::new(channel);
    grpc.ready().await.expect("a connection");
    let (sender, receiver) = mpsc::unbounded_channel();
    let requests = Request::new(UnboundedReceiverStream::new(receiver));
    let path = http::uri::PathAndQuery::from_static(PATH);
    let mut answers = grpc.streaming(requests, path, EchoCodec).await.expect("a stream").into_inner();
    let waiting = Rc::new(RefCell::new(Waiting::default()));
    let completing = waiting.clone();
    let read = async move {
        while let Ok(Some(echo)) = answers.message().await {
            let slot: usize = echo.message_id.parse().expect("an id of ours");
            let mut waiting = completing.borrow_mut();
            waiting.free.push(slot);
            let call = waiting.slots[slot].take().expect("one answer per request");
            drop(waiting);
            let _ = call.send(echo);
        }
    };
    let payload = Bytes::from(vec![7; PAYLOAD]);
    let measured = meter.run(move || {
        let (answered, answer) = oneshot::channel();
        let slot = {
            let mut waiting = waiting.borrow_mut();
            let slot = waiting.free.pop().unwrap_or_else(|| {
                waiting.slots.push(None);
                waiting.slots.len() - 1
            });
            waiting.slots[slot] = Some(answered);
            slot
        };
        let sent = sender.send(Echo {
            message_id: format!("{slot:032}"),
            actor_id: "device-0001234".into(),
            actor_type: "Device".into(),
            method_name: "Echo".into(),
            payload: payload.clone(),
            correlation_id: format!("{slot:032}"),
            timestamp: 1_790_000_000_000,
            response_payload: Bytes::new(),
        });
        async move {
            sent.expect("the stream is open");
            assert_eq!(answer.await.expect("an answer").response_payload.len(), PAYLOAD);
        }
    });
    tokio::select! {
        () = measured => {}
        () = read => panic!("the stream ended"),
    }
}
