//! The hash ring beside MD5 of the key alone: `ring` prints a table, every figure the best of many rounds.

use std::hint::black_box;
use std::time::{Duration, Instant};

use md5::{Digest as _, Md5};
use quark_core::{HashRing, SiloId};

const KEYS: usize = 10_000;
const ROUNDS: usize = 50;

fn main() {
    let keys: Vec<String> = (0..KEYS).map(|i| format!("Device:device-{i:07}")).collect();
    let alone = per_key(|| {
        for key in &keys {
            black_box(Md5::digest(key.as_bytes()));
        }
    });
    println!("| what | ns | ratio to MD5 of the key alone |\n|---|---|---|");
    let line = |what: &str, ns: f64| println!("| {what} | {ns:.1} | {:.2} |", ns / alone);
    line("MD5 of the key alone", alone);
    for silos in [3, 1_000] {
        let ring = ring_of(silos);
        let one_by_one = per_key(|| {
            for key in &keys {
                black_box(ring.owner(key));
            }
        });
        line(&format!("lookup, {silos} silos"), one_by_one);
        let batch = per_key(|| drop(black_box(ring.owners(&keys))));
        line(&format!("lookup in a batch of {KEYS}, {silos} silos"), batch);
    }
    let ring = ring_of(1_000);
    let change = best(|| {
        let mut changed = ring.clone();
        changed.add("one-more", 150).expect("a silo");
        black_box(changed);
    });
    println!("\none silo in at 1,000: {:.3} ms", change.as_secs_f64() * 1e3);
    let change = best(|| {
        let mut changed = ring.clone();
        assert!(changed.remove("silo-500"));
        black_box(changed);
    });
    println!("one silo out at 1,000: {:.3} ms", change.as_secs_f64() * 1e3);
}

fn ring_of(silos: usize) -> HashRing {
    HashRing::of((0..silos).map(|i| (SiloId::new(format!("silo-{i}")).expect("an id"), 150)))
}

fn best(work: impl Fn()) -> Duration {
    let round = |_| {
        let begun = Instant::now();
        work();
        begun.elapsed()
    };
    (0..ROUNDS).map(round).min().expect("rounds")
}

fn per_key(work: impl Fn()) -> f64 {
    best(work).as_nanos() as f64 / KEYS as f64
}
