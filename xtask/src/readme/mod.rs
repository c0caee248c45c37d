//! `readme`: runs the marked examples of the README, so that it is run and not believed.

mod extract;
mod run;

use std::ffi::OsStr;
use std::fs;

use crate::args::Args;
use crate::process::{self, Failure, Result, cargo, step};
use crate::python::{Needs, Profile, Venv};
use crate::redis;
use extract::{Example, Language};

pub(crate) fn run(mut args: Args) -> Result<()> {
    let inner = args.flag("--inner");
    args.finish()?;
    if inner { run_examples() } else { beside_redis() }
}

/// Runs the examples in an inner run of this program.
pub(crate) fn beside_redis() -> Result<()> {
    redis::run_self_beside(&Venv::ready(Needs::Build)?, &["readme", "--inner"])
}

/// Runs those in Python, with what is installed in an environment, in a process with this PATH.
pub(crate) fn run_python_examples(venv: &Venv, path: &OsStr) -> Result<()> {
    let mut examples = marked()?;
    examples.retain(|example| example.language == Language::Python);
    run_with(&run::Runner::new(venv)?.path(path), &examples)
}

fn marked() -> Result<Vec<Example>> {
    let text = fs::read_to_string(process::root().join("README.md"));
    let examples = extract::examples(&text.map_err(|e| Failure::new(format!("README.md: {e}")))?)?;
    if examples.is_empty() {
        return Err(
            Failure::new("README.md marks no example to be run").hint("see xtask/src/readme/extract.rs")
        );
    }
    Ok(examples)
}

fn run_examples() -> Result<()> {
    let examples = marked()?;
    let venv = Venv::ready(Needs::Build)?;
    let has = |languages: &[Language]| examples.iter().any(|example| languages.contains(&example.language));
    if has(&[Language::Python, Language::Shell]) {
        venv.install_wheel(Profile::Debug)?;
    }
    if has(&[Language::C, Language::Cpp, Language::Shell]) {
        step("the library for C", || {
            process::run(&mut cargo(&["build", "--locked", "--package", "quark-ffi"]))
        })?;
    }
    run_with(&run::Runner::new(&venv)?, &examples)
}

fn run_with(runner: &run::Runner<'_>, examples: &[Example]) -> Result<()> {
    let mut failed = 0;
    for example in examples {
        if let Err(failure) = step(&format!("README: {}", example.name), || runner.run(example)) {
            eprintln!("{failure}");
            failed += 1;
        }
    }
    println!("README: {} examples, {failed} failed", examples.len());
    if failed == 0 { Ok(()) } else { Err(Failure::new(format!("{failed} examples of README.md failed"))) }
}
