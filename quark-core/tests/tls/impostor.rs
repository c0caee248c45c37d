//! Peers that have a certificate and lie: what they claim in metadata and in envelopes is held against it. They speak HTTP/2 by
//! themselves, since a transport does not lie.

use std::sync::Arc;

use bytes::{Buf as _, BufMut as _, Bytes};
use futures_util::StreamExt as _;
use hyper_util::rt::TokioIo;
use quark_core::{Envelope, EnvelopeKind, ErrorKind, Identity, Transports};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{DigitallySignedStruct, SignatureScheme};
use tokio::net::TcpStream;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::metadata::MetadataValue;
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Status, Streaming};

use crate::support::{Certificates, Host, LIMIT, but, silo_identity};

const PATH: &str = "/quark.QuarkTransport/ActorStream";
const DAY: time::Duration = time::Duration::days(1);

/// Whatever the server shows is good enough.
#[derive(Debug)]
pub(crate) struct Credulous;

impl ServerCertVerifier for Credulous {
    fn verify_server_cert(
        &self,
        _certificate: &CertificateDer<'_>,
        _between: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        _ocsp: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        let provider = rustls::crypto::ring::default_provider();
        provider.signature_verification_algorithms.supported_schemes()
    }
}

/// Bytes as they are.
struct Raw;

impl Codec for Raw {
    type Encode = Bytes;
    type Decode = Bytes;
    type Encoder = Self;
    type Decoder = Self;
    fn encoder(&mut self) -> Self {
        Self
    }
    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for Raw {
    type Item = Bytes;
    type Error = Status;
    fn encode(&mut self, item: Bytes, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        buffer.put(item);
        Ok(())
    }
}

impl Decoder for Raw {
    type Item = Bytes;
    type Error = Status;
    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, Status> {
        Ok(Some(buffer.copy_to_bytes(buffer.remaining())))
    }
}

/// Somebody with this certificate, or with none.
struct Peer {
    channel: Channel,
}

impl Peer {
    async fn connect(to: &Host, certificates: &Certificates, identity: Option<&Identity>) -> Self {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = rustls::ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])
            .unwrap()
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(Credulous));
        let mut config = match identity {
            None => builder.with_no_client_auth(),
            Some(identity) => {
                let (certificate, key) = certificates.files(identity, DAY);
                let chain = vec![CertificateDer::from_pem_file(certificate).unwrap()];
                builder.with_client_auth_cert(chain, PrivateKeyDer::from_pem_file(key).unwrap()).unwrap()
            }
        };
        config.alpn_protocols = vec![b"h2".to_vec()];
        let (to, config) = (to.endpoint(), Arc::new(config));
        let socket = TcpStream::connect((to.host(), to.port())).await.unwrap();
        let connector = tokio_rustls::TlsConnector::from(config);
        let name = ServerName::try_from("whoever").unwrap();
        let mut stream = Some(connector.connect(name, socket).await.unwrap());
        let connect = Once(stream.take().map(TokioIo::new));
        let channel = Endpoint::from_static("http://peer").connect_with_connector(connect).await.unwrap();
        Self { channel }
    }

    /// Opens a stream as a silo that announces itself by this id, or as a plain peer; says these, and gives what comes back.
    async fn stream(&self, id: Option<&str>, says: Vec<Envelope>) -> Result<Streaming<Bytes>, Status> {
        let mut grpc = tonic::client::Grpc::new(self.channel.clone());
        grpc.ready().await.unwrap();
        let says: Vec<_> = says.iter().map(Envelope::encode).collect();
        let mut request =
            Request::new(futures_util::stream::iter(says).chain(futures_util::stream::pending()));
        if let Some(id) = id {
            let metadata = request.metadata_mut();
            metadata.insert("quark-protocol", "1".parse().unwrap());
            metadata.insert("quark-cluster", "quark".parse().unwrap());
            metadata.insert("quark-incarnation", "1".parse().unwrap());
            metadata.insert_bin("quark-silo-id-bin", MetadataValue::from_bytes(id.as_bytes()));
        }
        let path = http::uri::PathAndQuery::from_static(PATH);
        let answers = grpc.streaming(request, path, Raw).await?;
        Ok(answers.into_inner())
    }

    /// The answer to one request.
    async fn ask(&self, id: Option<&str>, request: Envelope) -> quark_core::Result<String> {
        let mut answers = self.stream(id, vec![request]).await.unwrap();
        let answer = async {
            loop {
                let envelope = Envelope::decode(answers.next().await.unwrap().unwrap()).unwrap();
                if envelope.kind != EnvelopeKind::Control {
                    return envelope.into_result();
                }
            }
        };
        let answer = tokio::time::timeout(LIMIT, answer).await.unwrap()?;
        Ok(String::from_utf8(answer.to_vec()).unwrap())
    }
}

