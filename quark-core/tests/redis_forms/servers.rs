//! Redis servers of a test's own, alone or together: with sentinels, as a cluster, with TLS.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, FromRedisValue, RedisResult};

use crate::support::{LIMIT, eventually, listener};

/// A folder that is gone with its owner.
pub(crate) struct Folder(PathBuf);

impl Folder {
    pub(crate) fn new() -> Self {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let name =
            format!("quark-test-redis-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let path = std::env::temp_dir().join(name);
        let _ = std::fs::remove_dir_all(&path);
        std::fs::create_dir_all(&path).expect("there is a folder for temporary files");
        Self(path)
    }

    pub(crate) fn file(&self, name: &str, text: &str) -> PathBuf {
        let path = self.0.join(name);
        std::fs::write(&path, text).expect("it is ours");
        path
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

pub(crate) fn binary() -> String {
    std::env::var("QUARK_TEST_REDIS_SERVER").unwrap_or_else(|_| "redis-server".to_owned())
}

/// A port that is free now, and whose companion for the bus of a cluster is, too.
pub(crate) fn free_port() -> u16 {
    loop {
        let port = listener().local_addr().expect("it is bound").port();
        let bus = port.checked_add(10_000);
        if bus.is_some_and(|bus| std::net::TcpListener::bind(("127.0.0.1", bus)).is_ok()) {
            return port;
        }
    }
}

/// A server on loopback, killed when it is dropped.
pub(crate) struct Server {
    pub(crate) port: u16,
    arguments: Vec<String>,
    folder: Folder,
    process: Child,
    /// Held, because a server may have no room for another one.
    admin: Mutex<Option<MultiplexedConnection>>,
}

impl Server {
    /// A server with these arguments beside the usual ones.
    pub(crate) async fn start(arguments: &[&str]) -> Self {
        let mut all = vec!["--save", "", "--appendonly", "no", "--bind", "127.0.0.1"];
        all.extend(arguments);
        Self::start_with(None, all).await
    }

    /// One that looks after the primary at this port, under this name.
    pub(crate) async fn sentinel(service: &str, primary: u16, down_after: u32, more: &str) -> Self {
        let config = format!(
            "bind 127.0.0.1\nsentinel monitor {service} 127.0.0.1 {primary} 1\n\
             sentinel down-after-milliseconds {service} {down_after}\nsentinel failover-timeout {service} 5000\n{more}\n"
        );
        Self::start_with(Some(&config), vec!["--sentinel"]).await
    }

    async fn start_with(config: Option<&str>, arguments: Vec<&str>) -> Self {
        let folder = Folder::new();
        let config = config.map(|text| folder.file("redis.conf", text).display().to_string());
        let arguments: Vec<_> = config.into_iter().chain(arguments.into_iter().map(str::to_owned)).collect();
        let port = free_port();
        let process = spawn(port, &arguments, &folder);
        let mut server = Self { port, arguments, folder, process, admin: Mutex::default() };
        server.wait().await;
        server
    }

    async fn wait(&mut self) {
        let port = self.port;
        // A port of one that wants a password answers, too.
        let admin = eventually("the Redis server answers", || async move {
            let connection = connection(&format!("redis://127.0.0.1:{port}")).await.ok()?;
            match redis::cmd("PING").exec_async(&mut connection.clone()).await {
                Err(error) if error.code() != Some("NOAUTH") => None,
                _ => Some(connection),
            }
        })
        .await;
        *self.admin.lock().expect("no panic while locked") = Some(admin);
    }

    pub(crate) fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    pub(crate) fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Sends a command, written with spaces between its words.
    pub(crate) async fn try_ask<T: FromRedisValue>(&self, words: &str) -> RedisResult<T> {
        let mut words = words.split(' ');
        let mut command = redis::cmd(words.next().expect("a command has a name"));
        words.for_each(|word| {
            command.arg(word);
        });
        self.send(&command).await
    }

    async fn send<T: FromRedisValue>(&self, command: &redis::Cmd) -> RedisResult<T> {
        let mut admin = self.admin.lock().expect("no panic while locked").clone().expect("it is there");
        match command.query_async(&mut admin).await {
            // A sentinel hangs up on everybody when it makes a server another one.
            Err(error) if error.is_connection_dropped() => {
                let mut admin = connection(&self.url()).await?;
                *self.admin.lock().expect("no panic while locked") = Some(admin.clone());
                command.query_async(&mut admin).await
            }
            done => done,
        }
    }

    pub(crate) async fn ask<T: FromRedisValue>(&self, words: &str) -> T {
        self.try_ask(words).await.unwrap_or_else(|error| panic!("{words}: {error}"))
    }

    pub(crate) async fn tell(&self, words: &str) {
        self.ask::<redis::Value>(words).await;
    }

    pub(crate) async fn has_key(&self, key: &str) -> bool {
        self.send(redis::cmd("EXISTS").arg(key)).await == Ok(true)
    }

    pub(crate) async fn subscribers(&self, channel: &str) -> u64 {
        let answer: RedisResult<(String, u64)> = self.try_ask(&format!("PUBSUB NUMSUB {channel}")).await;
        answer.map_or(0, |(_, count)| count)
    }

    pub(crate) fn kill(&mut self) {
        self.process.kill().expect("it is ours");
        self.process.wait().expect("it is ours");
    }

    pub(crate) fn signal(&self, signal: &str) {
        let process = self.process.id().to_string();
        let sent = Command::new("kill").args([&format!("-{signal}"), &process]).status();
        assert!(sent.expect("kill is there").success());
    }

    /// Starts it again after a kill, at the same port, with nothing but what its folder has.
    pub(crate) async fn revive(&mut self) {
        self.process = spawn(self.port, &self.arguments, &self.folder);
        self.wait().await;
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn spawn(port: u16, arguments: &[String], folder: &Folder) -> Child {
    let port = port.to_string();
    Command::new(binary())
        .args(arguments)
        .args(["--port", &port, "--dir", &folder.path().display().to_string()])
        .stdout(Stdio::null())
        .spawn()
        .unwrap_or_else(|error| panic!("cannot run {} (QUARK_TEST_REDIS_SERVER): {error}", binary()))
}

/// A connection that has the patience of the tests.
pub(crate) async fn connection(url: &str) -> RedisResult<MultiplexedConnection> {
    let config =
        AsyncConnectionConfig::new().set_connection_timeout(Some(LIMIT)).set_response_timeout(Some(LIMIT));
    redis::Client::open(url)?.get_multiplexed_async_connection_with_config(&config).await
}

/// A primary and its replica, and a sentinel that looks after them.
pub(crate) struct Watched {
    pub(crate) primary: Server,
    pub(crate) replica: Server,
    pub(crate) sentinel: Server,
}

impl Watched {
    pub(crate) async fn start(down_after: u32) -> Self {
        let primary = Server::start(&["--repl-diskless-sync-delay", "0"]).await;
        let of = primary.port.to_string();
        let replica = Server::start(&["--replicaof", "127.0.0.1", &of]).await;
        let sentinel = Server::sentinel("service", primary.port, down_after, "").await;
        let watched = Self { primary, replica, sentinel };
        let Self { replica, sentinel, .. } = &watched;
        eventually("the sentinel knows a replica that is in step", || async {
            let info: String = replica.ask("INFO replication").await;
            let known: Vec<Vec<String>> = sentinel.ask("SENTINEL REPLICAS service").await;
            let healthy = known.iter().any(|replica| replica.iter().any(|word| word == "slave"));
            (healthy && info.contains("master_link_status:up")).then_some(())
        })
        .await;
        watched
    }

    pub(crate) fn url(&self) -> String {
        format!("redis+sentinel://{}/service", self.sentinel.address())
    }
}

/// A cluster of primaries without replicas, each with a third of the slots.
pub(crate) struct Nodes(pub(crate) Vec<Server>);

impl Nodes {
    pub(crate) async fn start() -> Self {
        let mut nodes = Vec::new();
        for slots in [0..5_461, 5_461..10_923, 10_923..16_384] {
            let node = Self::node().await;
            let slots: Vec<_> = slots.map(|slot| slot.to_string()).collect();
            node.tell(&format!("CLUSTER ADDSLOTS {}", slots.join(" "))).await;
            node.tell(&format!("CLUSTER SET-CONFIG-EPOCH {}", nodes.len() + 1)).await;
            nodes.push(node);
        }
        for other in &nodes[1..] {
            nodes[0].tell(&format!("CLUSTER MEET 127.0.0.1 {}", other.port)).await;
        }
        let nodes = Self(nodes);
        nodes.settle().await;
        nodes
    }

    async fn node() -> Server {
        let arguments = "--cluster-enabled yes --cluster-config-file nodes.conf --cluster-node-timeout 1000 \
                         --cluster-require-full-coverage no --repl-diskless-sync-delay 0";
        Server::start(&arguments.split(' ').collect::<Vec<_>>()).await
    }

    /// A replica of the last node, in step with it.
    pub(crate) async fn replica_of_the_last(&self) -> Server {
        let replica = Self::node().await;
        let last: String = self.0[2].ask("CLUSTER MYID").await;
        replica.tell(&format!("CLUSTER MEET 127.0.0.1 {}", self.0[0].port)).await;
        eventually("the replica may be one", || async {
            replica.try_ask::<redis::Value>(&format!("CLUSTER REPLICATE {last}")).await.ok()
        })
        .await;
        for node in &self.0 {
            eventually("the replica is in step, knows the slots, and is known", || async {
                let known: Vec<String> = node.ask(&format!("CLUSTER REPLICAS {last}")).await;
                let slots: Vec<redis::Value> = replica.ask("CLUSTER SLOTS").await;
                let info: String = replica.ask("INFO replication").await;
                let is_known = known.iter().any(|line| line.contains(&replica.address()));
                (is_known && slots.len() == 3 && info.contains("master_link_status:up")).then_some(())
            })
            .await;
        }
        replica
    }

    /// Waits until each node knows all others and their slots.
    pub(crate) async fn settle(&self) {
        for node in &self.0 {
            eventually("the cluster is well", || async {
                let info: String = node.ask("CLUSTER INFO").await;
                let slots: Vec<redis::Value> = node.ask("CLUSTER SLOTS").await;
                (info.contains("cluster_state:ok")
                    && info.contains("cluster_slots_ok:16384")
                    && slots.len() == 3)
                    .then_some(())
            })
            .await;
        }
    }

    pub(crate) fn url(&self) -> String {
        let nodes: Vec<_> = self.0.iter().map(Server::address).collect();
        format!("redis+cluster://{}", nodes.join(","))
    }

    /// Which node holds this key.
    pub(crate) async fn place_of(&self, key: &str) -> usize {
        let slot: usize = self.0[0].ask(&format!("CLUSTER KEYSLOT {key}")).await;
        [5_461, 10_923, 16_384].iter().position(|end| slot < *end).expect("a slot is below the last")
    }

    pub(crate) async fn has_key(&self, key: &str) -> bool {
        self.0[self.place_of(key).await].has_key(key).await
    }
}
