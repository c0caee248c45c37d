//! Planned ends: under load, one after the other, and against those who do not let go.

use std::future::IntoFuture;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use quark_core::{Caller, Client, Delivered, ErrorKind, Request, Silo, SiloStatus};

use crate::{LIMIT, until};

async fn client(cluster: &str) -> Client {
    client_of(&format!("memory://{cluster}?lag_ms=20")).await
}

async fn client_of(url: &str) -> Client {
    Client::builder().membership(url.parse().unwrap()).start().await.unwrap()
}

/// A silo whose requests take up to `most`.
async fn silo(id: &str, cluster: &str, most: Duration) -> Silo {
    let url = format!("memory://{cluster}?lag_ms=20");
    let handler = move |request: Request| async move {
        tokio::time::sleep(most.mul_f64(fastrand::f64())).await;
        Ok(request.payload().clone())
    };
    Silo::builder(id).membership(url.parse().unwrap()).handler(handler).start().await.unwrap()
}

/// Row 10.
#[tokio::test]
async fn row_10_each_of_10_000_calls_ends_once_when_the_silo_stops_by_its_drain_deadline() {
    let silo = silo("a", "ten-thousand", Duration::from_secs(2)).await;
    let client = client("ten-thousand").await;
    until("the silo is there", || client.silos().len() == 1).await;
    let ends = Arc::new(AtomicUsize::new(0));
    let calls: Vec<_> = (0..10_000)
        .map(|i| {
            let (call, ends) = (client.call(("T", i.to_string()), "", "x").timeout(LIMIT), ends.clone());
            tokio::spawn(async move {
                let ended = call.into_future().await;
                ends.fetch_add(1, Ordering::SeqCst);
                ended
            })
        })
        .collect();
    until("some are answered", || ends.load(Ordering::SeqCst) > 1000).await;
    silo.stop(Duration::from_secs(1)).await;
    let mut replies = 0;
    for call in calls {
        match call.await.unwrap() {
            Ok(_) => replies += 1,
            Err(error) => {
                let honest = match error.kind() {
                    ErrorKind::ConnectionLost => Delivered::Unknown,
                    ErrorKind::NoSilo | ErrorKind::Unreachable | ErrorKind::NotRunning => Delivered::No,
                    _ => panic!("{error:?}"),
                };
                assert_eq!(error.delivered(), honest, "{error:?}");
            }
        }
    }
    assert!((1000..10_000).contains(&replies), "{replies} replies: the deadline came in the middle");
    assert_eq!(ends.load(Ordering::SeqCst), 10_000);
}

/// Row 31.
#[tokio::test]
async fn row_31_a_rolling_restart_under_load_fails_no_call() {
    let mut silos = Vec::new();
    for id in ["a", "b", "c"] {
        silos.push(silo(id, "rolling", Duration::from_millis(20)).await);
    }
    let client = Arc::new(client("rolling").await);
    until("all are there", || client.silos().len() == 3).await;
    let (over, made) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let sessions: Vec<_> = (0..100)
        .map(|session| {
            let (client, over, made) = (client.clone(), over.clone(), made.clone());
            tokio::spawn(async move {
                while !over.load(Ordering::SeqCst) {
                    let reply = client.call(("T", session.to_string()), "", "x").timeout(LIMIT).await;
                    made.fetch_add(1, Ordering::SeqCst);
                    assert_eq!(reply.expect("no call fails"), "x");
                }
            })
        })
        .collect();
    for (place, id) in ["a", "b", "c"].into_iter().enumerate() {
        let before = made.load(Ordering::SeqCst);
        until("calls are made", || made.load(Ordering::SeqCst) > before + 500).await;
        silos[place].stop(Duration::from_secs(10)).await;
        silos[place] = silo(id, "rolling", Duration::from_millis(20)).await;
        until("it is back", || client.silos().len() == 3).await;
    }
    over.store(true, Ordering::SeqCst);
    for session in sessions {
        session.await.unwrap();
    }
}

