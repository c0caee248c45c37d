//! One contract for every carrier: the same suite runs over HTTP/2 with and without TLS, over HTTP/3, and over the
//! loopback inside a process.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use quark_certs::Folder;
use quark_core::{
    Delivered, Endpoint, Envelope, ErrorKind, Handler, Identity, LoopbackNetwork, Request, SiloInfo, Tls,
    Transport, TransportConfig, Transports,
};
use tokio::sync::Mutex;

const LIMIT: Duration = Duration::from_secs(20);

/// Replies with its name and the payload, or as the method says.
struct Named {
    name: &'static str,
    received: AtomicUsize,
    kept: std::sync::Mutex<Vec<Request>>,
    noted: std::sync::Mutex<Vec<String>>,
}

impl Handler for Named {
    fn handle(&self, mut request: Request) {
        self.received.fetch_add(1, Ordering::Relaxed);
        match request.method_name() {
            "drop" => drop(request),
            "fail" => request.fail("as asked").unwrap(),
            "note" => {
                let number = request.payload().split(|byte| *byte == b' ').next().unwrap();
                self.noted.lock().unwrap().push(String::from_utf8(number.to_vec()).unwrap());
            }
            "keep" => self.kept.lock().unwrap().push(request),
            "twice" => {
                request.reply("first").unwrap();
                assert_eq!(request.reply("second").unwrap_err().kind(), ErrorKind::InvalidArgument);
            }
            "empty" => request.reply("").unwrap(),
            _ => {
                let reply = [self.name.as_bytes(), b":", request.payload()].concat();
                request.reply(reply).unwrap();
            }
        }
    }
}

struct Host {
    transport: Transport,
    handler: Arc<Named>,
    speaks: Transports,
}

/// Makes transports of one network.
enum Network {
    Plain,
    /// With certificates.
    Safe(Transports, Certificates),
    Loopback(LoopbackNetwork),
}

/// An authority in a folder that goes with it.
struct Certificates {
    path: PathBuf,
    folder: Folder,
}

impl Certificates {
    fn new() -> Self {
        static NUMBER: AtomicUsize = AtomicUsize::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("quark-contract-{}-{number}", std::process::id()));
        let folder = Folder::new(&path);
        folder.create(time::Duration::days(1)).unwrap();
        Self { path, folder }
    }

    fn of(&self, name: &str) -> Tls {
        let identity = match name.starts_with("client:") {
            true => Identity::client("quark", "c").unwrap(),
            false => Identity::silo("quark", name).unwrap(),
        };
        let (certificate, key) = self.folder.issue(&identity, time::Duration::days(1)).unwrap();
        Tls::new(self.folder.authority()).certificate(certificate, key)
    }
}

impl Drop for Certificates {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.path);
    }
}

impl Network {
    async fn host(&self, name: &'static str) -> Host {
        self.host_at(name, Some("127.0.0.1:0".parse().unwrap()), TransportConfig::default()).await
    }

    async fn host_at(&self, name: &'static str, listen: Option<Endpoint>, config: TransportConfig) -> Host {
        let handler = Arc::new(Named {
            name,
            received: AtomicUsize::new(0),
            kept: std::sync::Mutex::default(),
            noted: std::sync::Mutex::default(),
        });
        let id = name.parse().unwrap();
        let config = self.adapt(name, config);
        let speaks = config.transport;
        let transport = match self {
            Self::Plain | Self::Safe(..) => Transport::new(id, listen, config, handler.clone()),
            Self::Loopback(network) => Transport::new_loopback(id, listen, config, handler.clone(), network),
        };
        let transport = transport.unwrap();
        transport.start().await.unwrap();
        Host { transport, handler, speaks }
    }

    /// The configuration as this network needs it.
    fn adapt(&self, name: &str, mut config: TransportConfig) -> TransportConfig {
        if let Self::Safe(transports, certificates) = self {
            config.transport = *transports;
            config.tls = Some(certificates.of(name));
        }
        config
    }

    /// Whether nobody has this endpoint's socket.
    fn is_free(&self, at: &Endpoint) -> bool {
        let at = (at.host(), at.port());
        match self {
            Self::Plain => std::net::TcpListener::bind(at).is_ok(),
            Self::Safe(transports, _) if transports.has_http3() => std::net::UdpSocket::bind(at).is_ok(),
            Self::Safe(..) => std::net::TcpListener::bind(at).is_ok(),
            Self::Loopback(_) => true,
        }
    }

