//! Silos and clients as a Rust program uses them: two or three of them in this process, over real connections.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use quark_core::{Caller, Client, Delivered, ErrorKind, Placement, Request, Result, Silo, SiloBuilder};

/// Long enough for a loaded machine; nothing waits so long when all is well.
const LIMIT: Duration = Duration::from_secs(20);

fn silo(id: &str, cluster: &str) -> SiloBuilder {
    Silo::builder(id).membership(format!("memory://{cluster}").parse().unwrap())
}

/// Answers with the silo's id and the payload.
fn echoing(id: &'static str) -> impl Fn(Request) -> std::future::Ready<Result<String>> + Send + Sync {
    move |request| std::future::ready(Ok(format!("{id}:{}", String::from_utf8_lossy(request.payload()))))
}

async fn echo_silo(id: &'static str, cluster: &str) -> Silo {
    silo(id, cluster).handler(echoing(id)).start().await.unwrap()
}

async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let waited = tokio::time::timeout(LIMIT, async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    });
    waited.await.unwrap_or_else(|_| panic!("not within {LIMIT:?}: {what}"));
}

async fn client(cluster: &str) -> Client {
    Client::builder().membership(format!("memory://{cluster}").parse().unwrap()).start().await.unwrap()
}

#[tokio::test]
async fn a_call_reaches_the_one_silo_that_owns_the_actor() {
    let (a, b) = (echo_silo("a", "owner").await, echo_silo("b", "owner").await);
    until("a sees b", || a.silos().len() == 2).await;
    let client = client("owner").await;
    let mut seen = HashMap::<String, usize>::new();
    for i in 0..100 {
        let actor = ("Counter", i.to_string());
        let owner = a.owner("Counter", &actor.1).unwrap().unwrap();
        for caller in [a.caller(), b.caller(), client.caller()] {
            let reply = caller.call(actor.clone(), "get", "x").timeout(LIMIT).await.unwrap();
            assert_eq!(reply, format!("{owner}:x"));
        }
        *seen.entry(owner.to_string()).or_default() += 1;
    }
    assert!(seen["a"] > 20 && seen["b"] > 20, "{seen:?}");
}

#[tokio::test]
async fn a_silo_that_was_called_first_calls_back_when_their_link_has_broken() {
    let network = quark_core::LoopbackNetwork::new();
    let start = |id| silo(id, "calls back").network(&network).handler(echoing(id)).start();
    let (a, b) = (start("a").await.unwrap(), start("b").await.unwrap());
    until("a sees b", || a.silos().len() == 2).await;
    let owned_by = |owner: &str| {
        let owned = |i: &String| a.owner("T", i).unwrap().unwrap().as_str() == owner;
        (0..1_000).map(|i| i.to_string()).find(owned).unwrap()
    };
    b.call(("T", owned_by("a")), "", "").timeout(LIMIT).await.unwrap();
    network.reset("a", "b");
    assert_eq!(a.call(("T", owned_by("b")), "", "").timeout(LIMIT).await.unwrap(), "b:");
}

#[tokio::test]
async fn an_empty_reply_is_a_reply_and_errors_carry_their_code() {
    let silo = silo("a", "errors")
        .handler_for("Empty", |_: Request| async { Ok("") })
        .handler_for("Failing", |_: Request| async { Err::<String, _>("no such account".into()) })
        .handler_for("Panicking", |request: Request| async move {
            assert!(request.payload().is_empty(), "too much");
            Ok("")
        })
        .start()
        .await
        .unwrap();
    let client = client("errors").await;
    for caller in [silo.caller(), client.caller()] {
        assert_eq!(caller.call(("Empty", "1"), "", "").await.unwrap(), "");
        let error = caller.call(("Failing", "1"), "", "").await.unwrap_err();
        assert_eq!((error.kind(), error.message()), (ErrorKind::HandlerFailed, "no such account"));
        assert_eq!(error.delivered(), Delivered::Yes);
        let error = caller.call(("Panicking", "1"), "", "x").await.unwrap_err();
        assert!(error.message().contains("panicked: too much"), "{error}");
        let error = caller.call(("Unknown", "1"), "", "").await.unwrap_err();
        assert_eq!(
            (error.kind(), error.delivered(), error.is_retryable()),
            (ErrorKind::NoSilo, Delivered::No, true)
        );
    }
}

