//! libFuzzer over one of the targets of quark-core: the one that `QUARK_FUZZ_TARGET` names.
#![no_main]

use std::sync::OnceLock;

use libfuzzer_sys::fuzz_target;
use quark_core::fuzzing::TARGETS;

static TARGET: OnceLock<fn(&[u8])> = OnceLock::new();

fn named() -> fn(&[u8]) {
    let name = std::env::var("QUARK_FUZZ_TARGET").unwrap_or_default();
    let found = TARGETS.iter().find(|(target, _)| *target == name);
    found.unwrap_or_else(|| panic!("QUARK_FUZZ_TARGET={name:?} is no target")).1
}

fuzz_target!(init: { TARGET.get_or_init(named); }, |input: &[u8]| {
    TARGET.get_or_init(named)(input);
});
