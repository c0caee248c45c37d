//! What membership promises, whoever provides it: one suite over Redis, gossip, memory and a fixed list; and gossip's own
//! promises.
//!
//! The Redis tests need `QUARK_TEST_REDIS` (a URL).

#[allow(dead_code, reason = "other suites use the rest")]
mod support;

/// Of silos that drain, and of weights.
#[path = "membership/drains.rs"]
mod drains;

/// Every provider.
mod contract {
    use quark_core::{ErrorKind, MembershipEvent, Role, SiloStatus, View};

    use crate::drains::*;
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
            a_drain_and_a_weight_reach_all_views a_drained_silo_gets_nothing_when_others_go
            nothing_comes_back_to_a_drained_silo_when_whoever_took_it_goes
            a_leave_right_after_its_announcement_is_no_less_one a_second_stop_and_a_second_start_have_no_effect a_suspicion_of_a_live_silo_changes_nothing;
        gossip = Gossip:
            a_silo_sees_itself_at_start two_silos_see_each_other changes_come_as_events a_leave_is_seen
            a_silo_that_shuts_down_owns_nothing_but_is_in_the_view a_dead_silo_leaves_the_view
            a_live_id_cannot_be_taken a_restart_takes_over_with_a_higher_incarnation
            a_client_sees_and_is_not_seen two_clusters_do_not_see_each_other view_versions_grow
            a_drain_and_a_weight_reach_all_views a_drained_silo_gets_nothing_when_others_go
            nothing_comes_back_to_a_drained_silo_when_whoever_took_it_goes
            a_second_stop_and_a_second_start_have_no_effect a_suspicion_of_a_live_silo_changes_nothing;
        memory = Memory:
            a_silo_sees_itself_at_start two_silos_see_each_other changes_come_as_events a_leave_is_seen
            a_silo_that_shuts_down_owns_nothing_but_is_in_the_view a_dead_silo_leaves_the_view
            a_live_id_cannot_be_taken a_restart_takes_over_with_a_higher_incarnation
            a_client_sees_and_is_not_seen two_clusters_do_not_see_each_other view_versions_grow
            a_drain_and_a_weight_reach_all_views a_drained_silo_gets_nothing_when_others_go
            nothing_comes_back_to_a_drained_silo_when_whoever_took_it_goes
            a_second_stop_and_a_second_start_have_no_effect a_suspicion_of_a_live_silo_changes_nothing;
        fixed = Static:
            a_silo_sees_itself_at_start a_drain_and_a_weight_without_a_silo_are_refused a_second_stop_and_a_second_start_have_no_effect;
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

    fn shuts_down(view: &View, id: &str) -> bool {
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

    async fn a_leave_right_after_its_announcement_is_no_less_one(mut cluster: Cluster) {
        let a = cluster.member("a").await;
        let b = cluster.member("b").await;
        sees(&a, &["a", "b"]).await;
        b.announce(SiloStatus::ShuttingDown).await.unwrap();
        b.stop().await.unwrap();
        // Long before it would be missed; its endpoint is still there.
        let limit = std::time::Duration::from_secs(5);
        assert!(tokio::time::timeout(limit, sees(&a, &["a"])).await.is_ok(), "it said farewell");
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
        fresh.start(Role::Member(info("b", &listener()).0)).await.unwrap();
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
        assert_eq!(
            silo.health().to_string(),
            "degraded: gossip: none of the seeds has answered yet",
            "it may be that somebody else serves the same actors"
        );
        let client = Membership::new(&url, cluster.config.clone()).unwrap();
        let error = client.start(Role::Observer(SiloId::new_client())).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::MembershipUnavailable);
        assert!(
            error.message().contains("seed=") && error.message().contains("none of the seeds"),
            "{error}"
        );
        for (url, said) in [
            ("gossip://127.0.0.1:0", "a client needs the gossip address"),
            (
                "gossip://127.0.0.1:0?seed=no.such.host.invalid:7",
                "no seed has an address (no.such.host.invalid:7: ",
            ),
        ] {
            let client = Membership::new(&url.parse().unwrap(), cluster.config.clone()).unwrap();
            let error = client.start(Role::Observer(SiloId::new_client())).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::MembershipUnavailable);
            assert!(error.message().contains(said), "{error}");
        }
    }

    #[tokio::test]
    async fn a_seed_that_comes_later_and_one_that_is_a_name_are_found() {
        let mut cluster = Cluster::new(Kind::Gossip);
        // Where nobody listens yet.
        let place = std::net::UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let start = async |id: &str, url: String| {
            let membership = Membership::new(&url.parse().unwrap(), cluster.config.clone()).unwrap();
            let (info, listener) = info(id, &listener());
            membership.start(Role::Member(info)).await.unwrap();
            (membership, listener)
        };
        let a = start("a", format!("gossip://127.0.0.1:0?seed=localhost:{}", place.port())).await;
        assert_eq!(a.0.health().as_str(), "degraded");
        // It names itself, which is no reason to miss anybody.
        let b = start("b", format!("gossip://{place}?seed={place}")).await;
        for silo in [&a.0, &b.0] {
            sees(silo, &["a", "b"]).await;
            let mut health = silo.watch_health();
            let healthy = health.wait_for(|health| health.as_str() == "healthy");
            drop(tokio::time::timeout(Duration::from_secs(20), healthy).await.expect("in time"));
        }
        cluster.config.start_timeout = Duration::from_secs(1);
    }

    #[tokio::test]
    async fn what_two_silos_say_they_put_out_begins_another_life() {
        let mut cluster = Cluster::new(Kind::Gossip);
        let (a, b, c) = (cluster.member("a").await, cluster.member("b").await, cluster.member("c").await);
        for silo in [&a, &b, &c] {
            sees(silo, &["a", "b", "c"]).await;
        }
        let life = c.incarnation;
        // Its endpoint is gone, though its heart beats on.
        let c = c.deaf();
        for silo in [&a, &b] {
            silo.suspect(&silo.silo("c").unwrap());
        }
        crate::support::until(&c, "it learns that it is out", |view| {
            view.silo("c").is_none_or(|info| info.incarnation > life)
        })
        .await;
        assert!(!c.may_serve() || c.incarnation() > life);
    }

    #[tokio::test]
    async fn a_drain_that_no_datagram_could_carry_is_refused() {
        let mut cluster = Cluster::new(Kind::Gossip);
        let (a, b) = (cluster.member("a").await, cluster.member("b").await);
        sees(&a, &["a", "b"]).await;
        a.set_virtual_nodes(20_000).await.unwrap();
        b.set_virtual_nodes(20_000).await.unwrap();
        crate::support::until(&a, "both are heavy", |view| view.silo("b").unwrap().virtual_nodes == 20_000)
            .await;
        let error = a.drain().await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidArgument);
        assert!(
            error.message().starts_with("virtual_nodes=20000: has too many hash ranges to drain"),
            "{error}"
        );
        assert!(!a.view().silo("a").unwrap().is_draining());
        a.set_virtual_nodes(150).await.unwrap();
        a.drain().await.unwrap();
        crate::support::until(&b, "b sees the drain", |view| view.silo("a").unwrap().is_draining()).await;
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
        let mut config = cluster.config.clone();
        config.allow_plaintext = true;
        let a = Membership::new(&"gossip://0.0.0.0:0".parse().unwrap(), config).unwrap();
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
