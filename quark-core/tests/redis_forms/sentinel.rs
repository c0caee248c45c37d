//! Row 13: Redis fails over, is read-only, lost writes.

use crate::servers::{Server, Watched};
use crate::support::{Cluster, eventually, listener, sees};
use crate::{degraded, healthy, key, refused, refused_at_once};

/// Whether both rows are in this server.
async fn rows_are_in(server: &Server, cluster: &Cluster) {
    eventually("both rows are there", || async {
        let (a, b) = (key(cluster, "silo:a"), key(cluster, "silo:b"));
        (server.has_key(&a).await && server.has_key(&b).await).then_some(())
    })
    .await;
}

/// Waits until so many silos listen at this server.
async fn subscribed(server: &Server, cluster: &Cluster, silos: u64) {
    let channel = key(cluster, "membership");
    eventually("all silos listen", || async { (server.subscribers(&channel).await == silos).then_some(()) })
        .await;
}

#[tokio::test]
async fn row_13_when_the_primary_dies_nobody_is_evicted_and_all_goes_on_at_the_next() {
    let mut redis = Watched::start(500).await;
    let mut cluster = Cluster::in_redis(&redis.url());
    let (a, b) = (cluster.member("a").await, cluster.member("b").await);
    let before = sees(&a, &["a", "b"]).await.version();
    redis.primary.kill();
    degraded(&a, "").await;
    healthy(&a).await;
    healthy(&b).await;
    assert!(redis.replica.ask::<String>("INFO replication").await.contains("role:master"));
    rows_are_in(&redis.replica, &cluster).await;
    let c = cluster.member("c").await;
    assert_eq!(sees(&a, &["a", "b", "c"]).await.version(), before + 1, "nothing but c changed");
    sees(&b, &["a", "b", "c"]).await;
    subscribed(&redis.replica, &cluster, 3).await;
    b.stop().await.unwrap();
    sees(&a, &["a", "c"]).await;
    sees(&c, &["a", "c"]).await;
}

#[tokio::test]
async fn row_13_a_primary_that_hands_over_and_lives_on_as_a_replica_is_left() {
    let redis = Watched::start(60_000).await;
    let mut cluster = Cluster::in_redis(&redis.url());
    let (a, b) = (cluster.member("a").await, cluster.member("b").await);
    let before = sees(&a, &["a", "b"]).await.version();
    eventually("the sentinel knows enough of the replica", || async {
        redis.sentinel.try_ask::<redis::Value>("SENTINEL FAILOVER service").await.ok()
    })
    .await;
    eventually("the replica is the primary", || async {
        redis.replica.ask::<String>("INFO replication").await.contains("role:master").then_some(())
    })
    .await;
    subscribed(&redis.replica, &cluster, 2).await;
    let read = format!("GET {}", key(&cluster, "silo:a"));
    let row = redis.replica.ask::<Option<String>>(&read).await;
    eventually("the row is written at the next primary", || async {
        (redis.replica.ask::<Option<String>>(&read).await != row).then_some(())
    })
    .await;
    healthy(&a).await;
    healthy(&b).await;
    let c = cluster.member("c").await;
    assert_eq!(sees(&a, &["a", "b", "c"]).await.version(), before + 1, "nothing but c changed");
    drop(c);
}

/// The sentinel does not look: it would take more time to find the primary dead than that needs to be back.
#[tokio::test]
async fn row_13_a_primary_that_comes_back_without_its_data_evicts_nobody() {
    let mut redis = Watched::start(60_000).await;
    let mut cluster = Cluster::in_redis(&redis.url());
    let (a, b) = (cluster.member("a").await, cluster.member("b").await);
    let before = sees(&a, &["a", "b"]).await.version();
    let incarnation = b.incarnation;
    redis.primary.kill();
    degraded(&a, "").await;
    redis.primary.revive().await;
    healthy(&a).await;
    healthy(&b).await;
    rows_are_in(&redis.primary, &cluster).await;
    subscribed(&redis.primary, &cluster, 2).await;
    let c = cluster.member("c").await;
    assert_eq!(sees(&a, &["a", "b", "c"]).await.version(), before + 1, "nothing but c changed");
    b.stop().await.unwrap();
    assert!(cluster.member("b").await.incarnation > incarnation, "the count of lives survives");
    drop(c);
}

