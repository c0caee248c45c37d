//! What other programs see in Redis, and what Redis does to a cluster.
//!
//! They need `QUARK_TEST_REDIS` (a URL); those that stop or flush Redis run a server of their own, found through
//! `QUARK_TEST_REDIS_SERVER` or the PATH.

#[allow(dead_code, reason = "other suites use the rest")]
mod support;

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use futures_util::StreamExt as _;
use quark_core::{ErrorKind, MembershipUrl, Role, SiloId, SiloInfo, SiloStatus, View};
use redis::AsyncCommands as _;

use support::{Cluster, Kind, OwnRedis, eventually, ids, info, listener, raw, redis_url, sees, until};

fn key(cluster: &Cluster, rest: &str) -> String {
    format!("{}:{rest}", cluster.config.cluster)
}

/// A row as an original silo writes it, for somebody who listens at this address.
fn original_row(id: &str, address: std::net::SocketAddr) -> String {
    format!(
        r#"{{"SiloId":"{id}","Address":"{}","Port":{},"Status":1,"LastHeartbeat":"2026-01-29T10:15:30.1234567+00:00"}}"#,
        address.ip(),
        address.port()
    )
}

#[tokio::test]
async fn rows_and_messages_are_those_of_the_contract() {
    let mut cluster = Cluster::new(Kind::Redis);
    let mut redis = raw(&redis_url()).await;
    let client = redis::Client::open(redis_url()).unwrap();
    let mut messages = client.get_async_pubsub().await.unwrap();
    messages.subscribe(key(&cluster, "membership")).await.unwrap();
    let mut messages = messages.into_on_message().map(|message| message.get_payload::<String>().unwrap());

    let a = cluster.member("a").await;
    assert_eq!(messages.next().await.unwrap(), "join:a");
    let row: String = redis.get(key(&cluster, "silo:a")).await.unwrap();
    let json: serde_json::Value = serde_json::from_str(&row).unwrap();
    assert_eq!(json["siloId"], "a");
    assert_eq!(json["address"], "127.0.0.1");
    assert_eq!(json["port"], a.endpoint.port());
    assert_eq!(json["status"], 1);
    assert_eq!(json["protocolVersion"], 1);
    assert!(json["lastHeartbeat"].as_str().unwrap().ends_with('Z'));
    let ttl: i64 = redis.pttl(key(&cluster, "silo:a")).await.unwrap();
    assert!((1..=1_500).contains(&ttl), "{ttl}");

    let written = SiloInfo::from_json(&row).unwrap().last_heartbeat;
    eventually("the row is written again", || async {
        let row: String = redis.clone().get(key(&cluster, "silo:a")).await.unwrap();
        (SiloInfo::from_json(&row).unwrap().last_heartbeat > written).then_some(())
    })
    .await;

    a.announce(SiloStatus::ShuttingDown).await.unwrap();
    assert_eq!(messages.next().await.unwrap(), "join:a");
    a.stop().await.unwrap();
    assert_eq!(messages.next().await.unwrap(), "leave:a");
    assert!(!redis.exists::<_, bool>(key(&cluster, "silo:a")).await.unwrap());
    let index: Vec<String> = redis.zrange(key(&cluster, "index"), 0, -1).await.unwrap();
    assert!(index.is_empty());
}

#[tokio::test]
async fn ids_with_colons_and_braces_work() {
    let mut cluster = Cluster::new(Kind::Redis);
    let a = cluster.member("10.0.0.7:11111").await;
    let b = cluster.member("{x}*:σίλο b").await;
    sees(&a, &["10.0.0.7:11111", "{x}*:σίλο b"]).await;
    assert!(raw(&redis_url()).await.exists::<_, bool>(key(&cluster, "silo:{x}*:σίλο b")).await.unwrap());
    b.stop().await.unwrap();
    sees(&a, &["10.0.0.7:11111"]).await;
}

