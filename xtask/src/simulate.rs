//! `simulate`: the simulated clusters of quark-core, for as many seeds as one likes: whole silos and their calls, and
//! membership with its store.

use crate::args::Args;
use crate::process::{self, Result, cargo};

/// The part of the package that simulates, and its test.
const SIMULATIONS: [(&[&str], &str); 2] = [
    (&["--test", "simulation"], "the_delivery_rules_hold_in_every_seed"),
    (&["--lib"], "the_living_are_not_put_out_and_the_dead_are_not_kept_in_any_seed"),
];

pub(crate) fn run(mut args: Args) -> Result<()> {
    let seeds = args.number("--seeds")?.unwrap_or(10_000);
    let from = args.number("--from")?.unwrap_or(0);
    args.finish()?;
    for (part, test) in SIMULATIONS {
        // Optimized: a seed takes milliseconds then.
        let mut tests = cargo(&["test", "--locked", "--release", "--package", "quark-core"]);
        tests.args(part).args([test, "--", "--nocapture"]);
        process::run(tests.env("QUARK_SIM_SEEDS", format!("{from}..{}", from + seeds)))?;
    }
    Ok(())
}
