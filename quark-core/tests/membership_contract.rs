//! What membership promises, whoever provides it: one suite over Redis, gossip, memory and a fixed list; and what Redis
//! promises to other programs.
//!
//! The Redis tests need `QUARK_TEST_REDIS` (a URL); those that stop or flush Redis run a server of their own, found
//! through `QUARK_TEST_REDIS_SERVER` or the PATH.

mod support;

/// Every provider.
mod contract {
    use quark_core::{ErrorKind, MembershipEvent, Role, SiloStatus};

    use crate::support::{Cluster, Kind, Member, ids, info, listener, sees, until};

    macro_rules! contract {
        ($($provider:ident = $kind:ident: $($promise:ident)+;)+) => {
            $(mod $provider {
                $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $promise() {
                    super::$promise(super::Cluster::new(super::Kind::$kind)).await;
                })+
            })+
        };
    }

    contract! {
        redis = Redis:
            a_silo_sees_itself_at_start two_silos_see_each_other changes_come_as_events a_leave_is_seen
            a_silo_that_shuts_down_owns_nothing_but_is_in_the_view a_dead_silo_leaves_the_view
            a_live_id_cannot_be_taken a_restart_takes_over_with_a_higher_incarnation
            a_client_sees_and_is_not_seen two_clusters_do_not_see_each_other view_versions_grow
            a_second_stop_and_a_second_start_have_no_effect a_suspicion_of_a_live_silo_changes_nothing;
        gossip = Gossip:
            a_silo_sees_itself_at_start two_silos_see_each_other changes_come_as_events a_leave_is_seen
            a_silo_that_shuts_down_owns_nothing_but_is_in_the_view a_dead_silo_leaves_the_view
            a_live_id_cannot_be_taken a_restart_takes_over_with_a_higher_incarnation
            a_client_sees_and_is_not_seen two_clusters_do_not_see_each_other view_versions_grow
            a_second_stop_and_a_second_start_have_no_effect a_suspicion_of_a_live_silo_changes_nothing;
        memory = Memory:
            a_silo_sees_itself_at_start two_silos_see_each_other changes_come_as_events a_leave_is_seen
            a_silo_that_shuts_down_owns_nothing_but_is_in_the_view a_dead_silo_leaves_the_view
            a_live_id_cannot_be_taken a_restart_takes_over_with_a_higher_incarnation
            a_client_sees_and_is_not_seen two_clusters_do_not_see_each_other view_versions_grow
            a_second_stop_and_a_second_start_have_no_effect a_suspicion_of_a_live_silo_changes_nothing;
        fixed = Static:
            a_silo_sees_itself_at_start a_second_stop_and_a_second_start_have_no_effect;
    }

    async fn a_silo_sees_itself_at_start(mut cluster: Cluster) {
        let a = cluster.member("a").await;
        let view = a.view();
        assert_eq!(ids(&view), ["a"]);
        let own = view.silo("a").unwrap();
        assert!(own.incarnation > 0 && own.incarnation == a.incarnation && own.endpoint == a.endpoint);
        assert_eq!(a.owner("Counter", "1").unwrap().as_str(), "a");
    }

    async fn two_silos_see_each_other(mut cluster: Cluster) {
        let a = cluster.member("a").await;
        let b = cluster.member("b").await;
        assert_eq!(ids(&b.view()), ["a", "b"], "who comes later sees the earlier at once");
        let view = sees(&a, &["a", "b"]).await;
        let (seen, own) = (view.silo("b").unwrap(), b.silo("b").unwrap());
        assert!(seen.same_but_heartbeat(&own), "{seen:?} {own:?}");
        assert_eq!(a.owner("Counter", "1"), b.owner("Counter", "1"));
    }

    async fn changes_come_as_events(mut cluster: Cluster) {
        let a = cluster.member("a").await;
        let first = a.view();
        let b = cluster.member("b").await;
        let joined = sees(&a, &["a", "b"]).await;
        b.announce(SiloStatus::ShuttingDown).await.unwrap();
        let changed = until(&a, "b shuts down", |view| shuts_down(view, "b")).await;
        b.stop().await.unwrap();
        let left = sees(&a, &["a"]).await;
        assert!(
            matches!(&joined.events_since(&first)[..], [MembershipEvent::Joined(i)] if i.silo_id.as_str() == "b")
        );
        assert!(
            matches!(&changed.events_since(&joined)[..], [MembershipEvent::Updated(i)] if i.silo_id.as_str() == "b")
        );
        assert!(
            matches!(&left.events_since(&changed)[..], [MembershipEvent::Left(i)] if i.silo_id.as_str() == "b")
        );
    }

    fn shuts_down(view: &quark_core::View, id: &str) -> bool {
        view.silo(id).is_some_and(|info| info.status == SiloStatus::ShuttingDown)
    }

    async fn a_leave_is_seen(mut cluster: Cluster) {
        let a = cluster.member("a").await;
        let b = cluster.member("b").await;
        let c = cluster.member("c").await;
        for member in [&a, &b, &c] {
            sees(member, &["a", "b", "c"]).await;
        }
        b.stop().await.unwrap();
        sees(&a, &["a", "c"]).await;
        sees(&c, &["a", "c"]).await;
    }

    async fn a_silo_that_shuts_down_owns_nothing_but_is_in_the_view(mut cluster: Cluster) {
        let a = cluster.member("a").await;
        let b = cluster.member("b").await;
        sees(&a, &["a", "b"]).await;
        b.announce(SiloStatus::ShuttingDown).await.unwrap();
        for member in [&a, &b] {
            let view = until(member, "b shuts down", |view| shuts_down(view, "b")).await;
            assert_eq!(ids(&view), ["a", "b"]);
            assert!((0..100).all(|i| view.owner("Counter", &i.to_string()).unwrap().as_str() == "a"));
        }
    }

    async fn a_dead_silo_leaves_the_view(mut cluster: Cluster) {
        let a = cluster.member("a").await;
        let b = cluster.member("b").await;
        let c = cluster.member("c").await;
        for member in [&a, &b, &c] {
            sees(member, &["a", "b", "c"]).await;
        }
        b.crash();
        sees(&a, &["a", "c"]).await;
        sees(&c, &["a", "c"]).await;
        c.crash();
        sees(&a, &["a"]).await;
    }

    async fn a_live_id_cannot_be_taken(mut cluster: Cluster) {
        let a = cluster.member("a").await;
        let b = cluster.member("b").await;
        let error = cluster.try_member(info("b", &listener())).await.err().expect("the id is taken");
        assert_eq!(error.kind(), ErrorKind::IdInUse, "{error}");
        assert!(error.message().contains(&b.endpoint.to_string()), "{error}");
        assert_eq!(sees(&a, &["a", "b"]).await.silo("b").unwrap().endpoint, b.endpoint);
    }

    async fn a_restart_takes_over_with_a_higher_incarnation(mut cluster: Cluster) {
        let a = cluster.member("a").await;
        let b = cluster.member("b").await;
        let before = b.incarnation;
        sees(&a, &["a", "b"]).await;
        b.crash();
        let b: Member = cluster.member("b").await;
        assert!(b.incarnation > before, "{} after {before}", b.incarnation);
        let view = until(&a, "a sees the later life", |view| {
            view.silo("b").is_some_and(|info| info.incarnation == b.incarnation)
        })
        .await;
        assert_eq!(view.silo("b").unwrap().endpoint, b.endpoint);
        b.stop().await.unwrap();
        sees(&a, &["a"]).await;
        let after_a_farewell = cluster.member("b").await;
        assert!(after_a_farewell.incarnation > b.incarnation);
    }

    async fn a_client_sees_and_is_not_seen(mut cluster: Cluster) {
        let a = cluster.member("a").await;
        let client = cluster.observer().await;
        assert_eq!(ids(&client.view()), ["a"]);
        let b = cluster.member("b").await;
        sees(&client, &["a", "b"]).await;
        sees(&a, &["a", "b"]).await;
        assert_eq!(ids(&b.view()), ["a", "b"]);
        b.stop().await.unwrap();
        sees(&client, &["a"]).await;
        client.stop().await.unwrap();
        // Each learns of a farewell by itself, so this one may come later than the client's.
        sees(&a, &["a"]).await;
    }

    async fn two_clusters_do_not_see_each_other(mut cluster: Cluster) {
        let a = cluster.member("a").await;
        let mut other = cluster.neighbour();
        let x = other.member("x").await;
        let b = cluster.member("b").await;
        sees(&a, &["a", "b"]).await;
        sees(&b, &["a", "b"]).await;
        sees(&x, &["x"]).await;
    }

    async fn view_versions_grow(mut cluster: Cluster) {
        let membership = cluster.handle();
        assert_eq!(membership.view().version(), 0);
        let a = cluster.member("a").await;
        let first = a.view().version();
        assert!(first > 0);
        let b = cluster.member("b").await;
        let second = sees(&a, &["a", "b"]).await.version();
        b.stop().await.unwrap();
        let third = sees(&a, &["a"]).await.version();
        assert!(first < second && second < third, "{first} {second} {third}");
    }

    async fn a_second_stop_and_a_second_start_have_no_effect(mut cluster: Cluster) {
        let a = cluster.member("a").await;
        let role = || Role::Member(info("a", &listener()).0);
        assert_eq!(a.start(role()).await.unwrap_err().kind(), ErrorKind::NotRunning);
        a.stop().await.unwrap();
        a.stop().await.unwrap();
        assert_eq!(a.start(role()).await.unwrap_err().kind(), ErrorKind::NotRunning);
        let fresh = cluster.handle();
        fresh.stop().await.unwrap();
    }

    async fn a_suspicion_of_a_live_silo_changes_nothing(mut cluster: Cluster) {
        let a = cluster.member("a").await;
        let b = cluster.member("b").await;
        let mut views = a.watch();
        let suspected = sees(&a, &["a", "b"]).await.silo("b").unwrap().clone();
        views.mark_unchanged();
        (0..10).for_each(|_| a.suspect(&suspected));
        let c = cluster.member("c").await;
        let view = sees(&a, &["a", "b", "c"]).await;
        assert_eq!(view.version(), views.borrow().version());
        drop((b, c));
    }
}

