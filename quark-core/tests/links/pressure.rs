//! Full queues: whoever is slow slows or fails its own callers, and nobody else.

use std::future::IntoFuture as _;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use quark_core::{Caller, Client, Delivered, Error, ErrorKind, Handler, Message, Request, Silo};

use crate::hosts::Host;
use crate::{LIMIT, until};

/// Keeps what it gets.
#[derive(Default)]
struct Keeps(Mutex<Vec<Request>>);

impl Handler for Keeps {
    fn handle(&self, request: Request) {
        self.0.lock().unwrap().push(request);
    }
}

async fn slow_and_fast(cluster: &str, requests: usize, bytes: usize) -> (Silo, Client, Arc<Keeps>) {
    let slow = Arc::new(Keeps::default());
    let membership = format!("memory://{cluster}");
    let silo = Silo::builder("a")
        .membership(membership.parse().unwrap())
        .raw_handler(Some("Slow".to_owned()), slow.clone())
        .handler_for("Fast", |request: Request| async move { Ok(request.payload().clone()) })
        .configure(|config| {
            config.inbox_capacity = requests;
            config.inbox_bytes = bytes;
        });
    let silo = silo.start().await.unwrap();
    let client = Client::builder().membership(membership.parse().unwrap()).start().await.unwrap();
    until("the silo is there", || client.silos().len() == 1).await;
    (silo, client, slow)
}

fn is_overload(error: &Error) -> bool {
    (error.kind(), error.delivered(), error.is_retryable()) == (ErrorKind::Overloaded, Delivered::No, true)
}

#[tokio::test]
async fn a_slow_handler_refuses_its_own_callers_at_once_and_others_do_not_notice() {
    let (silo, client, slow) = slow_and_fast("slow", 10, 1 << 20).await;
    let calls: Vec<_> = (0..10)
        .map(|_| tokio::spawn(client.call(("Slow", "1"), "", "").timeout(LIMIT).into_future()))
        .collect();
    until("the handler is full", || slow.0.lock().unwrap().len() == 10).await;
    for caller in [client.caller(), silo.caller()] {
        let error = caller.call(("Slow", "2"), "", "").timeout(LIMIT).await.unwrap_err();
        assert!(is_overload(&error), "{error:?}");
        assert_eq!(caller.call(("Fast", "1"), "", "x").timeout(LIMIT).await.unwrap(), "x");
    }
    // What nobody waits for is counted.
    client.notify(("Slow", "1"), "", "").await.unwrap();
    until("it is counted", || silo.counters().one_way_refused == 1).await;
    slow.0.lock().unwrap().drain(..).for_each(|mut request| request.reply("").unwrap());
    for call in calls {
        call.await.unwrap().unwrap();
    }
    client.notify(("Slow", "1"), "", "").await.unwrap();
    until("there is room again", || slow.0.lock().unwrap().len() == 1).await;
}

#[tokio::test]
async fn large_payloads_fill_an_inbox_too_but_one_may_always_come() {
    let (_silo, client, slow) = slow_and_fast("bytes", 1000, 1 << 20).await;
    let call = |size: usize| {
        tokio::spawn(client.call(("Slow", "1"), "", vec![0; size]).timeout(LIMIT).into_future())
    };
    let first = call(3 << 20);
    until("it is there, though larger than the inbox", || slow.0.lock().unwrap().len() == 1).await;
    let error = call(100).await.unwrap().unwrap_err();
    assert!(is_overload(&error), "{error:?}");
    slow.0.lock().unwrap().pop().unwrap().reply("").unwrap();
    first.await.unwrap().unwrap();
}