#[tokio::test]
async fn a_dead_silo_is_noticed_without_any_message() {
    let mut cluster = Cluster::new(Kind::Redis);
    let a = cluster.member("a").await;
    let client = cluster.observer().await;
    a.crash();
    sees(&client, &[]).await;
}

#[tokio::test]
async fn a_refusing_silo_is_out_long_before_its_row_expires() {
    let mut cluster = Cluster::new(Kind::Redis);
    cluster.config.ttl = Duration::from_secs(3_600);
    let (a, b, c) = (cluster.member("a").await, cluster.member("b").await, cluster.member("c").await);
    for silo in [&a, &b, &c] {
        sees(silo, &["a", "b", "c"]).await;
    }
    c.crash();
    sees(&a, &["a", "b"]).await;
    sees(&b, &["a", "b"]).await;
    let redis = raw(&redis_url()).await;
    eventually("whoever evicts deletes the row", || async {
        let there: bool = redis.clone().exists(key(&cluster, "silo:c")).await.unwrap();
        (!there).then_some(())
    })
    .await;
    b.crash();
    sees(&a, &["a"]).await;
}

#[tokio::test]
async fn row_12_a_flushed_redis_evicts_nobody_and_the_rows_come_back() {
    let server = OwnRedis::start().await;
    let mut cluster = Cluster::in_redis(&server.url());
    let (a, b) = (cluster.member("a").await, cluster.member("b").await);
    let before = sees(&a, &["a", "b"]).await.version();
    let mut redis = raw(&server.url()).await;
    let incarnation = b.incarnation;
    redis.flushall::<()>().await.unwrap();
    let flushed = Instant::now();
    eventually("both rows are back", || async {
        let keys = [key(&cluster, "silo:a"), key(&cluster, "silo:b")];
        (redis.clone().exists::<_, usize>(&keys).await.unwrap() == 2).then_some(())
    })
    .await;
    assert!(flushed.elapsed() < 3 * cluster.config.heartbeat, "{:?}", flushed.elapsed());
    let c = cluster.member("c").await;
    assert_eq!(sees(&a, &["a", "b", "c"]).await.version(), before + 1, "nothing but c changed");
    b.stop().await.unwrap();
    let b = cluster.member("b").await;
    assert!(b.incarnation > incarnation, "the count of lives survives");
    drop(c);
}

#[tokio::test]
async fn row_12_while_redis_restarts_the_view_stands_and_afterwards_all_goes_on() {
    let mut server = OwnRedis::start().await;
    let mut cluster = Cluster::in_redis(&server.url());
    let (a, b) = (cluster.member("a").await, cluster.member("b").await);
    let before = sees(&a, &["a", "b"]).await.version();
    server.kill();
    let error = a.announce(SiloStatus::Active).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::MembershipUnavailable);
    eventually("it says so", || async { (a.health().as_str() == "degraded").then_some(()) }).await;
    assert!(a.health().since().is_some() && a.health().to_string().contains("membership store"));
    let server = OwnRedis::restart(server).await;
    let redis = raw(&server.url()).await;
    eventually("both rows are back", || async {
        let keys = [key(&cluster, "silo:a"), key(&cluster, "silo:b")];
        (redis.clone().exists::<_, usize>(&keys).await.unwrap() == 2).then_some(())
    })
    .await;
    eventually("all is well again", || async { (a.health().as_str() == "healthy").then_some(()) }).await;
    let c = cluster.member("c").await;
    assert_eq!(sees(&a, &["a", "b", "c"]).await.version(), before + 1, "nobody was evicted");
    c.stop().await.unwrap();
    sees(&a, &["a", "b"]).await;
    drop(b);
}

