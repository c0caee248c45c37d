//! Hot paths for callgrind, driven by `cargo xtask instructions`: `instructions SUBJECT COUNT` warms up, and then does
//! something COUNT times within a function named `counted`, which is all that callgrind collects.

use std::hint::black_box;
use std::process::ExitCode;
use std::time::Duration;

use bytes::Bytes;
use quark_core::counted::PendingTable;
use quark_core::{Caller, DEFAULT_VIRTUAL_NODES, Envelope, HashRing, LoopbackNetwork, Request, Silo};
use tokio::runtime::Runtime;

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let [subject, count] = &words[..] else { return ExitCode::FAILURE };
    let count = count.parse().expect("COUNT is a number");
    match subject.as_str() {
        "ring-lookup" => ring_lookup(count),
        "envelope-encode" => envelope_encode(count),
        "envelope-decode" => envelope_decode(count),
        "pending-table" => pending_table(count),
        "local-call" => local_call(count),
        "loopback-call" => loopback_call(count, 1),
        "loopback-calls-64" => loopback_call(count, 64),
        _ => return ExitCode::FAILURE,
    }
    ExitCode::SUCCESS
}

/// callgrind collects while this runs; it is found by its name.
#[inline(never)]
fn counted<T>(work: impl FnOnce() -> T) -> T {
    black_box(work())
}

fn repeat<T>(count: usize, mut work: impl FnMut() -> T) {
    let mut all = || {
        for _ in 0..count {
            black_box(work());
        }
    };
    all();
    counted(all);
}

fn ring_lookup(count: usize) {
    let silos = (0..1000).map(|n| (format!("silo-{n}").parse().expect("an id"), DEFAULT_VIRTUAL_NODES));
    let ring = HashRing::of(silos);
    repeat(count, || ring.owner(black_box("Device:device-0001234")).map(str::len));
}

fn envelope() -> Envelope {
    Envelope::request("Device", "device-0001234", "Echo", vec![7; 64])
        .with_message_id("0000000000000000000000000000002a")
        .with_correlation_id("0000000000000000000000000000002a")
}

fn envelope_encode(count: usize) {
    let envelope = envelope();
    repeat(count, || black_box(&envelope).encode());
}

fn envelope_decode(count: usize) {
    let bytes = envelope().encode();
    repeat(count, || Envelope::decode(black_box(bytes.clone())).expect("an envelope"));
}

fn pending_table(count: usize) {
    let mut table = PendingTable::in_use();
    repeat(count, || assert!(table.call()));
}

fn echo(request: Request) -> std::future::Ready<quark_core::Result<Bytes>> {
    std::future::ready(Ok(request.payload().clone()))
}

/// Calls, `at_once` at a time.
async fn calls(caller: &Caller, id: &str, count: usize, at_once: usize) {
    let payload = Bytes::from(vec![7; 64]);
    for _ in 0..count / at_once {
        let call = || caller.call(("Device", id), "Echo", payload.clone()).into_future();
        let all: Vec<_> = std::iter::repeat_with(call).take(at_once).collect();
        for reply in futures_util::future::join_all(all).await {
            assert_eq!(reply.expect("a reply").len(), payload.len());
        }
    }
}

fn count_calls(runtime: &Runtime, caller: &Caller, id: &str, count: usize, at_once: usize) {
    runtime.block_on(calls(caller, id, count, at_once));
    counted(|| runtime.block_on(calls(caller, id, count, at_once)));
}

fn runtime() -> Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime")
}

fn local_call(count: usize) {
    let runtime = runtime();
    let silo = Silo::builder("a").membership("static://".parse().expect("a URL")).handler(echo);
    let silo = runtime.block_on(silo.start()).expect("a silo");
    count_calls(&runtime, silo.caller(), "device-0001234", count, 1);
}

/// From one silo to another in this process: routing, outbox, pending table, inbox and handler, without gRPC and sockets.
fn loopback_call(count: usize, at_once: usize) {
    let runtime = runtime();
    let network = LoopbackNetwork::new();
    let start = |name: &str| {
        let silo = Silo::builder(name).membership("memory://instructions".parse().expect("a URL"));
        runtime.block_on(silo.network(&network).handler(echo).start()).expect("a silo")
    };
    let (a, _b) = (start("a"), start("b"));
    let owned_by_b =
        |id: &String| a.owner("Device", id).ok().flatten().is_some_and(|owner| owner.as_str() == "b");
    let find = || (0..1000).map(|number| number.to_string()).find(owned_by_b);
    let id = loop {
        // Until both see each other.
        match find() {
            Some(id) => break id,
            None => runtime.block_on(tokio::time::sleep(Duration::from_millis(5))),
        }
    };
    count_calls(&runtime, a.caller(), &id, count, at_once);
}