/// Gossip's own promises.
mod gossip {
    use std::time::{Duration, Instant};

    use quark_core::{ErrorKind, Membership, Role, SiloId};

    use crate::support::{Cluster, Kind, info, listener, sees};

    #[tokio::test]
    async fn a_silo_whose_seeds_are_silent_starts_alone_and_a_client_fails() {
        let mut cluster = Cluster::new(Kind::Gossip);
        cluster.config.start_timeout = Duration::from_secs(1);
        let url = format!("gossip://127.0.0.1:0?seed={}", listener().local_addr().unwrap()).parse().unwrap();
        let silo = Membership::new(&url, cluster.config.clone()).unwrap();
        silo.start(Role::Member(info("a", &listener()).0)).await.unwrap();
        let client = Membership::new(&url, cluster.config.clone()).unwrap();
        let error = client.start(Role::Observer(SiloId::new_client())).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::MembershipUnavailable);
        assert!(error.message().contains("seed="), "{error}");
    }

    #[tokio::test]
    async fn a_taken_gossip_address_is_said() {
        let mut cluster = Cluster::new(Kind::Gossip);
        let a = cluster.member("a").await;
        let taken = &a.silo("a").unwrap().labels["quark.gossip"];
        let url = format!("gossip://{taken}").parse().unwrap();
        let b = Membership::new(&url, cluster.config.clone()).unwrap();
        let error = b.start(Role::Member(info("b", &listener()).0)).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::AddressInUse, "{error}");
        assert!(error.message().contains(taken.as_str()), "{error}");
    }

    #[tokio::test]
    async fn a_wildcard_is_advertised_as_the_host_of_the_endpoint() {
        let cluster = Cluster::new(Kind::Gossip);
        let a = Membership::new(&"gossip://0.0.0.0:0".parse().unwrap(), cluster.config.clone()).unwrap();
        let (info, _listener) = info("a", &listener());
        a.start(Role::Member(info)).await.unwrap();
        let label = a.silo("a").unwrap().labels["quark.gossip"].clone();
        assert!(label.starts_with("127.0.0.1:") && !label.ends_with(":0"), "{label}");
    }

    #[tokio::test]
    async fn silos_that_start_at_once_find_each_other() {
        let mut cluster = Cluster::new(Kind::Gossip);
        let seed = cluster.member("seed").await;
        let start = |id: &'static str| {
            let handle = cluster.handle();
            async move {
                let (info, listener) = info(id, &listener());
                handle.start(Role::Member(info)).await.unwrap();
                (handle, listener)
            }
        };
        let (a, b, c) = tokio::join!(start("a"), start("b"), start("c"));
        for silo in [&seed.membership, &a.0, &b.0, &c.0] {
            sees(silo, &["a", "b", "c", "seed"]).await;
        }
    }

    #[tokio::test]
    async fn a_suspected_silo_is_out_sooner_than_its_heartbeat_would_tell() {
        let mut cluster = Cluster::new(Kind::Gossip);
        // Slow enough for the failure detector to take 10 s.
        cluster.config.gossip_interval = Duration::from_secs(1);
        let a = cluster.member("a").await;
        let b = cluster.member("b").await;
        let suspected = sees(&a, &["a", "b"]).await.silo("b").unwrap().clone();
        b.crash();
        let began = Instant::now();
        a.suspect(&suspected);
        sees(&a, &["a"]).await;
        assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    }
}

