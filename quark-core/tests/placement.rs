//! Where calls go: by policies of the user's own, by zone, and while a silo drains.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use quark_core::{
    Caller, Client, Error, ErrorKind, Membership, MembershipConfig, Placement, PlacementPolicy, Request,
    Result, Role, Silo, SiloBuilder, SiloId, SiloInfo, View,
};

/// Long enough for a loaded machine; nothing waits so long when all is well.
const LIMIT: Duration = Duration::from_secs(20);

fn silo(id: &str, cluster: &str) -> SiloBuilder {
    Silo::builder(id).membership(format!("memory://{cluster}").parse().unwrap())
}

/// Answers with the silo's id.
fn named(id: &'static str) -> impl Fn(Request) -> std::future::Ready<Result<String>> + Send + Sync {
    move |_| std::future::ready(Ok(id.to_owned()))
}

async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let waited = tokio::time::timeout(LIMIT, async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    });
    waited.await.unwrap_or_else(|_| panic!("not within {LIMIT:?}: {what}"));
}

async fn answer(caller: &Caller, actor_type: &str, actor_id: &str) -> Result<String> {
    let reply = caller.call((actor_type, actor_id), "", "").timeout(LIMIT).await?;
    Ok(String::from_utf8(reply.to_vec()).unwrap())
}

/// A silo of which there is nothing but its row.
async fn ghost(id: &str, cluster: &str) -> Membership {
    let url = format!("memory://{cluster}").parse().unwrap();
    let membership = Membership::new(&url, MembershipConfig::default()).unwrap();
    let info = SiloInfo::new(id.parse().unwrap(), "127.0.0.1:9".parse().unwrap());
    membership.start(Role::Member(info)).await.unwrap();
    membership
}

/// Chooses the silo that the actor's id names; a ghost while there is one.
#[derive(Default)]
struct ByName {
    asked: AtomicUsize,
    again: Mutex<Vec<Box<dyn FnOnce() + Send>>>,
}

impl PlacementPolicy for ByName {
    fn place(&self, _: &str, actor_id: &str, view: &Arc<View>, _: &SiloId) -> Result<Option<SiloId>> {
        self.asked.fetch_add(1, Ordering::Relaxed);
        match actor_id {
            "nobody" => Ok(None),
            "fails" => Err(Error::new(ErrorKind::InvalidArgument, "as asked")),
            _ if view.silo("ghost").is_some() => Ok(Some("ghost".parse().unwrap())),
            id => SiloId::new(id).map(Some),
        }
    }

    fn ask_again(&self, ask: Box<dyn FnOnce() + Send>) {
        self.again.lock().unwrap().push(ask);
    }
}

#[tokio::test]
async fn a_policy_of_ones_own_decides_and_what_it_says_is_checked() {
    let (policy, cluster) = (Arc::new(ByName::default()), "own policy");
    let _b = silo("b", cluster).handler(named("b")).start().await.unwrap();
    let a = silo("a", cluster).placement("Session", Placement::Custom(policy.clone()));
    let a = a.handler(named("a")).start().await.unwrap();
    for id in ["a", "b", "b", "a"] {
        assert_eq!(answer(&a, "Session", id).await.unwrap(), id);
    }
    assert_eq!(policy.asked.load(Ordering::Relaxed), 4);
    let fails = async |id| answer(&a, "Session", id).await.unwrap_err();
    let unknown = fails("c").await;
    assert_eq!((unknown.kind(), unknown.is_retryable()), (ErrorKind::NoSilo, true));
    assert!(unknown.message().contains("\"Session\" chose \"c\", which is not in the view"), "{unknown}");
    assert_eq!(fails("nobody").await.kind(), ErrorKind::NoSilo);
    assert_eq!(fails("fails").await.to_string(), "INVALID_ARGUMENT: as asked");
}

