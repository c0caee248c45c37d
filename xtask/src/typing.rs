//! What is promised to type checkers: that it is consistent, true of the module that is built, complete, and enough for
//! what users write.

use std::process::Command;

use crate::process::{self, Failure, Result, step, target};
use crate::python::{Needs, Profile, Venv};

/// Python programs as users write them, in terms of the public face only.
const SAMPLES: &str = "python-tests/typing";

type Check = fn(&Venv) -> Result<()>;

/// All of them are made, also when one fails.
pub(crate) fn check() -> Result<()> {
    let venv = Venv::ready(Needs::Types)?;
    venv.install_wheel(Profile::Debug)?;
    let checks: [(&str, Check); 4] = [
        ("mypy", mypy),
        ("stubtest", stubtest),
        ("pyright", pyright),
        ("completeness of the types", completeness),
    ];
    let mut failed = Vec::new();
    for (name, check) in checks {
        if let Err(failure) = step(name, || check(&venv)) {
            eprintln!("{failure}");
            failed.push(name);
        }
    }
    if failed.is_empty() { Ok(()) } else { Err(Failure::new(format!("typing: {}", failed.join(", ")))) }
}

fn mypy(venv: &Venv) -> Result<()> {
    let mut mypy = process::command(venv.python());
    mypy.args([
        "-m",
        "mypy",
        "--strict",
        "python-tests/redis_for_tests.py",
        "quark-py/python/quark",
        SAMPLES,
    ]);
    process::run(&mut mypy)
}

/// The stubs say of the native module what it is.
fn stubtest(venv: &Venv) -> Result<()> {
    process::run(process::command(venv.python()).args(["-m", "mypy.stubtest", "quark"]))
}

/// pyright finds nothing in what users write.
fn pyright(venv: &Venv) -> Result<()> {
    process::run(basedpyright(venv)?.args(["--warnings", "--project", "python-tests"]))
}

/// Every part of the public face has a type that needs no inference, so that it is the same for every checker.
fn completeness(venv: &Venv) -> Result<()> {
    let mut pyright = basedpyright(venv)?;
    // Where no source of the package is found before what is installed.
    pyright.args(["--verifytypes", "quark", "--ignoreexternal"]).current_dir(target());
    let output = process::run_quietly(&mut pyright)?;
    let report = String::from_utf8_lossy(&output.stdout);
    report.lines().filter(|line| line.contains("completeness score")).for_each(|line| println!("   {line}"));
    Ok(())
}

/// pyright, as it comes in wheels. It looks for the package with the Python of the PATH.
fn basedpyright(venv: &Venv) -> Result<Command> {
    let mut pyright = process::command(venv.program("basedpyright"));
    pyright.env("PATH", venv.path()?);
    Ok(pyright)
}
