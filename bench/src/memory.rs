//! What links, waiting calls and silos of the view take of memory, for `cargo xtask bench --memory`.
//!
//! `serve COUNT` hosts so many silos and prints `ready NAME@ADDRESS,…`. `links TARGETS OTHERS PID` sees the targets and so many
//! silos that nobody can reach, and links to each target. `pending TARGETS CALLS PID,…` has so many calls wait at once.
//! Both print one line of JSON.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use quark_core::{Caller, Client, Envelope, Handler, Request, Silo, SiloConfig};
use tokio::sync::mpsc;

use crate::until_dismissed;
use crate::usage::memory_kib;

/// More than a million of everything.
const MANY: usize = 1 << 21;
const PATIENCE: Duration = Duration::from_secs(600);

pub(crate) async fn run(words: &[&str]) -> bool {
    match *words {
        ["serve", count] => serve(count.parse().expect("a number")).await,
        ["links", targets, others, server] => {
            links(targets, others.parse().expect("a number"), server).await;
        }
        ["pending", targets, calls, ref servers @ ..] => {
            let servers: Vec<&str> = servers.iter().flat_map(|pids| pids.split(',')).collect();
            pending(targets, calls.parse().expect("a number"), &servers).await;
        }
        _ => return false,
    }
    true
}

fn roomy(config: &mut SiloConfig) {
    config.inbox_capacity = MANY;
    config.inbox_bytes = 1 << 30;
    config.transport.max_pending = MANY;
    config.transport.outbox_capacity = MANY as u32;
    config.transport.answer_capacity = 1 << 30;
}

/// Keeps what is to be held until it is told to answer all of it.
#[derive(Default)]
struct Holding(Mutex<Vec<Request>>);

impl Handler for Holding {
    fn handle(&self, mut request: Request) {
        let mut held = self.0.lock().expect("nobody panics with it");
        let answered = match request.method_name() {
            "hold" => {
                held.push(request);
                return;
            }
            "release" => {
                held.drain(..).for_each(|mut request| drop(request.reply("")));
                request.reply("")
            }
            _ => request.reply(held.len().to_string()),
        };
        answered.expect("an answer");
    }
}

async fn serve(count: usize) {
    let mut silos = Vec::new();
    for number in 0..count {
        // The process has its id in the names, so that those of several processes differ.
        let name = format!("silo-{}-{number}", std::process::id());
        let silo = Silo::builder(&name).membership("static://".parse().expect("a URL")).configure(roomy);
        let silo = silo.raw_handler(None, Arc::new(Holding::default())).start().await.expect("a silo");
        silos.push((name, silo));
    }
    let names = silos.iter().map(|(name, silo)| format!("{name}@{}", silo.endpoint()));
    println!("ready {}", names.collect::<Vec<_>>().join(","));
    until_dismissed().await;
}

async fn client(url: &str) -> Client {
    let url = format!("static://{url}").parse().expect("a URL");
    Client::builder().membership(url).configure(roomy).start().await.expect("a client")
}

/// For each target an actor that it owns.
fn actors_of(caller: &Caller, targets: &str) -> Vec<String> {
    let find = |target: &str| {
        let name = target.split('@').next().unwrap_or_default();
        let mut ids = (0..).map(|number: u32| number.to_string());
        ids.find(|id| caller.owner("Device", id).ok().flatten().is_some_and(|owner| owner.as_str() == name))
    };
    targets.split(',').map(|target| find(target).expect("each owns something")).collect()
}

async fn links(targets: &str, others: usize, server: &str) {
    let bare = memory_kib("self", "VmRSS");
    // Nobody listens at port 1.
    let unreachable = (0..others).map(|number| format!(",other-{number}@127.0.0.1:1"));
    let client = client(&(targets.to_owned() + &unreachable.collect::<String>())).await;
    let caller = client.caller();
    let ids = actors_of(caller, targets);
    let call = |id: &str| caller.call(("Device", id), "held", "").timeout(PATIENCE).into_future();
    let viewed = memory_kib("self", "VmRSS");
    // The first link brings with it what all share.
    call(&ids[0]).await.expect("a reply");
    let first = (memory_kib("self", "VmRSS"), memory_kib(server, "VmRSS"));
    for id in &ids[1..] {
        call(id).await.expect("a reply");
    }
    let all = (memory_kib("self", "VmRSS"), memory_kib(server, "VmRSS"));
    let each = |kib: f64| kib / (ids.len().max(2) - 1) as f64;
    println!(
        "{{\"view_kib\": {:.0}, \"dialled_kib\": {:.2}, \"accepted_kib\": {:.2}, \"process_kib\": {:.0}}}",
        viewed - bare,
        each(all.0 - first.0),
        each(all.1 - first.1),
        all.0
    );
}

async fn pending(targets: &str, calls: usize, servers: &[&str]) {
    let client = client(targets).await;
    let caller = client.caller();
    let ids = actors_of(caller, targets);
    let ask =
        |id: &str, method: &str| caller.call(("Device", id), method, "").timeout(PATIENCE).into_future();
    for id in &ids {
        ask(id, "held").await.expect("a reply");
    }
    let of_all = |key: &str| servers.iter().map(|pid| memory_kib(pid, key)).sum::<f64>();
    let before = (memory_kib("self", "VmRSS"), of_all("VmRSS"));
    let began = Instant::now();
    let (ended, mut endings) = mpsc::unbounded_channel();
    for number in 0..calls {
        let ended = ended.clone();
        let envelope = Envelope::request("Device", &*ids[number % ids.len()], "hold", vec![7; 64]);
        caller.call_with(envelope, Some(PATIENCE), move |reply| {
            let _ = ended.send(reply.is_ok());
        });
        // So that what is sent goes out meanwhile.
        if number % 1024 == 0 {
            tokio::task::yield_now().await;
        }
    }
    let mut held = 0;
    while held < calls {
        tokio::time::sleep(Duration::from_millis(20)).await;
        held = 0;
        for id in &ids {
            let reply = ask(id, "held").await.expect("a reply");
            held += std::str::from_utf8(&reply).expect("text").parse::<usize>().expect("a number");
        }
    }
    let sent = began.elapsed().as_secs_f64();
    let waiting = (memory_kib("self", "VmRSS"), of_all("VmRSS"));
    for id in &ids {
        ask(id, "release").await.expect("a reply");
    }
    for _ in 0..calls {
        assert_eq!(endings.recv().await, Some(true), "a call failed");
    }
    println!(
        "{{\"calls\": {calls}, \"caller_bytes\": {:.0}, \"server_bytes\": {:.0}, \"caller_peak_kib\": {:.0}, \
         \"server_peak_kib\": {:.0}, \"all_held_s\": {sent:.2}, \"all_ended_s\": {:.2}}}",
        (waiting.0 - before.0) * 1024.0 / calls as f64,
        (waiting.1 - before.1) * 1024.0 / calls as f64,
        memory_kib("self", "VmHWM"),
        of_all("VmHWM"),
        began.elapsed().as_secs_f64()
    );
}
