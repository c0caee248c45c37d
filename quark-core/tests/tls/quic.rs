//! HTTP/3: who meets on what, and what holds where there is no kernel that closes connections.

use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration as Wait, Instant};

use bytes::Bytes;
use quark_core::{Envelope, ErrorKind, Identity, SiloInfo, Tls, Transports};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use time::Duration;

use crate::impostor::Credulous;
use crate::support::{Certificates, Host, LIMIT, but, not_made, plain, silo_identity, with};

const DAY: Duration = Duration::days(1);

/// A host that speaks these, and listens on TCP and on UDP accordingly. The other port may be another test's by chance, but
/// not again and again.
async fn speaking(certificates: &Certificates, id: &str, transports: Transports) -> Host {
    let mut taken = Vec::new();
    for _ in 0..5 {
        let host = Host::start(id, but(certificates.silo(id), |config| config.transport = transports)).await;
        let at = host.endpoint();
        taken.push([
            TcpListener::bind((at.host(), at.port())).is_err(),
            UdpSocket::bind((at.host(), at.port())).is_err(),
        ]);
        if taken.last() == Some(&[transports.has_http2(), transports.has_http3()]) {
            return host;
        }
    }
    panic!("{transports:?}: listens on TCP, on UDP: {taken:?}");
}

#[tokio::test]
async fn silos_meet_on_what_both_speak_or_are_told_that_there_is_nothing() {
    let certificates = Certificates::new(Transports::HTTP2);
    let old = speaking(&certificates, "old", Transports::HTTP2).await;
    let new = speaking(&certificates, "new", Transports::HTTP3).await;
    let both = speaking(&certificates, "both", Transports::BOTH).await;
    for (from, to) in [(&old, &both), (&both, &new), (&new, &both)] {
        from.connect(to).await.unwrap();
        assert_eq!(from.call(to, "hello").await.unwrap(), format!("{} heard hello from {}", to.id, from.id));
    }
    for (from, to, speaks, here) in [(&old, &new, "http3", "http2"), (&new, &old, "http2", "http3")] {
        let error = from.connect(to).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Incompatible);
        let message = format!("silo {} speaks {speaks}, this one speaks {here}: nothing in common", to.id);
        assert!(error.message().contains(&message), "{error}");
        assert_eq!(from.call(to, "hello").await.unwrap_err().kind(), ErrorKind::Incompatible);
    }
}

#[tokio::test]
async fn two_that_speak_both_meet_on_http3() {
    let certificates = Certificates::new(Transports::BOTH);
    let a = Host::start("a", certificates.silo("a")).await;
    let b = Host::start("b", certificates.silo("b")).await;
    let relay = UdpSocket::bind("127.0.0.1:0").unwrap();
    // Only UDP goes there: nobody listens on TCP.
    let mut info = SiloInfo::new("b".parse().unwrap(), relay.local_addr().unwrap().into());
    info.transports = Transports::BOTH;
    let connecting = a.transport.connect(&info);
    relay.set_read_timeout(Some(LIMIT)).unwrap();
    let first = tokio::task::spawn_blocking(move || {
        let mut datagram = [0; 2048];
        relay.recv_from(&mut datagram).map(|(length, _)| length)
    });
    let (_, first) = tokio::join!(connecting, first);
    assert!(first.unwrap().unwrap() >= 1200, "QUIC begins with a full datagram");
    a.transport.disconnect("b");
    a.connect(&b).await.unwrap();
}

#[test]
fn http3_needs_certificates() {
    let text = not_made("a", but(plain(), |config| config.transport = Transports::HTTP3));
    assert!(text.starts_with("transport=\"http3\": needs tls"), "{text}");
}

#[tokio::test]
async fn a_taken_udp_port_is_named() {
    let certificates = Certificates::new(Transports::BOTH);
    // Of a port that nobody has for TCP, which would be in the way first.
    let udp = || UdpSocket::bind("127.0.0.1:0").unwrap();
    let is_free_for_tcp = |udp: &UdpSocket| TcpListener::bind(udp.local_addr().unwrap()).is_ok();
    let taken = std::iter::repeat_with(udp).find(is_free_for_tcp).unwrap();
    let listen = taken.local_addr().unwrap().to_string();
    let error = Host::try_listening("a", &listen, certificates.silo("a")).await.err().unwrap();
    assert_eq!(error.kind(), ErrorKind::AddressInUse);
    assert!(error.message().contains(&listen) && error.message().contains("UDP port"), "{error}");
    assert!(TcpListener::bind(&listen).is_ok(), "nothing of it stays");
}

