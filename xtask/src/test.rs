//! `test`: everything that is tested, in Rust, C, C++ and Python, beside one Redis.
//!
//! It runs itself a second time inside the command that keeps the Redis; that inner run does the work and ends with the
//! counts alone on a line.

use std::fs;
use std::process::{Command, ExitStatus};

use crate::args::Args;
use crate::process::{self, Failure, Result, cargo, run_and_see, step, target};
use crate::python::{Needs, Profile, Venv};
use crate::redis;
use crate::tally::Tally;

/// What `cargo test` and the build before it are about: the wheel is tested from Python, the generators by `gen`.
const WORKSPACE: [&str; 6] = ["--locked", "--workspace", "--exclude", "quark-py", "--exclude", "xtask-gen"];

pub(crate) fn run(mut args: Args) -> Result<()> {
    let (inner, only_build) = (args.flag("--inner"), args.flag("--no-run"));
    let part = args.one_of(&["rust", "c", "python"]);
    let filter = args.word();
    args.finish()?;
    let needs = if matches!(part.as_deref(), None | Some("python")) { Needs::Tests } else { Needs::Nothing };
    let venv = Venv::ready(needs)?;
    if only_build {
        return build(&selection(part.as_deref()));
    }
    if inner {
        return run_parts(&venv, part.as_deref(), filter.as_deref());
    }
    let words = ["test", "--inner"].into_iter().chain(part.as_deref()).chain(filter.as_deref());
    redis::run_self_beside(&venv, &words.collect::<Vec<_>>())
}

fn run_parts(venv: &Venv, part: Option<&str>, filter: Option<&str>) -> Result<()> {
    let mut tally = Tally::default();
    let mut problems = Vec::new();
    if part != Some("python") {
        problems.extend(cargo_tests(part, filter, &mut tally).err());
    }
    if matches!(part, None | Some("python")) {
        problems.extend(python_tests(venv, filter, &mut tally).err());
    }
    for problem in tally.judge(problems)? {
        eprintln!("{problem}");
    }
    for leak in tally.leaks() {
        eprintln!("error: a test printed a password, after: {leak}");
    }
    println!("\n{tally}");
    tally.write("test-summary.txt")?;
    if tally.failed > 0 {
        return Err(Failure::new("there were failures"));
    }
    if tally.passed == 0 {
        return Err(Failure::new("no test was run").hint("does the filter name one?"));
    }
    Ok(())
}

/// The packages whose tests a part is.
fn selection(part: Option<&str>) -> Vec<&'static str> {
    match part {
        Some("c") => vec!["--locked", "--package", "quark-ffi"],
        Some(_) => [WORKSPACE.as_slice(), &["--exclude", "quark-ffi"]].concat(),
        None => WORKSPACE.to_vec(),
    }
}

fn build(selection: &[&str]) -> Result<()> {
    step("Rust build", || {
        // The same selection as in the tests, so that nothing is compiled a second time with other features. It leaves
        // the library for C where C programs look for it.
        process::run(cargo(&["build", "--lib", "--bins", "--tests", "--examples"]).args(selection))
    })
}

/// The Rust tests, among them those that compile and run the C and C++ programs of quark-ffi.
fn cargo_tests(part: Option<&str>, filter: Option<&str>, tally: &mut Tally) -> Result<()> {
    let selection = selection(part);
    build(&selection)?;
    let skips = target().join("test-skips.txt");
    let _ = fs::remove_file(&skips);
    let heading = if part == Some("c") { "C and C++ tests" } else { "Rust, C and C++ tests" };
    let status = step(if part == Some("rust") { "Rust tests" } else { heading }, || {
        let mut tests = cargo(&["test", "--no-fail-fast"]);
        tests.args(&selection).args(filter).env("QUARK_TEST_SKIPS", &skips);
        see_all(&mut tests, tally, Tally::see_cargo)
    })?;
    fs::read_to_string(&skips).unwrap_or_default().lines().for_each(|line| tally.see_own_skip(line));
    if status.success() { Ok(()) } else { Err(Failure::new("`cargo test` failed, see above")) }
}

/// Runs tests, counts them, and looks for passwords in both outputs.
fn see_all(tests: &mut Command, tally: &mut Tally, count: fn(&mut Tally, &str)) -> Result<ExitStatus> {
    let mut errors = Vec::new();
    let see = |line: &str| {
        count(tally, line);
        tally.see_output(line);
    };
    let ended = run_and_see(tests, see, |line| errors.push(line.to_owned()));
    errors.iter().for_each(|line| tally.see_output(line));
    ended
}

fn python_tests(venv: &Venv, filter: Option<&str>, tally: &mut Tally) -> Result<()> {
    venv.install_wheel(Profile::Debug)?;
    programs_beside()?;
    pytest(venv, &[], filter, tally)
}

/// A Python test lets programs in C, C++, Rust and Python call each other.
pub(crate) fn programs_beside() -> Result<()> {
    step("the library for C, and the Rust silo", || {
        // The selection of the Rust tests, which have compiled nearly all of it.
        process::run(cargo(&["build", "--lib", "--example", "interop_silo"]).args(WORKSPACE))
    })
}

/// The Python tests with whatever is installed in an environment; `options` are pytest's.
pub(crate) fn pytest(venv: &Venv, options: &[&str], filter: Option<&str>, tally: &mut Tally) -> Result<()> {
    let status = step("Python tests", || {
        let mut pytest = process::command(venv.python());
        pytest.args(["-m", "pytest", "python-tests"]).args(options);
        if let Some(filter) = filter {
            pytest.args(["-k", filter]);
        }
        see_all(&mut pytest, tally, Tally::see_pytest)
    })?;
    // A filter may be meant for other parts only; that no test ran at all is found out at the end.
    let nothing_matched = filter.is_some() && status.code() == Some(5);
    if status.success() || nothing_matched {
        return Ok(());
    }
    Err(Failure::new("`pytest python-tests` failed, see above"))
}