#[tokio::test]
async fn row_21_a_row_that_is_unreadable_or_newer_is_skipped_and_logged_once() {
    let said = Arc::new(Mutex::new(Vec::new()));
    let sink = said.clone();
    let note = move |_, target: &str, message: &str| {
        if target == quark_core::MEMBERSHIP && message.contains("cannot be read") {
            sink.lock().unwrap().push(message.to_owned());
        }
    };
    quark_core::host::set_log_sink(4, Some(Box::new(note))).unwrap();
    let mut cluster = Cluster::new(Kind::Redis);
    let mut redis = raw(&redis_url()).await;
    let newer = original_row("row-21-newer", listener().local_addr().unwrap())
        .replace("\"Status\":1", "\"Status\":9");
    redis.set::<_, _, ()>(key(&cluster, "silo:row-21-text"), "hello").await.unwrap();
    redis.lpush::<_, _, ()>(key(&cluster, "silo:row-21-list"), "a list").await.unwrap();
    redis.set::<_, _, ()>(key(&cluster, "silo:row-21-newer"), newer).await.unwrap();
    let index = [(1, "row-21-text"), (1, "row-21-list"), (1, "row-21-newer")];
    redis.zadd_multiple::<_, _, _, ()>(key(&cluster, "index"), &index).await.unwrap();
    let a = cluster.member("a").await;
    for _ in 0..10 {
        redis.publish::<_, _, ()>(key(&cluster, "membership"), "join:row-21-text").await.unwrap();
    }
    let b = cluster.member("b").await;
    sees(&a, &["a", "b"]).await;
    assert_eq!(ids(&b.view()), ["a", "b"]);
    eventually("it is logged, once for each row and silo", || async {
        let said = said.lock().unwrap();
        let times = |id| said.iter().filter(|message| message.contains(id)).count();
        (times("row-21-text") == 2 && times("row-21-newer") == 2).then_some(())
    })
    .await;
    quark_core::host::set_log_sink(0, None).unwrap();
}

#[tokio::test]
async fn original_silos_are_found_at_start_and_by_their_message() {
    let mut cluster = Cluster::new(Kind::Redis);
    let mut redis = raw(&redis_url()).await;
    let (first, second) = (listener(), listener());
    let row = original_row("first", first.local_addr().unwrap());
    redis.set::<_, _, ()>(key(&cluster, "silo:first"), row).await.unwrap();
    let a = cluster.member("a").await;
    assert_eq!(ids(&a.view()), ["a", "first"]);
    let row = original_row("second", second.local_addr().unwrap());
    redis.set::<_, _, ()>(key(&cluster, "silo:second"), row).await.unwrap();
    redis.publish::<_, _, ()>(key(&cluster, "membership"), "join:second").await.unwrap();
    let view = sees(&a, &["a", "first", "second"]).await;
    let original = view.silo("second").unwrap();
    assert!(original.is_original() && original.virtual_nodes == 150);
    redis.del::<_, ()>(key(&cluster, "silo:second")).await.unwrap();
    redis.publish::<_, _, ()>(key(&cluster, "membership"), "leave:second").await.unwrap();
    sees(&a, &["a", "first"]).await;
}

#[tokio::test]
async fn beside_an_original_silo_other_virtual_nodes_are_refused() {
    let mut cluster = Cluster::new(Kind::Redis);
    let endpoint = listener();
    let row = original_row("old", endpoint.local_addr().unwrap());
    raw(&redis_url()).await.set::<_, _, ()>(key(&cluster, "silo:old"), row).await.unwrap();
    let (mut info, _listener) = info("a", &listener());
    info.virtual_nodes = 300;
    let error = cluster.try_start(info).await.err().expect("300 beside 150");
    assert_eq!(error.kind(), ErrorKind::Incompatible);
    assert!(error.message().contains("300") && error.message().contains("old"), "{error}");
}