    /// A host at the endpoint of one that has just been dropped, whose socket may take a moment to close.
    async fn host_again(&self, name: &'static str, at: &Endpoint) -> Host {
        let config = TransportConfig::default();
        let closed = async {
            while !self.is_free(at) {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        tokio::time::timeout(LIMIT, closed).await.expect("the old socket closes");
        self.host_at(name, Some(at.clone()), config).await
    }
}

/// Gives up connecting soon.
fn impatient() -> TransportConfig {
    let mut config = TransportConfig::default();
    config.connect_timeout = Duration::from_millis(100);
    config
}

impl Host {
    fn info(&self) -> SiloInfo {
        let (id, endpoint) =
            (self.transport.local_silo_id().clone(), self.transport.local_endpoint().unwrap());
        let mut info = SiloInfo::new(id, endpoint);
        info.transports = self.speaks;
        info
    }

    async fn ask(&self, target: &str, method: &str, payload: &str) -> quark_core::Result<String> {
        let request = Envelope::request("T", "1", method, payload.to_owned());
        let response = self.transport.send(target, request, LIMIT).await?;
        Ok(String::from_utf8(response.into_result()?.to_vec()).unwrap())
    }
}

macro_rules! contract {
    ($($name:ident)+) => {
        mod http2 { $(#[tokio::test] async fn $name() { super::$name(super::Network::Plain).await; })+ }
        mod http2_tls {
            $(#[tokio::test] async fn $name() {
                let certificates = super::Certificates::new();
                super::$name(super::Network::Safe(quark_core::Transports::HTTP2, certificates)).await;
            })+
        }
        mod http3 {
            $(#[tokio::test] async fn $name() {
                let certificates = super::Certificates::new();
                super::$name(super::Network::Safe(quark_core::Transports::HTTP3, certificates)).await;
            })+
        }
        mod loopback {
            $(#[tokio::test] async fn $name() {
                super::$name(super::Network::Loopback(quark_core::LoopbackNetwork::new())).await;
            })+
        }
    };
}

contract! {
    a_request_is_answered_once
    a_send_to_the_own_id_reaches_the_own_handler
    requests_travel_in_both_directions_on_one_stream
    a_transport_that_does_not_listen_gets_its_answers
    an_unknown_silo_is_unreachable_at_once
    a_silo_that_comes_later_is_reached_by_what_waits
    a_dropped_link_ends_what_was_sent_and_the_next_send_reconnects
    connecting_to_the_wrong_silo_says_who_is_there
    disconnecting_ends_what_was_not_sent
    disconnecting_from_a_linked_silo_forgets_it
    stopping_answers_what_came_in
    a_second_stop_has_no_effect_and_nothing_works_after_it
    a_full_outbox_waits_and_then_overloads
    a_taken_address_is_refused
    answers_of_many_requests_find_their_callers
    requests_to_one_actor_keep_their_order_beside_large_ones
}

async fn a_request_is_answered_once(network: Network) {
    let (a, b) = (network.host("a").await, network.host("b").await);
    a.transport.connect(&b.info()).await.unwrap();
    assert_eq!(a.ask("b", "", "x").await.unwrap(), "b:x");
    assert_eq!(a.ask("b", "empty", "x").await.unwrap(), "");
    assert_eq!(a.ask("b", "twice", "x").await.unwrap(), "first");
    let error = a.ask("b", "fail", "x").await.unwrap_err();
    assert_eq!((error.kind(), error.message()), (ErrorKind::HandlerFailed, "as asked"));
    let error = a.ask("b", "drop", "x").await.unwrap_err();
    assert_eq!((error.kind(), error.delivered()), (ErrorKind::HandlerFailed, Delivered::Yes));
    assert_eq!(b.handler.received.load(Ordering::Relaxed), 5);
}

async fn a_send_to_the_own_id_reaches_the_own_handler(network: Network) {
    let a = network.host("a").await;
    assert_eq!(a.ask("a", "", "x").await.unwrap(), "a:x");
    let error = a.ask("a", "drop", "x").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::HandlerFailed);
}

async fn requests_travel_in_both_directions_on_one_stream(network: Network) {
    let (a, b) = (network.host("a").await, network.host("b").await);
    a.transport.connect(&b.info()).await.unwrap();
    assert_eq!(a.ask("b", "", "1").await.unwrap(), "b:1");
    // b was never told where a is: the stream that a dialled serves both.
    assert_eq!(b.ask("a", "", "2").await.unwrap(), "a:2");
}