#[tokio::test]
async fn what_was_not_sent_when_its_silo_went_is_placed_again_where_the_policy_wants_that() {
    let (policy, cluster) = (Arc::new(ByName::default()), "placed again");
    let a = silo("a", cluster).placement("Session", Placement::Custom(policy.clone()));
    let a = a.handler(named("a")).start().await.unwrap();
    let ghost = ghost("ghost", cluster).await;
    until("the ghost is seen", || a.silos().len() == 2).await;
    let caller = a.caller().clone();
    let call = |id: &'static str| {
        let caller = caller.clone();
        tokio::spawn(async move { answer(&caller, "Session", id).await })
    };
    let (here, nowhere) = (call("a"), call("nobody there"));
    until("both wait", || policy.asked.load(Ordering::Relaxed) == 2).await;
    ghost.stop().await.unwrap();
    until("both are given to the policy", || policy.again.lock().unwrap().len() == 2).await;
    assert_eq!(policy.asked.load(Ordering::Relaxed), 2, "it was asked on the runtime's thread");
    let asks = std::mem::take(&mut *policy.again.lock().unwrap());
    std::thread::spawn(|| asks.into_iter().for_each(|ask| ask())).join().unwrap();
    assert_eq!(here.await.unwrap().unwrap(), "a");
    let error = nowhere.await.unwrap().unwrap_err();
    assert_eq!((error.kind(), error.delivered()), (ErrorKind::NoSilo, quark_core::Delivered::No));
}

#[tokio::test]
async fn a_client_with_a_zone_gets_the_stateless_workers_of_its_zone() {
    let cluster = "zone of a client";
    let in_zone = |id: &'static str, zone: &str| silo(id, cluster).zone(zone).handler(named(id)).start();
    let near = [in_zone("near", "x").await.unwrap(), in_zone("next", "x").await.unwrap()];
    let far = in_zone("far", "y").await.unwrap();
    let client = Client::builder()
        .membership(format!("memory://{cluster}").parse().unwrap())
        .placement("Worker", Placement::StatelessWorker)
        .zone("x")
        .start()
        .await
        .unwrap();
    let mut answers = Vec::new();
    for _ in 0..4 {
        answers.push(answer(&client, "Worker", "1").await.unwrap());
    }
    assert_eq!(answers, ["near", "next", "near", "next"]);
    for silo in near {
        silo.stop(LIMIT).await;
    }
    until("they are gone", || client.silos().len() == 1).await;
    assert_eq!(answer(&client, "Worker", "1").await.unwrap(), "far");
    drop(far);
}

/// The ids of actors that this silo owns by `owner`.
fn actors_of<'a>(
    id: &'a str,
    owner: impl Fn(&str) -> Option<SiloId> + 'a,
) -> impl Iterator<Item = String> + 'a {
    (0..)
        .map(|actor: u32| actor.to_string())
        .filter(move |actor| owner(actor).is_some_and(|owner| owner.as_str() == id))
}

#[tokio::test]
async fn policies_do_not_choose_a_silo_that_drains() {
    /// Chooses whoever does not drain, and tells who does.
    #[derive(Default)]
    struct Open(Mutex<Vec<String>>);
    impl PlacementPolicy for Open {
        fn place(&self, actor_type: &str, _: &str, view: &Arc<View>, _: &SiloId) -> Result<Option<SiloId>> {
            let info = |id: &SiloId| view.silo(id.as_str()).unwrap().clone();
            let (draining, open): (Vec<_>, Vec<_>) =
                view.ring(actor_type).silos().map(info).partition(|info| info.is_draining());
            self.0.lock().unwrap().extend(draining.iter().map(|info| info.silo_id.to_string()));
            Ok(open.first().map(|info| info.silo_id.clone()))
        }
    }
    let (open, cluster) = (Arc::new(Open::default()), "policies and a drain");
    let place = |id: &'static str| {
        silo(id, cluster)
            .placement("Random", Placement::Random)
            .placement("Worker", Placement::StatelessWorker)
            .placement("Near", Placement::PreferLocal)
            .placement("Own", Placement::Custom(open.clone()))
            .zone("z")
            .handler(named(id))
            .start()
    };
    let (a, b) = (place("a").await.unwrap(), place("b").await.unwrap());
    until("both see both", || a.silos().len() == 2 && b.silos().len() == 2).await;
    a.drain().await.unwrap();
    for _ in 0..20 {
        for actor_type in ["Random", "Worker", "Own"] {
            assert_eq!(answer(&a, actor_type, "1").await.unwrap(), "b", "{actor_type}");
        }
    }
    assert!(open.0.lock().unwrap().iter().all(|id| id == "a"), "it is shown who drains");
    let kept = actors_of("a", |actor| a.owner("Near", actor).unwrap()).next().unwrap();
    let other = actors_of("b", |actor| a.owner("Near", actor).unwrap()).next().unwrap();
    assert_eq!(answer(&a, "Near", &kept).await.unwrap(), "a", "what it has it keeps");
    assert_eq!(answer(&a, "Near", &other).await.unwrap(), "b");
    b.drain().await.unwrap();
    until("a sees it", || a.view().silo("b").unwrap().is_draining()).await;
    let mut answers = Vec::new();
    for _ in 0..4 {
        answers.push(answer(&a, "Worker", "1").await.unwrap());
    }
    answers.sort();
    assert_eq!(answers, ["a", "a", "b", "b"], "all of them, when all drain");
    a.resume().await.unwrap();
    assert_eq!(answer(&a, "Worker", "1").await.unwrap(), "a");
}

