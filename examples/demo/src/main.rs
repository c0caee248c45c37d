//! The demo: a cluster of silos in Rust, C and Python on this machine, a client that calls a thousand counters, a silo
//! that is killed, one that joins. Started by `cargo xtask demo`.
//!
//! `quark-demo silo ID URL CLUSTER` is the Rust silo; `quark-demo run …` starts all of them and shows what happens.

mod cluster;
mod load;
mod rules;
mod screen;
mod show;
mod silo;

use std::process::ExitCode;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    // A link on a one-thread runtime is the fastest there is.
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("no runtime: {error}");
            return ExitCode::FAILURE;
        }
    };
    let result = match words[..] {
        ["silo", id, url, cluster] => runtime.block_on(silo::run(id, url, cluster)),
        ["run", c_silo, python, python_silo] => {
            runtime.block_on(show::run(c_silo, python, python_silo, None))
        }
        ["run", c_silo, python, python_silo, url] => {
            runtime.block_on(show::run(c_silo, python, python_silo, Some(url)))
        }
        _ => Err("usage: quark-demo silo ID URL CLUSTER | run C-SILO PYTHON PYTHON-SILO [URL]".into()),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("\nthe demo failed: {error}");
            ExitCode::FAILURE
        }
    }
}

/// What goes wrong here is said and ends the demo.
type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;
