//! What a host hears of what its silo gains and loses, and what the silo says when it is asked.

#[allow(dead_code, reason = "other suites use the rest")]
mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use quark_core::{
    Caller, Client, Delivered, ErrorKind, HashRanges, OwnershipChange, OwnershipWatch, Placement, Request,
    Silo, SiloBuilder, View, hash,
};
use redis::AsyncCommands as _;

use support::{LIMIT, raw, redis_url};

fn silo(id: &str, cluster: &str) -> SiloBuilder {
    Silo::builder(id).membership(format!("memory://{cluster}").parse().unwrap())
}

async fn start(builder: SiloBuilder) -> Silo {
    builder.handler(|_: Request| async { Ok("") }).start().await.unwrap()
}

async fn next(watch: &mut OwnershipWatch) -> Option<OwnershipChange> {
    tokio::time::timeout(LIMIT, watch.changed()).await.expect("a change within the limit")
}

fn ranges(caller: &Caller, id: &Silo) -> HashRanges {
    caller.view().ring("T").ranges(id.id().as_str())
}

#[tokio::test]
async fn a_host_hears_what_its_silo_owns_then_what_others_take_and_give_back() {
    let a = start(silo("a", "takes")).await;
    let mut heard = a.watch_ownership(None).unwrap();
    let first = next(&mut heard).await.unwrap();
    assert_eq!((&first.gained, &first.lost), (&HashRanges::all(), &HashRanges::new()));
    let b = start(silo("b", "takes")).await;
    let second = next(&mut heard).await.unwrap();
    assert_eq!(second.lost, ranges(&a, &b));
    assert_eq!((&second.owned, second.view_version), (&ranges(&a, &a), a.view_version()));
    for i in 0..200 {
        let id = i.to_string();
        assert_eq!(a.owns("T", &id).unwrap(), second.owned.contains_actor("T", &id));
        assert_eq!(b.owns("T", &id).unwrap(), second.lost.contains_actor("T", &id));
    }
    b.stop(LIMIT).await;
    let third = next(&mut heard).await.unwrap();
    assert_eq!((third.gained, third.owned), (second.lost, HashRanges::all()));
    assert!(third.view_version > second.view_version);
}

#[tokio::test]
async fn who_leaves_loses_everything_before_it_is_gone_and_then_hears_nothing_more() {
    let (a, b) = (start(silo("a", "leaves")).await, start(silo("b", "leaves")).await);
    let mut heard = b.watch_ownership(None).unwrap();
    let owned = next(&mut heard).await.unwrap().owned;
    let caller = b.caller().clone();
    let (sender, is_let_go) = tokio::sync::oneshot::channel::<()>();
    let keeps = std::sync::Mutex::new(Some(is_let_go));
    let c = silo("c", "leaves")
        .handler(move |_: Request| {
            let is_let_go = keeps.lock().unwrap().take();
            async move {
                if let Some(is_let_go) = is_let_go {
                    let _ = is_let_go.await;
                }
                Ok("")
            }
        })
        .start()
        .await
        .unwrap();
    assert!(!next(&mut heard).await.unwrap().lost.is_empty());
    let mut heard_by_c = c.watch_ownership(None).unwrap();
    let of_c = next(&mut heard_by_c).await.unwrap().owned;
    let id = (0..).map(|i: u32| i.to_string()).find(|id| c.owns("T", id).unwrap()).unwrap();
    let call = tokio::spawn({
        let call = a.call(("T", id.clone()), "", "").timeout(LIMIT);
        async move { call.await }
    });
    // While it still answers what came in, it owns nothing any more.
    let stopping = tokio::spawn(async move {
        c.stop(LIMIT).await;
        c
    });
    assert_eq!(next(&mut heard_by_c).await.unwrap().lost, of_c);
    assert!(!stopping.is_finished());
    sender.send(()).unwrap();
    call.await.unwrap().unwrap();
    assert_eq!(next(&mut heard_by_c).await, None);
    let c = stopping.await.unwrap();
    assert!(!c.owns("T", &id).unwrap());
    assert_eq!(next(&mut heard).await.unwrap().owned, owned);
    // One that is dropped loses everything too.
    drop(b);
    assert_eq!((next(&mut heard).await.unwrap().lost, next(&mut heard).await), (owned, None));
    assert!((0..100).all(|i| !caller.owns("T", &i.to_string()).unwrap()));
}

