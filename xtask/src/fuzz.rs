//! `fuzz`: libFuzzer over the fuzz targets of quark-core, on stable Rust. What it learns stays in target/fuzz/corpus, so that
//! the next run goes on from there; an input that fails a target is left in target/fuzz/failures.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::thread;

use crate::args::Args;
use crate::process::{self, Failure, Result, cargo, root, step, target};

/// What cargo-fuzz sets when it is not to use a sanitizer, those needing a nightly compiler: the counters that libFuzzer
/// follows, and the operands of comparisons, from which it learns what is compared with.
const RUSTFLAGS: [&str; 8] = [
    "--cfg=quark_fuzzing",
    "-Cpasses=sancov-module",
    "-Cllvm-args=-sanitizer-coverage-level=4",
    "-Cllvm-args=-sanitizer-coverage-inline-8bit-counters",
    "-Cllvm-args=-sanitizer-coverage-pc-table",
    "-Cllvm-args=-sanitizer-coverage-trace-compares",
    "-Ccodegen-units=1",
    "-Cdebuginfo=line-tables-only",
];
/// Shared by all targets, unless told otherwise.
const SECONDS: u64 = 300;
/// An input that takes so long hangs the target; they take microseconds.
const TIMEOUT_S: u32 = 10;
const MEMORY_MIB: u32 = 1_024;
const LONGEST_INPUT: u32 = 4_096;
/// What is shown of the output when a target fails.
const LINES_SHOWN: usize = 40;
const COLUMNS_SHOWN: usize = 400;

pub(crate) fn run(mut args: Args) -> Result<()> {
    let seconds = args.number("--seconds")?.unwrap_or(SECONDS);
    let only = args.word();
    args.finish()?;
    let all = names()?;
    let chosen: Vec<_> = all.iter().filter(|name| only.as_ref().is_none_or(|only| only == *name)).collect();
    if chosen.is_empty() {
        return Err(Failure::new("there is no such target").hint(format!("there are {}", all.join(", "))));
    }
    let binary = build()?;
    let cores = thread::available_parallelism().map_or(1, usize::from).min(chosen.len());
    let each = (seconds * cores as u64 / chosen.len() as u64).max(1);
    println!("\n| target | runs | runs/s | coverage | corpus | |\n|---|---|---|---|---|---|");
    let (queue, failed) = (Mutex::new(chosen.into_iter()), Mutex::new(Vec::new()));
    let next = || queue.lock().expect("no panic while locked").next();
    thread::scope(|scope| {
        for _ in 0..cores {
            scope.spawn(|| {
                while let Some(name) = next() {
                    if !fuzz(&binary, name, each) {
                        failed.lock().expect("no panic while locked").push(name.clone());
                    }
                }
            });
        }
    });
    let failed = failed.into_inner().expect("no panic while locked");
    if failed.is_empty() {
        return Ok(());
    }
    Err(Failure::new(format!("these targets failed, see above: {}", failed.join(", ")))
        .hint("put the input into testdata/fuzz/TARGET, so that every run of the tests tries it"))
}

/// The targets have the names of their folders of seeds; a test of quark-core sees to that.
fn names() -> Result<Vec<String>> {
    let folder = root().join("testdata/fuzz");
    let entries = fs::read_dir(&folder).map_err(|e| Failure::new(format!("{}: {e}", folder.display())))?;
    let mut names: Vec<_> =
        entries.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    Ok(names)
}

fn build() -> Result<PathBuf> {
    let host = host()?;
    let folder = target().join("fuzz");
    step("the fuzz targets, instrumented", || {
        let mut build = cargo(&["build", "--locked", "--release", "--manifest-path", "fuzz/Cargo.toml"]);
        // With a target the flags are for what runs there only, and not for build scripts, which have no libFuzzer.
        build.args(["--target", &host]).env("CARGO_TARGET_DIR", &folder);
        process::run(build.env("CARGO_ENCODED_RUSTFLAGS", RUSTFLAGS.join("\x1f")))
    })?;
    Ok(folder.join(host).join("release/quark-fuzz"))
}

/// The name of what this machine is, for the compiler.
fn host() -> Result<String> {
    let output = process::command("rustc").arg("-vV").output();
    let output = output.map_err(|error| Failure::new(format!("rustc: {error}")))?;
    let text = String::from_utf8_lossy(&output.stdout);
    let host = text.lines().find_map(|line| line.strip_prefix("host: "));
    host.map(str::to_owned).ok_or_else(|| Failure::new("`rustc -vV` does not say what the host is"))
}

