//! A Redis Cluster: each key has its node.

use std::time::Duration;

use quark_core::{ErrorKind, Role};

use crate::servers::{Nodes, Server};
use crate::support::{Cluster, Listening, eventually, ids, info, listener, sees};
use crate::{degraded, healthy, key, refused_at_once};

/// A row as an original silo writes it.
fn original_row(id: &str, endpoint: &Listening) -> String {
    let address = endpoint.local_addr().unwrap();
    format!(
        r#"{{"SiloId":"{id}","Address":"{}","Port":{},"Status":1,"LastHeartbeat":"2026-01-29T10:15:30.1Z"}}"#,
        address.ip(),
        address.port()
    )
}

#[tokio::test]
async fn silos_in_a_cluster_join_leave_die_and_come_back() {
    let nodes = Nodes::start().await;
    let mut cluster = Cluster::in_redis(&nodes.url());
    let (a, b, c) = (cluster.member("a").await, cluster.member("b").await, cluster.member("c").await);
    for silo in [&a, &b, &c] {
        sees(silo, &["a", "b", "c"]).await;
    }
    let mut listening = 0;
    for node in &nodes.0 {
        listening += node.subscribers(&key(&cluster, "membership")).await;
    }
    assert_eq!(listening, 3);
    let error = cluster.try_member(info("b", &listener())).await.err().expect("the id is taken");
    assert_eq!(error.kind(), ErrorKind::IdInUse, "{error}");
    let incarnation = b.incarnation;
    b.crash();
    sees(&a, &["a", "c"]).await;
    sees(&c, &["a", "c"]).await;
    eventually("whoever evicts deletes the row", || async {
        (!nodes.has_key(&key(&cluster, "silo:b")).await).then_some(())
    })
    .await;
    let b = cluster.member("b").await;
    assert!(b.incarnation > incarnation);
    sees(&a, &["a", "b", "c"]).await;
    b.stop().await.unwrap();
    sees(&a, &["a", "c"]).await;
    assert!(!nodes.has_key(&key(&cluster, "silo:b")).await);
    assert_eq!((a.health().as_str(), c.health().as_str()), ("healthy", "healthy"));
}

#[tokio::test]
async fn of_many_that_claim_an_id_in_a_cluster_at_once_one_starts() {
    let nodes = Nodes::start().await;
    let cluster = Cluster::in_redis(&nodes.url());
    let claims = (0..8).map(|_| {
        let handle = cluster.handle();
        async move {
            let (info, listener) = info("a", &listener());
            (handle.start(Role::Member(info)).await, handle, listener)
        }
    });
    let outcomes = futures_util::future::join_all(claims).await;
    assert_eq!(outcomes.iter().filter(|(started, ..)| started.is_ok()).count(), 1);
    for (started, ..) in &outcomes {
        assert!(started.as_ref().err().is_none_or(|error| error.kind() == ErrorKind::IdInUse), "{started:?}");
    }
}

#[tokio::test]
async fn original_silos_are_found_in_whichever_node_their_rows_are() {
    let nodes = Nodes::start().await;
    let mut cluster = Cluster::in_redis(&nodes.url());
    let endpoint = listener();
    let mut held = [0; 3];
    let mut expected = Vec::new();
    for i in 0.. {
        let id = format!("original-{i:02}");
        let row = key(&cluster, &format!("silo:{id}"));
        let place = nodes.place_of(&row).await;
        let node: &Server = &nodes.0[place];
        node.tell(&format!("SET {row} {}", original_row(&id, &endpoint))).await;
        held[place] += 1;
        expected.push(id);
        if held.iter().all(|rows| *rows > 0) {
            break;
        }
    }
    expected.insert(0, "a".to_owned());
    let a = cluster.member("a").await;
    assert_eq!(ids(&a.view()), expected);
}

/// A cluster name with which this row is in the last node, and all else that a, b and d need is not.
async fn with_one_row_in_the_last_node(nodes: &Nodes) -> Cluster {
    'names: loop {
        let cluster = Cluster::in_redis(&nodes.url());
        if nodes.place_of(&key(&cluster, "silo:c")).await != 2 {
            continue;
        }
        for rest in ["index", "version", "silo:a", "silo:b", "silo:d", "claim:d", "incarnation:d"] {
            if nodes.place_of(&key(&cluster, rest)).await == 2 {
                continue 'names;
            }
        }
        for id in ["a", "b"] {
            if nodes.place_of(&key(&cluster, &format!("incarnation:{id}"))).await == 2 {
                continue 'names;
            }
        }
        return cluster;
    }
}

#[tokio::test]
async fn row_13_a_node_that_dies_harms_nobody_but_the_silos_whose_rows_it_had() {
    a_node_is_away(Server::kill, async |node| node.revive().await).await;
}

/// It accepts connections, and says nothing.
#[tokio::test]
async fn row_13_a_node_that_is_silent_harms_nobody_but_the_silos_whose_rows_it_had() {
    a_node_is_away(|node| node.signal("STOP"), async |node| node.signal("CONT")).await;
}

