//! Whole silos on a simulated network and clock, with faults, checked by the delivery rules. A seed is a run: the same
//! seed is the same run, to the microsecond.
//!
//! `QUARK_SIM_SEEDS=from..to` chooses the seeds (`cargo xtask simulate` sets it); without it, those of CI. With
//! `QUARK_SIM_TRACE=1`, what happened in each seed is printed.

mod crossing;
mod rules;
mod world;

use std::time::Duration;

use bytes::Bytes;
use quark_core::{Caller, Envelope, LoopbackNetwork};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::rules::{Call, Ending};
use crate::world::{Log, SILOS, Settings, World};

const ACTORS: usize = 12;
/// Simulated time with faults.
const RUN: Duration = Duration::from_secs(8);
/// By then every call must have ended.
const LIMIT: Duration = Duration::from_secs(60);
static ZEROS: [u8; 700_000] = [0; 700_000];

/// What a run has to show.
struct Outcome {
    broken: Vec<String>,
    trace: Vec<String>,
    calls: usize,
    replies: usize,
}

/// Runs the world of this seed.
fn simulate(seed: u64, name: &str) -> Outcome {
    fastrand::seed(seed);
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    let log = runtime.block_on(live(seed, format!("simulation-{name}-{seed}")));
    drop(runtime);
    let seen = log.seen.lock().unwrap();
    let replies = seen.calls.iter().filter(|c| matches!(c.endings.first(), Some((_, Ending::Reply { .. }))));
    Outcome {
        broken: seen.broken(),
        calls: seen.calls.len(),
        replies: replies.count(),
        trace: log.trace.lock().unwrap().clone(),
    }
}

async fn live(seed: u64, cluster: String) -> Log {
    let mut random = fastrand::Rng::with_seed(seed);
    let settings = Settings::choose(&mut random, cluster);
    let network = LoopbackNetwork::with_seed(random.u64(..));
    let log = Log::new();
    let least = Duration::from_micros([0, 0, 200, 20_000][random.usize(0..4)]);
    network.delay(least, least * 5);
    let mut world = World::new(settings, network, log.clone());
    for id in SILOS {
        world.start(id, false).await;
    }
    let mut calls = Vec::new();
    let mut leaving = Vec::new();
    let end = Instant::now() + RUN;
    let mut next_fault = Instant::now() + Duration::from_millis(300);
    while Instant::now() < end {
        if Instant::now() >= next_fault {
            fault(&mut world, &mut random, &mut leaving).await;
            next_fault = Instant::now() + Duration::from_millis(random.u64(20..900));
        }
        // Now and then a crowd for one actor.
        let crowd = if random.u16(0..500) == 0 { 150 } else { 1 };
        let (caller, actor) = (SILOS[random.usize(0..SILOS.len())], random.usize(0..ACTORS));
        for place in 0..crowd {
            // Small requests first, so that there are many when the first large one comes.
            let may_be_large = crowd == 1 || place > 100;
            calls.extend(call(&world, &mut random, caller, actor, may_be_large));
        }
        tokio::time::sleep(Duration::from_micros(random.u64(0..8_000))).await;
    }
    world.network.heal_all();
    let ended = futures_util::future::join_all(calls);
    if tokio::time::timeout(LIMIT, ended).await.is_err() {
        log.note("some calls do not end");
    }
    for silo in leaving {
        silo.await.unwrap();
    }
    log
}

/// Makes one call that is not waited for, so that several of one sender to one actor are on their way.
fn call(
    world: &World,
    random: &mut fastrand::Rng,
    caller: &'static str,
    actor: usize,
    may_be_large: bool,
) -> Option<JoinHandle<()>> {
    let kind = random.u8(0..20);
    let method = ["now", "now", "now", "slow", "fail", "never"][random.usize(0..6)];
    let is_large = random.u8(0..15) == 0 && may_be_large;
    let size = if is_large { random.usize(0..ZEROS.len()) } else { random.usize(0..300) };
    let timeout = Duration::from_millis([30, 300, 2_000, 10_000][random.usize(0..4)]);
    let patience = Duration::from_millis(random.u64(0..200));
    let (given_up, one_way) = (kind < 2, kind == 2 || kind == 3);
    let silo = world.silo(caller)?;
    let id = world.log.begin(Call {
        caller: world.life(caller),
        actor,
        view: silo.view_version(),
        payload: size,
        timeout,
        given_up,
        one_way,
        endings: Vec::new(),
    });
    let envelope = Envelope::request("Actor", actor.to_string(), method, Bytes::from_static(&ZEROS[..size]))
        .with_correlation_id(id.to_string());
    let (caller, log) = (silo.caller().clone(), world.log.clone());
    Some(tokio::spawn(async move {
        let began = Instant::now();
        let call = perform(&caller, envelope, timeout, one_way);
        let ended = match given_up {
            true => tokio::time::timeout(patience, call).await.ok(),
            false => Some(call.await),
        };
        log.end(id, began.elapsed(), ended);
    }))
}

