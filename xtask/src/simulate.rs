//! `simulate`: the simulated clusters of quark-core, for as many seeds as one likes.

use crate::args::Args;
use crate::process::{self, Failure, Result, cargo};

pub(crate) fn run(mut args: Args) -> Result<()> {
    let seeds = number(args.value("--seeds")?, "--seeds", 10_000)?;
    let from = number(args.value("--from")?, "--from", 0)?;
    args.finish()?;
    // Optimized: a seed takes milliseconds then.
    let mut tests =
        cargo(&["test", "--locked", "--release", "--package", "quark-core", "--test", "simulation"]);
    tests.args(["the_delivery_rules_hold_in_every_seed", "--", "--nocapture"]);
    process::run(tests.env("QUARK_SIM_SEEDS", format!("{from}..{}", from + seeds)))
}

fn number(given: Option<String>, name: &str, otherwise: u64) -> Result<u64> {
    given.map_or(Ok(otherwise), |text| {
        text.parse().map_err(|_| Failure::new(format!("{name} is a number, not {text:?}")))
    })
}
