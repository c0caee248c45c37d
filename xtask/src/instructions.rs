//! `instructions`: how many instructions the hot paths take, counted by callgrind, beside the counts that are kept in
//! `bench/instructions.txt`. Counts do not depend on what else the machine does, and so see changes that no stopwatch can.

use std::fmt::Write as _;
use std::fs;
use std::path::PathBuf;
use std::process::Command;

use crate::args::Args;
use crate::process::{self, Failure, Result, cargo, root, step, target};

/// A hot path, how often it is gone, and by how many per cent its count may differ.
struct HotPath {
    name: &'static str,
    times: usize,
    tolerance: f64,
}

const fn path(name: &'static str, times: usize, tolerance: f64) -> HotPath {
    HotPath { name, times, tolerance }
}

/// Over ten runs on a busy machine those of one thread were 0.002 % apart, the one of several threads 0.45 %. The tolerances are
/// wider because what the compiler inlines depends on how it divides the crate: the same code in another folder was up to 5 %
/// apart.
const HOT_PATHS: [HotPath; 8] = [
    path("ring-lookup", 2000, 8.0),
    path("envelope-encode", 2000, 8.0),
    path("envelope-decode", 2000, 8.0),
    path("pending-table", 2000, 8.0),
    path("local-call", 2000, 8.0),
    path("loopback-call", 2000, 8.0),
    path("loopback-calls-64", 6400, 8.0),
    path(C_BATCHES, 12_800, 8.0),
];

/// The one that is a program in C.
const C_BATCHES: &str = "c-batches";

/// The profile whose counts are kept.
const COUNTED: &str = "counted";

const KEPT: &str = "bench/instructions.txt";

pub(crate) fn run(mut args: Args) -> Result<()> {
    let update = args.flag("--update");
    let runs = args.number("--runs")?.unwrap_or(1);
    let only = args.value("--only")?;
    let profile = if args.flag("--release") { "release" } else { COUNTED };
    args.finish()?;
    build(profile)?;
    let mut counts = Vec::new();
    for path in HOT_PATHS.iter().filter(|path| only.as_deref().is_none_or(|only| path.name.contains(only))) {
        let counted = (0..runs).map(|_| count(path, profile)).collect::<Result<Vec<f64>>>()?;
        let least = counted.iter().copied().fold(f64::MAX, f64::min);
        let most = counted.iter().copied().fold(0.0, f64::max);
        if runs > 1 {
            println!("   {}: {least:.1} to {most:.1}, {:.2} %", path.name, (most / least - 1.0) * 100.0);
        }
        counts.push((path, (least + most) / 2.0));
    }
    if profile != COUNTED {
        counts.iter().for_each(|(path, count)| println!("   {} {count:.1}", path.name));
        return Ok(());
    }
    if update && only.is_none() {
        return keep(&counts);
    }
    compare(&counts, &read_kept()?, &rustc())
}

/// For `ci-checks`, which goes on without valgrind where it may.
pub(crate) fn check() -> Result<()> {
    let there = process::run_quietly(process::command("valgrind").arg("--version")).is_ok();
    if !there && std::env::var_os("QUARK_TEST_NO_SKIPS").is_none() {
        println!("== instructions\n   skipped: there is no valgrind");
        return Ok(());
    }
    build(COUNTED)?;
    let count = |path| count(path, COUNTED).map(|counted| (path, counted));
    compare(&HOT_PATHS.iter().map(count).collect::<Result<Vec<_>>>()?, &read_kept()?, &rustc())
}

fn build(profile: &str) -> Result<()> {
    step("hot paths", || {
        let build = ["build", "--locked", "--profile", profile, "-p", "quark-ffi", "-p", "quark-bench"];
        process::run(cargo(&build).args(["--bin", "instructions", "--lib"]))?;
        process::compile_c(
            "bench/c/instructions.c",
            &binaries(profile).join("instructions-c"),
            &binaries(profile),
        )
    })
}

fn binaries(profile: &str) -> PathBuf {
    target().join(profile)
}