#[tokio::test]
async fn a_weight_changes_beside_an_original_silo_to_150_only() {
    let mut cluster = Cluster::new(Kind::Redis);
    let a = cluster.member("a").await;
    a.set_virtual_nodes(300).await.unwrap();
    let endpoint = listener();
    let row = original_row("old", endpoint.local_addr().unwrap());
    let mut redis = raw(&redis_url()).await;
    redis.set::<_, _, ()>(key(&cluster, "silo:old"), row).await.unwrap();
    redis.publish::<_, _, ()>(key(&cluster, "membership"), "join:old").await.unwrap();
    sees(&a, &["a", "old"]).await;
    let error = a.set_virtual_nodes(200).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Incompatible);
    assert!(
        error.message().starts_with("virtual_nodes=200 cannot be used beside the original silo"),
        "{error}"
    );
    a.set_virtual_nodes(150).await.unwrap();
    let row: String = redis.get(key(&cluster, "silo:a")).await.unwrap();
    assert!(row.contains("\"virtualNodes\":150"), "{row}");
}

#[tokio::test]
async fn a_draining_silo_that_was_put_out_comes_back_with_nothing() {
    let mut cluster = Cluster::new(Kind::Redis);
    let (a, b) = (cluster.member("a").await, cluster.member("b").await);
    sees(&a, &["a", "b"]).await;
    b.drain().await.unwrap();
    let drain = |view: &View| view.silo("b").and_then(|info| info.drain.clone());
    let drained = until(&a, "a sees the drain", |view| drain(view).is_some()).await;
    let kept = drain(&drained);
    let mut redis = raw(&redis_url()).await;
    let row: String = redis.get(key(&cluster, "silo:b")).await.unwrap();
    // At most 151 ranges of eight bytes in base64.
    assert!(row.len() < 2_000 && row.contains("\"draining\":[{\"ranges\":"), "{row}");
    assert_eq!(SiloInfo::from_json(&row).unwrap().drain, kept);
    let life = b.incarnation();
    redis.set::<_, _, ()>(key(&cluster, "incarnation:b"), life + 1).await.unwrap();
    redis.del::<_, ()>(key(&cluster, "silo:b")).await.unwrap();
    redis.publish::<_, _, ()>(key(&cluster, "membership"), "leave:b").await.unwrap();
    let again = |view: &View| view.silo("b").is_some_and(|info| info.incarnation > life);
    let view = until(&a, "a sees the later life", again).await;
    assert_eq!(drain(&view), Some(quark_core::Drain::default()));
    assert!((0..100).all(|i| view.owner("T", &i.to_string()).unwrap().as_str() == "a"));
}

#[tokio::test]
async fn row_16_forged_messages_are_ignored() {
    let mut cluster = Cluster::new(Kind::Redis);
    let (a, b) = (cluster.member("a").await, cluster.member("b").await);
    let before = sees(&a, &["a", "b"]).await.version();
    let mut redis = raw(&redis_url()).await;
    for forged in ["leave:a", "leave:b", "leave:", "leave", "leave:nobody", "join:nobody", "nonsense"] {
        redis.publish::<_, _, ()>(key(&cluster, "membership"), forged).await.unwrap();
    }
    redis
        .publish::<_, _, ()>(key(&cluster, "suspicion"), format!("suspect:{}:b", b.incarnation))
        .await
        .unwrap();
    let c = cluster.member("c").await;
    assert_eq!(sees(&a, &["a", "b", "c"]).await.version(), before + 1, "nothing but c changed");
    drop(c);
}