#[tokio::test]
async fn who_leaves_loses_everything_at_once_whatever_its_view_says() {
    let a = Silo::builder("a").membership("memory://leaves-late?lag_ms=30000".parse().unwrap());
    let a = start(a).await;
    let mut heard = a.watch_ownership(None).unwrap();
    next(&mut heard).await.unwrap();
    let caller = a.caller().clone();
    let stopping = tokio::spawn(async move { a.stop(LIMIT).await });
    assert_eq!(next(&mut heard).await.unwrap().lost, HashRanges::all());
    assert!(caller.is_running() && !caller.owns("T", "1").unwrap());
    assert!(caller.owner("T", "1").unwrap().is_some_and(|owner| owner.as_str() == "a"), "its view is late");
    assert_eq!(next(&mut heard).await, None);
    stopping.await.unwrap();
}

#[tokio::test]
async fn a_stop_waits_until_the_host_has_given_up_what_is_lost() {
    let a = start(silo("a", "hands over")).await;
    let mut heard = a.watch_ownership(None).unwrap();
    let unheard = a.watch_ownership(None).unwrap();
    next(&mut heard).await.unwrap();
    let (sender, mut has_ended) = tokio::sync::oneshot::channel();
    tokio::spawn(async move {
        a.stop(LIMIT).await;
        sender.send(a).map_err(drop).unwrap();
    });
    assert_eq!(next(&mut heard).await.unwrap().lost, HashRanges::all());
    // It works on that.
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert!(has_ended.try_recv().is_err());
    assert_eq!(next(&mut heard).await, None);
    tokio::time::timeout(LIMIT, has_ended).await.unwrap().unwrap();
    // Who was never told that it owns something need not be told that it does not.
    assert_eq!(unheard.take(), None);
}

#[tokio::test]
async fn a_stop_does_not_wait_longer_than_it_drains_for_a_host_that_hears_no_more() {
    let a = start(silo("a", "deaf")).await;
    let mut heard = a.watch_ownership(None).unwrap();
    next(&mut heard).await.unwrap();
    tokio::time::timeout(LIMIT, a.stop(Duration::from_millis(50))).await.unwrap();
    assert_eq!((next(&mut heard).await.unwrap().lost, next(&mut heard).await), (HashRanges::all(), None));
}

#[tokio::test]
async fn a_silo_that_declares_types_hears_of_each_and_one_that_serves_all_of_what_others_declare() {
    let all = start(silo("all", "types")).await;
    let declares = silo("declares", "types")
        .handler_for("Counter", |_: Request| async { Ok("") })
        .handler_for("Greeter", |_: Request| async { Ok("") });
    let mut counter = all.watch_ownership(Some("Counter")).unwrap();
    let mut other = all.watch_ownership(None).unwrap();
    assert_eq!(next(&mut counter).await.unwrap().owned, HashRanges::all());
    assert_eq!(next(&mut other).await.unwrap().owned, HashRanges::all());
    let declares = declares.start().await.unwrap();
    let taken = next(&mut counter).await.unwrap().lost;
    assert_eq!(taken, declares.view().ring("Counter").ranges("declares"));
    let mut its = declares.watch_ownership(Some("Counter")).unwrap();
    assert_eq!(next(&mut its).await.unwrap().owned, taken);
    drop(its);
    declares.stop(LIMIT).await;
    assert_eq!(next(&mut counter).await.unwrap().gained, taken);
    // The ring of the types that nobody declares has stayed as it was.
    drop(counter);
    drop(all);
    assert_eq!(next(&mut other).await.unwrap().lost, HashRanges::all());

    let message = |actor_type| declares.watch_ownership(actor_type).unwrap_err().message().to_owned();
    assert!(message(None).contains("actor_type") && message(None).contains("Counter, Greeter"));
    assert!(message(Some("Other")).contains("\"Other\""));
    assert!(message(Some("")).contains("actor_type"));
    assert_eq!(declares.owns("T", "a\0b").unwrap_err().kind(), ErrorKind::InvalidArgument);
}

