//! What membership costs and how fast it is, by the size of the cluster; driven by `cargo xtask scale`.
//!
//! `scale redis SERVER AGENTS FOREIGN SECONDS` starts a Redis with so many keys of others, and so many membership agents in
//! this process; `scale gossip AGENTS SECONDS` needs no server, and a network namespace of its own.
//! `scale restarts SERVER SILOS SECONDS` has whole silos that call each other. Each prints one line of JSON at its end, and
//! what it is at on its standard error.

mod agents;
mod changes;
mod gossip;
mod info;
mod redis;
mod rest;
mod restarts;
mod server;
#[path = "../../usage.rs"]
mod usage;

use std::collections::BTreeMap;
use std::process::ExitCode;

/// What goes wrong here is said and ends the program.
type Result<T> = std::result::Result<T, Box<dyn std::error::Error + Send + Sync>>;

/// What was measured, by name; a time that never came is missing.
type Figures = BTreeMap<String, f64>;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    // As many workers as most machines that this runs on have cores; Redis is another process.
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let measured = runtime.expect("a runtime").block_on(async {
        match words[..] {
            ["redis", server, agents, foreign, seconds] => {
                redis::run(server, agents.parse()?, foreign.parse()?, seconds.parse()?).await
            }
            ["gossip", agents, seconds] => gossip::run(agents.parse()?, seconds.parse()?).await,
            ["restarts", server, silos, seconds] => {
                restarts::run(server, silos.parse()?, seconds.parse()?).await
            }
            _ => Err("usage: scale redis SERVER AGENTS FOREIGN SECONDS | gossip AGENTS SECONDS | \
                      restarts SERVER SILOS SECONDS"
                .into()),
        }
    });
    match measured {
        Ok(figures) => {
            let pairs: Vec<String> =
                figures.iter().map(|(name, value)| format!("\"{name}\": {value}")).collect();
            println!("{{{}}}", pairs.join(", "));
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}