/// Runs one target and prints its line; says whether it held.
fn fuzz(binary: &Path, name: &str, seconds: u64) -> bool {
    let folder = target().join("fuzz");
    let (corpus, failures) = (folder.join("corpus").join(name), folder.join("failures"));
    let made = fs::create_dir_all(&corpus).and_then(|()| fs::create_dir_all(&failures));
    let mut fuzzer = Command::new(binary);
    fuzzer.arg(&corpus).arg(root().join("testdata/fuzz").join(name));
    fuzzer.arg(format!("-artifact_prefix={}/{name}-", failures.display()));
    fuzzer.args([format!("-max_total_time={seconds}"), format!("-timeout={TIMEOUT_S}")]);
    fuzzer.args([format!("-rss_limit_mb={MEMORY_MIB}"), format!("-max_len={LONGEST_INPUT}")]);
    fuzzer.args(["-print_final_stats=1", "-reload=0"]);
    fuzzer.env("QUARK_FUZZ_TARGET", name).stdin(Stdio::null());
    let output = match made.and_then(|()| fuzzer.output()) {
        Ok(output) => output,
        Err(error) => {
            println!("| {name} | | | | | FAILED: {error} |");
            return false;
        }
    };
    let said = String::from_utf8_lossy(&output.stderr);
    let figures = Figures::read(&said);
    let held = output.status.success() && figures.runs > 0;
    let verdict = if held { "held" } else { "FAILED" };
    // In one piece, because another target's may come at the same time.
    let reason = if held { String::new() } else { reason(&said) };
    println!("| {name} | {figures} | {verdict} |{reason}");
    held
}

/// Why a target failed, and where the input is: the end of what was said, from the panic on, without libFuzzer's own words.
fn reason(said: &str) -> String {
    let begins = |line: &&str| !line.contains("panicked at") && !line.contains("ERROR: libFuzzer");
    let is_input = |line: &&str| line.contains("Test unit written to");
    let reason =
        said.lines().skip_while(begins).take_while(|line| !line.starts_with("NOTE: ")).take(LINES_SHOWN);
    let lines: Vec<_> = reason.chain(said.lines().filter(is_input)).collect();
    let lines = if lines.is_empty() { vec![said] } else { lines };
    lines.iter().map(|line| format!("\n    {}", &line[..line.floor_char_boundary(COLUMNS_SHOWN)])).collect()
}

/// What libFuzzer says of a run.
#[derive(Default)]
struct Figures {
    runs: u64,
    runs_per_s: u64,
    /// Places of the program that were reached.
    coverage: u64,
    /// Inputs that each reach something new.
    corpus: u64,
}

impl Figures {
    fn read(said: &str) -> Self {
        let mut figures = Self::default();
        for line in said.lines() {
            // #1234	DONE   cov: 567 ft: 890 corp: 12/3456b lim: 4096 exec/s: 99 rss: 40Mb
            if let Some(rest) = line.strip_prefix('#') {
                let after = |word: &str| {
                    let number = rest.split_once(word)?.1.trim_start();
                    number.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
                };
                figures.runs =
                    rest.split_whitespace().next().and_then(|n| n.parse().ok()).unwrap_or(figures.runs);
                figures.coverage = after("cov:").unwrap_or(figures.coverage);
                figures.corpus = after("corp:").unwrap_or(figures.corpus);
            }
            let number = |name: &str| line.strip_prefix(name).and_then(|rest| rest.trim().parse().ok());
            figures.runs = number("stat::number_of_executed_units:").unwrap_or(figures.runs);
            figures.runs_per_s = number("stat::average_exec_per_sec:").unwrap_or(figures.runs_per_s);
        }
        figures
    }
}

impl std::fmt::Display for Figures {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} | {} | {} | {}", self.runs, self.runs_per_s, self.coverage, self.corpus)
    }
}

#[cfg(test)]
mod tests {
    use super::Figures;

    #[test]
    fn the_figures_of_a_run_are_read() {
        let said = "INFO: Seed: 1\n#2\tINITED cov: 15 ft: 16 corp: 1/1b exec/s: 0 rss: 36Mb\n\
                    #4096\tDONE   cov: 20 ft: 21 corp: 12/30b lim: 4 exec/s: 99 rss: 36Mb\nDone 4096 runs in 1 second(s)\n\
                    stat::number_of_executed_units: 4097\nstat::average_exec_per_sec:     2048\n";
        assert_eq!(Figures::read(said).to_string(), "4097 | 2048 | 20 | 12");
    }
}
