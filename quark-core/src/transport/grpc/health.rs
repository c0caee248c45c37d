//! The standard gRPC health service (`grpc.health.v1.Health`), for load balancers and orchestrators: SERVING, or NOT_SERVING
//! while the silo leaves or is cut off. By hand, because its two messages have one field each. The answer to a check
//! names the silo, in the metadata of a stream: that is how silos look at each other.

use std::convert::Infallible;
use std::future::{Ready, ready};
use std::io;
use std::marker::PhantomData;
use std::time::Duration;

use bytes::{Buf as _, BufMut as _};
use futures_util::future::BoxFuture;
use futures_util::stream::BoxStream;
use futures_util::{FutureExt as _, StreamExt as _};
use http::uri::PathAndQuery;
use prost::Message;
use tokio::sync::watch;
use tonic::body::Body;
use tonic::client::GrpcService;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::server::{ServerStreamingService, UnaryService};
use tonic::{Request, Response, Status};

use super::client::BoxError;
use super::socket::{self, NoSocket};
use super::{Settings, announce, announced, client};
use crate::probe::Probe;
use crate::silo_info::SiloInfo;
use crate::tls::NoHandshake;
use crate::transport::carrier::{Accept, Hello};

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
    accept: &dyn Accept,
    request: http::Request<Body>,
) -> BoxFuture<'static, Result<http::Response<Body>, Infallible>> {
    let health = Health { serving: accept.serving(), hello: accept.hello() };
    let mut grpc = tonic::server::Grpc::new(HealthCodec::new());
    async move {
        Ok(match request.uri().path() {
            CHECK => grpc.unary(health, request).await,
            _ => grpc.server_streaming(health, request).await,
        })
    }
    .boxed()
}

/// Looks who is at a silo's endpoint: connects, checks the health and reads the name.
pub(super) async fn look(settings: Settings, silo: SiloInfo, cluster: String, limit: Duration) -> Probe {
    let look = look_without_limit(&settings, &silo, &cluster);
    tokio::time::timeout(limit, look).await.unwrap_or(Probe::Silent)
}

async fn look_without_limit(settings: &Settings, silo: &SiloInfo, cluster: &str) -> Probe {
    let to = &silo.endpoint;
    let socket = match socket::open(settings, to, &silo.silo_id).await {
        Ok(socket) => socket,
        Err(no) => return seen(&no),
    };
    let Ok(channel) = client::channel(settings, to, socket).await else { return Probe::Silent };
    ask(tonic::client::Grpc::new(channel), silo, cluster).await
}

/// What it means for a probe that there is no connection.
pub(super) fn seen(no: &NoSocket) -> Probe {
    match no {
        NoSocket::NotConnected(error) if error.kind() == io::ErrorKind::ConnectionRefused => Probe::Refused,
        NoSocket::NotProved(NoHandshake::SomebodyElse(_)) => Probe::Refused,
        // To put out a silo for a date in a file would put out all of them.
        NoSocket::NotProved(NoHandshake::Expired(_)) => Probe::Answered,
        NoSocket::NotConnected(_) | NoSocket::NotProved(_) => Probe::Silent,
    }
}

/// Asks whoever is at the other end of a connection for the health and the name.
pub(super) async fn ask<T>(mut grpc: tonic::client::Grpc<T>, silo: &SiloInfo, cluster: &str) -> Probe
where
    T: GrpcService<Body>,
    T::ResponseBody: http_body::Body<Error: Into<BoxError>> + Send + 'static,
{
    let asked = async {
        grpc.ready().await.ok()?;
        let request = Request::new(HealthCheckRequest::default());
        let path = PathAndQuery::from_static(CHECK);
        grpc.unary::<_, HealthCheckResponse, _>(request, path, HealthCodec::new()).await.ok()
    };
    // Whatever comes, be it only the end of the connection, comes from a process that runs: a plain gRPC server knows
    // no health, an original silo has no name.
    let hello = asked.await.and_then(|response| announced(response.metadata()).ok().flatten());
    match hello {
        Some(hello) if hello.cluster != cluster => Probe::Refused,
        Some(hello) => Probe::answered_by(silo, &hello.silo_id, hello.incarnation),
        None => Probe::Answered,
    }
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct HealthCheckRequest {
    #[prost(string, tag = "1")]
    service: String,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct HealthCheckResponse {
    /// 1 SERVING, 2 NOT_SERVING.
    #[prost(int32, tag = "1")]
    status: i32,
}

impl HealthCheckResponse {
    fn new(is_serving: bool) -> Self {
        Self { status: if is_serving { 1 } else { 2 } }
    }
}

pub(super) struct Health {
    serving: watch::Receiver<bool>,
    hello: Hello,
}

impl Health {
    pub(super) fn check(request: &Request<HealthCheckRequest>) -> Result<(), Status> {
        let service = request.get_ref().service.as_str();
        if SERVICES.contains(&service) {
            return Ok(());
        }
        Err(Status::not_found(format!("there is no such service here, only {:?}", SERVICES[1])))
    }
}

impl UnaryService<HealthCheckRequest> for Health {
    type Response = HealthCheckResponse;
    type Future = Ready<Result<Response<HealthCheckResponse>, Status>>;

    fn call(&mut self, request: Request<HealthCheckRequest>) -> Self::Future {
        let is_serving = *self.serving.borrow();
        ready(Self::check(&request).map(|()| {
            let mut response = Response::new(HealthCheckResponse::new(is_serving));
            announce(&self.hello, response.metadata_mut());
            response
        }))
    }
}

impl ServerStreamingService<HealthCheckRequest> for Health {
    type Response = HealthCheckResponse;
    type ResponseStream = BoxStream<'static, Result<HealthCheckResponse, Status>>;
    type Future = Ready<Result<Response<Self::ResponseStream>, Status>>;

    fn call(&mut self, request: Request<HealthCheckRequest>) -> Self::Future {
        let mut serving = self.serving.clone();
        serving.mark_changed();
        let changes = futures_util::stream::unfold(serving, |mut serving| async move {
            serving.changed().await.ok()?;
            let is_serving = *serving.borrow_and_update();
            Some((Ok(HealthCheckResponse::new(is_serving)), serving))
        });
        ready(Self::check(&request).map(|()| Response::new(changes.boxed())))
    }
}

/// Encodes messages of one kind and decodes those of another.
struct HealthCodec<E, D>(PhantomData<fn(E) -> D>);

impl<E, D> HealthCodec<E, D> {
    fn new() -> Self {
        Self(PhantomData)
    }
}

impl<E: Message + 'static, D: Message + Default + 'static> Codec for HealthCodec<E, D> {
    type Encode = E;
    type Decode = D;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self::new()
    }

    fn decoder(&mut self) -> Self {
        Self::new()
    }
}

impl<E: Message, D> Encoder for HealthCodec<E, D> {
    type Item = E;
    type Error = Status;

    fn encode(&mut self, message: E, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        buffer.put(message.encode_to_vec().as_slice());
        Ok(())
    }
}

impl<E, D: Message + Default> Decoder for HealthCodec<E, D> {
    type Item = D;
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<D>, Status> {
        let bytes = buffer.copy_to_bytes(buffer.remaining());
        D::decode(bytes)
            .map(Some)
            .map_err(|error| Status::invalid_argument(format!("not of the health service: {error}")))
    }
}