#[tokio::test]
async fn a_call_ends_by_its_deadline() {
    let silo = silo("a", "deadline")
        .handler(|_: Request| std::future::pending::<Result<String>>())
        .start()
        .await
        .unwrap();
    let client = client("deadline").await;
    for caller in [silo.caller(), client.caller()] {
        let error = caller.call(("T", "1"), "", "").timeout(Duration::from_millis(30)).await.unwrap_err();
        assert_eq!((error.kind(), error.delivered()), (ErrorKind::Timeout, Delivered::Unknown));
    }
    assert!(
        client
            .call(("T", "1"), "", "")
            .timeout(Duration::ZERO)
            .await
            .unwrap_err()
            .message()
            .starts_with("timeout=")
    );
}

#[tokio::test]
async fn requests_to_one_actor_start_in_the_order_they_were_sent() {
    let seen = Arc::new(std::sync::Mutex::new(Vec::new()));
    let log = seen.clone();
    let _silo = silo("a", "order")
        .handler(move |request: Request| {
            let log = log.clone();
            async move {
                log.lock()
                    .unwrap()
                    .push(String::from_utf8(request.payload().to_vec()).unwrap().parse::<u32>().unwrap());
                tokio::task::yield_now().await;
                Ok("")
            }
        })
        .start()
        .await
        .unwrap();
    let client = client("order").await;
    let calls = (0..2000).map(|i| client.call(("T", "1"), "", i.to_string()).into_future());
    futures_util::future::try_join_all(calls).await.unwrap();
    assert_eq!(*seen.lock().unwrap(), (0..2000).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_notification_is_handed_over_and_not_answered() {
    let count = Arc::new(AtomicUsize::new(0));
    let counter = count.clone();
    let silo = silo("a", "notify")
        .handler_for("T", move |_: Request| {
            counter.fetch_add(1, Ordering::Relaxed);
            async { Ok("") }
        })
        .start()
        .await
        .unwrap();
    let client = client("notify").await;
    for _ in 0..50 {
        client.notify(("T", "1"), "", "").await.unwrap();
        silo.notify(("T", "1"), "", "").await.unwrap();
    }
    until("all are handed over", || count.load(Ordering::Relaxed) == 100).await;
    assert_eq!(client.notify(("Unknown", "1"), "", "").await.unwrap_err().kind(), ErrorKind::NoSilo);
}

#[tokio::test]
async fn payloads_up_to_the_limit_pass_and_larger_ones_are_the_senders_error() {
    let limit = 4 * 1024 * 1024;
    let silo = silo("a", "limit")
        .handler(move |request: Request| async move {
            let size = if request.method_name() == "large" { limit + 1 } else { request.payload().len() };
            Ok(vec![7u8; size])
        })
        .start()
        .await
        .unwrap();
    let client = client("limit").await;
    for caller in [silo.caller(), client.caller()] {
        assert_eq!(caller.call(("T", "1"), "", vec![1u8; limit]).await.unwrap().len(), limit);
        let error = caller.call(("T", "1"), "", vec![1u8; limit + 1]).await.unwrap_err();
        assert_eq!((error.kind(), error.delivered()), (ErrorKind::PayloadTooLarge, Delivered::No));
        assert!(error.message().contains("4194305") && error.message().contains("4194304"), "{error}");
        let error = caller.call(("T", "1"), "large", "").await.unwrap_err();
        assert_eq!((error.kind(), error.delivered()), (ErrorKind::PayloadTooLarge, Delivered::Yes));
        assert_eq!(caller.call(("T", "1"), "", "x").await.unwrap().len(), 1, "the link lives on");
    }
}

#[tokio::test]
async fn a_silo_with_handlers_for_some_types_owns_no_other() {
    let _counter = silo("counter", "types").handler_for("Counter", echoing("counter")).start().await.unwrap();
    let _greeter = silo("greeter", "types").handler_for("Greeter", echoing("greeter")).start().await.unwrap();
    let client = client("types").await;
    until("both are seen", || client.silos().len() == 2).await;
    for i in 0..20 {
        let call = |actor_type: &str| client.call((actor_type, i.to_string()), "", "").into_future();
        assert_eq!(call("Counter").await.unwrap(), "counter:");
        assert_eq!(call("Greeter").await.unwrap(), "greeter:");
        assert_eq!(call("Other").await.unwrap_err().kind(), ErrorKind::NoSilo);
    }
}

#[tokio::test]
async fn placements_decide_where_a_type_is_handled() {
    let place = |id: &'static str| {
        silo(id, "placement")
            .placement("Worker", Placement::StatelessWorker)
            .placement("Near", Placement::PreferLocal)
            .handler(echoing(id))
            .start()
    };
    let (a, b) = (place("a").await.unwrap(), place("b").await.unwrap());
    until("both see both", || a.silos().len() == 2 && b.silos().len() == 2).await;
    let mut replies = Vec::new();
    for _ in 0..4 {
        replies.push(a.call(("Worker", "1"), "", "").await.unwrap());
    }
    assert_eq!(replies, ["a:", "b:", "a:", "b:"]);
    for i in 0..20 {
        assert_eq!(b.call(("Near", i.to_string()), "", "").await.unwrap(), "b:");
    }
}

#[tokio::test]
async fn a_request_for_an_actor_of_another_silo_is_passed_on_once() {
    let naming = |request: Request| {
        let payload = String::from_utf8_lossy(request.payload()).into_owned();
        std::future::ready(Ok(format!("{payload} from {}", request.caller())))
    };
    let (a, b) =
        (echo_silo("a", "forward").await, silo("b", "forward").handler(naming).start().await.unwrap());
    // A transport alone sends to whom it likes.
    let nobody: Arc<dyn quark_core::Handler> = Arc::new(Refuse);
    let sender = quark_core::Transport::new(
        "sender".parse().unwrap(),
        None,
        quark_core::TransportConfig::default(),
        nobody,
    )
    .unwrap();
    sender.start().await.unwrap();
    until("a sees b", || a.silos().len() == 2 && b.silos().len() == 2).await;
    sender.connect(a.view().silo("a").unwrap()).await.unwrap();
    let theirs =
        (0..).map(|i| i.to_string()).find(|id| a.owner("T", id).unwrap().unwrap().as_str() == "b").unwrap();
    let request =
        quark_core::Envelope::request("T", theirs, "", "x").with_message_id("mine").with_correlation_id("c");
    let response = sender.send("a", request.clone(), LIMIT).await.unwrap();
    assert_eq!((response.message_id.as_str(), response.correlation_id.as_str()), ("mine", "c"));
    // Who made it is known behind who passed it on.
    assert_eq!(response.into_result().unwrap(), "x from sender");
    let mut passed_on = request;
    passed_on.hop_count = 1;
    let error = sender.send("a", passed_on, LIMIT).await.unwrap().into_result().unwrap_err();
    assert_eq!((error.kind(), error.is_retryable()), (ErrorKind::NotOwner, true));
    sender.stop(LIMIT).await;
}

struct Refuse;
impl quark_core::Handler for Refuse {
    fn handle(&self, request: Request) {
        drop(request);
    }
}

#[tokio::test]
async fn both_sides_calling_at_once_end_with_one_link_and_lose_nothing() {
    for round in 0..20 {
        let cluster = format!("both-{round}");
        let (a, b) = (echo_silo("a", &cluster).await, echo_silo("b", &cluster).await);
        until("both see both", || a.silos().len() == 2 && b.silos().len() == 2).await;
        let of = |id: &str| {
            (0..).map(|i| i.to_string()).find(|k| a.owner("T", k).unwrap().unwrap().as_str() == id).unwrap()
        };
        let (at_a, at_b) = (of("a"), of("b"));
        for i in 0..20 {
            let payload = i.to_string();
            let (to_b, to_a) = tokio::join!(
                a.call(("T", at_b.clone()), "", payload.clone()).timeout(LIMIT).into_future(),
                b.call(("T", at_a.clone()), "", payload.clone()).timeout(LIMIT).into_future(),
            );
            assert_eq!(to_b.unwrap(), format!("b:{i}"));
            assert_eq!(to_a.unwrap(), format!("a:{i}"));
        }
    }
}

#[tokio::test]
async fn a_planned_leave_fails_no_accepted_call() {
    let handler = |id: &'static str| {
        move |_: Request| async move {
            tokio::time::sleep(Duration::from_millis(5)).await;
            Ok(id)
        }
    };
    let a = silo("a", "leave").handler(handler("a")).start().await.unwrap();
    let b = silo("b", "leave").handler(handler("b")).start().await.unwrap();
    let client = client("leave").await;
    until("both are seen", || client.silos().len() == 2 && a.silos().len() == 2).await;
    let stop = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let calling = tokio::spawn({
        let (caller, stop) = (client.caller().clone(), stop.clone());
        async move {
            let mut calls = 0;
            while !stop.load(Ordering::Relaxed) {
                let batch =
                    (0..50).map(|i| caller.call(("T", i.to_string()), "", "").timeout(LIMIT).into_future());
                calls += futures_util::future::try_join_all(batch).await.unwrap().len();
            }
            calls
        }
    });
    tokio::time::sleep(Duration::from_millis(100)).await;
    b.stop(LIMIT).await;
    assert!(!b.is_running());
    assert_eq!(b.call(("T", "1"), "", "").await.unwrap_err().kind(), ErrorKind::NotRunning);
    tokio::time::sleep(Duration::from_millis(50)).await;
    stop.store(true, Ordering::Relaxed);
    assert!(calling.await.unwrap() > 100);
    until("the client sees it gone", || client.silos().len() == 1).await;
}