#[tokio::test]
async fn a_full_pending_table_lets_callers_wait_in_order_until_their_deadline() {
    let a = Host::with("a", |config| config.max_pending = 2).await;
    let b = Host::new("b").await;
    a.knows(&b).await;
    let calls = (0..6).map(|i| {
        let envelope = quark_core::Envelope::request("T", "1", "keep", "").with_correlation_id(i.to_string());
        let timeout = if i == 3 { Duration::from_millis(100) } else { LIMIT };
        let transport = a.transport.clone();
        tokio::spawn(async move { transport.send("b", envelope, timeout).await })
    });
    let calls: Vec<_> = calls.collect();
    until("two are there", || b.inside.kept() == 2).await;
    tokio::time::sleep(Duration::from_millis(150)).await;
    assert_eq!(b.inside.count(), 2, "the others wait at the caller's");
    let answering = async {
        until("all but one come", || {
            b.inside.kept.lock().unwrap().drain(..).for_each(|mut request| request.reply("").unwrap());
            b.inside.count() == 5
        })
        .await;
        b.inside.kept.lock().unwrap().drain(..).for_each(|mut request| request.reply("").unwrap());
    };
    let (ended, ()) = tokio::join!(futures_util::future::join_all(calls), answering);
    for (i, ended) in ended.into_iter().enumerate() {
        match ended.unwrap() {
            Ok(_) => assert_ne!(i, 3),
            Err(error) => assert!(i == 3 && is_overload(&error), "{i}: {error:?}"),
        }
    }
    assert_eq!(*b.inside.received.lock().unwrap(), ["0", "1", "2", "4", "5"]);
}

/// Notes what comes, in its order, and answers at once.
#[derive(Default)]
struct Notes(Mutex<Vec<u32>>);

impl Handler for Notes {
    fn handle(&self, mut request: Request) {
        self.0.lock().unwrap().push(std::str::from_utf8(request.payload()).unwrap().parse().unwrap());
        request.reply("").unwrap();
    }
}

const ORDERED: u32 = 5000;

