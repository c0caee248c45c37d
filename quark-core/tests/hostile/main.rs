//! Row 23: strangers who send what no honest peer does. Each test has a silo in a process of its own, attacks it with raw
//! sockets, and meanwhile calls it on a link that must notice nothing.

mod floods;
mod http2;
mod limits;

use std::io::{BufRead as _, BufReader, Read as _};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use quark_core::{Client, Request, Silo};

const LIMIT: Duration = Duration::from_secs(30);
const CHILD: &str = "QUARK_TEST_ATTACKED";
/// What the silo may grow by under attack: buffers of its connections, and what an allocator keeps.
const MARGIN: usize = 24 << 20;

/// Also the program of the silo that is attacked.
#[test]
fn the_attacked_silo() {
    if std::env::var_os(CHILD).is_none() {
        return;
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let silo = Silo::builder("attacked")
            .membership("memory://attacked".parse().unwrap())
            .handler(|request: Request| async move { Ok(request.payload().clone()) })
            .configure(|config| {
                config.transport.handshake_timeout = Duration::from_secs(1);
                config.transport.max_connections = 60;
                config.transport.max_connections_per_address = 40;
                config.transport.max_metadata = 8 << 10;
                config.transport.max_streams = 4;
                config.transport.max_links_per_peer = 2;
                config.transport.connection_window = 1 << 20;
                config.transport.answer_capacity = 1 << 16;
            })
            .start()
            .await
            .unwrap();
        println!("\nendpoint={}", silo.endpoint());
        // Until the test has seen enough.
        tokio::task::spawn_blocking(|| std::io::stdin().read_to_end(&mut Vec::new())).await.unwrap().unwrap();
    });
}

/// A silo in a process of its own.
struct Attacked {
    child: Child,
    address: SocketAddr,
}

impl Attacked {
    fn start() -> Self {
        let this = std::env::current_exe().unwrap();
        let mut child = Command::new(this)
            .args(["the_attacked_silo", "--exact", "--nocapture"])
            .env(CHILD, "1")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let address =
            lines.map_while(Result::ok).find_map(|line| line.strip_prefix("endpoint=")?.parse().ok());
        Self { child, address: address.expect("the silo starts") }
    }

    /// Its memory, in bytes.
    fn memory(&self) -> usize {
        let pages = std::fs::read_to_string(format!("/proc/{}/statm", self.child.id())).unwrap();
        pages.split(' ').nth(1).unwrap().parse::<usize>().unwrap() * 4096
    }

    async fn client(&self) -> Client {
        let url = format!("static://attacked@{}", self.address);
        Client::builder().membership(url.parse().unwrap()).start().await.unwrap()
    }

    /// Attacks, each attack in a thread of its own, until all have ended; calls meanwhile.
    async fn under(&self, attacks: Vec<Box<dyn FnOnce(SocketAddr) + Send>>) {
        let client = self.client().await;
        client.call(("T", "1"), "", "warm").timeout(LIMIT).await.unwrap();
        let before = self.memory();
        let running: Vec<_> = attacks
            .into_iter()
            .map(|attack| {
                let address = self.address;
                tokio::task::spawn_blocking(move || attack(address))
            })
            .collect();
        let (mut calls, mut most, mut slowest, began) = (0, 0, Duration::ZERO, Instant::now());
        while !running.iter().all(tokio::task::JoinHandle::is_finished) || calls < 100 {
            let called = Instant::now();
            let reply = client.call(("T", "1"), "", "x").timeout(LIMIT).await;
            assert_eq!(reply.expect("others do not notice"), "x");
            slowest = slowest.max(called.elapsed());
            most = most.max(self.memory().saturating_sub(before));
            calls += 1;
            assert!(began.elapsed() < 2 * LIMIT, "an attack does not end");
        }
        for attack in running {
            attack.await.expect("the attack ended as it should");
        }
        println!("{calls} calls meanwhile, the slowest took {slowest:?}; {} KiB more", most >> 10);
        assert!(most < MARGIN, "{most} bytes more");
        assert!(slowest < Duration::from_secs(2), "{slowest:?}");
    }
}

impl Drop for Attacked {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
