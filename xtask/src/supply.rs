//! `supply`: whether the dependencies are what deny.toml says, by cargo-deny.

use std::path::PathBuf;
use std::process::Command;

use crate::args::Args;
use crate::process::{self, Result, cargo, step, target};

/// Held fast, so that what it looks at changes only here.
const VERSION: &str = "0.20.2";

pub(crate) fn run(args: Args) -> Result<()> {
    args.finish()?;
    check()
}

/// Licences, sources and bans need no network; the database of known weaknesses does, and CI must not fail with it.
pub(crate) fn check() -> Result<()> {
    let deny = step("cargo-deny", installed)?;
    step("licences, sources and bans", || {
        process::run(told(&deny, &["--locked"]).args(["check", "licenses", "sources", "bans"]))
    })?;
    step("known weaknesses", || {
        // Without the check, only the database: a failure of that is no finding.
        if let Err(failure) = process::run_quietly(told(&deny, &["--locked"]).args(["fetch", "db"])) {
            let last = failure.to_string().trim_end().lines().last().unwrap_or_default().to_owned();
            println!("   NOT LOOKED FOR: the database of advisories cannot be had here: {last}");
            return Ok(());
        }
        process::run(told(&deny, &["--locked", "--offline"]).args(["check", "advisories"]))
    })
}

fn told(deny: &PathBuf, arguments: &[&str]) -> Command {
    let mut command = process::command(deny);
    command.args(["--log-level", "error"]).args(arguments);
    command
}

/// The program; built in a minute, without optimization and debug information because it runs for seconds.
fn installed() -> Result<PathBuf> {
    let tools = target().join("tools");
    let deny = tools.join("bin/cargo-deny");
    let is_there = process::run_quietly(process::command(&deny).arg("--version"))
        .is_ok_and(|said| String::from_utf8_lossy(&said.stdout).trim().ends_with(VERSION));
    if !is_there {
        let mut install =
            cargo(&["install", "--quiet", "--locked", "--debug", "cargo-deny", "--version", VERSION]);
        install.arg("--root").arg(&tools).arg("--target-dir").arg(tools.join("build"));
        install.env("CARGO_PROFILE_DEV_DEBUG", "none");
        process::run(&mut install)?;
    }
    Ok(deny)
}
