//! `detect`: how fast membership reacts to what happens to a silo, as a table for the documentation.
//!
//! What it does is in the crate `quark-chaos`; here that is built and started.

use crate::args::Args;
use crate::chaos::{check_membership, require_namespaces};
use crate::process::{self, Failure, Result, cargo, step, target};
use crate::python::{Needs, Venv};
use crate::redis;

/// What can be measured alone.
const FIGURES: [&str; 6] = ["killed", "stopped", "cut-off", "leave", "lost-row", "false-eviction"];

pub(crate) fn run(mut args: Args) -> Result<()> {
    let minutes = args.number("--minutes")?.unwrap_or(20);
    let membership = args.value("--membership")?.unwrap_or_else(|| "both".to_owned());
    let only = args.value("--only")?;
    args.finish()?;
    check_membership(&membership)?;
    if let Some(only) = &only
        && !FIGURES.contains(&only.as_str())
    {
        return Err(Failure::new(format!("--only is one of {}, not {only:?}", FIGURES.join(", "))));
    }
    require_namespaces()?;
    step("Rust: the programs that are observed", || {
        process::run(&mut cargo(&["build", "--locked", "--package", "quark-chaos"]))
    })?;
    let server = redis::find_server(&Venv::ready(Needs::Nothing)?)?;
    let mut detect = process::command(target().join("debug/quark-chaos"));
    detect.arg("detect").arg(server).arg(target().join("detect"));
    detect.args([&minutes.to_string(), &membership, only.as_deref().unwrap_or("all")]);
    process::run(&mut detect)
}
