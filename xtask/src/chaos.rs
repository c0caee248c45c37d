//! `chaos` and `soak`: a cluster of programs in every language, put under faults, or run for long.
//!
//! What they do is in the crate `quark-chaos`; here its programs are built and started.

use std::path::PathBuf;
use std::process::Command;
use std::time::{SystemTime, UNIX_EPOCH};

use crate::args::Args;
use crate::process::{self, Failure, Result, cargo, compile_c, step, target};
use crate::python::{Needs, Profile, Venv};
use crate::redis;

pub(crate) fn chaos(mut args: Args) -> Result<()> {
    let faults = args.number("--faults")?.unwrap_or(100);
    let seed = match args.number("--seed")? {
        Some(seed) => seed,
        None => fresh_seed(),
    };
    let membership = args.value("--membership")?.unwrap_or_else(|| "both".to_owned());
    let transport = args.value("--transport")?.unwrap_or_else(|| "plain".to_owned());
    args.finish()?;
    check_membership(&membership)?;
    if !["plain", "http2", "http3", "http2+http3"].contains(&transport.as_str()) {
        let problem = format!("--transport is plain, http2, http3 or http2+http3, not {transport:?}");
        return Err(Failure::new(problem));
    }
    // First what fails for want of a right or a tool: nobody should wait for a compiler to hear of that.
    require_namespaces()?;
    let built = build()?;
    let server = redis::find_server(&built.python)?;
    let mut chaos = built.command("faults");
    chaos.arg(server).arg(target().join("chaos")).args([
        &faults.to_string(),
        &seed.to_string(),
        &membership,
        &transport,
    ]);
    process::run(&mut chaos)
}

pub(crate) fn soak(mut args: Args) -> Result<()> {
    let minutes = args.number("--minutes")?.unwrap_or(10);
    args.finish()?;
    let built = build()?;
    process::run(built.command("soak").arg(minutes.to_string()))
}

/// The programs of a run.
struct Built {
    binaries: PathBuf,
    c_program: PathBuf,
    python: Venv,
}

impl Built {
    fn command(&self, what: &str) -> Command {
        let mut command = process::command(self.binaries.join("quark-chaos"));
        command.arg(what).arg(&self.c_program).arg(self.python.python());
        command.arg(process::root().join("chaos/silo.py"));
        command
    }
}

fn build() -> Result<Built> {
    let python = Venv::ready(Needs::Build)?;
    step("Rust: the library for C, the Rust program", || {
        process::run(&mut cargo(&["build", "--locked", "--package", "quark-ffi", "--package", "quark-chaos"]))
    })?;
    let binaries = target().join("debug");
    let c_program = binaries.join("chaos-silo-c");
    step("C: the C program", || compile_c("chaos/silo.c", &c_program, &binaries))?;
    python.install_wheel(Profile::Debug)?;
    Ok(Built { binaries, c_program, python })
}

pub(crate) fn check_membership(membership: &str) -> Result<()> {
    if ["redis", "gossip", "both"].contains(&membership) {
        return Ok(());
    }
    Err(Failure::new(format!("--membership is redis, gossip or both, not {membership:?}")))
}

/// Fails at once where no network namespace can be made.
pub(crate) fn require_namespaces() -> Result<()> {
    let hint = "run it as root on Linux, with iproute2 and iptables installed";
    let tools: [&[&str]; 4] =
        [&["ip", "netns", "list"], &["bridge", "link"], &["tc", "qdisc", "show"], &["iptables", "-L", "-n"]];
    for words in tools {
        process::run_quietly(process::command(words[0]).args(&words[1..]))
            .map_err(|failure| failure.hint(hint))?;
    }
    Ok(())
}

fn fresh_seed() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    now.as_millis() as u64 % 1_000_000
}