#[tokio::test]
async fn when_an_owner_dies_its_calls_end_and_its_actors_answer_elsewhere() {
    let (a, b) = (
        echo_silo("a", "death").await,
        silo("b", "death")
            .handler(|_: Request| std::future::pending::<Result<String>>())
            .start()
            .await
            .unwrap(),
    );
    until("a sees b", || a.silos().len() == 2).await;
    let theirs =
        (0..).map(|i| i.to_string()).find(|id| a.owner("T", id).unwrap().unwrap().as_str() == "b").unwrap();
    let waiting = tokio::spawn(a.call(("T", theirs.clone()), "", "").timeout(LIMIT).into_future());
    tokio::time::sleep(Duration::from_millis(50)).await;
    drop(b);
    let error = waiting.await.unwrap().unwrap_err();
    assert_eq!((error.kind(), error.delivered()), (ErrorKind::ConnectionLost, Delivered::Unknown));
    until("a sees it gone", || a.silos().len() == 1).await;
    assert_eq!(a.call(("T", theirs), "", "x").timeout(LIMIT).await.unwrap(), "a:x");
}

#[tokio::test]
async fn another_clusters_silo_is_refused() {
    let a = silo("a", "one").cluster("one").handler(echoing("a")).start().await.unwrap();
    let url = format!("static://a@{}", a.endpoint());
    let client = Client::builder().cluster("two").membership(url.parse().unwrap()).start().await.unwrap();
    let error = client.call(("T", "1"), "", "").timeout(LIMIT).await.unwrap_err();
    assert_eq!((error.kind(), error.delivered()), (ErrorKind::Incompatible, Delivered::No), "{error}");
    assert!(error.message().contains("one") && error.message().contains("two"), "{error}");
}

