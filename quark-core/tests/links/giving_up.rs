//! Callers that give up: the slot is free at once, and the other side hears of it.

use std::future::IntoFuture as _;
use std::sync::atomic::Ordering;
use std::time::Duration;

use quark_core::{Delivered, Envelope, ErrorKind, Request, Silo, SiloBuilder};
use tokio::time::timeout;

use crate::hosts::Host;
use crate::{LIMIT, until};

#[tokio::test]
async fn a_handler_hears_that_its_caller_dropped_the_call_or_that_its_time_is_up() {
    let (a, b) = (Host::new("a").await, Host::new("b").await);
    a.knows(&b).await;
    let call = |limit| a.send("b", Envelope::request("T", "1", "watch", ""), limit);
    let dropped = timeout(Duration::from_millis(50), call(LIMIT)).await;
    assert!(dropped.is_err());
    until("the handler hears of the drop", || b.inside.given_up.load(Ordering::SeqCst) == 1).await;
    let error = call(Duration::from_millis(50)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Timeout);
    until("the handler hears of the deadline", || b.inside.given_up.load(Ordering::SeqCst) == 2).await;
}

#[tokio::test]
async fn a_handler_hears_that_the_link_of_its_caller_is_gone() {
    let (a, b) = (Host::new("a").await, Host::new("b").await);
    a.knows(&b).await;
    let dying = async {
        until("it is there", || b.inside.count() == 1).await;
        a.transport.stop(Duration::ZERO).await;
    };
    let (ended, ()) = tokio::join!(a.ask("b", "1", "watch", vec![]), dying);
    assert_eq!(ended.unwrap_err().kind(), ErrorKind::ConnectionLost);
    until("the handler hears of it", || b.inside.given_up.load(Ordering::SeqCst) == 1).await;
}

#[tokio::test]
async fn a_call_that_is_given_up_before_it_was_sent_is_never_sent_and_frees_its_room() {
    let a = Host::with("a", |config| {
        config.outbox_capacity = 1;
        config.connect_timeout = Duration::from_millis(50);
    })
    .await;
    let b = Host::new("b").await;
    let mut info = b.info_at(&b.endpoint());
    // Nobody is there yet.
    info.endpoint = info.endpoint.with_port(1);
    a.transport.connect(&info).await.unwrap_err();
    for _ in 0..3 {
        let call = a.ask("b", "1", "", vec![1]);
        assert!(timeout(Duration::from_millis(30), call).await.is_err());
    }
    // The one place is free: this one waits for the link, not for room.
    let envelope = Envelope::request("T", "1", "", vec![2]);
    let error = a.send("b", envelope, Duration::from_millis(30)).await.unwrap_err();
    assert_eq!((error.kind(), error.delivered()), (ErrorKind::Unreachable, Delivered::No));
    a.knows(&b).await;
    assert_eq!(a.ask("b", "1", "", vec![3]).await.unwrap(), [3]);
    assert_eq!(b.inside.count(), 1, "what was given up was not sent");
}

fn silo(id: &str, cluster: &str) -> SiloBuilder {
    Silo::builder(id).membership(format!("memory://{cluster}").parse().unwrap())
}

/// Says on the channel when it begins and when its caller has given up.
fn watching(
    events: tokio::sync::mpsc::UnboundedSender<&'static str>,
) -> impl Fn(Request) -> quark_core::BoxFuture<'static, quark_core::Result<&'static str>> + Send + Sync {
    move |request| {
        let events = events.clone();
        Box::pin(async move {
            events.send("began").unwrap();
            request.abandoned().await;
            events.send("given up").unwrap();
            Ok("nobody reads this")
        })
    }
}

#[tokio::test]
async fn a_cancelled_callback_call_is_heard_of_also_by_the_own_handler_and_behind_a_forwarder() {
    let (sender, mut events) = tokio::sync::mpsc::unbounded_channel();
    let a = silo("a", "cancel").handler_for("Here", watching(sender.clone())).start().await.unwrap();
    let b = silo("b", "cancel").handler_for("There", watching(sender)).start().await.unwrap();
    until("they see each other", || a.silos().len() == 2 && b.silos().len() == 2).await;
    for actor_type in ["Here", "There"] {
        let (done, ended) = tokio::sync::oneshot::channel();
        let envelope = Envelope::request(actor_type, "1", "", "");
        let call = a.caller().call_with(envelope, Some(LIMIT), |ended| drop(done.send(ended)));
        assert_eq!(timeout(LIMIT, events.recv()).await.unwrap(), Some("began"), "{actor_type}");
        assert!(call.cancel(), "it still waits");
        assert!(!call.cancel(), "once");
        let error = ended.await.unwrap().unwrap_err();
        assert_eq!((error.kind(), error.delivered()), (ErrorKind::Cancelled, Delivered::Unknown));
        assert_eq!(timeout(LIMIT, events.recv()).await.unwrap(), Some("given up"), "{actor_type}");
    }
    // A stranger asks the wrong silo, which passes the request on, and gives up.
    let stranger = Host::new("stranger").await;
    let mut info = stranger.info_at(a.endpoint());
    info.silo_id = "a".parse().unwrap();
    stranger.transport.connect(&info).await.unwrap();
    let call = stranger.send("a", Envelope::request("There", "1", "", ""), LIMIT);
    assert!(timeout(Duration::from_millis(200), call).await.is_err());
    assert_eq!(timeout(LIMIT, events.recv()).await.unwrap(), Some("began"));
    assert_eq!(timeout(LIMIT, events.recv()).await.unwrap(), Some("given up"));
}

#[tokio::test]
async fn a_request_whose_caller_has_gone_while_it_waited_never_reaches_the_handler() {
    // One handler at a time, on one thread: the second waits in the lane while the first blocks it.
    let ran = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let count = ran.clone();
    let server = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async move {
            let silo = silo("a", "gone").handler(move |_: Request| {
                if count.fetch_add(1, Ordering::SeqCst) == 0 {
                    // Blocks the whole runtime, as handlers should not.
                    std::thread::sleep(Duration::from_millis(400));
                }
                std::future::ready(quark_core::Result::Ok(""))
            });
            let silo = silo.start().await.unwrap();
            tokio::time::sleep(Duration::from_secs(2)).await;
            silo.stop(LIMIT).await;
        });
    });
    let client =
        quark_core::Client::builder().membership("memory://gone".parse().unwrap()).start().await.unwrap();
    until("the silo is there", || client.silos().len() == 1).await;
    client.call(("T", "0"), "", "").await.unwrap_or_default();
    ran.store(0, Ordering::SeqCst);
    let first = client.call(("T", "1"), "", "").into_future();
    let second = client.call(("T", "2"), "", "").timeout(Duration::from_millis(100)).into_future();
    let (first, second) = tokio::join!(first, second);
    first.unwrap();
    assert_eq!(second.unwrap_err().kind(), ErrorKind::Timeout);
    client.call(("T", "3"), "", "").await.unwrap();
    assert_eq!(ran.load(Ordering::SeqCst), 2, "the second was not handed over");
    client.stop(LIMIT).await;
    server.join().unwrap();
}
