//! `ci-checks`: whatever CI looks at besides the tests. All of it is looked at, also when something fails.
//!
//! Most of it compiles and reads; CI does that beside the tests, at the lowest priority (`--patient`), and the rest after them
//! (`--hurried`).

use std::process::Command;

use crate::args::Args;
use crate::process::{self, Failure, Result, cargo, step};
use crate::python::{Needs, Venv};
use crate::{generate, instructions, readme, supply, typing};

struct Check {
    name: &'static str,
    check: fn() -> Result<()>,
    /// Whether it runs programs that have only so much time.
    hurries: bool,
}

const fn patient(name: &'static str, check: fn() -> Result<()>) -> Check {
    Check { name, check, hurries: false }
}

const fn hurried(name: &'static str, check: fn() -> Result<()>) -> Check {
    Check { name, check, hurries: true }
}

const CHECKS: [Check; 8] = [
    patient("formatting", formatting),
    patient("lints", lints),
    patient("generated files", || generate::generate(true)),
    patient("documentation", documentation),
    patient("supply", supply::check),
    patient("instructions", instructions::check),
    hurried("typing", typing::check),
    hurried("README", readme::beside_redis),
];

pub(crate) fn run(mut args: Args) -> Result<()> {
    let (patient, hurried) = (args.flag("--patient"), args.flag("--hurried"));
    let only = args.word();
    args.finish()?;
    let wanted = |check: &&Check| match &only {
        Some(only) => only.eq_ignore_ascii_case(check.name),
        None => patient == hurried || hurried == check.hurries,
    };
    let checks: Vec<&Check> = CHECKS.iter().filter(wanted).collect();
    if checks.is_empty() {
        let names = CHECKS.map(|check| check.name).join(", ");
        return Err(Failure::new("there is no such check").hint(format!("there are {names}")));
    }
    let mut failed = Vec::new();
    for Check { name, check, .. } in checks {
        if let Err(failure) = check() {
            eprintln!("{failure}");
            failed.push(*name);
        }
    }
    if failed.is_empty() {
        return Ok(());
    }
    Err(Failure::new(format!("these checks failed, see above: {}", failed.join(", "))))
}

fn formatting() -> Result<()> {
    step("formatting", || {
        process::run(&mut cargo(&["fmt", "--all", "--check"]))?;
        // Workspaces of their own.
        ["fuzz/Cargo.toml", "bench/ractor/Cargo.toml"]
            .iter()
            .try_for_each(|one| process::run(&mut cargo(&["fmt", "--check", "--manifest-path", one])))
    })
}

fn lints() -> Result<()> {
    step("lints", || {
        let clippy =
            ["clippy", "--quiet", "--locked", "--workspace", "--all-targets", "--", "-D", "warnings"];
        process::run(with_python(&mut cargo(&clippy))?)
    })
}

fn documentation() -> Result<()> {
    step("documentation", || {
        let doc = ["doc", "--quiet", "--locked", "--workspace", "--no-deps", "--exclude", "xtask-gen"];
        process::run(with_python(cargo(&doc).env("RUSTDOCFLAGS", "-D warnings"))?)
    })
}

/// Has the Python binding built against the environment's Python, as maturin does, and not whichever it finds.
fn with_python(cargo: &mut Command) -> Result<&mut Command> {
    Ok(cargo.env("PYO3_PYTHON", Venv::ready(Needs::Nothing)?.python()))
}