#[tokio::test]
async fn nobody_at_the_endpoint_is_unreachable_by_the_deadline() {
    let client =
        Client::builder().membership("static://a@127.0.0.1:1".parse().unwrap()).start().await.unwrap();
    let error = client.call(("T", "1"), "", "").timeout(Duration::from_millis(200)).await.unwrap_err();
    assert_eq!(
        (error.kind(), error.delivered(), error.is_retryable()),
        (ErrorKind::Unreachable, Delivered::No, true)
    );
    assert!(error.message().contains("refused"), "{error}");
}

#[tokio::test]
async fn a_taken_port_is_named() {
    let a = echo_silo("a", "port").await;
    let error =
        silo("b", "port").listen(a.endpoint().clone()).handler(echoing("b")).start().await.err().unwrap();
    assert_eq!(error.kind(), ErrorKind::AddressInUse);
    assert!(error.message().contains(&a.endpoint().to_string()), "{error}");
}

#[tokio::test]
async fn a_handlers_calls_inherit_its_correlation_id() {
    let silo = silo("a", "correlation")
        .handler_for("Outer", |request: Request| async move {
            let caller = CALLER.get().unwrap();
            caller.call(("Inner", request.actor_id()), "", "").await
        })
        .handler_for("Inner", |request: Request| async move { Ok(request.correlation_id().to_owned()) })
        .start()
        .await
        .unwrap();
    static CALLER: OnceLock<Caller> = OnceLock::new();
    let _ = CALLER.set(silo.caller().clone());
    assert_eq!(silo.call(("Outer", "1"), "", "").correlation_id("mine").await.unwrap(), "mine");
    let fresh = silo.call(("Outer", "1"), "", "").await.unwrap();
    assert!(!fresh.is_empty() && fresh != "mine");
}

