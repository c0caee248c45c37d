//! Payloads: at the limit, over it, and so large that they must not stand in the way.

use std::sync::atomic::Ordering;

use quark_core::{Delivered, Envelope, ErrorKind};

use crate::LIMIT;
use crate::hosts::Host;
use crate::proxy::Proxy;

const MIB: usize = 1024 * 1024;

/// Row 22.
#[tokio::test]
async fn row_22_a_payload_at_the_limit_passes_and_one_over_is_refused_at_the_sender() {
    let (a, b) = (Host::new("a").await, Host::new("b").await);
    let proxy = Proxy::before(&b.endpoint()).await;
    a.transport.connect(&b.info_at(&proxy.endpoint)).await.unwrap();
    let payload: Vec<u8> = (0..4 * MIB).map(|i| (i / 251) as u8).collect();
    assert!(a.ask("b", "1", "", payload.clone()).await.unwrap() == payload, "both ways, unchanged");
    // Nothing gets to the other side now: it is the sender who says so.
    proxy.there.stop();
    let over = Envelope::request("T", "1", "", vec![0; 4 * MIB + 1]);
    let error = a.send("b", over, std::time::Duration::from_secs(2)).await.unwrap_err();
    proxy.there.go_on();
    assert_eq!((error.kind(), error.delivered()), (ErrorKind::PayloadTooLarge, Delivered::No));
    assert!(error.message().contains("4194305") && error.message().contains("4194304"), "{error}");
    assert_eq!(b.inside.count(), 1);
    assert_eq!(a.ask("b", "1", "", vec![1]).await.unwrap(), [1]);
    assert_eq!(proxy.connections.load(Ordering::SeqCst), 1, "the link lives on");
}

#[tokio::test]
async fn a_receiver_with_a_smaller_limit_refuses_and_keeps_the_link() {
    // Whole, in parts, and in the largest ones, which are those of a transfer that has gone on for a while.
    for size in [60_000, 3 * MIB, 8 * MIB] {
        let (a, b) = (
            Host::with("a", |config| config.max_payload = 8 * MIB).await,
            Host::with("b", |config| config.max_payload = 1000).await,
        );
        let proxy = Proxy::before(&b.endpoint()).await;
        a.transport.connect(&b.info_at(&proxy.endpoint)).await.unwrap();
        let error = a.ask("b", "1", "", vec![0; size]).await.unwrap_err();
        assert_eq!((error.kind(), error.delivered()), (ErrorKind::PayloadTooLarge, Delivered::No));
        assert!(error.message().contains(&size.to_string()) && error.message().contains("1000"), "{error}");
        assert_eq!(b.inside.count(), 0);
        // A reply that is too large for the caller: the handler has run.
        b.knows_at(&a, &a.endpoint()).await;
        let request = Envelope::request("T", "1", "keep", "");
        let replying = async {
            crate::until("it is there", || a.inside.kept() == 1).await;
            let mut request = a.inside.kept.lock().unwrap().pop().unwrap();
            request.reply(vec![0; size]).unwrap();
        };
        let (ended, ()) = tokio::join!(b.send("a", request, LIMIT), replying);
        let error = ended.unwrap_err();
        assert_eq!((error.kind(), error.delivered()), (ErrorKind::PayloadTooLarge, Delivered::Yes));
        assert_eq!(a.ask("b", "1", "", vec![1]).await.unwrap(), [1]);
        assert_eq!(proxy.connections.load(Ordering::SeqCst), 1, "the link lives on");
    }
}

#[tokio::test]
async fn a_payload_of_256_mib_passes_where_the_limit_allows_it() {
    let wide = |config: &mut quark_core::TransportConfig| config.max_payload = 256 * MIB;
    let (a, b) = (Host::with("a", wide).await, Host::with("b", wide).await);
    a.knows(&b).await;
    let mut payload = vec![0; 256 * MIB];
    payload.iter_mut().step_by(4093).enumerate().for_each(|(i, byte)| *byte = i as u8);
    assert!(a.ask("b", "1", "", payload.clone()).await.unwrap() == payload);
}

#[tokio::test]
async fn a_large_transfer_lets_small_calls_pass_and_keeps_the_order_of_its_actor() {
    let (a, b) = (
        Host::with("a", |c| c.max_payload = 32 * MIB).await,
        Host::with("b", |c| c.max_payload = 32 * MIB).await,
    );
    let proxy = Proxy::before(&b.endpoint()).await;
    a.transport.connect(&b.info_at(&proxy.endpoint)).await.unwrap();
    // So slow that the transfer takes seconds.
    proxy.there.slow(8 * MIB as u64);
    let named = |actor: &str, name: &str, payload: Vec<u8>| {
        Envelope::request("T", actor, "length", payload).with_correlation_id(name)
    };
    let large = {
        let (transport, envelope) = (a.transport.clone(), named("1", "large", vec![0; 32 * MIB]));
        tokio::spawn(async move { transport.send("b", envelope, LIMIT).await })
    };
    tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    let behind = {
        let (transport, envelope) = (a.transport.clone(), named("1", "behind", vec![]));
        tokio::spawn(async move { transport.send("b", envelope, LIMIT).await })
    };
    for i in 0..20 {
        a.send("b", named("2", &i.to_string(), vec![]), LIMIT).await.unwrap();
    }
    assert!(!large.is_finished(), "small calls to the same silo were answered during the transfer");
    assert_eq!(large.await.unwrap().unwrap().into_result().unwrap(), (32 * MIB).to_string());
    behind.await.unwrap().unwrap();
    let received = b.inside.received.lock().unwrap();
    let place = |name| received.iter().position(|received| received == name).unwrap();
    assert!(place("large") < place("behind"), "{received:?}");
    assert!(place("19") < place("large"), "{received:?}");
}
