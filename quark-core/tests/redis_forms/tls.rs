//! TLS: the server is who it should be, or nothing is said to it.

use std::io::{Read as _, Write as _};
use std::process::Command;
use std::time::Duration;

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};

use crate::servers::{Folder, Server, binary, free_port};
use crate::support::{Cluster, LIMIT, eventually, sees};
use crate::{refused_at_once, refused_client};

/// A CA, with the file of its certificate.
struct Ca {
    issuer: Issuer<'static, KeyPair>,
    folder: Folder,
}

impl Ca {
    fn new(name: &str) -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let certificate = params.self_signed(&key).unwrap();
        let folder = Folder::new();
        folder.file("ca.pem", &certificate.pem());
        Self { issuer: Issuer::new(params, key), folder }
    }

    fn file(&self) -> String {
        self.folder.path().join("ca.pem").display().to_string()
    }

    /// Files with a certificate for this host and its key.
    fn certify(&self, host: &str) -> [String; 2] {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new([host.to_owned()]).unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        let files = [("server.pem", certificate.pem()), ("server.key", key.serialize_pem())];
        files.map(|(name, text)| self.folder.file(name, &text).display().to_string())
    }
}

/// A Redis with a port for TLS, where it is this host, beside the port over which the test tells it things.
struct TlsServer {
    server: Server,
    port: u16,
}

impl TlsServer {
    /// Nothing where the redis-server was built without TLS.
    async fn start(ca: &Ca, host: &str) -> Option<Self> {
        Self::start_with(ca, host, &[]).await
    }

    async fn start_with(ca: &Ca, host: &str, more: &[&str]) -> Option<Self> {
        if !has_tls() {
            left_out("tls: redis-server has no TLS");
            return None;
        }
        let (port, options) = options(ca, host);
        let arguments = options.iter().flat_map(|(name, value)| [format!("--{name}"), value.clone()]);
        let arguments: Vec<_> = arguments.chain(more.iter().map(|word| (*word).to_owned())).collect();
        let server = Server::start(&arguments.iter().map(String::as_str).collect::<Vec<_>>()).await;
        Some(Self { server, port })
    }

    fn url(&self, ca: &Ca) -> String {
        format!("rediss://127.0.0.1:{}?ca={}", self.port, ca.file())
    }
}