#[tokio::test]
async fn a_silo_with_one_type_need_not_name_it() {
    let counter = silo("a", "one type").handler_for("Counter", |_: Request| async { Ok("") });
    let counter = counter.start().await.unwrap();
    let mut heard = counter.watch_ownership(None).unwrap();
    assert_eq!(next(&mut heard).await.unwrap().owned, HashRanges::all());
    assert!(counter.owns("Counter", "1").unwrap() && !counter.owns("Other", "1").unwrap());
}

#[tokio::test]
async fn a_client_owns_nothing() {
    let _a = start(silo("a", "client")).await;
    let client = Client::builder().membership("memory://client".parse().unwrap()).start().await.unwrap();
    assert!(!client.owns("T", "1").unwrap());
    let mut heard = client.watch_ownership(None).unwrap();
    client.stop(Duration::ZERO).await;
    assert_eq!(next(&mut heard).await, None);
}

#[tokio::test]
async fn requests_wait_for_the_opener_and_the_first_change_does_not() {
    let a = start(silo("a", "opener")).await;
    let builder = silo("b", "opener").handler(|_: Request| async { Ok("b") });
    let b = builder.start_closed().await.unwrap();
    let mut heard = b.watch_ownership(None).unwrap();
    let first = next(&mut heard).await.unwrap();
    let id = (0..).map(|i: u32| i.to_string()).find(|id| first.gained.contains_actor("T", id)).unwrap();
    let call = a.call(("T", id), "", "").timeout(LIMIT).into_future();
    tokio::pin!(call);
    assert!(tokio::time::timeout(Duration::from_millis(50), &mut call).await.is_err());
    b.opener()();
    assert_eq!(call.await.unwrap(), "b");
}

/// Another life of its id began, as the store says: it was out, whatever it looks like afterwards.
#[tokio::test]
async fn a_silo_that_was_out_for_a_moment_has_lost_everything_and_gained_it_again() {
    let cluster = format!("test-ownership-{}", std::process::id());
    let builder = Silo::builder("me").membership(redis_url().parse().unwrap()).cluster(&cluster);
    let me = builder.handler(|_: Request| async { Ok("") }).start().await.unwrap();
    let mut heard = me.watch_ownership(None).unwrap();
    assert_eq!(next(&mut heard).await.unwrap().gained, HashRanges::all());
    let mut redis = raw(&redis_url()).await;
    let key = format!("{cluster}:silo:me");
    let row: String = redis.get(&key).await.unwrap();
    let before = me.view().silo("me").unwrap().incarnation;
    let later = row.replace(&format!("\"incarnation\":{before}"), &format!("\"incarnation\":{}", before + 1));
    assert_ne!(row, later);
    let _: () = redis.set(&key, later).await.unwrap();
    let _: () = redis.publish(format!("{cluster}:membership"), "join:me").await.unwrap();
    // Told as two, or as one to a host that comes late.
    let change = next(&mut heard).await.unwrap();
    assert_eq!(change.lost, HashRanges::all());
    if change.gained.is_empty() {
        assert_eq!(next(&mut heard).await.unwrap().gained, HashRanges::all());
    }
    assert!(me.owns("T", "1").unwrap());
    let stopping = tokio::spawn(async move { me.stop(LIMIT).await });
    assert_eq!((next(&mut heard).await.unwrap().lost, next(&mut heard).await), (HashRanges::all(), None));
    stopping.await.unwrap();
}

/// On a runtime of one thread nothing runs while the test sleeps, as when the process is stopped. No view changes.
#[tokio::test]
async fn a_silo_that_did_not_run_for_a_while_owns_nothing_until_it_is_sure_that_it_is_in() {
    let builder = Silo::builder("me").membership("gossip://127.0.0.1:0".parse().unwrap());
    let me = start(builder).await;
    let mut heard = me.watch_ownership(None).unwrap();
    assert_eq!(next(&mut heard).await.unwrap().gained, HashRanges::all());
    std::thread::sleep(Duration::from_millis(3_200));
    assert!(!me.owns("T", "1").unwrap());
    let lost = next(&mut heard).await.unwrap();
    assert_eq!((lost.lost, lost.owned), (HashRanges::all(), HashRanges::new()));
    let back = next(&mut heard).await.unwrap();
    assert_eq!((back.gained, back.view_version), (HashRanges::all(), lost.view_version));
    assert!(me.owns("T", "1").unwrap());
}

