//! Proof under faults: a cluster of silos in Rust, C and Python as processes of their own, faults, and a check of every
//! call against the delivery rules. Started by `cargo xtask chaos`, `cargo xtask soak` and `cargo xtask detect`.
//!
//! `quark-chaos silo|client …` is the Rust program of a run, `quark-chaos faults …` makes the faults and judges,
//! `quark-chaos soak …` looks for what grows. `quark-chaos detect …` measures how fast membership reacts, on programs
//! that are started as `quark-chaos observed …`; `quark-chaos hog` keeps a core busy.

mod cluster;
mod detect;
mod faults;
mod ledger;
mod load;
mod network;
mod node;
mod observed;
mod plan;
mod process;
mod program;
mod record;
mod redis;
mod report;
mod resp;
mod rules;
mod security;
mod site;
mod soak;
mod trend;

use std::process::ExitCode;

use tokio::signal::unix::{SignalKind, signal};

use cluster::Programs;
use site::Meeting;

/// What goes wrong here is said and ends the program.
type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("no runtime: {error}");
            return ExitCode::FAILURE;
        }
    };
    let result = runtime.block_on(async {
        match words[..] {
            ["silo" | "client", ..] => program::run(&words).await,
            ["faults", c, python, script, redis, folder, faults, seed, membership, transport] => {
                let order = faults::Order {
                    programs: programs(c, python, script)?,
                    redis: redis.to_owned(),
                    folder: folder.into(),
                    faults: faults.parse()?,
                    seed: seed.parse()?,
                    meetings: meetings(membership)?,
                    transport: (transport != "plain").then(|| transport.to_owned()),
                };
                until_interrupted(faults::run(&order)).await
            }
            ["soak", c, python, script, minutes] => {
                until_interrupted(soak::run(&programs(c, python, script)?, minutes.parse()?)).await
            }
            ["observed", ..] => observed::run(&words[1..]).await,
            ["hog"] => detect::hog(),
            ["detect", redis, folder, minutes, membership, figure] => {
                let order = detect::Order {
                    redis: redis.to_owned(),
                    folder: folder.into(),
                    minutes: minutes.parse()?,
                    meetings: meetings(membership)?,
                    trials: detect::Trial::named(figure)?,
                };
                until_interrupted(detect::run(&order)).await
            }
            _ => Err("usage: quark-chaos silo|client … | faults C PYTHON SCRIPT REDIS FOLDER COUNT SEED \
                      redis|gossip|both plain|http2|http3|http2+http3 | soak C PYTHON SCRIPT MINUTES | observed silo|client … | hog | \
                      detect REDIS FOLDER MINUTES redis|gossip|both FIGURE|all"
                .into()),
        }
    });
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

/// An interrupted run is dropped, and takes its processes and namespaces with it.
async fn until_interrupted(course: impl Future<Output = Result<()>>) -> Result<()> {
    let mut terminated = signal(SignalKind::terminate())?;
    let tasks = tokio::task::LocalSet::new();
    tokio::select! {
        result = tasks.run_until(course) => result,
        _ = tokio::signal::ctrl_c() => Err("interrupted".into()),
        _ = terminated.recv() => Err("terminated".into()),
    }
}

fn programs(c: &str, python: &str, script: &str) -> Result<Programs> {
    let rust = std::env::current_exe()?.to_str().ok_or("a path that is no UTF-8")?.to_owned();
    Ok(Programs { rust, c: c.to_owned(), python: [python.to_owned(), script.to_owned()] })
}

fn meetings(membership: &str) -> Result<Vec<Meeting>> {
    match membership {
        "redis" => Ok(vec![Meeting::Redis]),
        "gossip" => Ok(vec![Meeting::Gossip]),
        "both" => Ok(vec![Meeting::Redis, Meeting::Gossip]),
        other => Err(format!("membership is redis, gossip or both, not {other:?}").into()),
    }
}