async fn a_transport_that_does_not_listen_gets_its_answers(network: Network) {
    let b = network.host("b").await;
    let client = network.host_at("client:1", None, TransportConfig::default()).await;
    assert!(client.transport.local_endpoint().is_none());
    client.transport.connect(&b.info()).await.unwrap();
    assert_eq!(client.ask("b", "", "x").await.unwrap(), "b:x");
}

async fn an_unknown_silo_is_unreachable_at_once(network: Network) {
    let a = network.host("a").await;
    let error = a.ask("nobody", "", "").await.unwrap_err();
    assert_eq!((error.kind(), error.delivered()), (ErrorKind::Unreachable, Delivered::No));
    assert!(error.message().contains("nobody"), "{error}");
}

async fn a_silo_that_comes_later_is_reached_by_what_waits(network: Network) {
    let a = network.host_at("a", None, impatient()).await;
    let early = network.host("b").await;
    let info = early.info();
    early.transport.stop(LIMIT).await;
    drop(early);
    assert_eq!(a.transport.connect(&info).await.unwrap_err().kind(), ErrorKind::Unreachable);
    let waiting = a.ask("b", "", "x");
    let later = network.host_again("b", &info.endpoint);
    let (reply, _b) = tokio::join!(waiting, later);
    assert_eq!(reply.unwrap(), "b:x");
}