/// A free port, and the options that make a server speak TLS there.
fn options(ca: &Ca, host: &str) -> (u16, Vec<(&'static str, String)>) {
    let [certificate, key] = ca.certify(host);
    let port = free_port();
    let options = vec![
        ("tls-port", port.to_string()),
        ("tls-cert-file", certificate),
        ("tls-key-file", key),
        ("tls-ca-cert-file", ca.file()),
        ("tls-auth-clients", "no".to_owned()),
    ];
    (port, options)
}

/// One that was built without does not know the words. Port 0 twice is nothing to listen on, so it ends at once.
fn has_tls() -> bool {
    let folder = Folder::new();
    let config = folder.file("redis.conf", "port 0\ntls-port 0\ntls-auth-clients maybe\n");
    let said = Command::new(binary()).arg(&config).output().expect("redis-server runs");
    let said = String::from_utf8_lossy(&said.stdout).into_owned() + &String::from_utf8_lossy(&said.stderr);
    // Every build refuses the last line; one without TLS the second.
    said.contains("tls-auth-clients maybe")
}

/// Tells `cargo xtask test` of tests that left themselves out; it knows which may.
fn left_out(what: &str) {
    eprintln!("NOT RUN: {what}");
    if let Some(file) = std::env::var_os("QUARK_TEST_SKIPS") {
        let file = std::fs::OpenOptions::new().append(true).create(true).open(file);
        writeln!(file.expect("the file of skips can be written"), "{what}").expect("and is");
    }
}

#[tokio::test]
async fn silos_meet_over_tls_with_a_ca_of_ones_own() {
    let ca = Ca::new("ours");
    let Some(server) = TlsServer::start(&ca, "127.0.0.1").await else { return };
    meet_at(&server.url(&ca)).await;
}

async fn meet_at(url: &str) {
    let mut cluster = Cluster::in_redis(url);
    let (a, b) = (cluster.member("a").await, cluster.member("b").await);
    sees(&a, &["a", "b"]).await;
    b.stop().await.unwrap();
    sees(&a, &["a"]).await;
    assert_eq!(a.health().as_str(), "healthy");
}

#[tokio::test]
async fn silos_meet_over_tls_in_a_cluster() {
    let ca = Ca::new("ours");
    let more = ["--cluster-enabled", "yes", "--tls-cluster", "yes"];
    let Some(node) = TlsServer::start_with(&ca, "127.0.0.1", &more).await else { return };
    let slots: Vec<_> = (0..16_384).map(|slot| slot.to_string()).collect();
    node.server.tell(&format!("CLUSTER ADDSLOTS {}", slots.join(" "))).await;
    eventually("the cluster is well", || async {
        node.server.ask::<String>("CLUSTER INFO").await.contains("cluster_state:ok").then_some(())
    })
    .await;
    meet_at(&node.url(&ca).replace("rediss:", "rediss+cluster:")).await;
    let another = Ca::new("another");
    let url = node.url(&another).replace("rediss:", "rediss+cluster:");
    let error = refused_at_once(Cluster::in_redis(&url)).await;
    assert!(error.message().contains("certificate: UnknownIssuer"), "{error}");
}

#[tokio::test]
async fn silos_meet_over_tls_at_the_primary_that_sentinels_name_over_tls() {
    let ca = Ca::new("ours");
    let Some(primary) = TlsServer::start(&ca, "127.0.0.1").await else { return };
    let (port, options) = options(&ca, "127.0.0.1");
    let lines = options.iter().map(|(name, value)| format!("{name} {value}\n"));
    let lines = lines.collect::<String>() + "tls-replication yes";
    let _sentinel = Server::sentinel("service", primary.port, 60_000, &lines).await;
    let url = |ca: &Ca| format!("rediss+sentinel://127.0.0.1:{port}/service?ca={}", ca.file());
    meet_at(&url(&ca)).await;
    let error = refused_at_once(Cluster::in_redis(&url(&Ca::new("another")))).await;
    assert!(error.message().contains("certificate: UnknownIssuer"), "{error}");
}

#[tokio::test]
async fn a_server_that_another_ca_vouches_for_is_refused_at_once() {
    let ca = Ca::new("ours");
    let Some(server) = TlsServer::start(&ca, "127.0.0.1").await else { return };
    for url in [server.url(&Ca::new("another")), format!("rediss://127.0.0.1:{}", server.port)] {
        let error = refused_at_once(Cluster::in_redis(&url)).await;
        assert!(error.message().contains("certificate: UnknownIssuer"), "{error}");
        assert!(error.message().contains("?ca="), "it says what to do: {error}");
    }
}

#[tokio::test]
async fn a_server_of_another_name_is_refused_at_once() {
    let ca = Ca::new("ours");
    let Some(server) = TlsServer::start(&ca, "redis.test").await else { return };
    let error = refused_at_once(Cluster::in_redis(&server.url(&ca))).await;
    assert!(
        error.message().contains("not valid for name") && error.message().contains("redis.test"),
        "{error}"
    );
}

#[tokio::test]
async fn a_client_without_tls_is_told_that_the_port_wants_it() {
    let ca = Ca::new("ours");
    let Some(server) = TlsServer::start(&ca, "127.0.0.1").await else { return };
    let mut cluster = Cluster::in_redis(&format!("redis://127.0.0.1:{}", server.port));
    cluster.config.start_timeout = Duration::from_secs(1);
    let error = refused_client(&cluster).await;
    assert!(error.message().contains("TLS"), "{error}");
}

/// Needs no Redis with TLS: what is there speaks without.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_without_tls_is_refused_at_once_and_hears_nothing_in_plain_words() {
    let ca = Ca::new("ours");
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let heard = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        stream.set_read_timeout(Some(LIMIT)).unwrap();
        let mut first = vec![0; 4_096];
        let length = stream.read(&mut first).unwrap();
        first.truncate(length);
        stream.write_all(b"-ERR Protocol error\r\n").unwrap();
        // Whatever else comes, until it hangs up.
        let _ = stream.read_to_end(&mut first);
        first
    });
    let url = format!("rediss://ann:canary-s3cret@127.0.0.1:{port}?ca={}", ca.file());
    let error = refused_at_once(Cluster::in_redis(&url)).await;
    assert!(error.message().contains("corrupt message"), "{error}");
    let heard = heard.join().unwrap();
    assert_eq!(heard[..2], [0x16, 0x03], "a TLS handshake");
    for words in ["PING", "AUTH", "ann", "canary-s3cret"] {
        assert!(!heard.windows(words.len()).any(|window| window == words.as_bytes()), "{words}");
    }
}

#[test]
fn a_ca_that_cannot_be_read_is_an_invalid_argument() {
    let folder = Folder::new();
    let empty = folder.file("empty.pem", "nothing");
    for (ca, reason) in [("/nowhere/ca.pem", "No such file"), (empty.to_str().unwrap(), "no certificate")] {
        let url = format!("rediss://ann:canary-s3cret@127.0.0.1?ca={ca}").parse().unwrap();
        let error = quark_core::Membership::new(&url, Default::default()).err().unwrap();
        assert_eq!(error.kind(), quark_core::ErrorKind::InvalidArgument);
        assert!(error.message().contains("membership=") && error.message().contains(reason), "{error}");
        assert!(error.message().contains(ca) && !error.message().contains("canary-s3cret"), "{error}");
    }
}
