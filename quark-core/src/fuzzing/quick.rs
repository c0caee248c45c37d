//! The driver of the tests: every seed, then a fixed number of mutations of seeds. The same inputs in every run.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use super::TARGETS;

/// Inputs for each target. Coverage is the business of `cargo xtask fuzz`; this is to notice what breaks.
const MUTATIONS: usize = 10_000;
/// For those that do more than parse: sockets and tasks for each input.
const SLOW: [&str; 2] = ["gossip_datagram", "link"];
const MUTATIONS_OF_SLOW: usize = 1_000;
/// Longer ones take their time and find no more.
const MOST_BYTES: usize = 4_096;

fn seeds(target: &str) -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../testdata/fuzz").join(target);
    let mut files: Vec<_> = std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files.into_iter().map(|file| std::fs::read(file).unwrap()).collect()
}

/// Gives a target its seeds and mutations of them.
pub(super) fn drive(name: &str) {
    let (_, target) = *TARGETS.iter().find(|(target, _)| *target == name).unwrap();
    let seeds = seeds(name);
    assert!(!seeds.is_empty(), "{name} has no seeds");
    for seed in &seeds {
        survive(name, target, seed);
    }
    let mut random = fastrand::Rng::with_seed(0x5EED);
    for _ in 0..if SLOW.contains(&name) { MUTATIONS_OF_SLOW } else { MUTATIONS } {
        let mut input = random.choice(&seeds).unwrap().clone();
        for _ in 0..random.usize(1..=4) {
            mutate(&mut random, &mut input, &seeds);
        }
        input.truncate(MOST_BYTES);
        survive(name, target, &input);
    }
}

fn survive(name: &str, target: fn(&[u8]), input: &[u8]) {
    if catch_unwind(AssertUnwindSafe(|| target(input))).is_err() {
        panic!("{name} fails, see above, when it is given b\"{}\"", input.escape_ascii());
    }
}

/// What parsers stumble over.
const ODD: [&[u8]; 14] = [
    b"\0",
    b"\xff",
    b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",
    "é".as_bytes(),
    "\u{2028}".as_bytes(),
    b"%",
    b"%00",
    b":",
    b"@",
    b"-1",
    b"65536",
    b"18446744073709551615",
    b"null",
    b"[[[[",
];

fn mutate(random: &mut fastrand::Rng, input: &mut Vec<u8>, seeds: &[Vec<u8>]) {
    let at = random.usize(..=input.len());
    let end = at + random.usize(..=(input.len() - at).min(16));
    match random.u8(..7) {
        0 if at < input.len() => input[at] ^= 1 << random.u8(..8),
        1 if at < input.len() => input[at] = random.u8(..),
        2 => drop(input.drain(at..end)),
        3 => drop(input.splice(at..at, random.choice(ODD).unwrap().iter().copied())),
        4 => {
            let again = input[at..end].to_vec();
            drop(input.splice(at..at, again));
        }
        5 => input.truncate(at),
        _ => {
            let other = random.choice(seeds).unwrap();
            let from = random.usize(..=other.len());
            input.truncate(at);
            input.extend(&other[from..]);
        }
    }
}

#[test]
fn every_folder_of_seeds_has_a_target() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../testdata/fuzz");
    for entry in std::fs::read_dir(folder).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        assert!(TARGETS.iter().any(|(target, _)| *target == name), "testdata/fuzz/{name} has no target");
    }
}
