//! Simulated clusters with faults: the whole provider on a simulated store, network and clock. A seed is a run.
//!
//! The two errors of a failure detector contradict each other, so both are counted: putting out the living, and keeping
//! the dead. `cargo xtask simulate` runs as many seeds as one likes.

mod process;
mod rows;
mod run;
mod scale;
mod server;
mod world;

use std::ops::Range;

use self::run::{Outcome, simulate};

/// A store as the suite needs one.
pub(super) fn a_store() -> impl super::store::Server {
    let store = server::SharedStore::default();
    store.server_for(&"somebody".parse().unwrap(), &Default::default(), time::Duration::ZERO)
}

fn seeds() -> Range<u64> {
    let Ok(text) = std::env::var("QUARK_SIM_SEEDS") else { return 0..200 };
    let (from, to) = text.split_once("..").expect("QUARK_SIM_SEEDS is from..to");
    from.parse().expect("a number")..to.parse().expect("a number")
}

#[test]
fn the_living_are_not_put_out_and_the_dead_are_not_kept_in_any_seed() {
    let seeds = seeds();
    let threads = std::thread::available_parallelism().map_or(1, usize::from) as u64;
    let run = |first: u64| {
        let mine = (seeds.start + first..seeds.end).step_by(threads as usize);
        mine.map(|seed| (seed, simulate(seed))).collect::<Vec<_>>()
    };
    let outcomes: Vec<(u64, Outcome)> = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads).map(|first| scope.spawn(move || run(first))).collect();
        workers.into_iter().flat_map(|worker| worker.join().unwrap()).collect()
    });
    let print_traces = std::env::var_os("QUARK_SIM_TRACE").is_some();
    let mut sum = Outcome::default();
    for (seed, outcome) in outcomes {
        if print_traces {
            println!("seed {seed}\n{}", outcome.trace.join("\n"));
        }
        sum.add(seed, outcome);
    }
    println!(
        "seeds {seeds:?}: {} faults, {} silos put out, living put out: {}, dead kept: {}, other rules broken: {}",
        sum.faults, sum.put_out, sum.living_put_out, sum.dead_kept, sum.other
    );
    assert!(sum.broken.is_empty(), "{}", sum.broken[..sum.broken.len().min(20)].join("\n"));
    assert!(sum.put_out as u64 >= (seeds.end - seeds.start), "nothing happened");
}

#[test]
fn a_seed_is_the_same_run_each_time() {
    for seed in [2, 5, 11] {
        let (first, second) = (simulate(seed).trace, simulate(seed).trace);
        if let Some(at) = first.iter().zip(&second).position(|(a, b)| a != b) {
            panic!("seed {seed}, event {at}:\n{}\n{}", first[at], second[at]);
        }
        assert!(first.len() == second.len() && first.len() > 50);
    }
}
