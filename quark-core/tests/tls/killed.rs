//! A process that is killed, over HTTP/3: no kernel closes its connections, so that others have to find out. The process is this
//! test's own program, started again.

use std::io::{BufRead as _, BufReader, Read as _};
use std::process::{Child, Command, Stdio};
use std::time::{Duration as Wait, Instant};

use quark_core::{Endpoint, Envelope, ErrorKind, SiloInfo, Tls, TransportConfig, Transports};

use crate::support::{Certificates, Host, LIMIT, but, silo_identity, with};

const CERTIFICATE: &str = "QUARK_TEST_KILLED_CERTIFICATE";
const KEY: &str = "QUARK_TEST_KILLED_KEY";
const AUTHORITY: &str = "QUARK_TEST_KILLED_AUTHORITY";
const LISTEN: &str = "QUARK_TEST_KILLED_LISTEN";
const DIAL: &str = "QUARK_TEST_KILLED_DIAL";

/// What QUIC alone would take: the time after which silence is enough.
const SILENCE: Wait = Wait::from_secs(5);

/// Silo b as a process of its own.
struct Process {
    child: Child,
    endpoint: Endpoint,
}

impl Process {
    /// Listens there, and dials silo a if told where it is.
    fn start(certificates: &Certificates, listen: &str, dial: Option<&Endpoint>) -> Self {
        // The same for each life.
        let (certificate, key) = certificates.folder().files(&silo_identity("b"));
        if !key.exists() {
            certificates.files(&silo_identity("b"), time::Duration::days(1));
        }
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", "killed::the_process", "--nocapture"]);
        command.env(CERTIFICATE, certificate).env(KEY, key).env(AUTHORITY, certificates.authority());
        command.env(LISTEN, listen).stdin(Stdio::piped()).stdout(Stdio::piped());
        if let Some(dial) = dial {
            command.env(DIAL, dial.to_string());
        }
        let mut child = command.spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let told = lines.map_while(Result::ok).find_map(|line| {
            let at = line.find("listens at ")?;
            line[at..].strip_prefix("listens at ")?.parse().ok()
        });
        Self { child, endpoint: told.expect("it says where it listens") }
    }

    fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    fn info(&self) -> SiloInfo {
        let mut info = SiloInfo::new("b".parse().unwrap(), self.endpoint.clone());
        info.transports = Transports::HTTP3;
        info
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What the process does; nothing when run as a test.
#[test]
fn the_process() {
    let Ok(certificate) = std::env::var(CERTIFICATE) else { return };
    let tls =
        Tls::new(std::env::var(AUTHORITY).unwrap()).certificate(certificate, std::env::var(KEY).unwrap());
    let config = but(with(tls), |config| config.transport = Transports::HTTP3);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let host = Host::try_listening("b", &std::env::var(LISTEN).unwrap(), config).await.unwrap();
        if let Ok(dial) = std::env::var(DIAL) {
            let mut info = SiloInfo::new("a".parse().unwrap(), dial.parse().unwrap());
            info.transports = Transports::HTTP3;
            host.transport.connect(&info).await.unwrap();
        }
        println!("listens at {}", host.endpoint());
        let waiting = tokio::task::spawn_blocking(|| std::io::stdin().read(&mut [0]));
        let _ = waiting.await;
    });
}

fn config(certificates: &Certificates) -> TransportConfig {
    but(certificates.silo("a"), |config| config.connect_timeout = Wait::from_millis(500))
}

async fn say(a: &Host) -> quark_core::Result<()> {
    let request = Envelope::request("T", "1", "say", "hello");
    a.transport.send("b", request, LIMIT).await?.into_result().map(drop)
}

/// Calls are made again and again; the first that fails says when that was noticed.
async fn until_noticed(a: &Host) -> Wait {
    let begun = Instant::now();
    let error = say(a).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionLost, "{error}");
    begun.elapsed()
}

#[tokio::test]
async fn a_killed_process_is_noticed_at_once_and_found_again_at_the_same_port() {
    let certificates = Certificates::new(Transports::HTTP3);
    let a = Host::start("a", config(&certificates)).await;
    let mut b = Process::start(&certificates, "127.0.0.1:0", None);
    a.transport.connect(&b.info()).await.unwrap();
    say(&a).await.unwrap();
    b.kill();
    let took = until_noticed(&a).await;
    // Linux tells those who send to a port that nobody listens at.
    let limit = if cfg!(target_os = "linux") { SILENCE / 2 } else { SILENCE * 2 };
    assert!(took < limit, "{took:?}");
    let error = a.transport.connect(&b.info()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unreachable);
    assert!(error.message().contains("refused"), "{error}");

    let mut again = Process::start(&certificates, &b.endpoint.to_string(), None);
    tokio::time::timeout(LIMIT, say(&a)).await.unwrap().unwrap();
    // One that takes the place of the dead at once resets what the dead had open.
    again.kill();
    let _third = Process::start(&certificates, &again.endpoint.to_string(), None);
    let took = until_noticed(&a).await;
    assert!(took < SILENCE / 2, "{took:?}");
    tokio::time::timeout(LIMIT, say(&a)).await.unwrap().unwrap();
}

// The process is waited for on one thread, while another answers it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_process_that_had_dialled_is_noticed_too() {
    let certificates = Certificates::new(Transports::HTTP3);
    let a = Host::start("a", config(&certificates)).await;
    let mut b = Process::start(&certificates, "127.0.0.1:0", Some(&a.endpoint()));
    say(&a).await.unwrap();
    b.kill();
    let took = until_noticed(&a).await;
    let limit = if cfg!(target_os = "linux") { SILENCE / 2 } else { SILENCE * 2 };
    assert!(took < limit, "{took:?}");
}
