//! Clusters for tests: members with real endpoints over any provider, and waiting for what their views show.

use std::net::TcpListener;
use std::ops::Deref;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use quark_core::{
    Endpoint, Membership, MembershipConfig, MembershipUrl, Result, Role, SiloId, SiloInfo, View,
};

/// How long a test waits for what must happen. Far above what it takes, for machines that are busy.
pub(crate) const LIMIT: Duration = Duration::from_secs(20);

/// The provider under test.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Kind {
    Redis,
    Gossip,
    Memory,
    Static,
}

/// A cluster of its own for one test.
pub(crate) struct Cluster {
    kind: Kind,
    /// Redis, or the name of the memory.
    place: String,
    /// Where the gossip of earlier members listens.
    seeds: Vec<String>,
    pub(crate) config: MembershipConfig,
}

impl Cluster {
    pub(crate) fn new(kind: Kind) -> Self {
        match kind {
            Kind::Redis => Self::at(kind, redis_url()),
            _ => Self::at(kind, unique("place")),
        }
    }

    /// A cluster in this Redis.
    pub(crate) fn in_redis(url: &str) -> Self {
        Self::at(Kind::Redis, url.to_owned())
    }

    fn at(kind: Kind, place: String) -> Self {
        let mut config = MembershipConfig::default();
        config.cluster = unique("test");
        config.ttl = Duration::from_millis(1_500);
        config.heartbeat = Duration::from_millis(300);
        config.missing_row_grace = Duration::from_millis(500);
        config.start_timeout = Duration::from_secs(5);
        config.probe_timeout = Duration::from_secs(1);
        config.gossip_interval = Duration::from_millis(100);
        Self { kind, place, seeds: Vec::new(), config }
    }

    /// Another cluster at the same place: the same Redis, the same gossip seeds, the same memory.
    pub(crate) fn neighbour(&self) -> Self {
        let mut config = self.config.clone();
        config.cluster = unique("test");
        Self { kind: self.kind, place: self.place.clone(), seeds: self.seeds.clone(), config }
    }

    pub(crate) fn url(&self) -> MembershipUrl {
        let url = match self.kind {
            Kind::Redis => self.place.clone(),
            Kind::Memory => format!("memory://{}", self.place),
            Kind::Static => "static://".to_owned(),
            Kind::Gossip => {
                let seeds = self.seeds.iter().map(|seed| format!("seed={seed}")).collect::<Vec<_>>();
                format!("gossip://127.0.0.1:0?{}", seeds.join("&"))
            }
        };
        url.parse().expect("the URL of a test is right")
    }

    pub(crate) fn handle(&self) -> Membership {
        Membership::new(&self.url(), self.config.clone()).expect("the configuration of a test is right")
    }

    pub(crate) async fn member(&mut self, id: &str) -> Member {
        self.try_member(info(id, &listener())).await.expect("the silo starts")
    }

    /// Starts a silo with this information; `listener` is not its business then.
    pub(crate) async fn try_start(&mut self, info: SiloInfo) -> Result<(Membership, u64)> {
        let id = info.silo_id.clone();
        let membership = self.handle();
        let incarnation = membership.start(Role::Member(info)).await?;
        let own = membership.silo(id.as_str()).expect("a silo sees itself");
        self.seeds.extend(own.labels.get("quark.gossip").cloned());
        Ok((membership, incarnation))
    }

    /// Starts a silo that listens where `info` says.
    pub(crate) async fn try_member(&mut self, (info, listener): (SiloInfo, Listening)) -> Result<Member> {
        let (membership, incarnation) = self.try_start(info.clone()).await?;
        Ok(Member { membership, incarnation, endpoint: info.endpoint, _listener: listener })
    }

    pub(crate) async fn observer(&self) -> Membership {
        let membership = self.handle();
        let incarnation =
            membership.start(Role::Observer(SiloId::new_client())).await.expect("the client starts");
        assert_eq!(incarnation, 0);
        membership
    }
}

/// A silo as far as membership goes: it takes part, and its endpoint answers.
pub(crate) struct Member {
    pub(crate) membership: Membership,
    pub(crate) incarnation: u64,
    pub(crate) endpoint: Endpoint,
    _listener: Listening,
}

impl Member {
    /// It is gone without a word, and its endpoint with it.
    pub(crate) fn crash(self) {}

    /// It lives, and its endpoint is gone.
    pub(crate) fn deaf(self) -> Membership {
        self.membership
    }
}

impl Deref for Member {
    type Target = Membership;
    fn deref(&self) -> &Membership {
        &self.membership
    }
}

/// An endpoint at which a process answers, for as long as somebody holds it.
#[derive(Clone)]
pub(crate) struct Listening(Arc<TcpListener>);

