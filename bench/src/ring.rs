//! Lookups in the hash ring beside MD5 of the key alone, which each of them needs.

use std::hint::black_box;
use std::time::Instant;

use md5::{Digest as _, Md5};
use quark_core::{DEFAULT_VIRTUAL_NODES, HashRing};

use crate::load::Load;
use crate::meter::Meter;

const KEYS: usize = 10_000;

fn ring(silos: usize) -> HashRing {
    HashRing::of((0..silos).map(|n| (format!("silo-{n}").parse().expect("an id"), DEFAULT_VIRTUAL_NODES)))
}

/// Measures what is done to 10,000 keys, or to the ring itself; `load` says for how long.
pub(crate) fn call(what: &str, load: Load) -> bool {
    let keys: Vec<String> = (0..KEYS).map(|n| format!("Device:device-{n:07}")).collect();
    let (small, large) = (ring(3), ring(1000));
    match what {
        "md5" => each_key(load, &keys, Md5::digest),
        "3" => each_key(load, &keys, |key| small.owner(key)),
        "1000" => each_key(load, &keys, |key| large.owner(key)),
        "batch" => repeat(load, KEYS, || drop(black_box(large.owners(black_box(&keys))))),
        "change" => {
            let mut changing = large;
            repeat(load, 2, move || {
                changing.add("another", DEFAULT_VIRTUAL_NODES).expect("an id");
                changing.remove("another");
            });
        }
        _ => return false,
    }
    true
}

fn each_key<'a, T>(load: Load, keys: &'a [String], look: impl Fn(&'a str) -> T) {
    repeat(load, keys.len(), || {
        for key in keys {
            black_box(look(black_box(key)));
        }
    });
}

/// `operations` of them are done by one `work`.
fn repeat(load: Load, operations: usize, mut work: impl FnMut()) {
    let meter = Meter::of_many(load, operations as u64);
    let mut run = |time| {
        let end = Instant::now() + time;
        let mut began = Instant::now();
        while began < end {
            work();
            let now = Instant::now();
            meter.record(now - began);
            began = now;
        }
    };
    run(meter.load.warm_up);
    let begun = meter.begin();
    run(meter.load.measured);
    meter.report(&begun);
}