#[tokio::test]
async fn a_handler_may_stop_its_own_silo() {
    let stopping = Arc::new(tokio::sync::Mutex::new(None::<Silo>));
    let held = stopping.clone();
    let silo = silo("a", "stop-inside")
        .handler(move |_: Request| {
            let held = held.clone();
            async move {
                held.lock().await.as_ref().unwrap().stop(LIMIT).await;
                Ok("stopping")
            }
        })
        .start()
        .await
        .unwrap();
    let caller = silo.caller().clone();
    *stopping.lock().await = Some(silo);
    assert_eq!(caller.call(("T", "1"), "", "").timeout(LIMIT).await.unwrap(), "stopping");
    until("it has stopped", || !caller.is_running()).await;
}

#[tokio::test]
async fn a_call_made_in_a_handler_ends_when_its_own_caller_stops_waiting() {
    let (tell, mut told) = tokio::sync::mpsc::unbounded_channel();
    let slot: Arc<OnceLock<Caller>> = Arc::default();
    let own = slot.clone();
    let silo = silo("a", "inherited-deadline")
        .handler_for("Never", |_: Request| std::future::pending::<Result<String>>())
        .handler_for("Outer", move |_: Request| {
            let (tell, caller) = (tell.clone(), own.get().unwrap().clone());
            async move {
                let asked_for = Duration::from_secs(50);
                let ended = caller.call(("Never", "1"), "", "").timeout(asked_for).await;
                let _ = tell.send(ended);
                Ok("")
            }
        })
        .start()
        .await
        .unwrap();
    slot.set(silo.caller().clone()).ok();
    let outer = silo.call(("Outer", "1"), "", "").timeout(Duration::from_millis(200)).await;
    assert_eq!(outer.unwrap_err().kind(), ErrorKind::Timeout);
    let inner = tokio::time::timeout(LIMIT, told.recv()).await;
    assert_eq!(inner.expect("in time").unwrap().unwrap_err().kind(), ErrorKind::Timeout);
    let bad = silo.call(("Outer", "1"), "", "").traceparent("not-one").await.unwrap_err();
    assert!(bad.message().starts_with("traceparent=\"not-one\""), "{bad}");
}
