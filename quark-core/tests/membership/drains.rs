//! What silos are promised that drain or change their weight, whoever provides the membership: part of the contract.

use quark_core::{ErrorKind, MembershipEvent, SiloId, View};

use crate::support::{Cluster, sees, until};

/// The owners of some actors.
fn owners(view: &View) -> Vec<Option<SiloId>> {
    (0..300).map(|actor| view.owner("Counter", &actor.to_string()).cloned()).collect()
}

/// Those of them that are this silo's.
fn owned(view: &View, id: &str) -> Vec<usize> {
    let all = owners(view).into_iter().enumerate();
    all.filter(|(_, owner)| owner.as_ref().is_some_and(|owner| owner.as_str() == id))
        .map(|(i, _)| i)
        .collect()
}

fn drains(view: &View, id: &str) -> bool {
    view.silo(id).is_some_and(|info| info.is_draining())
}

pub(crate) async fn a_drain_and_a_weight_reach_all_views(mut cluster: Cluster) {
    let (a, b) = (cluster.member("a").await, cluster.member("b").await);
    let before = sees(&a, &["a", "b"]).await;
    a.drain().await.unwrap();
    assert!(drains(&a.view(), "a"), "it is in the own view at once");
    a.drain().await.unwrap();
    let after = until(&b, "b sees the drain", |view| drains(view, "a")).await;
    assert_eq!((owners(&after), owners(&a.view())), (owners(&before), owners(&before)), "nothing moves");
    let own = a.view();
    let events = own.events_since(&before);
    assert!(matches!(&events[..], [MembershipEvent::Updated(info)] if info.is_draining()), "{events:?}");
    a.resume().await.unwrap();
    a.resume().await.unwrap();
    assert!(!drains(&a.view(), "a"));
    until(&b, "b sees the end of it", |view| !drains(view, "a")).await;

    a.set_virtual_nodes(450).await.unwrap();
    assert_eq!(a.view().silo("a").unwrap().virtual_nodes, 450, "it is in the own view at once");
    let heavier = until(&b, "b sees the weight", |view| view.silo("a").unwrap().virtual_nodes == 450).await;
    assert_eq!(owners(&heavier), owners(&a.view()));
    assert!(owned(&heavier, "a").len() > owned(&before, "a").len() + 30);
    let error = a.set_virtual_nodes(0).await.unwrap_err();
    assert_eq!(error.message(), "virtual_nodes=0: must be 1 to 100000");
    a.drain().await.unwrap();
    a.stop().await.unwrap();
    sees(&b, &["b"]).await;
    assert_eq!(a.drain().await.unwrap_err().kind(), ErrorKind::NotRunning);
    let again = cluster.member("a").await;
    let view =
        until(&b, "it is back", |view| view.silo("a").is_some_and(|a| a.incarnation == again.incarnation))
            .await;
    assert!(!drains(&view, "a") && view.silo("a").unwrap().virtual_nodes == 150, "a new start begins anew");
}

pub(crate) async fn a_drained_silo_gets_nothing_when_others_go(mut cluster: Cluster) {
    let (a, b, c) = (cluster.member("a").await, cluster.member("b").await, cluster.member("c").await);
    for member in [&a, &b, &c] {
        sees(member, &["a", "b", "c"]).await;
    }
    a.drain().await.unwrap();
    let kept = owned(&a.view(), "a");
    until(&b, "b sees the drain", |view| drains(view, "a")).await;
    c.stop().await.unwrap();
    for member in [&a, &b] {
        let view = sees(member, &["a", "b"]).await;
        assert_eq!(owned(&view, "a"), kept);
    }
    a.resume().await.unwrap();
    let back = until(&b, "b sees the end of it", |view| !drains(view, "a")).await;
    assert!(owned(&back, "a").len() > kept.len());
}

pub(crate) async fn nothing_comes_back_to_a_drained_silo_when_whoever_took_it_goes(mut cluster: Cluster) {
    let (a, b) = (cluster.member("a").await, cluster.member("b").await);
    for member in [&a, &b] {
        sees(member, &["a", "b"]).await;
    }
    a.drain().await.unwrap();
    let said = |view: &View| view.silo("a").and_then(|info| info.drain.clone());
    let (kept, at_first) = (owned(&a.view(), "a"), said(&a.view()));
    let c = cluster.member("c").await;
    let with_c = sees(&b, &["a", "b", "c"]).await;
    let left = owned(&with_c, "a");
    assert!(left.len() < kept.len() && left.iter().all(|actor| kept.contains(actor)), "c takes its part");
    until(&b, "a has heard of c, and says what is left", |view| said(view) != at_first).await;
    c.stop().await.unwrap();
    for member in [&a, &b] {
        let view = sees(member, &["a", "b"]).await;
        assert_eq!(owned(&view, "a"), left);
    }
}

pub(crate) async fn a_drain_and_a_weight_without_a_silo_are_refused(cluster: Cluster) {
    let fresh = cluster.handle();
    let observer = cluster.observer().await;
    for membership in [&fresh, &observer] {
        for refused in
            [membership.drain().await, membership.resume().await, membership.set_virtual_nodes(9).await]
        {
            assert_eq!(refused.unwrap_err().to_string(), "NOT_RUNNING: no silo runs here");
        }
    }
}