async fn a_node_is_away(leave: impl FnOnce(&mut Server), come_back: impl AsyncFnOnce(&mut Server)) {
    let mut nodes = Nodes::start().await;
    let mut cluster = with_one_row_in_the_last_node(&nodes).await;
    // Several times as long as a node may take to answer, as always but in tests.
    cluster.config.ttl = Duration::from_secs(15);
    let (a, b, c) = (cluster.member("a").await, cluster.member("b").await, cluster.member("c").await);
    for silo in [&a, &b, &c] {
        sees(silo, &["a", "b", "c"]).await;
    }
    let before = [&a, &b].map(|silo| silo.view().version());
    let nothing_but_d_changed = || {
        for (silo, before) in [&a, &b].into_iter().zip(before) {
            assert_eq!(silo.view().version(), before + 1);
        }
    };
    leave(&mut nodes.0[2]);
    degraded(&c, "").await;
    let d = cluster.member("d").await;
    assert_eq!(ids(&d.view()), ["a", "b", "d"], "whoever comes now does not know of c");
    for silo in [&a, &b] {
        sees(silo, &["a", "b", "c", "d"]).await;
        healthy(silo).await;
    }
    nothing_but_d_changed();
    assert_eq!(c.health().as_str(), "degraded");
    come_back(&mut nodes.0[2]).await;
    nodes.settle().await;
    healthy(&c).await;
    for silo in [&a, &b, &c, &d] {
        sees(silo, &["a", "b", "c", "d"]).await;
    }
    assert!(nodes.has_key(&key(&cluster, "silo:c")).await);
    nothing_but_d_changed();
}

/// Waits until a row is written at this node.
async fn is_written(node: &Server, row: &str, asking: bool) {
    let read = || async {
        if asking {
            node.tell("ASKING").await;
        }
        node.try_ask::<Option<String>>(&format!("GET {row}")).await.ok().flatten()
    };
    let first = &read().await;
    eventually("the row is written there", || async { (read().await != *first).then_some(()) }).await;
}

/// While its slot moves, a key that has moved is asked for with a word of its own; then its node is another one.
#[tokio::test]
async fn a_row_that_moves_to_another_node_is_followed() {
    let nodes = Nodes::start().await;
    let mut cluster = Cluster::in_redis(&nodes.url());
    let (a, b) = (cluster.member("a").await, cluster.member("b").await);
    sees(&a, &["a", "b"]).await;
    let health = a.watch_health();
    let row = key(&cluster, "silo:a");
    let slot: u16 = nodes.0[0].ask(&format!("CLUSTER KEYSLOT {row}")).await;
    let place = nodes.place_of(&row).await;
    let (from, to) = (&nodes.0[place], &nodes.0[(place + 1) % 3]);
    let (from_id, to_id): (String, String) = (from.ask("CLUSTER MYID").await, to.ask("CLUSTER MYID").await);
    to.tell(&format!("CLUSTER SETSLOT {slot} IMPORTING {from_id}")).await;
    from.tell(&format!("CLUSTER SETSLOT {slot} MIGRATING {to_id}")).await;
    from.tell(&format!("MIGRATE 127.0.0.1 {} {row} 0 5000", to.port)).await;
    is_written(to, &row, true).await;
    for node in [to, from] {
        node.tell(&format!("CLUSTER SETSLOT {slot} NODE {to_id}")).await;
    }
    is_written(to, &row, false).await;
    assert!(!health.has_changed().unwrap() && a.health().as_str() == "healthy", "{}", a.health());
    b.stop().await.unwrap();
    sees(&a, &["a"]).await;
}

#[tokio::test]
async fn row_13_when_a_primary_of_a_cluster_dies_its_replica_takes_over() {
    let mut nodes = Nodes::start().await;
    let replica = nodes.replica_of_the_last().await;
    let mut cluster = with_one_row_in_the_last_node(&nodes).await;
    let (a, b, c) = (cluster.member("a").await, cluster.member("b").await, cluster.member("c").await);
    for silo in [&a, &b, &c] {
        sees(silo, &["a", "b", "c"]).await;
    }
    let before = a.view().version();
    nodes.0[2].kill();
    degraded(&c, "").await;
    let what = format!("the replica takes over: {}", nodes.0[0].ask::<String>("CLUSTER NODES").await);
    eventually(&what, || async {
        replica.ask::<String>("INFO replication").await.contains("role:master").then_some(())
    })
    .await;
    healthy(&c).await;
    assert!(replica.has_key(&key(&cluster, "silo:c")).await);
    let d = cluster.member("d").await;
    assert_eq!(sees(&a, &["a", "b", "c", "d"]).await.version(), before + 1, "nothing but d changed");
    for silo in [&b, &c, &d] {
        sees(silo, &["a", "b", "c", "d"]).await;
    }
    let channel = key(&cluster, "membership");
    eventually("all listen again", || async {
        let mut listening = replica.subscribers(&channel).await;
        for node in &nodes.0[..2] {
            listening += node.subscribers(&channel).await;
        }
        (listening == 4).then_some(())
    })
    .await;
    // Those that lost nothing look for its row at the right node, too.
    c.stop().await.unwrap();
    sees(&a, &["a", "b", "d"]).await;
    sees(&b, &["a", "b", "d"]).await;
}

#[tokio::test]
async fn a_single_server_and_a_cluster_are_told_apart() {
    let server = Server::start(&[]).await;
    let error = refused_at_once(Cluster::in_redis(&server.url().replace("redis:", "redis+cluster:"))).await;
    assert!(
        error.message().contains("cluster support disabled") && error.message().contains("redis://"),
        "{error}"
    );
    let nodes = Nodes::start().await;
    let mut cluster = Cluster::in_redis("");
    while nodes.place_of(&key(&cluster, "version")).await == 0 {
        cluster = Cluster::in_redis("");
    }
    let config = cluster.config;
    let mut cluster = Cluster::in_redis(&nodes.0[0].url());
    cluster.config = config;
    cluster.config.start_timeout = Duration::from_secs(1);
    let error = crate::refused(cluster).await;
    assert!(error.message().contains("MOVED") && error.message().contains("redis+cluster://"), "{error}");
}
