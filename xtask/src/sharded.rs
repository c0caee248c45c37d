//! `sharded`: the example of counters that move, built and run beside a Redis.

use std::path::PathBuf;

use crate::args::Args;
use crate::process::{self, Result, cargo, step, target};
use crate::python::{Needs, Profile, Venv};
use crate::redis;

pub(crate) fn run(args: Args) -> Result<()> {
    let words = args.rest();
    let venv = Venv::ready(Needs::Tests)?;
    if words.first().is_some_and(|word| word == "--inner") {
        return show(&venv, &words[1..]);
    }
    venv.install_wheel(Profile::Debug)?;
    let program = build_cpp()?;
    let mut inner = vec!["sharded".to_owned(), "--inner".to_owned()];
    match program {
        Some(program) => inner.extend(["--cpp".to_owned(), program.display().to_string()]),
        None => println!("   there is no C++ compiler: all silos are in Python"),
    }
    inner.extend(words);
    redis::run_self_beside(&venv, &inner.iter().map(String::as_str).collect::<Vec<_>>())
}

/// The silo in C++; nothing without a compiler, which the example does not need.
fn build_cpp() -> Result<Option<PathBuf>> {
    let compiler = std::env::var_os("CXX").unwrap_or_else(|| "c++".into());
    if process::run_quietly(process::command(&compiler).arg("--version")).is_err() {
        return Ok(None);
    }
    step("the library for C", || process::run(&mut cargo(&["build", "--locked", "--package", "quark-ffi"])))?;
    let (binaries, program) = (target().join("debug"), target().join("debug/counters-cpp"));
    let mut compile = process::command(&compiler);
    compile.args([
        "-std=c++17",
        "-O1",
        "-Wall",
        "-Wextra",
        "-Iinclude",
        "examples/sharded/counters.cpp",
        "-o",
    ]);
    compile.arg(&program).arg("-L").arg(&binaries).args(["-lquark", "-pthread"]);
    compile.arg(format!("-Wl,-rpath,{}", binaries.display()));
    step("the silo in C++", || process::run(&mut compile))?;
    Ok(Some(program))
}

fn show(venv: &Venv, words: &[String]) -> Result<()> {
    let mut show = process::command(venv.python());
    show.arg(process::root().join("examples/sharded/show.py"));
    // Set by the command that keeps the Redis.
    show.arg(std::env::var_os("QUARK_TEST_REDIS").unwrap_or_default()).args(words);
    process::run(&mut show)
}
