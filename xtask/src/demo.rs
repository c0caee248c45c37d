//! `demo`: a small cluster of programs in every language, built and run on this machine.
//!
//! What it needs is a Rust toolchain, a Python and a C compiler. It builds in the debug profile unless told otherwise:
//! dependencies are optimized there too, and a first run comes sooner by as much as release takes longer to build.

use std::path::{Path, PathBuf};

use crate::args::Args;
use crate::process::{self, Result, cargo, compile_c, step, target};
use crate::python::{Needs, Profile, Venv};

/// The programs of the demo, ready to run.
struct Built {
    /// Where `libquark.so` and the Rust programs are.
    binaries: PathBuf,
    /// The silo in C.
    c_silo: PathBuf,
    /// An environment that can `import quark`.
    python: Venv,
}

pub(crate) fn run(mut args: Args) -> Result<()> {
    let profile = if args.flag("--release") { Profile::Release } else { Profile::Debug };
    let membership = args.value("--membership")?;
    args.finish()?;
    let built = build(profile)?;
    show(&built, membership.as_deref())
}

fn build(profile: Profile) -> Result<Built> {
    // First what needs the network or fails for want of a tool: nobody should wait for a compiler to hear of that.
    let python = Venv::ready(Needs::Build)?;
    let binaries = build_rust(profile)?;
    let c_silo = build_c(&binaries)?;
    python.install_wheel(profile)?;
    Ok(Built { binaries, c_silo, python })
}

fn build_rust(profile: Profile) -> Result<PathBuf> {
    step("Rust: the library for C, the Rust silo", || {
        let mut build = cargo(&["build", "--locked", "--package", "quark-ffi", "--package", "quark-demo"]);
        if profile == Profile::Release {
            build.arg("--release");
        }
        process::run(&mut build)
    })?;
    Ok(target().join(if profile == Profile::Release { "release" } else { "debug" }))
}

fn build_c(binaries: &Path) -> Result<PathBuf> {
    let program = binaries.join("demo-silo-c");
    step("C: the C silo", || compile_c("examples/demo/silo.c", &program, binaries))?;
    Ok(program)
}

/// Runs what was built: `quark-demo` starts all other programs.
fn show(built: &Built, membership: Option<&str>) -> Result<()> {
    let mut demo = process::command(built.binaries.join("quark-demo"));
    demo.arg("run").arg(&built.c_silo).arg(built.python.python());
    demo.arg(process::root().join("examples/demo/silo.py")).args(membership);
    process::run(&mut demo)
}
