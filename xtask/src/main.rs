//! Every routine of the project, as `cargo xtask COMMAND`. One file for each command; what several of them need is in
//! `process` (running things), `python` (the environment and the wheel), `interpreter` and `redis`.

mod args;
mod bench;
mod chaos;
mod ci_checks;
mod demo;
mod detect;
mod dist;
mod dist_wheel;
mod fuzz;
mod generate;
mod install;
mod instructions;
mod interpreter;
mod process;
mod python;
mod pythons;
mod readme;
mod redis;
mod sbom;
mod scale;
mod sharded;
mod simulate;
mod static_library;
mod supply;
mod tally;
mod test;
mod try_wheel;
mod typing;

use std::process::ExitCode;

use args::Args;
use process::Result;

const USAGE: &str = "\
cargo xtask COMMAND

  demo [--release]               build everything that the demo runs, and run it
  sharded [--faults N] [--silos N] [--counters N] [--callers N] [--seed N]
                                 an example beside a Redis: counters in silos that join, leave and are killed, held against what was
                                 answered
  test [rust|c|python] [FILTER]  the tests, beside a Redis; all of them without an argument; --no-run only builds those of cargo
  gen [--check]                  write the generated files, or only compare them
  bench [--quick] [--only WORD,WORD+WORD] [--list] [--publish]
                                 echo beside C TCP, tokio TCP, ZeroMQ, raw tonic, asyncio TCP, pyzmq and grpc.aio, as ratios,
                                 and the goals; --only measures what has WORD, or both of WORD+WORD, in its name, --list
                                 says what that is, --publish writes docs/SPEED.md
  bench --goals [--quick] [--publish]
                                 what the goals are about, three times, and each goal held against each run
  bench --growth [--quick] [--only …] [--publish]
                                 the same load on more silos, and more callers at once
  bench --lossy [--quick] [--only …]
                                 HTTP/2, TLS and HTTP/3 in a network namespace that loses 1 % of the packets
  bench --memory [--quick] [--publish]
                                 what links, waiting calls and silos take; a million calls in flight
  bench --copies                 which copies of a large payload remain between two Python programs
  instructions [--update] [--runs N] [--only NAME] [--release]
                                 counts the instructions of the hot paths under valgrind and compares them with
                                 bench/instructions.txt; --runs shows how far several runs are apart,
                                 --release only prints the counts of a release
  certs ARGUMENTS                certificates for development: what `quark certs` does
  simulate [--seeds N] [--from S]  simulated clusters with faults, checked by the delivery rules; default 10000
  fuzz [TARGET] [--seconds N]    every parser of foreign bytes, or one, under libFuzzer; default 300 for all together
  chaos [--faults N] [--seed S] [--membership redis|gossip|both] [--transport plain|http2|http3|http2+http3]
                                 faults in a cluster of processes, every call checked against the delivery rules
  soak [--minutes N]             the same programs for long, looking for what grows
  detect [--minutes N] [--membership redis|gossip|both] [--only FIGURE]
                                 how fast membership reacts, as a table; N minutes without a false eviction, default 20;
                                 FIGURE is killed, stopped, cut-off, leave, lost-row or false-eviction
  scale [--agents N] [--foreign-keys N] [--seconds N] [--publish]
                                 what membership in Redis costs and how fast it is, with N agents (default 1000) and a tenth
                                 of them, beside N other keys (default 5000000), at rest for N seconds (default 65)
  scale --simulated N [--publish]
                                 N silos on a simulated store: operations, rows read, messages, for each silo
  scale --gossip [--publish]     the same of 100 agents by gossip, in a network namespace
  scale --restarts [--publish]   100 silos under load: a rolling and a full restart, one that comes and goes
  readme                         run the examples of the README, beside a Redis
  ci-checks [NAME]               formatting, lints, generated files, documentation, supply, instructions, typing, README; or one of them
  pythons [--others] [--ends] [FILTER]
                                 the Python tests on every CPython 3.9 to 3.14 of this machine; --others leaves out the
                                 one that `test` runs, --ends all between the oldest and the newest
  dist                           the library for C and C++ as one installs it, and a tarball of that, into dist/
  dist --from FOLDER --to TREE   only lays out the libraries that are built in FOLDER
  dist-wheel                     the wheel for others and the source distribution, into dist/, checked
  try-wheel [--verbose]          installs that wheel alone, without Rust, runs the README and prints import times
  supply                         licences, sources and bans of all dependencies by cargo-deny, which is installed into target/
                                 when it is missing; known weaknesses too where their database can be had
  sbom                           what the libraries and the wheel are made of, as CycloneDX, into dist/

Set QUARK_PYTHON to choose the Python (3.9 or later), QUARK_TEST_REDIS to use a Redis that is there already, and
QUARK_TEST_REDIS_KIND to container or process to choose the kind that is started.
";

fn main() -> ExitCode {
    let mut args = Args::from_env();
    let result = match args.command().as_deref() {
        Some("demo") => demo::run(args),
        Some("test") => test::run(args),
        Some("gen") => generate::run(args),
        Some("bench") => bench::run(args),
        Some("instructions") => instructions::run(args),
        Some("scale") => scale::run(args),
        Some("sharded") => sharded::run(args),
        Some("simulate") => simulate::run(args),
        Some("fuzz") => fuzz::run(args),
        Some("certs") => certs(args),
        Some("chaos") => chaos::chaos(args),
        Some("soak") => chaos::soak(args),
        Some("detect") => detect::run(args),
        Some("readme") => readme::run(args),
        Some("ci-checks") => ci_checks::run(args),
        Some("pythons") => pythons::run(args),
        Some("dist") => dist::run(args),
        Some("dist-wheel") => dist_wheel::run(args),
        Some("supply") => supply::run(args),
        Some("sbom") => sbom::run(args),
        Some("try-wheel") => try_wheel::run(args),
        None | Some("help" | "--help" | "-h") => {
            print!("{USAGE}");
            return ExitCode::SUCCESS;
        }
        Some(other) => unknown(other),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("{failure}");
            ExitCode::FAILURE
        }
    }
}

fn unknown(command: &str) -> Result<()> {
    Err(process::Failure::new(format!("there is no command {command:?}")).hint("`cargo xtask` lists them"))
}

/// A program of its own, since it needs the core, which nothing else here does.
fn certs(args: Args) -> Result<()> {
    process::run(process::cargo(&["run", "--quiet", "--package", "quark-certs", "--"]).args(args.rest()))
}
