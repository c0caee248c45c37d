//! `bench`: the benchmarks, always in release.

use crate::args::Args;
use crate::process::{self, Result, cargo, step};

pub(crate) fn run(mut args: Args) -> Result<()> {
    let filter = args.word();
    args.finish()?;
    step("Rust benchmarks", || {
        let mut bench = cargo(&["bench", "--locked", "--package", "quark-core", "--benches"]);
        process::run(bench.args(filter.iter().flat_map(|filter| ["--", filter.as_str()])))
    })
}
