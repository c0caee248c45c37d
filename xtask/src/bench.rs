//! `bench`: echo between two fresh processes, Quark beside what it is measured against, in one run; prints ratios.
//!
//! Absolute figures drift between machines and minutes; ratios within a run hold, to about 15 %.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::args::Args;
use crate::process::{self, Failure, Result, cargo, step, target};
use crate::python::{Needs, Profile, Venv};

/// One thing that is measured.
struct Subject {
    name: &'static str,
    /// The baseline of its ratio, by name.
    against: Option<&'static str>,
    language: Language,
    /// What the driver is told.
    word: &'static str,
}

#[derive(Clone, Copy, PartialEq)]
enum Language {
    Rust,
    C,
    Python,
}

const SUBJECTS: [Subject; 8] = [
    Subject { name: "raw tonic, one thread", against: None, language: Language::Rust, word: "tonic" },
    Subject {
        name: "Quark, Rust to Rust",
        against: Some("raw tonic, one thread"),
        language: Language::Rust,
        word: "quark",
    },
    Subject {
        name: "Quark, C to C",
        against: Some("raw tonic, one thread"),
        language: Language::C,
        word: "",
    },
    Subject { name: "grpc.aio", against: None, language: Language::Python, word: "grpc" },
    Subject { name: "asyncio TCP", against: None, language: Language::Python, word: "tcp" },
    Subject {
        name: "Quark, Python, async def",
        against: Some("grpc.aio"),
        language: Language::Python,
        word: "quark-async",
    },
    Subject {
        name: "Quark, Python, def",
        against: Some("grpc.aio"),
        language: Language::Python,
        word: "quark-def",
    },
    Subject {
        name: "Quark, Python, def, call_many",
        against: Some("grpc.aio"),
        language: Language::Python,
        word: "quark-many",
    },
];
const DEPTHS: [usize; 2] = [1, 256];

/// The figures of one measurement, by name.
type Figures = BTreeMap<String, f64>;

pub(crate) fn run(mut args: Args) -> Result<()> {
    let seconds = if args.flag("--quick") { "1" } else { "3" };
    let copies = args.flag("--copies");
    args.finish()?;
    if copies {
        return count_copies();
    }
    let venv = Venv::ready(Needs::Tests)?;
    let binaries = target().join("release");
    step("Rust and C, release", || {
        process::run(&mut cargo(&["build", "--locked", "--release", "-p", "quark-bench", "-p", "quark-ffi"]))
    })?;
    let c_echo = build_c(&binaries)?;
    venv.install_wheel(Profile::Release)?;
    let driver = |subject: &Subject| -> Vec<PathBuf> {
        match subject.language {
            Language::Rust => vec![binaries.join("quark-bench")],
            Language::C => vec![c_echo.clone()],
            Language::Python => {
                vec![venv.python().to_path_buf(), process::root().join("python-tests/bench/echo.py")]
            }
        }
    };
    println!(
        "\n| subject | depth | msg/s | p50 µs | p99 µs | CPU s/100k | ratio of msg/s |\n|---|---|---|---|---|---|---|"
    );
    for depth in DEPTHS {
        // Three rounds, interleaved, so that a slow minute hits all alike; the median by throughput counts.
        let mut rounds: BTreeMap<&str, Vec<Figures>> = BTreeMap::new();
        for _ in 0..3 {
            for subject in &SUBJECTS {
                let figures = measure(&driver(subject), subject.word, depth, seconds)?;
                rounds.entry(subject.name).or_default().push(figures);
            }
        }
        for figures in rounds.values_mut() {
            figures.sort_by(|a, b| a["msgs_per_s"].total_cmp(&b["msgs_per_s"]));
        }
        for subject in &SUBJECTS {
            let figures = &rounds[subject.name][1];
            let ratio = subject.against.map_or(String::new(), |baseline| {
                format!("{:.2} × {baseline}", figures["msgs_per_s"] / rounds[baseline][1]["msgs_per_s"])
            });
            println!(
                "| {} | {depth} | {:.0} | {:.1} | {:.1} | {:.3} | {ratio} |",
                subject.name,
                figures["msgs_per_s"],
                figures["p50_us"],
                figures["p99_us"],
                figures["cpu_s_per_100k"]
            );
        }
    }
    Ok(())
}

/// Which copies of a large payload remain between two Python programs.
fn count_copies() -> Result<()> {
    let venv = Venv::ready(Needs::Tests)?;
    venv.install_wheel(Profile::Release)?;
    process::run(process::command(venv.python()).arg("python-tests/bench/copies.py"))
}

fn build_c(binaries: &Path) -> Result<PathBuf> {
    let program = binaries.join("bench-echo-c");
    let compiler = std::env::var_os("CC").unwrap_or_else(|| "cc".into());
    let mut cc = process::command(compiler);
    cc.args(["-std=c11", "-O2", "-Wall", "-Wextra", "-Iinclude", "bench/c/echo.c", "-o"]).arg(&program);
    cc.arg("-L")
        .arg(binaries)
        .args(["-lquark", "-pthread"])
        .arg(format!("-Wl,-rpath,{}", binaries.display()));
    step("C: the echo program", || process::run(&mut cc))?;
    Ok(program)
}

/// Starts a server, lets a caller measure it, and dismisses the server.
fn measure(driver: &[PathBuf], word: &str, depth: usize, seconds: &str) -> Result<Figures> {
    let command = |verb: &str| {
        let mut command = Command::new(&driver[0]);
        command.args(&driver[1..]).arg(verb).args(Some(word).filter(|word| !word.is_empty()));
        command
    };
    let failed =
        |what: &dyn std::fmt::Display| Failure::new(format!("{} {word}: {what}", driver[0].display()));
    let mut serve = command("serve");
    let mut server = serve.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().map_err(|e| failed(&e))?;
    let mut line = String::new();
    if let Some(stdout) = server.stdout.take() {
        BufReader::new(stdout).read_line(&mut line).map_err(|e| failed(&e))?;
    }
    let address = line.trim().strip_prefix("ready ").unwrap_or_default().to_owned();
    let output =
        command("call").args([&address, &depth.to_string(), seconds, &server.id().to_string()]).output();
    drop(server.stdin.take());
    let _ = server.wait();
    let output = output.map_err(|e| failed(&e))?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    // {"name": number, …}
    let figures: Figures = text
        .trim()
        .trim_matches(['{', '}'])
        .split(',')
        .filter_map(|pair| pair.split_once(':'))
        .filter_map(|(name, value)| {
            Some((name.trim().trim_matches('"').to_owned(), value.trim().parse().ok()?))
        })
        .collect();
    if output.status.success() && figures.contains_key("msgs_per_s") {
        return Ok(figures);
    }
    Err(failed(&format!("{text}{}", String::from_utf8_lossy(&output.stderr))))
}