#[tokio::test]
async fn row_13_while_the_server_is_an_empty_read_only_replica_the_view_stands() {
    let (server, other) = (Server::start(&[]).await, Server::start(&[]).await);
    let mut cluster = Cluster::in_redis(&server.url());
    let (a, b) = (cluster.member("a").await, cluster.member("b").await);
    let before = sees(&a, &["a", "b"]).await.version();
    server.tell(&format!("REPLICAOF 127.0.0.1 {}", other.port)).await;
    degraded(&a, "READONLY").await;
    degraded(&b, "READONLY").await;
    eventually("it has the data of the other", || async {
        (!server.has_key(&key(&cluster, "silo:a")).await).then_some(())
    })
    .await;
    let error = refused(cluster.neighbour()).await;
    assert!(error.message().contains("READONLY") && error.message().contains("replica"), "{error}");
    server.tell("REPLICAOF NO ONE").await;
    healthy(&a).await;
    healthy(&b).await;
    rows_are_in(&server, &cluster).await;
    let c = cluster.member("c").await;
    assert_eq!(sees(&a, &["a", "b", "c"]).await.version(), before + 1, "nothing but c changed");
    drop(c);
}

#[tokio::test]
async fn row_13_a_replica_that_lost_its_primary_is_no_place_to_start() {
    let server = Server::start(&["--replica-serve-stale-data", "no"]).await;
    server.tell("REPLICAOF 127.0.0.1 1").await;
    let mut cluster = Cluster::in_redis(&server.url());
    cluster.config.start_timeout = std::time::Duration::from_secs(1);
    let error = refused(cluster).await;
    assert!(error.message().contains("MASTERDOWN"), "{error}");
}

#[tokio::test]
async fn a_service_that_no_sentinel_knows_ends_the_start_at_once() {
    let redis = Watched::start(60_000).await;
    let url = redis.url().replace("/service", "/nonsense");
    let error = refused_at_once(Cluster::in_redis(&url)).await;
    assert!(error.message().contains("no service \"nonsense\""), "{error}");
    assert!(error.message().contains(&redis.sentinel.address()), "{error}");
    let error =
        refused_at_once(Cluster::in_redis(&format!("redis+sentinel://{}/service", redis.primary.address())))
            .await;
    assert!(error.message().contains("SENTINEL"), "{error}");
}

#[tokio::test]
async fn sentinels_that_are_dead_or_late_are_passed_over() {
    let redis = Watched::start(60_000).await;
    // It takes the replica for the primary, as one does that missed a failover.
    let late = Server::sentinel("service", redis.replica.port, 60_000, "").await;
    let gone = listener().local_addr().unwrap();
    let url = format!("redis+sentinel://{gone},{},{}/service", late.address(), redis.sentinel.address());
    let mut cluster = Cluster::in_redis(&url);
    let mut members = Vec::new();
    for id in ["a", "b", "c"] {
        members.push(cluster.member(id).await);
    }
    sees(&members[0], &["a", "b", "c"]).await;
    rows_are_in(&redis.primary, &cluster).await;
}

#[tokio::test]
async fn sentinels_and_servers_have_passwords_of_their_own() {
    let primary = Server::start(&["--requirepass", "for-the-keys"]).await;
    let port = primary.port;
    let sentinel = Server::sentinel(
        "service",
        port,
        60_000,
        "sentinel auth-pass service for-the-keys\nrequirepass for-sentinels",
    )
    .await;
    let url = |login: &str, options: &str| {
        format!("redis+sentinel://{login}{}/service{options}", sentinel.address())
    };
    let mut cluster = Cluster::in_redis(&url(":for-the-keys@", "?sentinel_password=for-sentinels"));
    let a = cluster.member("a").await;
    sees(&a, &["a"]).await;
    for (url, at, reason) in [
        (url(":for-the-keys@", ""), sentinel.address(), "NOAUTH"),
        (url(":for-the-keys@", "?sentinel_password=wrong"), sentinel.address(), "WRONGPASS"),
        (url("", "?sentinel_password=for-sentinels"), primary.address(), "NOAUTH"),
        (url(":wrong@", "?sentinel_password=for-sentinels"), primary.address(), "WRONGPASS"),
    ] {
        let error = refused_at_once(Cluster::in_redis(&url)).await;
        assert!(error.message().contains(&format!("{at}: {reason}")), "{error}");
        assert!(!error.message().contains("for-"), "{error}");
    }
}
