//! `ci-checks`: whatever CI looks at besides the tests. All of it is looked at, also when something fails.

use std::process::Command;

use crate::args::Args;
use crate::process::{self, Failure, Result, cargo, step};
use crate::python::{Needs, Venv};
use crate::{generate, instructions, readme, supply, typing};

type Check = fn() -> Result<()>;

pub(crate) fn run(mut args: Args) -> Result<()> {
    let only = args.word();
    args.finish()?;
    let checks: [(&str, Check); 8] = [
        ("formatting", formatting),
        ("lints", lints),
        ("generated files", || generate::generate(true)),
        ("documentation", documentation),
        ("supply", supply::check),
        ("typing", typing::check),
        ("README", readme::beside_redis),
        ("instructions", instructions::check),
    ];
    let wanted = |name: &str| only.as_deref().is_none_or(|only| only.eq_ignore_ascii_case(name));
    if !checks.iter().any(|(name, _)| wanted(name)) {
        let names = checks.map(|(name, _)| name).join(", ");
        return Err(Failure::new("there is no such check").hint(format!("there are {names}")));
    }
    let mut failed = Vec::new();
    for (name, check) in checks.into_iter().filter(|(name, _)| wanted(name)) {
        if let Err(failure) = check() {
            eprintln!("{failure}");
            failed.push(name);
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
        // A workspace of its own.
        process::run(&mut cargo(&["fmt", "--check", "--manifest-path", "fuzz/Cargo.toml"]))
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