#[tokio::test]
async fn payloads_of_4_mib_and_10_000_calls_at_once_pass() {
    let certificates = Certificates::new(Transports::HTTP3);
    let a = Host::start("a", certificates.silo("a")).await;
    let b = Host::start("b", certificates.silo("b")).await;
    a.connect(&b).await.unwrap();
    // The answer has some words more.
    let (most, words) = (4 * 1024 * 1024, "b heard  from a".len());
    let request = Envelope::request("T", "1", "say", "x".repeat(most - words));
    let answer = a.transport.send("b", request, LIMIT).await.unwrap().into_result().unwrap();
    assert_eq!(answer.len(), most);
    assert_eq!(answer.iter().filter(|byte| **byte == b'x').count(), most - words);
    let request = Envelope::request("T", "1", "say", "x".repeat(most + 1));
    let error = a.transport.send("b", request, LIMIT).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::PayloadTooLarge);
    let calls = (0..10_000).map(|_| a.call(&b, "hello"));
    for answer in futures_util::future::join_all(calls).await {
        assert_eq!(answer.unwrap(), "b heard hello from a");
    }
}

#[tokio::test]
async fn a_silent_peer_is_given_up_and_what_it_was_asked_ends() {
    let certificates = Certificates::new(Transports::HTTP3);
    let hasty = |id: &str| {
        but(certificates.silo(id), |config| {
            config.probe_interval = Wait::from_millis(200);
            config.probe_timeout = Wait::from_millis(400);
        })
    };
    let a = Host::start("a", hasty("a")).await;
    let b = Host::start("b", hasty("b")).await;
    let wire = Wire::to(&b).await;
    let mut info = SiloInfo::new("b".parse().unwrap(), wire.endpoint.clone());
    info.transports = Transports::HTTP3;
    a.transport.connect(&info).await.unwrap();
    assert_eq!(a.call(&b, "hello").await.unwrap(), "b heard hello from a");
    // An idle link lives on.
    tokio::time::sleep(Wait::from_millis(1_500)).await;
    assert_eq!(wire.peers(), 1, "the same connection");
    wire.cut();
    let begun = Instant::now();
    let error = a.call(&b, "hello").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionLost);
    assert!(begun.elapsed() < Wait::from_secs(5), "{:?}", begun.elapsed());
}

/// Carries datagrams to a host and back, until it is cut.
struct Wire {
    endpoint: quark_core::Endpoint,
    cut: Arc<AtomicBool>,
    peers: Arc<Mutex<Vec<SocketAddr>>>,
    task: tokio::task::JoinHandle<()>,
}

impl Wire {
    async fn to(host: &Host) -> Self {
        let front = tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let back = tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let to = (host.endpoint().host().to_owned(), host.endpoint().port());
        back.connect((to.0.as_str(), to.1)).await.unwrap();
        let endpoint = front.local_addr().unwrap().into();
        let cut = Arc::<AtomicBool>::default();
        let peers = Arc::<Mutex<Vec<SocketAddr>>>::default();
        let (is_cut, seen) = (cut.clone(), peers.clone());
        let task = tokio::spawn(async move {
            let (mut there, mut back_again, mut peer) = ([0; 65536], [0; 65536], None);
            loop {
                let (read, out) = tokio::select! {
                    Ok((length, from)) = front.recv_from(&mut there) => {
                        peer = Some(from);
                        let mut seen = seen.lock().unwrap();
                        if !seen.contains(&from) {
                            seen.push(from);
                        }
                        (length, true)
                    }
                    Ok(length) = back.recv(&mut back_again) => (length, false),
                    else => return,
                };
                if is_cut.load(Ordering::Relaxed) {
                    continue;
                }
                match (out, peer) {
                    (true, _) => drop(back.send(&there[..read]).await),
                    (false, Some(peer)) => drop(front.send_to(&back_again[..read], peer).await),
                    (false, None) => {}
                }
            }
        });
        Self { endpoint, cut, peers, task }
    }

    fn cut(&self) {
        self.cut.store(true, Ordering::Relaxed);
    }