/// Calls one actor so many times from a thread that is none of the runtime's, through an outbox that is always full, each with its
/// number, and compares what came.
async fn keeps_order(cluster: &str, make: impl FnOnce(&Caller, &Arc<AtomicUsize>) + Send + 'static) {
    let notes = Arc::new(Notes::default());
    let membership = format!("memory://{cluster}");
    let silo = Silo::builder("a")
        .membership(membership.parse().unwrap())
        .raw_handler(Some("T".to_owned()), notes.clone());
    let _silo = silo.start().await.unwrap();
    let client = Client::builder()
        .membership(membership.parse().unwrap())
        .configure(|config| config.transport.outbox_capacity = 4)
        .start()
        .await
        .unwrap();
    until("the silo is there", || client.silos().len() == 1).await;
    let ended = Arc::new(AtomicUsize::new(0));
    let (caller, count) = (client.caller().clone(), ended.clone());
    std::thread::spawn(move || make(&caller, &count));
    until("all have ended", || ended.load(Ordering::SeqCst) == ORDERED as usize).await;
    assert_eq!(*notes.0.lock().unwrap(), (0..ORDERED).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_with_a_function_keep_their_order_when_they_wait_for_room() {
    keeps_order("order-one", |caller, ended| {
        for number in 0..ORDERED {
            let ended = ended.clone();
            let call = caller.call(("T", "1"), "", number.to_string()).timeout(LIMIT);
            call.with(move |result| {
                result.unwrap();
                ended.fetch_add(1, Ordering::SeqCst);
            });
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_that_are_made_at_once_keep_their_order_when_they_wait_for_room() {
    keeps_order("order-many", |caller, ended| {
        let message = |number: u32| Message::new(("T", "1"), "", number.to_string()).timeout(LIMIT);
        let ended = ended.clone();
        let endings = move |_, result: quark_core::Result<_>| {
            result.unwrap();
            ended.fetch_add(1, Ordering::SeqCst);
        };
        caller.call_many((0..ORDERED).map(|number| (0, message(number))), Arc::new(endings));
    })
    .await;
}

/// How often each of many calls has ended, and how.
type Ended = Arc<Vec<Mutex<Vec<Result<String, ErrorKind>>>>>;

fn none_of(count: usize) -> Ended {
    Arc::new((0..count).map(|_| Mutex::default()).collect())
}

#[tokio::test]
async fn calls_that_are_made_at_once_go_to_their_owners_and_end_once_each() {
    const CALLS: usize = 500;
    let silo = |id: &'static str| {
        Silo::builder(id)
            .membership("memory://many".parse().unwrap())
            .handler(move |request: Request| {
                // Not by way of another one, which would help who sends to the wrong one.
                let hops = request.envelope().hop_count;
                std::future::ready(Ok(format!("{id} has {}, {hops} hops", request.actor_id())))
            })
            .start()
    };
    let (a, b, c) = (silo("a").await.unwrap(), silo("b").await.unwrap(), silo("c").await.unwrap());
    until("they see each other", || [&a, &b, &c].iter().all(|silo| silo.silos().len() == 3)).await;
    let ended = none_of(CALLS);
    let message = |number: usize| match number {
        7 => Message::new(("", "7"), "", ""),
        _ => Message::new(("T", number.to_string()), "", "").timeout(LIMIT),
    };
    let told = ended.clone();
    let tell = move |key: usize, result: quark_core::Result<bytes::Bytes>| {
        let result = result.map(|reply| String::from_utf8(reply.to_vec()).unwrap());
        told[key].lock().unwrap().push(result.map_err(|error| error.kind()));
    };
    a.caller().call_many((0..CALLS).map(|number| (number, message(number))), Arc::new(tell));
    until("all have ended", || ended.iter().all(|one| !one.lock().unwrap().is_empty())).await;
    let mut owners = std::collections::HashSet::new();
    for (number, one) in ended.iter().enumerate() {
        let expected = match number {
            7 => Err(ErrorKind::InvalidArgument),
            _ => {
                let owner = a.caller().owner("T", &number.to_string()).unwrap().unwrap();
                let expected = Ok(format!("{owner} has {number}, 0 hops"));
                owners.insert(owner);
                expected
            }
        };
        assert_eq!(*one.lock().unwrap(), [expected], "{number}");
    }
    assert_eq!(owners.len(), 3, "the own one, too");
}

/// Makes calls to a silo that is not there, through an outbox that most of them do not fit into, and stops their client.
async fn end_once_with_their_client(make: impl FnOnce(&Caller, &Ended)) {
    let client = Client::builder()
        .membership("static://a@127.0.0.1:1".parse().unwrap())
        .configure(|config| config.transport.outbox_capacity = 3)
        .start()
        .await
        .unwrap();
    let ended = none_of(UNSENT);
    make(client.caller(), &ended);
    assert!(ended.iter().all(|one| one.lock().unwrap().is_empty()), "they wait");
    client.stop(Duration::ZERO).await;
    until("all have ended", || ended.iter().all(|one| !one.lock().unwrap().is_empty())).await;
    drop(client);
    for (number, one) in ended.iter().enumerate() {
        assert_eq!(*one.lock().unwrap(), [Err(ErrorKind::NotRunning)], "{number}");
    }
}

const UNSENT: usize = 100;

fn note(ended: &Ended, key: usize, result: quark_core::Result<bytes::Bytes>) {
    ended[key].lock().unwrap().push(result.map(|_| String::new()).map_err(|error| error.kind()));
}

#[tokio::test]
async fn calls_that_are_made_at_once_end_once_each_also_when_their_silo_stops_before_they_were_sent() {
    end_once_with_their_client(|caller, ended| {
        let ended = ended.clone();
        let calls = (0..UNSENT).map(|number| (number, Message::new(("T", "1"), "", "").timeout(LIMIT)));
        caller.call_many(calls, Arc::new(move |key, result| note(&ended, key, result)));
    })
    .await;
}

#[tokio::test]
async fn calls_with_a_function_do_the_same() {
    end_once_with_their_client(|caller, ended| {
        for number in 0..UNSENT {
            let ended = ended.clone();
            let call = caller.call(("T", "1"), "", "").timeout(LIMIT);
            call.with(move |result| note(&ended, number, result));
        }
    })
    .await;
}

async fn flood(from: &Host, to: &str) {
    let actors: Vec<_> = (0..16).map(|actor| actor.to_string()).collect();
    let calls = (0..4000).map(|i| from.ask(to, &actors[i % 16], "", vec![0; 4096]));
    for ended in futures_util::future::join_all(calls).await {
        match ended {
            Ok(reply) => assert_eq!(reply.len(), 4096),
            Err(error) => assert_eq!(error.kind(), ErrorKind::Overloaded, "{error}"),
        }
    }
}

/// Each would stop reading until the other has read its answers.
#[tokio::test]
async fn two_silos_that_flood_each_other_do_not_wait_for_each_other() {
    let tight = |config: &mut quark_core::TransportConfig| config.answer_capacity = 64 * 1024;
    let (a, b) = (Host::with("a", tight).await, Host::with("b", tight).await);
    a.knows(&b).await;
    tokio::join!(flood(&a, "b"), flood(&b, "a"));
    assert_eq!(a.ask("b", "1", "", vec![7]).await.unwrap(), [7]);
    assert_eq!(b.ask("a", "1", "", vec![7]).await.unwrap(), [7]);
}