#[tokio::test]
async fn row_19_of_many_that_claim_an_id_at_once_one_starts() {
    let cluster = Cluster::new(Kind::Redis);
    let claims = (0..16).map(|_| {
        let handle = cluster.handle();
        async move {
            let (info, listener) = info("a", &listener());
            let started = handle.start(Role::Member(info)).await;
            (started, handle, listener)
        }
    });
    let outcomes = futures_util::future::join_all(claims).await;
    let (won, lost): (Vec<_>, Vec<_>) = outcomes.iter().partition(|(started, ..)| started.is_ok());
    assert_eq!(won.len(), 1);
    let endpoint = won[0].1.silo("a").unwrap().endpoint.to_string();
    for (started, ..) in lost {
        let error = started.as_ref().unwrap_err();
        assert!(error.kind() == ErrorKind::IdInUse && error.message().contains(&endpoint), "{error}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_19_two_that_race_for_an_id_never_both_own_a_thousand_times() {
    let cluster = Cluster::new(Kind::Redis);
    let (one, other) = (listener(), listener());
    let race = |number: usize| {
        let claim = |at: &support::Listening| {
            let (handle, (info, _)) = (cluster.handle(), info(&format!("race-{number}"), at));
            async move { (handle.start(Role::Member(info)).await, handle) }
        };
        let (one, other) = (claim(&one), claim(&other));
        async move {
            let (one, other) = tokio::join!(one, other);
            let (won, lost) = if one.0.is_ok() { (one, other) } else { (other, one) };
            let incarnation = won.0.expect("one of them starts");
            let error = lost.0.expect_err("the other one does not");
            let silo = won.1.silo(&format!("race-{number}")).unwrap();
            assert_eq!((error.kind(), silo.incarnation), (ErrorKind::IdInUse, incarnation));
            assert!(error.message().contains(&silo.endpoint.to_string()), "{error}");
            (won.1, silo)
        }
    };
    for batch in 0..50 {
        let races = (0..20).map(|number| race(batch * 20 + number));
        let winners = futures_util::future::join_all(races).await;
        if batch % 10 == 0 {
            // What it has won stays its own, over some heartbeats.
            tokio::time::sleep(2 * cluster.config.heartbeat).await;
        }
        for (winner, silo) in winners {
            assert!(winner.may_serve() && winner.incarnation() == silo.incarnation, "{silo:?}");
            winner.stop().await.unwrap();
        }
    }
}

/// Redis that accepts everything and answers late, again and again.
#[tokio::test]
async fn row_14_a_redis_that_answers_late_evicts_nobody() {
    let server = OwnRedis::start().await;
    let mut cluster = Cluster::in_redis(&server.url());
    let (a, b) = (cluster.member("a").await, cluster.member("b").await);
    let before = sees(&a, &["a", "b"]).await.version();
    let patient = redis::AsyncConnectionConfig::new().set_response_timeout(Some(Duration::from_secs(10)));
    let client = redis::Client::open(server.url()).unwrap();
    let mut redis = client.get_multiplexed_async_connection_with_config(&patient).await.unwrap();
    for _ in 0..3 {
        redis::cmd("CLIENT").arg("PAUSE").arg(1_000).arg("ALL").exec_async(&mut redis).await.unwrap();
        let asked = Instant::now();
        redis::cmd("PING").exec_async(&mut redis).await.unwrap();
        assert!(asked.elapsed() > Duration::from_millis(500), "it was late");
    }
    assert!(a.may_serve() && b.may_serve());
    let c = cluster.member("c").await;
    assert_eq!(sees(&a, &["a", "b", "c"]).await.version(), before + 1, "nobody was evicted");
    drop(c);
}

#[tokio::test]
async fn a_silo_that_is_told_that_it_is_out_stops_serving_and_joins_again_in_a_later_life() {
    let mut cluster = Cluster::new(Kind::Redis);
    let (a, b) = (cluster.member("a").await, cluster.member("b").await);
    sees(&a, &["a", "b"]).await;
    let mut redis = raw(&redis_url()).await;
    let (life, views) = (b.incarnation, b.watch());
    // As two others do that cannot reach it.
    redis.set::<_, _, ()>(key(&cluster, "incarnation:b"), life + 1).await.unwrap();
    redis.del::<_, ()>(key(&cluster, "silo:b")).await.unwrap();
    redis.publish::<_, _, ()>(key(&cluster, "membership"), "leave:b").await.unwrap();
    let later =
        until(&a, "a sees the later life", |view| view.silo("b").is_some_and(|info| info.incarnation > life));
    let later = later.await.silo("b").unwrap().incarnation;
    eventually("b serves again", || async { (b.may_serve() && b.incarnation() == later).then_some(()) })
        .await;
    assert!(views.has_changed().unwrap(), "its own view says so");
    assert_eq!(b.view().silo("b").unwrap().incarnation, later);
    eventually("b is healthy", || async { (b.health().as_str() == "healthy").then_some(()) }).await;
}

#[tokio::test]
async fn row_18_a_late_life_of_an_id_gives_way_to_the_later_one() {
    let mut cluster = Cluster::new(Kind::Redis);
    let (a, b) = (cluster.member("a").await, cluster.member("b").await);
    let mut later = SiloInfo::clone(&*b.silo("b").unwrap());
    later.incarnation += 1;
    let mut redis = raw(&redis_url()).await;
    redis.set::<_, _, ()>(key(&cluster, "silo:b"), later.to_json()).await.unwrap();
    for silo in [&b, &a] {
        redis.publish::<_, _, ()>(key(&cluster, "membership"), "join:b").await.unwrap();
        until(silo, "the later life is in the view", |view| {
            view.silo("b").is_some_and(|info| info.incarnation == later.incarnation)
        })
        .await;
    }
    b.stop().await.unwrap();
    let row: String = redis.get(key(&cluster, "silo:b")).await.unwrap();
    assert_eq!(
        SiloInfo::from_json(&row).unwrap().incarnation,
        later.incarnation,
        "a late delete does nothing"
    );
}

#[tokio::test]
async fn an_unreachable_or_refusing_redis_is_said_without_the_password() {
    let gone = listener().local_addr().unwrap();
    let server = OwnRedis::start().await;
    let mut redis = raw(&server.url()).await;
    redis::cmd("CONFIG").arg("SET").arg("requirepass").arg("right").exec_async(&mut redis).await.unwrap();
    let address = server.url().replace("redis://", "");
    for (url, reason) in [
        (format!("redis://:canary-s3cret@{gone}"), "refused"),
        (format!("redis://:canary-s3cret@{address}"), "assword"),
        (format!("redis://{address}"), "NOAUTH"),
    ] {
        let url: MembershipUrl = url.parse().unwrap();
        let mut config = Cluster::in_redis("").config;
        config.start_timeout = Duration::from_secs(1);
        let membership = quark_core::Membership::new(&url, config).unwrap();
        let error = membership.start(Role::Observer(SiloId::new_client())).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::MembershipUnavailable);
        assert!(error.message().contains(reason) && !error.message().contains("canary-s3cret"), "{error}");
    }
}

#[tokio::test]
async fn a_heartbeat_costs_the_same_however_many_silos_there_are() {
    let server = OwnRedis::start().await;
    let mut cluster = Cluster::in_redis(&server.url());
    let ids: Vec<_> = (10..40).map(|i| i.to_string()).collect();
    let mut silos = Vec::new();
    for id in &ids {
        silos.push(cluster.member(id).await);
    }
    let ids: Vec<_> = ids.iter().map(String::as_str).collect();
    for silo in &silos {
        sees(silo, &ids).await;
    }
    let redis = raw(&server.url()).await;
    // Its own row and a few of others, whose turn it is.
    const ROWS: u64 = 9;
    eventually("silos beat without reading the index or all rows", || async {
        let mut redis = redis.clone();
        redis::cmd("CONFIG").arg("RESETSTAT").exec_async(&mut redis).await.unwrap();
        let mut calls = HashMap::new();
        while calls.get("zadd").is_none_or(|beats| *beats < 60) {
            let stats: String = redis::cmd("INFO").arg("commandstats").query_async(&mut redis).await.unwrap();
            calls = stats.lines().filter_map(call_count).collect();
            tokio::task::yield_now().await;
        }
        (!calls.contains_key("zrange") && calls["mget"] <= ROWS * (calls["zadd"] + 30)).then_some(())
    })
    .await;
}

/// `cmdstat_get:calls=3,usec=…`
fn call_count(line: &str) -> Option<(String, u64)> {
    let (name, rest) = line.strip_prefix("cmdstat_")?.split_once(":calls=")?;
    Some((name.to_owned(), rest.split(',').next()?.parse().ok()?))
}