    fn peers(&self) -> usize {
        self.peers.lock().unwrap().len()
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// A QUIC client of the test's own.
async fn dial(
    to: &Host,
    certificates: &Certificates,
    identity: Option<&Identity>,
    alpn: &[u8],
) -> quinn::Connection {
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
    config.alpn_protocols = vec![alpn.to_vec()];
    let crypto = quinn::crypto::rustls::QuicClientConfig::try_from(config).unwrap();
    let endpoint = quinn::Endpoint::client("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = format!("{}", to.endpoint()).parse().unwrap();
    let connecting = endpoint.connect_with(quinn::ClientConfig::new(Arc::new(crypto)), address, "whoever");
    connecting.unwrap().await.unwrap()
}

/// The gRPC status of a stream that somebody opens who announces himself by this id.
async fn status_of(connection: quinn::Connection, id: &str) -> (String, String) {
    let (mut driver, mut requests) = h3::client::new(h3_quinn::Connection::new(connection)).await.unwrap();
    tokio::spawn(async move { driver.wait_idle().await });
    let id = tonic::metadata::MetadataValue::from_bytes(id.as_bytes());
    let request = http::Request::post("https://whoever/quark.QuarkTransport/ActorStream")
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .header("quark-protocol", "1")
        .header("quark-cluster", "quark")
        .header("quark-incarnation", "1")
        .header("quark-silo-id-bin", id.as_encoded_bytes())
        .body(())
        .unwrap();
    let mut stream = requests.send_request(request).await.unwrap();
    stream.send_data(Bytes::new()).await.unwrap();
    let answer = tokio::time::timeout(LIMIT, stream.recv_response()).await.unwrap().unwrap();
    let text = |name: &str| {
        let value = answer.headers().get(name).map(|value| value.to_str().unwrap().to_owned());
        value.unwrap_or_default()
    };
    (text("grpc-status"), text("grpc-message"))
}

#[tokio::test]
async fn nobody_announces_himself_over_http3_by_an_id_that_his_certificate_does_not_name() {
    let certificates = Certificates::new(Transports::HTTP3);
    let anybody = but(certificates.silo("a"), |config| config.anonymous_clients = true);
    let a = Host::start("a", anybody).await;
    let client = Identity::client("quark", "dashboard").unwrap();
    for (identity, claimed) in [
        (Some(silo_identity("evil")), "b"),
        (Some(silo_identity("evil")), "client:1"),
        (Some(client), "b"),
        (None, "b"),
    ] {
        let connection = dial(&a, &certificates, identity.as_ref(), b"h3").await;
        let (status, message) = status_of(connection, claimed).await;
        assert_eq!(status, "16", "{identity:?} {claimed}: {message}");
        assert!(message.contains("claims"), "{message}");
    }
    assert_eq!(a.heard(), 0);
}

#[tokio::test]
async fn connections_are_counted_and_those_that_ask_nothing_end_with_the_time_for_the_handshake() {
    let certificates = Certificates::new(Transports::HTTP3);
    let strict = but(certificates.silo("a"), |config| {
        config.max_connections_per_address = 2;
        config.handshake_timeout = Wait::from_secs(1);
    });
    let a = Host::start("a", strict).await;
    let impatient = but(certificates.silo("b"), |config| config.connect_timeout = Wait::from_millis(300));
    let b = Host::start("b", impatient).await;
    let first = dial(&a, &certificates, Some(&silo_identity("x")), b"h3").await;
    let second = dial(&a, &certificates, Some(&silo_identity("y")), b"h3").await;
    let error = b.connect(&a).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unreachable);
    assert!(error.message().contains("as many connections as it takes"), "{error}");
    for idle in [first, second] {
        let ended = tokio::time::timeout(LIMIT, idle.closed()).await.expect("it ends");
        assert!(matches!(ended, quinn::ConnectionError::ApplicationClosed(_)), "{ended}");
    }
    crate::support::until_connected(&b, &a).await;
}

#[tokio::test]
async fn a_peer_that_trusts_nobody_here_is_told_why_over_http3() {
    let certificates = Certificates::new(Transports::HTTP3);
    let a = Host::start("a", certificates.silo("a")).await;
    let nameless = with(Tls::new(certificates.authority()));
    let client = Host::start("client:1", but(nameless, |config| config.transport = Transports::HTTP3)).await;
    let error = client.connect(&a).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unauthenticated);
    assert!(error.message().contains(&a.endpoint().to_string()), "the other side is named: {error}");
}
