//! `gen`: the generated files. The work is done by tools/gen, whose dependencies are slow to build.

use crate::args::Args;
use crate::process::{self, Result, cargo, step};

pub(crate) fn run(mut args: Args) -> Result<()> {
    let check = args.flag("--check");
    args.finish()?;
    generate(check)
}

/// Writes the generated files, or only compares them.
pub(crate) fn generate(check: bool) -> Result<()> {
    step(if check { "generated files are up to date" } else { "generated files" }, || {
        let arguments: &[&str] = if check { &["--", "--check"] } else { &[] };
        process::run(cargo(&["run", "--quiet", "--locked", "--package", "xtask-gen"]).args(arguments))
    })
}
