//! `simulate`: the simulated clusters of quark-core, for as many seeds as one likes.

use crate::args::Args;
use crate::process::{self, Result, cargo};

pub(crate) fn run(mut args: Args) -> Result<()> {
    let seeds = args.number("--seeds")?.unwrap_or(10_000);
    let from = args.number("--from")?.unwrap_or(0);
    args.finish()?;
    // Optimized: a seed takes milliseconds then.
    let mut tests =
        cargo(&["test", "--locked", "--release", "--package", "quark-core", "--test", "simulation"]);
    tests.args(["the_delivery_rules_hold_in_every_seed", "--", "--nocapture"]);
    process::run(tests.env("QUARK_SIM_SEEDS", format!("{from}..{}", from + seeds)))
}