struct Once<S>(Option<S>);

impl<S> tower_service::Service<http::Uri> for Once<S> {
    type Response = S;
    type Error = std::io::Error;
    type Future = std::future::Ready<std::io::Result<S>>;

    fn poll_ready(&mut self, _cx: &mut std::task::Context<'_>) -> std::task::Poll<std::io::Result<()>> {
        std::task::Poll::Ready(Ok(()))
    }

    fn call(&mut self, _uri: http::Uri) -> Self::Future {
        std::future::ready(self.0.take().ok_or_else(|| std::io::ErrorKind::NotConnected.into()))
    }
}

fn request(origin: &str, hop_count: u32) -> Envelope {
    let mut request = Envelope::request("T", "1", "say", "hello").with_message_id("1");
    request.kind = EnvelopeKind::Request;
    request.origin = origin.into();
    request.hop_count = hop_count;
    request
}

#[tokio::test]
async fn nobody_announces_himself_by_an_id_that_his_certificate_does_not_name() {
    let certificates = Certificates::new(Transports::HTTP2);
    let anybody = but(certificates.silo("a"), |config| config.anonymous_clients = true);
    let a = Host::start("a", anybody).await;
    let client = Identity::client("quark", "dashboard").unwrap();
    for (identity, claimed) in [
        (Some(silo_identity("evil")), "b"),
        (Some(silo_identity("evil")), "client:1"),
        (Some(client), "b"),
        (None, "b"),
    ] {
        let peer = Peer::connect(&a, &certificates, identity.as_ref()).await;
        let status = peer.stream(Some(claimed), vec![request("", 0)]).await.unwrap_err();
        assert_eq!(status.code(), tonic::Code::Unauthenticated, "{identity:?} {claimed}");
        assert!(status.message().contains(&format!("claims to be silo {claimed}")), "{status}");
    }
    assert_eq!(a.heard(), 0);
}

#[tokio::test]
async fn nobody_speaks_for_another_origin() {
    let certificates = Certificates::new(Transports::HTTP2);
    let anybody = but(certificates.silo("a"), |config| config.anonymous_clients = true);
    let a = Host::start("a", anybody).await;
    let (b, client) = (silo_identity("b"), Identity::client("quark", "dashboard").unwrap());
    for (identity, id, origin, hops) in [
        (Some(&b), Some("b"), "c", 0),
        (Some(&b), None, "c", 0),
        (Some(&client), Some("client:1"), "b", 0),
        (Some(&client), Some("client:1"), "b", 1),
        (Some(&client), None, "b", 0),
        (None, None, "b", 0),
        (None, Some("client:1"), "client:2", 0),
    ] {
        let peer = Peer::connect(&a, &certificates, identity).await;
        let error = peer.ask(id, request(origin, hops)).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unauthenticated, "{identity:?} {id:?} {origin}");
        assert!(error.message().contains(origin), "{error}");
    }
    assert_eq!(a.heard(), 0);
}

#[tokio::test]
async fn a_silo_vouches_for_what_it_passes_on() {
    let certificates = Certificates::new(Transports::HTTP2);
    let a = Host::start("a", certificates.silo("a")).await;
    let peer = Peer::connect(&a, &certificates, Some(&silo_identity("b"))).await;
    assert_eq!(peer.ask(Some("b"), request("b", 0)).await.unwrap(), "a heard hello from b");
    assert_eq!(peer.ask(Some("b"), request("c", 1)).await.unwrap(), "a heard hello from c");
}
