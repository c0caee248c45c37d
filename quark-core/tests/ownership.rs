//! What a host hears of what its silo gains and loses, and what the silo says when it is asked.

mod support;

use std::time::Duration;

use quark_core::{
    Caller, Client, ErrorKind, HashRanges, OwnershipChange, OwnershipWatch, Request, Silo, SiloBuilder,
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
    let c = stopping.await.unwrap();
    assert_eq!(next(&mut heard_by_c).await, None);
    assert!(!c.owns("T", &id).unwrap());
    assert_eq!(next(&mut heard).await.unwrap().owned, owned);
    // One that is dropped loses everything too.
    drop(b);
    assert_eq!((next(&mut heard).await.unwrap().lost, next(&mut heard).await), (owned, None));
    assert!((0..100).all(|i| !caller.owns("T", &i.to_string()).unwrap()));
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
    declares.stop(LIMIT).await;
    assert_eq!(next(&mut counter).await.unwrap().gained, taken);
    // The ring of the types that nobody declares has stayed as it was.
    all.stop(LIMIT).await;
    assert_eq!(next(&mut other).await.unwrap().lost, HashRanges::all());

    let message = |actor_type| declares.watch_ownership(actor_type).unwrap_err().message().to_owned();
    assert!(message(None).contains("actor_type") && message(None).contains("Counter, Greeter"));
    assert!(message(Some("Other")).contains("\"Other\""));
    assert!(message(Some("")).contains("actor_type"));
    assert_eq!(all.owns("T", "a\0b").unwrap_err().kind(), ErrorKind::InvalidArgument);
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
        assert!(!me.owns("T", "1").unwrap() || me.view().silo("me").unwrap().incarnation > before);
        assert_eq!(next(&mut heard).await.unwrap().gained, HashRanges::all());
    }
    assert!(me.owns("T", "1").unwrap());
    me.stop(LIMIT).await;
    assert_eq!((next(&mut heard).await.unwrap().lost, next(&mut heard).await), (HashRanges::all(), None));
}