fn counting(id: &str, url: &str, count: &Arc<AtomicUsize>) -> SiloBuilder {
    let count = count.clone();
    Silo::builder(id).membership(url.parse().unwrap()).handler(move |_: Request| {
        count.fetch_add(1, Ordering::Relaxed);
        async { Ok("") }
    })
}

/// Each by a view of its own: the first takes the second for the owner, the second the third, the third a fourth.
#[tokio::test]
async fn a_request_is_passed_on_once_and_then_refused_with_the_view_of_who_refuses_it() {
    let handled = Arc::new(AtomicUsize::new(0));
    let third = counting("third", "memory://refuses", &handled).start().await.unwrap();
    let fourth = counting("fourth", "memory://refuses", &handled).start().await.unwrap();
    for _ in 0..3 {
        counting("passing", "memory://refuses", &handled).start().await.unwrap().stop(LIMIT).await;
    }
    until_views(&third, |view| view.silos().len() == 2).await;
    let others = format!("static://third@{}", third.endpoint());
    let second = counting("second", &others, &handled).start().await.unwrap();
    let others = format!("static://second@{}", second.endpoint());
    let first = counting("first", &others, &handled).start().await.unwrap();
    let goes_round = |id: &String| {
        let owner = |silo: &Silo| silo.owner("T", id).unwrap().unwrap().to_string();
        [owner(&first), owner(&second), owner(&third)] == ["second", "third", "fourth"]
    };
    let id = (0..).map(|i: u32| i.to_string()).find(goes_round).unwrap();
    let refusal = first.call(("T", id), "", "").timeout(LIMIT).await.unwrap_err();
    assert_eq!((refusal.kind(), refusal.delivered()), (ErrorKind::NotOwner, Delivered::No));
    assert!(refusal.is_retryable() && refusal.message().contains("third"), "{refusal}");
    assert_eq!(refusal.view_version(), Some(third.view_version()));
    assert!(third.view_version() > first.view_version().max(second.view_version()));
    assert_eq!(handled.load(Ordering::Relaxed), 0);
    drop(fourth);
}

async fn until_views(silo: &Silo, holds: impl FnMut(&Arc<View>) -> bool) {
    tokio::time::timeout(LIMIT, silo.watch().wait_for(holds)).await.expect("within the limit").unwrap();
}

#[tokio::test]
async fn an_explanation_says_who_owns_an_actor_and_who_would() {
    let a = silo("a", "explains").configure(|config| config.zone = Some("north".to_owned()));
    let a = a.placement("Anywhere", Placement::Random);
    let a = start(a).await;
    let (b, c) = (start(silo("b", "explains")).await, start(silo("c", "explains")).await);
    until_views(&a, |view| view.silos().len() == 3).await;
    for i in 0..50 {
        let id = i.to_string();
        let why = a.explain("T", &id).unwrap();
        let owner = why.owner.clone().unwrap();
        assert_eq!((why.view_version, why.serving), (a.view_version(), 3));
        assert_eq!(why.position, hash(&format!("T:{id}")));
        assert_eq!(Some(&owner.silo_id), a.owner("T", &id).unwrap().as_ref());
        assert_eq!(why.is_owned_here, owner.silo_id.as_str() == "a");
        assert_eq!(owner.zone.as_deref(), (owner.silo_id.as_str() == "a").then_some("north"));
        assert!(why.is_placed_by_ring && !a.explain("Anywhere", &id).unwrap().is_placed_by_ring);
        let next: Vec<_> = why.next_owners.iter().map(|info| info.silo_id.clone()).collect();
        assert_eq!(
            next,
            a.view().ring("T").next_owners(&format!("T:{id}"), 9).into_iter().cloned().collect::<Vec<_>>()
        );
    }
    assert!(a.explain("", "1").unwrap_err().message().contains("actor_type"));
    let nobody = Client::builder().membership("memory://nobody".parse().unwrap()).start().await.unwrap();
    let why = nobody.explain("T", "1").unwrap();
    assert_eq!((why.owner, why.next_owners.len(), why.serving, why.is_owned_here), (None, 0, 0, false));
    drop((b, c));
}