/// What other programs see in Redis, and what Redis does to a cluster.
mod redis_rows {
    use std::collections::HashMap;
    use std::time::{Duration, Instant};

    use futures_util::StreamExt as _;
    use quark_core::{ErrorKind, MembershipUrl, Role, SiloId, SiloInfo, SiloStatus};
    use redis::AsyncCommands as _;

    use crate::support::{
        Cluster, Kind, OwnRedis, eventually, ids, info, listener, raw, redis_url, sees, until,
    };

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
    async fn a_flushed_redis_evicts_nobody_and_the_rows_come_back() {
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
    async fn while_redis_is_away_the_view_stands_and_afterwards_all_goes_on() {
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
        // Later than the rest, perhaps; c's farewell would pass unheard.
        eventually("both listen again", || async {
            let mut ask = redis::cmd("PUBSUB");
            ask.arg("NUMSUB").arg(key(&cluster, "membership"));
            let (_, listening): (String, u64) = ask.query_async(&mut redis.clone()).await.unwrap();
            (listening == 2).then_some(())
        })
        .await;
        let c = cluster.member("c").await;
        assert_eq!(sees(&a, &["a", "b", "c"]).await.version(), before + 1, "nobody was evicted");
        c.stop().await.unwrap();
        sees(&a, &["a", "b"]).await;
        drop(b);
    }

    #[tokio::test]
    async fn an_unreadable_row_is_skipped() {
        let mut cluster = Cluster::new(Kind::Redis);
        let mut redis = raw(&redis_url()).await;
        redis.set::<_, _, ()>(key(&cluster, "silo:x"), "hello").await.unwrap();
        redis.lpush::<_, _, ()>(key(&cluster, "silo:y"), "a list").await.unwrap();
        redis.zadd_multiple::<_, _, _, ()>(key(&cluster, "index"), &[(1, "x"), (1, "y")]).await.unwrap();
        let a = cluster.member("a").await;
        redis.publish::<_, _, ()>(key(&cluster, "membership"), "join:x").await.unwrap();
        let b = cluster.member("b").await;
        sees(&a, &["a", "b"]).await;
        assert_eq!(ids(&b.view()), ["a", "b"]);
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
    async fn a_forged_leave_is_ignored() {
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
    async fn of_many_that_claim_an_id_at_once_one_starts() {
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

    #[tokio::test]
    async fn a_late_life_of_an_id_gives_way_to_the_later_one() {
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
            (format!("redis://:s3cret@{gone}"), "refused"),
            (format!("redis://:s3cret@{address}"), "assword"),
            (format!("redis://{address}"), "NOAUTH"),
        ] {
            let url: MembershipUrl = url.parse().unwrap();
            let mut config = Cluster::in_redis("").config;
            config.start_timeout = Duration::from_secs(1);
            let membership = quark_core::Membership::new(&url, config).unwrap();
            let error = membership.start(Role::Observer(SiloId::new_client())).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::MembershipUnavailable);
            assert!(error.message().contains(reason) && !error.message().contains("s3cret"), "{error}");
        }
    }

    #[tokio::test]
    async fn a_heartbeat_reads_no_rows_of_others_when_nothing_changes() {
        let server = OwnRedis::start().await;
        let mut cluster = Cluster::in_redis(&server.url());
        let (a, b) = (cluster.member("a").await, cluster.member("b").await);
        let c = cluster.member("c").await;
        for silo in [&a, &b, &c] {
            sees(silo, &["a", "b", "c"]).await;
        }
        let redis = raw(&server.url()).await;
        eventually("three silos beat without reading the index", || async {
            let mut redis = redis.clone();
            redis::cmd("CONFIG").arg("RESETSTAT").exec_async(&mut redis).await.unwrap();
            let mut calls = HashMap::new();
            while calls.get("zadd").is_none_or(|beats| *beats < 9) {
                let stats: String =
                    redis::cmd("INFO").arg("commandstats").query_async(&mut redis).await.unwrap();
                calls = stats.lines().filter_map(call_count).collect();
                tokio::task::yield_now().await;
            }
            (!calls.contains_key("zrange") && calls["mget"] <= calls["zadd"] + 3).then_some(())
        })
        .await;
    }

    /// `cmdstat_get:calls=3,usec=…`
    fn call_count(line: &str) -> Option<(String, u64)> {
        let (name, rest) = line.strip_prefix("cmdstat_")?.split_once(":calls=")?;
        Some((name.to_owned(), rest.split(',').next()?.parse().ok()?))
    }
}
