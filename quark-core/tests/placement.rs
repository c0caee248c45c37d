//! Where calls go: by policies of the user's own, by zone, and while a silo drains.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use quark_core::{
    Caller, Client, Error, ErrorKind, Membership, MembershipConfig, Placement, PlacementPolicy, Request, Result,
    Role, Silo, SiloBuilder, SiloId, SiloInfo, View,
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
    let in_zone = |id: &'static str, zone: &str| {
        let zone = zone.to_owned();
        silo(id, cluster).configure(|config| config.zone = Some(zone)).handler(named(id)).start()
    };
    let near = [in_zone("near", "x").await.unwrap(), in_zone("next", "x").await.unwrap()];
    let far = in_zone("far", "y").await.unwrap();
    let client = Client::builder()
        .membership(format!("memory://{cluster}").parse().unwrap())
        .placement("Worker", Placement::StatelessWorker)
        .configure(|config| config.zone = Some("x".to_owned()))
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
