//! `ci-checks`: whatever CI looks at besides the tests. All of it is looked at, also when something fails.

use std::process::Command;

use crate::args::Args;
use crate::process::{self, Failure, Result, cargo, root, step};
use crate::python::{Needs, Profile, Venv};
use crate::{generate, readme};

/// Python programs as users write them, in terms of the public face only.
const TYPING_SAMPLES: &str = "python-tests/typing";

type Check = fn() -> Result<()>;

pub(crate) fn run(args: Args) -> Result<()> {
    args.finish()?;
    let checks: [(&str, Check); 6] = [
        ("formatting", formatting),
        ("lints", lints),
        ("generated files", || generate::generate(true)),
        ("documentation", documentation),
        ("typing", typing),
        ("README", readme::beside_redis),
    ];
    let mut failed = Vec::new();
    for (name, check) in checks {
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
    step("formatting", || process::run(&mut cargo(&["fmt", "--all", "--check"])))
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

/// What the stubs promise holds in users' files.
fn typing() -> Result<()> {
    let venv = Venv::ready(Needs::Tests)?;
    venv.install_wheel(Profile::Debug)?;
    step("typing", || {
        let mut mypy = process::command(venv.python());
        mypy.args(["-m", "mypy", "--strict", "python-tests/redis_for_tests.py", "quark-py/python/quark"]);
        if root().join(TYPING_SAMPLES).exists() {
            mypy.arg(TYPING_SAMPLES);
        }
        process::run(&mut mypy)
    })
}