async fn perform(caller: &Caller, envelope: Envelope, timeout: Duration, one_way: bool) -> Ending {
    let ended = match one_way {
        true => caller.post(envelope, Some(timeout)).await.map(|()| Bytes::new()),
        false => caller.send(envelope, Some(timeout)).await.and_then(Envelope::into_result),
    };
    match ended {
        Ok(reply) => Ending::Reply { of: std::str::from_utf8(&reply).unwrap().parse().unwrap_or(usize::MAX) },
        Err(error) => Ending::Error { kind: error.kind(), delivered: error.delivered() },
    }
}

/// Breaks something, or mends it.
async fn fault(world: &mut World, random: &mut fastrand::Rng, leaving: &mut Vec<JoinHandle<()>>) {
    let (one, other) = (SILOS[random.usize(0..SILOS.len())], SILOS[random.usize(0..SILOS.len())]);
    let kind = random.u8(0..10);
    world.log.note(format_args!("fault {kind} of {one} and {other}"));
    match kind {
        0 => world.network.cut(one, other),
        1 => {
            world.network.cut(one, other);
            world.network.cut(other, one);
        }
        2 | 3 => world.network.heal_all(),
        4 if random.bool() => world.network.reset(one, other),
        4 => {
            // The one end gives the link up while its last requests are still on their way.
            world.network.stall(one, other, Duration::from_millis(random.u64(0..3_000)));
            let (network, later) = (world.network.clone(), Duration::from_millis(random.u64(0..500)));
            tokio::spawn(async move {
                tokio::time::sleep(later).await;
                network.give_up(one, other);
            });
        }
        5 => {
            let least = Duration::from_micros([0, 100, 5_000, 100_000][random.usize(0..4)]);
            world.network.delay(least, least * random.u32(1..5));
        }
        6 if world.running().len() > 2 => world.crash(one),
        7 if world.running().len() > 2 => {
            let drain = Duration::from_millis([0, 50, 3_000][random.usize(0..3)]);
            leaving.extend(world.leave(one, drain));
        }
        _ => {
            // Those that left meanwhile come back one by one.
            for silo in leaving.drain(..) {
                silo.await.unwrap();
            }
            if let Some(gone) = SILOS.into_iter().find(|id| !world.running().contains(id)) {
                world.start(gone, random.bool()).await;
            }
        }
    }
}

fn seeds() -> std::ops::Range<u64> {
    let Ok(text) = std::env::var("QUARK_SIM_SEEDS") else { return 0..200 };
    let (from, to) = text.split_once("..").expect("QUARK_SIM_SEEDS is from..to");
    from.parse().expect("a number")..to.parse().expect("a number")
}

#[test]
fn the_delivery_rules_hold_in_every_seed() {
    let seeds = seeds();
    let threads = std::thread::available_parallelism().map_or(1, usize::from) as u64;
    let run = |first: u64| {
        let outcomes = (seeds.start + first..seeds.end).step_by(threads as usize);
        outcomes.map(|seed| (seed, simulate(seed, "rules"))).collect::<Vec<_>>()
    };
    let outcomes: Vec<_> = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads).map(|first| scope.spawn(move || run(first))).collect();
        workers.into_iter().flat_map(|worker| worker.join().unwrap()).collect()
    });
    let (mut calls, mut replies) = (0, 0);
    let print_traces = std::env::var_os("QUARK_SIM_TRACE").is_some();
    let mut broken = Vec::new();
    for (seed, outcome) in outcomes {
        if print_traces {
            println!("seed {seed}\n{}", outcome.trace.join("\n"));
        }
        calls += outcome.calls;
        replies += outcome.replies;
        broken.extend(outcome.broken.into_iter().map(|rule| format!("seed {seed}: {rule}")));
    }
    println!("seeds {seeds:?}: {calls} calls, {replies} replies, rules broken: {}", broken.len());
    assert!(
        broken.is_empty(),
        "rules broken: {}\n{}",
        broken.len(),
        broken[..broken.len().min(20)].join("\n")
    );
    // Otherwise the rules were not tried.
    assert!(replies > calls / 10, "{replies} replies to {calls} calls");
}

#[test]
fn a_seed_is_the_same_run_each_time() {
    for seed in [1, 7, 23] {
        let (first, second) = (simulate(seed, "first").trace, simulate(seed, "second").trace);
        let differs = first.iter().zip(&second).position(|(a, b)| a != b);
        if let Some(at) = differs {
            panic!("seed {seed}, event {at}:\n{}\n{}", first[at], second[at]);
        }
        assert_eq!(first.len(), second.len());
        assert!(first.len() > 100);
    }
}