async fn a_dropped_link_ends_what_was_sent_and_the_next_send_reconnects(network: Network) {
    let a = network.host("a").await;
    let b = network.host("b").await;
    let info = b.info();
    a.transport.connect(&info).await.unwrap();
    let b = Arc::new(Mutex::new(Some(b)));
    let killing = async {
        loop {
            let mut held = b.lock().await;
            if held.as_ref().unwrap().handler.received.load(Ordering::Relaxed) == 1 {
                // Dropped with the request kept: as if it crashed.
                let host = held.take().unwrap();
                let kept = std::mem::take(&mut *host.handler.kept.lock().unwrap());
                drop(host.transport);
                return kept;
            }
            drop(held);
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    let (ended, kept) = tokio::join!(a.ask("b", "keep", "x"), killing);
    let error = ended.unwrap_err();
    assert_eq!((error.kind(), error.delivered()), (ErrorKind::ConnectionLost, Delivered::Unknown));
    drop(kept);
    let again = network.host_again("b", &info.endpoint).await;
    assert_eq!(a.ask("b", "", "x").await.unwrap(), "b:x");
    drop(again);
}

async fn connecting_to_the_wrong_silo_says_who_is_there(network: Network) {
    let (a, b) = (network.host_at("a", None, impatient()).await, network.host("b").await);
    let mut info = b.info();
    info.silo_id = "c".parse().unwrap();
    let error = a.transport.connect(&info).await.unwrap_err();
    let certified = matches!(network, Network::Safe(..));
    let problem = if certified { "c was dialled, the certificate there is of silo b" } else { "is b, not c" };
    assert!(error.message().contains(problem), "{error}");
    assert_eq!(b.handler.received.load(Ordering::Relaxed), 0);
}

async fn disconnecting_ends_what_was_not_sent(network: Network) {
    let a = network.host_at("a", None, impatient()).await;
    let gone = network.host("b").await;
    let info = gone.info();
    gone.transport.stop(LIMIT).await;
    drop(gone);
    let _ = a.transport.connect(&info).await;
    let (ended, ()) = tokio::join!(a.ask("b", "", "x"), async {
        tokio::task::yield_now().await;
        a.transport.disconnect("b");
    });
    let error = ended.unwrap_err();
    assert_eq!((error.kind(), error.delivered()), (ErrorKind::Unreachable, Delivered::No));
}

async fn disconnecting_from_a_linked_silo_forgets_it(network: Network) {
    let (a, b) = (network.host("a").await, network.host("b").await);
    a.transport.connect(&b.info()).await.unwrap();
    assert_eq!(a.ask("b", "", "x").await.unwrap(), "b:x");
    a.transport.disconnect("b");
    assert_eq!(a.ask("b", "", "x").await.unwrap_err().kind(), ErrorKind::Unreachable);
    a.transport.connect(&b.info()).await.unwrap();
    assert_eq!(a.ask("b", "", "y").await.unwrap(), "b:y");
}

async fn stopping_answers_what_came_in(network: Network) {
    let (a, b) = (network.host("a").await, network.host("b").await);
    a.transport.connect(&b.info()).await.unwrap();
    let stopping = async {
        while b.handler.kept.lock().unwrap().is_empty() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        tokio::join!(b.transport.stop(LIMIT), async {
            tokio::time::sleep(Duration::from_millis(20)).await;
            let mut request = b.handler.kept.lock().unwrap().pop().unwrap();
            request.reply("late but in time").unwrap();
        });
    };
    let (reply, ()) = tokio::join!(a.ask("b", "keep", ""), stopping);
    assert_eq!(reply.unwrap(), "late but in time");
}

async fn a_second_stop_has_no_effect_and_nothing_works_after_it(network: Network) {
    let a = network.host("a").await;
    a.transport.stop(LIMIT).await;
    a.transport.stop(LIMIT).await;
    assert_eq!(a.ask("a", "", "").await.unwrap_err().kind(), ErrorKind::NotRunning);
    assert_eq!(a.transport.start().await.unwrap_err().kind(), ErrorKind::NotRunning);
}

async fn a_full_outbox_waits_and_then_overloads(network: Network) {
    let mut config = TransportConfig::default();
    config.max_pending = 1;
    let a = network.host_at("a", None, config).await;
    let b = network.host("b").await;
    a.transport.connect(&b.info()).await.unwrap();
    let short = Duration::from_millis(200);
    let first = a.transport.send("b", Envelope::request("T", "1", "keep", ""), LIMIT);
    let second = async {
        tokio::task::yield_now().await;
        let ended = a.transport.send("b", Envelope::request("T", "1", "", ""), short).await;
        let mut kept = loop {
            if let Some(kept) = b.handler.kept.lock().unwrap().pop() {
                break kept;
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        };
        kept.reply("done").unwrap();
        ended
    };
    let (first, second) = tokio::join!(first, second);
    let error = second.unwrap_err();
    assert_eq!(
        (error.kind(), error.delivered(), error.is_retryable()),
        (ErrorKind::Overloaded, Delivered::No, true)
    );
    assert_eq!(first.unwrap().into_result().unwrap(), "done");
    assert_eq!(a.ask("b", "", "x").await.unwrap(), "b:x", "there is room again");
}

async fn a_taken_address_is_refused(network: Network) {
    let a = network.host("a").await;
    let endpoint = a.transport.local_endpoint().unwrap();
    let nobody = Arc::new(Named {
        name: "b",
        received: AtomicUsize::new(0),
        kept: std::sync::Mutex::default(),
        noted: std::sync::Mutex::default(),
    });
    let config = network.adapt("b", TransportConfig::default());
    let second = match &network {
        Network::Plain | Network::Safe(..) => {
            Transport::new("b".parse().unwrap(), Some(endpoint.clone()), config, nobody)
        }
        Network::Loopback(network) => {
            Transport::new_loopback("b".parse().unwrap(), Some(endpoint.clone()), config, nobody, network)
        }
    };
    let error = second.unwrap().start().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::AddressInUse);
    assert!(error.message().contains(&endpoint.to_string()), "{error}");
}

async fn answers_of_many_requests_find_their_callers(network: Network) {
    let (a, b) = (network.host("a").await, network.host("b").await);
    a.transport.connect(&b.info()).await.unwrap();
    let asks = (0..3000).map(|i| {
        let a = &a;
        async move { (i, a.ask("b", "", &i.to_string()).await.unwrap()) }
    });
    for (i, reply) in futures_util::future::join_all(asks).await {
        assert_eq!(reply, format!("b:{i}"));
    }
}

async fn requests_to_one_actor_keep_their_order_beside_large_ones(network: Network) {
    let (a, b) = (network.host("a").await, network.host("b").await);
    a.transport.connect(&b.info()).await.unwrap();
    let numbers: Vec<String> = (0..2_000).map(|number| number.to_string()).collect();
    for (at, number) in numbers.iter().enumerate() {
        let weight = if at % 50 == 0 { 300 * 1024 } else { 10 };
        let mut request = Envelope::request("T", "1", "note", format!("{number} {}", "x".repeat(weight)));
        request.one_way = true;
        a.transport.send("b", request, LIMIT).await.unwrap();
    }
    let all = async {
        while b.handler.noted.lock().unwrap().len() < numbers.len() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(LIMIT, all).await.expect("all arrive");
    assert!(*b.handler.noted.lock().unwrap() == numbers, "in the order in which they were sent");
}
