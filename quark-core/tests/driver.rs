//! Who drives the runtime of a process that is no Rust program: its workers while they wait, `quark-io` when none does.

use std::sync::{Mutex, MutexGuard, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use quark_core::host::{self, Workers};

/// No wait takes longer, unless what is tested is broken.
const LIMIT: Duration = Duration::from_secs(20);

/// All pools of a process share its runtime.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// The name of the thread that drives.
fn who_drives() -> String {
    let (told, name) = mpsc::channel();
    let tell = async move { told.send(thread::current().name().unwrap_or_default().to_owned()).unwrap() };
    host::handle().unwrap().spawn(tell);
    name.recv_timeout(LIMIT).expect("somebody drives")
}

/// Until a thread of that name drives; after each look `between` happens.
fn until_it_drives(name: &str, between: impl Fn()) {
    let end = Instant::now() + LIMIT;
    while who_drives() != name {
        assert!(Instant::now() < end, "no thread of {name} drives");
        between();
    }
}

type Item = Box<dyn FnOnce() + Send>;

/// Gives a pool so much to do that its thread comes to drive when there is nothing more.
fn until_its_thread_drives(name: &str, workers: &Workers<Item>) {
    until_it_drives(name, || workers.push(Box::new(|| {})));
}

fn pool(name: &str) -> Workers<Item> {
    host::handle().unwrap();
    let workers = Workers::new(name, 1, |item: Item| item());
    until_its_thread_drives(name, &workers);
    workers
}

#[test]
fn who_waits_for_items_drives_and_who_is_gone_does_not() {
    let _alone = alone();
    let first = pool("first");
    let (done, thread) = mpsc::channel();
    first.push(Box::new(move || done.send(thread::current().name().map(str::to_owned)).unwrap()));
    assert_eq!(thread.recv_timeout(LIMIT).unwrap().as_deref(), Some("first"), "it takes items as before");
    drop(first);
    until_it_drives("quark-io", || {});
    let second = pool("second");
    drop(second);
    until_it_drives("quark-io", || {});
}

#[test]
fn what_comes_from_inside_the_runtime_is_taken_by_who_drives_it() {
    let _alone = alone();
    let (done, heard) = mpsc::channel();
    let workers = std::sync::Arc::new(pool("inside"));
    let pushing = workers.clone();
    host::handle().unwrap().spawn(async move {
        for number in 0..1000 {
            let done = done.clone();
            pushing.push(Box::new(move || done.send(number).unwrap()));
            tokio::task::yield_now().await;
        }
    });
    let numbers: Vec<i32> = (0..1000).map(|_| heard.recv_timeout(LIMIT).unwrap()).collect();
    assert_eq!(numbers, (0..1000).collect::<Vec<_>>());
}

#[test]
fn a_callback_that_waits_in_its_own_way_for_the_runtime_gets_what_it_waits_for() {
    let _alone = alone();
    let workers = pool("waits");
    let (done, heard) = mpsc::channel();
    workers.push(Box::new(move || {
        let (told, slept) = mpsc::channel();
        host::handle().unwrap().spawn(async move {
            tokio::time::sleep(Duration::from_millis(1)).await;
            told.send(()).unwrap();
        });
        done.send(slept.recv_timeout(LIMIT)).unwrap();
    }));
    assert_eq!(heard.recv_timeout(2 * LIMIT).unwrap(), Ok(()));
}

#[test]
fn a_callback_may_block_in_what_the_runtime_does() {
    let _alone = alone();
    let workers = pool("blocks");
    let (done, heard) = mpsc::channel();
    workers.push(Box::new(move || {
        let slept = host::run(async {
            tokio::time::sleep(Duration::from_millis(1)).await;
            Ok(thread::current().name().unwrap_or_default().to_owned())
        });
        done.send(slept).unwrap();
    }));
    assert_eq!(heard.recv_timeout(LIMIT).unwrap().unwrap(), "quark-io");
}

#[test]
fn a_pool_whose_callbacks_take_long_leaves_the_runtime_to_others_for_a_while() {
    let _alone = alone();
    let workers = pool("long");
    let (done, heard) = mpsc::channel();
    for _ in 0..10 {
        let done = done.clone();
        workers.push(Box::new(move || {
            thread::sleep(Duration::from_millis(3));
            done.send(()).unwrap();
        }));
        heard.recv_timeout(LIMIT).unwrap();
    }
    // A second of it, of which this takes little.
    assert_eq!(who_drives(), "quark-io");
    until_its_thread_drives("long", &workers);
}

#[test]
fn a_blocking_call_on_the_thread_that_drives_is_an_error() {
    let _alone = alone();
    let _workers = pool("reentrant");
    let (told, heard) = mpsc::channel();
    host::handle().unwrap().spawn(async move { told.send(host::check_may_block()).unwrap() });
    let error = heard.recv_timeout(LIMIT).unwrap().unwrap_err();
    assert!(error.message().contains("would wait for itself"), "{error}");
    host::check_may_block().unwrap();
}

#[test]
fn a_thread_that_drives_hears_of_items_while_another_of_its_pool_blocks() {
    let _alone = alone();
    host::handle().unwrap();
    let workers: Workers<Item> = Workers::new("two", 2, |item: Item| item());
    for _ in 0..4 {
        // One is in a callback while the other comes to drive; then the callback blocks in a call, which ends with the other's.
        let (go, gone) = mpsc::channel();
        let (done, heard) = mpsc::channel();
        let (end, ended) = tokio::sync::oneshot::channel::<()>();
        workers.push(Box::new(move || {
            gone.recv_timeout(LIMIT).unwrap();
            let waits = async {
                tokio::time::timeout(LIMIT, ended).await.expect("the other has heard").unwrap();
                Ok(())
            };
            done.send(host::run(waits)).unwrap();
        }));
        until_its_thread_drives("two", &workers);
        go.send(()).unwrap();
        thread::sleep(Duration::from_millis(2));
        workers.push(Box::new(move || end.send(()).unwrap()));
        heard.recv_timeout(2 * LIMIT).unwrap().unwrap();
    }
}