/// Instructions for each time.
fn count(path: &HotPath, profile: &str) -> Result<f64> {
    let output = target().join("callgrind.out");
    let mut valgrind = process::command("valgrind");
    valgrind.arg("--tool=callgrind").arg(format!("--callgrind-out-file={}", output.display()));
    if path.name == C_BATCHES {
        valgrind.arg("--instr-atstart=no").arg(binaries(profile).join("instructions-c"));
    } else {
        // The name as callgrind has it has a hash, or what `counted` is given, behind it.
        valgrind.args(["--collect-atstart=no", "--toggle-collect=instructions::counted*"]);
        valgrind.arg(binaries(profile).join("instructions")).arg(path.name);
    }
    process::run_quietly(valgrind.arg(path.times.to_string()))?;
    let text = fs::read_to_string(&output).map_err(|e| Failure::new(format!("{}: {e}", output.display())))?;
    let total = text.lines().find_map(|line| line.strip_prefix("totals: ")?.trim().parse::<f64>().ok());
    match total {
        Some(total) if total > 0.0 => Ok(total / path.times as f64),
        _ => Err(Failure::new(format!("callgrind counted nothing of {}", path.name))),
    }
}

fn rustc() -> String {
    let version = process::run_quietly(Command::new("rustc").arg("--version"));
    version.map_or(String::new(), |output| String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

fn keep(counts: &[(&HotPath, f64)]) -> Result<()> {
    let mut text = format!(
        "# Instructions of the hot paths, each time that they are gone: `cargo xtask instructions --update`\n# {}\n",
        rustc()
    );
    for (path, count) in counts {
        let _ = writeln!(text, "{} {count:.1}", path.name);
    }
    print!("{text}");
    fs::write(root().join(KEPT), text).map_err(|e| Failure::new(format!("{KEPT}: {e}")))
}

fn read_kept() -> Result<String> {
    fs::read_to_string(root().join(KEPT)).map_err(|e| {
        Failure::new(format!("{KEPT}: {e}")).hint("`cargo xtask instructions --update` writes it")
    })
}

/// # Errors
/// When a count differs by more than is tolerated. One that fell has to be kept too, or a later rise would hide behind it.
/// Another compiler than that of the kept counts makes other code, which is nobody's fault.
fn compare(counts: &[(&HotPath, f64)], kept: &str, compiler: &str) -> Result<()> {
    println!("\n| hot path | instructions | kept | difference | tolerated |\n|---|---|---|---|---|");
    let mut apart = Vec::new();
    for (path, count) in counts {
        let line = kept.lines().find_map(|line| line.strip_prefix(path.name)?.strip_prefix(' '));
        let Some(before) = line.and_then(|number| number.trim().parse::<f64>().ok()) else {
            apart.push(path.name);
            continue;
        };
        let difference = (count / before - 1.0) * 100.0;
        println!("| {} | {count:.1} | {before:.1} | {difference:+.2} % | {} % |", path.name, path.tolerance);
        if difference.abs() > path.tolerance {
            apart.push(path.name);
        }
    }
    if apart.is_empty() {
        return Ok(());
    }
    if !kept.lines().any(|line| line.strip_prefix("# ") == Some(compiler)) {
        println!("   not a failure: the kept counts are of another compiler than {compiler}");
        return Ok(());
    }
    Err(Failure::new(format!("the instructions of {} differ", apart.join(", "))).hint(
        "what costs more has to be worth it; `cargo xtask instructions --update` keeps the new counts, in the same commit",
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_count_beyond_its_tolerance_is_a_failure_in_both_directions() {
        let kept = "# head\n# rustc 1\nring-lookup 100.0\n";
        let compared = |count| compare(&[(&HOT_PATHS[0], count)], kept, "rustc 1");
        assert!(compared(107.9).is_ok() && compared(92.1).is_ok());
        for apart in [108.1, 91.9] {
            assert!(compared(apart).unwrap_err().to_string().contains("ring-lookup"));
        }
        assert!(compare(&[(&HOT_PATHS[1], 1.0)], kept, "rustc 1").is_err(), "a path that is not kept");
        assert!(compare(&[(&HOT_PATHS[0], 200.0)], kept, "rustc 2").is_ok(), "another compiler");
    }
}
