//! Links that break, stall or cross.

use std::time::Duration;

use quark_core::{Delivered, Envelope, ErrorKind};
use tokio::time::timeout;

use crate::hosts::Host;
use crate::proxy::Proxy;
use crate::{LIMIT, until};

/// Row 3: a half-open link, and one of which one direction is cut, is noticed at both ends within ten seconds.
#[derive(Clone, Copy, Debug)]
struct Cut {
    there: bool,
    back: bool,
    busy: bool,
}

async fn is_noticed(cut: Cut) {
    let (a, b) = (Host::new("a").await, Host::new("b").await);
    let proxy = Proxy::before(&b.endpoint()).await;
    a.transport.connect(&b.info_at(&proxy.endpoint)).await.unwrap();
    a.ask("b", "1", "", vec![]).await.unwrap();
    let traffic = async {
        // The calls that the cut ends are not of interest here.
        loop {
            if !cut.busy {
                return std::future::pending().await;
            }
            let one = Envelope::request("T", "busy", "", vec![1; 100]);
            let other = Envelope::request("T", "busy", "", vec![2; 100]);
            let minute = Duration::from_secs(60);
            let _ = tokio::join!(a.send("b", one, minute), b.send("a", other, minute));
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let both_ends = async {
        let waits = |from: &'static str| Envelope::request("T", from, "keep", "");
        let minute = Duration::from_secs(60);
        let ends = async { tokio::join!(a.send("b", waits("a"), minute), b.send("a", waits("b"), minute)) };
        let cutting = async {
            until("both requests are there", || a.inside.kept() == 1 && b.inside.kept() == 1).await;
            if cut.there {
                proxy.there.stop();
            }
            if cut.back {
                proxy.back.stop();
            }
            std::future::pending::<()>().await;
        };
        tokio::select! {
            ended = timeout(Duration::from_secs(10), ends) => ended,
            () = cutting => unreachable!(),
        }
    };
    let ended = tokio::select! {
        ended = both_ends => ended,
        () = traffic => unreachable!(),
    };
    let (at_a, at_b) = ended.unwrap_or_else(|_| panic!("{cut:?} was not noticed within ten seconds"));
    for error in [at_a.unwrap_err(), at_b.unwrap_err()] {
        let (kind, delivered) = (error.kind(), error.delivered());
        assert_eq!((kind, delivered), (ErrorKind::ConnectionLost, Delivered::Unknown), "{cut:?}");
    }
    proxy.there.go_on();
    proxy.back.go_on();
    a.ask("b", "1", "", vec![]).await.unwrap();
}

#[tokio::test]
async fn row_3_a_cut_is_noticed_at_both_ends_of_idle_and_busy_links() {
    let cuts = [(true, false), (false, true), (true, true)];
    let cuts = cuts
        .iter()
        .flat_map(|(there, back)| [false, true].map(|busy| Cut { there: *there, back: *back, busy }));
    futures_util::future::join_all(cuts.map(is_noticed)).await;
}

/// Row 27.
#[tokio::test]
async fn row_27_a_peer_that_dies_with_10_000_calls_in_flight_leaves_10_000_errors_and_nothing_else() {
    const CALLS: usize = 10_000;
    let a = Host::with("a", |config| {
        config.max_pending = CALLS;
        config.outbox_capacity = 2 * CALLS as u32;
    })
    .await;
    let (b, c) = (Host::new("b").await, Host::new("c").await);
    let proxy = Proxy::before(&b.endpoint()).await;
    a.transport.connect(&b.info_at(&proxy.endpoint)).await.unwrap();
    a.knows(&c).await;
    let calls = (0..CALLS).map(|_| a.ask("b", "1", "keep", vec![]));
    let dying = async {
        until("all are there", || b.inside.kept() == CALLS).await;
        proxy.reset();
    };
    let (ended, ()) = tokio::join!(timeout(LIMIT, futures_util::future::join_all(calls)), dying);
    for ended in ended.expect("all end") {
        let error = ended.unwrap_err();
        assert_eq!((error.kind(), error.delivered()), (ErrorKind::ConnectionLost, Delivered::Unknown));
    }
    // A single place that was not given back would show as OVERLOADED.
    let calls = (0..CALLS).map(|_| a.ask("c", "1", "", vec![]));
    for ended in futures_util::future::join_all(calls).await {
        ended.unwrap();
    }
}

/// Row 28.
#[tokio::test]
async fn row_28_an_answer_after_the_deadline_is_dropped_and_counted() {
    let (a, b) = (Host::new("a").await, Host::new("b").await);
    a.knows(&b).await;
    let late = Envelope::request("T", "1", "keep", "");
    let error = a.send("b", late, Duration::from_millis(50)).await.unwrap_err();
    assert_eq!((error.kind(), error.delivered()), (ErrorKind::Timeout, Delivered::Unknown));
    let mut request = b.inside.kept.lock().unwrap().pop().unwrap();
    until("the handler can see it", || request.is_abandoned()).await;
    request.reply("too late").unwrap();
    until("it is counted", || a.transport.counters().late_responses == 1).await;
    assert_eq!(a.ask("b", "1", "", vec![7]).await.unwrap(), [7]);
}

#[tokio::test]
async fn what_waits_while_there_is_no_link_keeps_its_order_across_the_reconnect() {
    let (a, b) = (Host::new("a").await, Host::new("b").await);
    let proxy = Proxy::before(&b.endpoint()).await;
    a.transport.connect(&b.info_at(&proxy.endpoint)).await.unwrap();
    let mut sent = Vec::new();
    for i in 0..300 {
        if i % 30 == 29 {
            proxy.reset();
        }
        let size = if i % 7 == 0 { 300_000 } else { 10 };
        let envelope =
            Envelope::request("T", "1", "length", vec![0; size]).with_correlation_id(i.to_string());
        let transport = a.transport.clone();
        sent.push(tokio::spawn(async move { transport.send("b", envelope, LIMIT).await }));
        tokio::time::sleep(Duration::from_micros(500)).await;
    }
    let mut lost = 0;
    for (i, ended) in futures_util::future::join_all(sent).await.into_iter().enumerate() {
        let size = if i % 7 == 0 { "300000" } else { "10" };
        match ended.unwrap() {
            Ok(response) => assert_eq!(response.into_result().unwrap(), size),
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::ConnectionLost, "{error}");
                lost += 1;
            }
        }
    }
    assert!(lost < 300);
    let received: Vec<usize> =
        b.inside.received.lock().unwrap().iter().map(|number| number.parse().unwrap()).collect();
    assert!(received.is_sorted(), "{received:?}");
}