impl Deref for Listening {
    type Target = TcpListener;
    fn deref(&self) -> &TcpListener {
        &self.0
    }
}

pub(crate) fn listener() -> Listening {
    let listener = TcpListener::bind("127.0.0.1:0").expect("loopback has a free port");
    listener.set_nonblocking(true).expect("it is a socket");
    let listener = Arc::new(listener);
    let held = Arc::downgrade(&listener);
    std::thread::spawn(move || {
        // Hanging up is an answer.
        while let Some(listener) = held.upgrade() {
            while listener.accept().is_ok() {}
            drop(listener);
            std::thread::sleep(Duration::from_millis(2));
        }
    });
    Listening(listener)
}

/// A silo of this id that listens on `listener`, with the listener.
pub(crate) fn info(id: &str, listener: &Listening) -> (SiloInfo, Listening) {
    let address = listener.local_addr().expect("it is bound");
    let info = SiloInfo::new(id.parse().expect("a valid id"), address.into());
    (info, listener.clone())
}

/// Waits until the view is as it should be, and returns it.
pub(crate) async fn until(membership: &Membership, what: &str, holds: impl Fn(&View) -> bool) -> Arc<View> {
    let mut views = membership.watch();
    let waited = tokio::time::timeout(LIMIT, views.wait_for(|view| holds(view))).await;
    match waited {
        Ok(view) => view.expect("the handle lives").clone(),
        Err(_) => panic!("not within {LIMIT:?}: {what}; the view has {:?}", ids(&membership.view())),
    }
}

/// Waits until these silos are in the view, and no other.
pub(crate) async fn sees(membership: &Membership, expected: &[&str]) -> Arc<View> {
    until(membership, &format!("the view has {expected:?}"), |view| ids(view) == expected).await
}

/// Waits until `check` gives something, asking again and again.
pub(crate) async fn eventually<T, F: Future<Output = Option<T>>>(what: &str, check: impl Fn() -> F) -> T {
    let began = Instant::now();
    let mut ticks = tokio::time::interval(Duration::from_millis(20));
    while began.elapsed() < LIMIT {
        if let Some(found) = check().await {
            return found;
        }
        ticks.tick().await;
    }
    panic!("not within {LIMIT:?}: {what}")
}

pub(crate) fn ids(view: &View) -> Vec<&str> {
    view.silos().map(|info| info.silo_id.as_str()).collect()
}

fn unique(prefix: &str) -> String {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let nanos = std::time::SystemTime::UNIX_EPOCH.elapsed().expect("it is after 1970").as_nanos();
    format!("{prefix}-{}-{nanos}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed))
}

/// The Redis that the environment names.
pub(crate) fn redis_url() -> String {
    std::env::var("QUARK_TEST_REDIS").expect(
        "QUARK_TEST_REDIS is not set: these tests need a Redis server, such as QUARK_TEST_REDIS=redis://127.0.0.1:6379",
    )
}

/// A connection to see what is really in Redis.
pub(crate) async fn raw(url: &str) -> redis::aio::MultiplexedConnection {
    let client = redis::Client::open(url).expect("a valid URL");
    client
        .get_multiplexed_async_connection()
        .await
        .unwrap_or_else(|error| panic!("no Redis at {url}: {error}"))
}

/// A Redis server of the test's own, which it may flush, stop and start again.
pub(crate) struct OwnRedis {
    port: u16,
    process: Child,
}

impl OwnRedis {
    pub(crate) async fn start() -> Self {
        let port = listener().local_addr().expect("it is bound").port();
        Self::start_at(port).await
    }

    async fn start_at(port: u16) -> Self {
        let binary = std::env::var("QUARK_TEST_REDIS_SERVER").unwrap_or_else(|_| "redis-server".to_owned());
        let process = Command::new(&binary)
            .args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"])
            .stdout(Stdio::null())
            .spawn()
            .unwrap_or_else(|error| panic!("cannot run {binary} (QUARK_TEST_REDIS_SERVER): {error}"));
        let server = Self { port, process };
        eventually("the Redis server answers", || async {
            let client = redis::Client::open(server.url()).expect("a valid URL");
            client.get_multiplexed_async_connection().await.ok()
        })
        .await;
        server
    }

    pub(crate) fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// Kills it and starts an empty one at the same port.
    pub(crate) async fn restart(mut self) -> Self {
        self.kill();
        Self::start_at(self.port).await
    }

    pub(crate) fn kill(&mut self) {
        self.process.kill().expect("it is ours");
        self.process.wait().expect("it is ours");
    }
}

impl Drop for OwnRedis {
    fn drop(&mut self) {
        self.kill();
    }
}
