//! Echo between two processes: Quark, and the raw tonic stream that it is measured against. Driven by
//! `cargo xtask bench`, which starts each side in a fresh process.
//!
//! `quark-bench serve quark|tonic` prints `ready ADDRESS` and ends when its standard input does; `quark-bench call
//! quark|tonic ADDRESS DEPTH SECONDS SERVER-PID` prints one line of JSON.

mod meter;
mod quark;
mod raw_tonic;

use std::process::ExitCode;
use std::time::Duration;

use meter::Meter;

/// The payload of every request, in bytes.
const PAYLOAD: usize = 64;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    match words[..] {
        ["serve", "quark"] => runtime.block_on(quark::serve()),
        ["serve", "tonic"] => runtime.block_on(raw_tonic::serve()),
        ["call", what, address, depth, seconds, pid] => {
            let (Ok(depth), Ok(seconds), Ok(pid)) = (depth.parse(), seconds.parse(), pid.parse()) else {
                eprintln!("DEPTH, SECONDS and SERVER-PID are numbers");
                return ExitCode::FAILURE;
            };
            let meter = Meter::new(depth, Duration::from_secs_f64(seconds), pid);
            match what {
                "quark" => runtime.block_on(quark::call(address, meter)),
                "tonic" => runtime.block_on(raw_tonic::call(address, meter)),
                "local" => runtime.block_on(quark::call_itself(meter)),
                _ => return usage(),
            }
        }
        _ => return usage(),
    }
    ExitCode::SUCCESS
}

fn usage() -> ExitCode {
    eprintln!(
        "usage: quark-bench serve quark|tonic | call quark|tonic|local ADDRESS DEPTH SECONDS SERVER-PID"
    );
    ExitCode::FAILURE
}

/// Blocks a thread of its own until whoever started this process closes its standard input.
async fn until_dismissed() {
    let _ = tokio::task::spawn_blocking(|| std::io::copy(&mut std::io::stdin(), &mut std::io::sink())).await;
}