#[tokio::test]
async fn a_stop_holds_its_deadline_against_handlers_that_never_return_and_strangers_that_stay() {
    let url = "memory://strangers";
    let silo = Silo::builder("a")
        .membership(url.parse().unwrap())
        .handler(|_: Request| std::future::pending::<quark_core::Result<&'static str>>())
        .start()
        .await
        .unwrap();
    let endpoint = silo.endpoint().clone();
    // A stranger who opens a connection and says nothing, and a caller whose call never ends.
    let stranger = tokio::net::TcpStream::connect((endpoint.host(), endpoint.port())).await.unwrap();
    let client = Client::builder().membership(url.parse().unwrap()).start().await.unwrap();
    until("the silo is there", || client.silos().len() == 1).await;
    let call = tokio::spawn(client.call(("T", "1"), "", "").timeout(LIMIT).into_future());
    tokio::time::sleep(Duration::from_millis(50)).await;
    tokio::time::timeout(Duration::from_secs(10), silo.stop(Duration::from_millis(200)))
        .await
        .expect("the stop ends soon after its deadline");
    assert_eq!(call.await.unwrap().unwrap_err().kind(), ErrorKind::ConnectionLost);
    drop(stranger);
    std::net::TcpListener::bind((endpoint.host(), endpoint.port())).expect("the port is free");
}

#[tokio::test]
async fn a_stop_does_not_wait_for_links_that_it_has_dialled_itself_meanwhile() {
    let url = "memory://dialled-late";
    let (go_on, myself) = (Arc::new(tokio::sync::Notify::new()), Arc::new(OnceLock::<Caller>::new()));
    let began = Arc::new(AtomicBool::new(false));
    let handler = {
        let (go_on, myself, began) = (go_on.clone(), myself.clone(), began.clone());
        move |request: Request| {
            let (go_on, myself) = (go_on.clone(), myself.clone());
            began.store(true, Ordering::SeqCst);
            async move {
                go_on.notified().await;
                // It has no link to the other silo before.
                myself.get().unwrap().call(("Other", request.actor_id()), "", "").await
            }
        }
    };
    let other = |_: Request| async move { Ok("done") };
    let silo =
        Silo::builder("a").membership(url.parse().unwrap()).handler_for("T", handler).start().await.unwrap();
    let _b = Silo::builder("b")
        .membership(url.parse().unwrap())
        .handler_for("Other", other)
        .start()
        .await
        .unwrap();
    myself.set(silo.caller().clone()).ok().unwrap();
    let client = client_of(url).await;
    until("both are there", || client.silos().len() == 2 && silo.silos().len() == 2).await;
    let slow = tokio::spawn(client.call(("T", "1"), "", "").timeout(LIMIT).into_future());
    until("it has the request", || began.load(Ordering::SeqCst)).await;
    let stopping = tokio::spawn(async move { silo.stop(3 * LIMIT).await });
    let leaves = || client.silos().iter().any(|silo| silo.status == SiloStatus::ShuttingDown);
    until("it leaves", leaves).await;
    go_on.notify_one();
    assert_eq!(slow.await.unwrap().unwrap(), "done");
    tokio::time::timeout(LIMIT, stopping).await.expect("it ends when its handler has ended").unwrap();
}

#[tokio::test]
async fn what_waits_for_a_silo_that_leaves_goes_to_the_others_before_it_is_gone() {
    let url = "memory://leaving?lag_ms=300";
    let handler = |id: &'static str| {
        move |request: Request| async move {
            if request.method_name() == "slow" {
                tokio::time::sleep(Duration::from_secs(4)).await;
            }
            Ok(id)
        }
    };
    let silo = |id| Silo::builder(id).membership(url.parse().unwrap()).handler(handler(id)).start();
    let (_a, b) = (silo("a").await.unwrap(), silo("b").await.unwrap());
    let client = Client::builder().membership(url.parse().unwrap()).start().await.unwrap();
    until("both are there", || client.silos().len() == 2).await;
    let owned = |actor: &String| client.owner("T", actor).unwrap().is_some_and(|silo| silo.as_str() == "b");
    let actor = (0..).map(|i| i.to_string()).find(owned).unwrap();
    let call =
        |method| tokio::spawn(client.call(("T", actor.clone()), method, "").timeout(LIMIT).into_future());
    let slow = call("slow");
    tokio::time::sleep(Duration::from_millis(50)).await;
    // It leaves as soon as its slow request is answered. Until the client's view says so, calls wait for it.
    let leaving = tokio::spawn(async move { b.stop(LIMIT).await });
    tokio::time::sleep(Duration::from_millis(20)).await;
    for _ in 0..10 {
        assert_eq!(call("").await.unwrap().unwrap(), "a");
    }
    assert!(!slow.is_finished(), "it is still busy");
    assert_eq!(slow.await.unwrap().unwrap(), "b", "what came in is answered");
    leaving.await.unwrap();
}