#[tokio::test]
async fn what_those_send_to_a_draining_silo_who_do_not_know_of_drains_is_passed_on() {
    let cluster = "original beside a drain";
    let start = |id: &'static str| silo(id, cluster).handler(named(id)).start();
    let (a, b, c) = (start("a").await.unwrap(), start("b").await.unwrap(), start("c").await.unwrap());
    until("all see all", || [&a, &b, &c].iter().all(|silo| silo.silos().len() == 3)).await;
    a.drain().await.unwrap();
    let kept: Vec<_> = actors_of("a", |actor| a.owner("T", actor).unwrap()).take(5).collect();
    c.stop(LIMIT).await;
    until("c is gone", || a.silos().len() == 2 && b.silos().len() == 2).await;

    // Who counts 150 points for everybody, and knows no drains.
    let by_the_plain_ring = |actor: &str| {
        let mut ring = quark_core::HashRing::new();
        for id in ["a", "b"] {
            ring.add(id, 150).unwrap();
        }
        ring.owner_of_actor("T", actor).cloned()
    };
    let moved: Vec<_> = actors_of("a", by_the_plain_ring)
        .filter(|actor| a.owner("T", actor).unwrap().unwrap().as_str() == "b")
        .take(5)
        .collect();
    struct Refuse;
    impl quark_core::Handler for Refuse {
        fn handle(&self, request: Request) {
            drop(request);
        }
    }
    let handler: Arc<dyn quark_core::Handler> = Arc::new(Refuse);
    let config = quark_core::TransportConfig::default();
    let original = quark_core::Transport::new("original".parse().unwrap(), None, config, handler).unwrap();
    original.start().await.unwrap();
    original.connect(a.view().silo("a").unwrap()).await.unwrap();
    for (actors, handled_by) in [(kept, "a"), (moved, "b")] {
        assert_eq!(actors.len(), 5);
        for actor in actors {
            let request = quark_core::Envelope::request("T", actor, "", "");
            let response = original.send("a", request, LIMIT).await.unwrap();
            assert_eq!(response.into_result().unwrap(), handled_by);
        }
    }
    original.stop(LIMIT).await;
}

#[tokio::test]
async fn calls_follow_a_drain_and_a_weight_as_soon_as_they_are_made() {
    let cluster = "followed at once";
    let start = |id: &'static str| silo(id, cluster).handler(named(id)).start();
    let (a, b) = (start("a").await.unwrap(), start("b").await.unwrap());
    until("both see both", || a.silos().len() == 2 && b.silos().len() == 2).await;
    a.drain().await.unwrap();
    assert!(a.view().silo("a").unwrap().is_draining());
    a.resume().await.unwrap();
    assert!(!a.view().silo("a").unwrap().is_draining());
    a.set_virtual_nodes(600).await.unwrap();
    let view = a.view();
    assert_eq!(view.ring("T").virtual_nodes("a"), Some(600));
    until("b follows", || b.view().ring("T") == view.ring("T")).await;
    for actor in 0..20 {
        let actor = actor.to_string();
        let owner = a.owner("T", &actor).unwrap().unwrap();
        assert_eq!(answer(&b, "T", &actor).await.unwrap(), owner.as_str());
    }
    let error = a.set_virtual_nodes(100_001).await.unwrap_err();
    assert_eq!(error.to_string(), "INVALID_ARGUMENT: virtual_nodes=100001: must be 1 to 100000");
    a.stop(LIMIT).await;
    for refused in [a.drain().await, a.resume().await, a.set_virtual_nodes(1).await] {
        assert_eq!(refused.unwrap_err().kind(), ErrorKind::NotRunning);
    }
}
