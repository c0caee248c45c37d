//! The standard gRPC health service (`grpc.health.v1.Health`), for load balancers and orchestrators: SERVING, or NOT_SERVING
//! while the silo leaves or is cut off. By hand, because its two messages have one field each.

use std::convert::Infallible;
use std::future::{Ready, ready};

use bytes::{Buf as _, BufMut as _};
use futures_util::future::BoxFuture;
use futures_util::stream::BoxStream;
use futures_util::{FutureExt as _, StreamExt as _};
use prost::Message as _;
use tokio::sync::watch;
use tonic::body::Body;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::server::{ServerStreamingService, UnaryService};
use tonic::{Request, Response, Status};

const CHECK: &str = "/grpc.health.v1.Health/Check";
const WATCH: &str = "/grpc.health.v1.Health/Watch";
/// The services that may be asked for: the whole server, and the one that it has.
const SERVICES: [&str; 2] = ["", "quark.QuarkTransport"];

/// Whether a path is of this service.
pub(super) fn is_health(path: &str) -> bool {
    path == CHECK || path == WATCH
}

/// Answers a request whose path [`is_health`].
pub(super) fn answer(
    serving: watch::Receiver<bool>,
    request: http::Request<Body>,
) -> BoxFuture<'static, Result<http::Response<Body>, Infallible>> {
    let mut grpc = tonic::server::Grpc::new(HealthCodec);
    async move {
        Ok(match request.uri().path() {
            CHECK => grpc.unary(Health(serving), request).await,
            _ => grpc.server_streaming(Health(serving), request).await,
        })
    }
    .boxed()
}

#[derive(Clone, PartialEq, prost::Message)]
struct HealthCheckRequest {
    #[prost(string, tag = "1")]
    service: String,
}

#[derive(Clone, PartialEq, prost::Message)]
struct HealthCheckResponse {
    /// 1 SERVING, 2 NOT_SERVING.
    #[prost(int32, tag = "1")]
    status: i32,
}

impl HealthCheckResponse {
    fn new(is_serving: bool) -> Self {
        Self { status: if is_serving { 1 } else { 2 } }
    }
}

struct Health(watch::Receiver<bool>);

impl Health {
    fn check(request: &Request<HealthCheckRequest>) -> Result<(), Status> {
        let service = request.get_ref().service.as_str();
        if SERVICES.contains(&service) {
            return Ok(());
        }
        Err(Status::not_found(format!("there is no service {service:?} here")))
    }
}

impl UnaryService<HealthCheckRequest> for Health {
    type Response = HealthCheckResponse;
    type Future = Ready<Result<Response<HealthCheckResponse>, Status>>;

    fn call(&mut self, request: Request<HealthCheckRequest>) -> Self::Future {
        let is_serving = *self.0.borrow();
        ready(Self::check(&request).map(|()| Response::new(HealthCheckResponse::new(is_serving))))
    }
}

impl ServerStreamingService<HealthCheckRequest> for Health {
    type Response = HealthCheckResponse;
    type ResponseStream = BoxStream<'static, Result<HealthCheckResponse, Status>>;
    type Future = Ready<Result<Response<Self::ResponseStream>, Status>>;

    fn call(&mut self, request: Request<HealthCheckRequest>) -> Self::Future {
        let mut serving = self.0.clone();
        serving.mark_changed();
        let changes = futures_util::stream::unfold(serving, |mut serving| async move {
            serving.changed().await.ok()?;
            let is_serving = *serving.borrow_and_update();
            Some((Ok(HealthCheckResponse::new(is_serving)), serving))
        });
        ready(Self::check(&request).map(|()| Response::new(changes.boxed())))
    }
}

#[derive(Clone, Copy)]
struct HealthCodec;

impl Codec for HealthCodec {
    type Encode = HealthCheckResponse;
    type Decode = HealthCheckRequest;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for HealthCodec {
    type Item = HealthCheckResponse;
    type Error = Status;

    fn encode(&mut self, response: HealthCheckResponse, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        buffer.put(response.encode_to_vec().as_slice());
        Ok(())
    }
}

impl Decoder for HealthCodec {
    type Item = HealthCheckRequest;
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<HealthCheckRequest>, Status> {
        let bytes = buffer.copy_to_bytes(buffer.remaining());
        let request = HealthCheckRequest::decode(bytes);
        request.map(Some).map_err(|error| Status::invalid_argument(format!("not a health check: {error}")))
    }
}
