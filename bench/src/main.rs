//! Echo between processes: Quark, and what it is measured against. Driven by `cargo xtask bench`, which starts each side in
//! a fresh process.
//!
//! `quark-bench serve SUBJECT NAME` prints `ready ADDRESS` and ends when its standard input does; `quark-bench call SUBJECT`
//! with the words of `load` prints one line of JSON. `quark-bench memory …` is for `cargo xtask bench --memory`.

mod load;
mod memory;
mod message;
mod meter;
mod quark;
mod raw_tonic;
mod ring;
mod security;
mod tcp;
mod usage;
mod waiting;

use std::process::ExitCode;

use load::Load;
use quark::Way;
use security::Over;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let understood = match words[..] {
        ["serve", subject, name] => runtime(subject).block_on(serve(subject, name)),
        ["call", subject, ref load @ ..] => match Load::of(load) {
            Some(load) => runtime(subject).block_on(call(subject, load)),
            None => false,
        },
        ["certificates", folder] => security::create(folder),
        ["memory", ref words @ ..] => runtime("").block_on(memory::run(words)),
        _ => false,
    };
    if understood {
        return ExitCode::SUCCESS;
    }
    eprintln!("not understood: {}", words.join(" "));
    ExitCode::FAILURE
}

/// One thread, which is the fastest, but for the subject that has two.
fn runtime(subject: &str) -> tokio::runtime::Runtime {
    let mut builder = match subject {
        "tonic-two" => tokio::runtime::Builder::new_multi_thread(),
        _ => tokio::runtime::Builder::new_current_thread(),
    };
    builder.worker_threads(2).enable_all().build().expect("a runtime")
}

async fn serve(subject: &str, name: &str) -> bool {
    match subject {
        "quark" | "quark-tls" | "quark-http3" => quark::serve(name, Over::of(subject)).await,
        "tonic" | "tonic-two" | "tonic-frames" => raw_tonic::serve(raw_tonic::frame_of(subject)).await,
        "tcp" => tcp::serve().await,
        _ => return false,
    }
    true
}

async fn call(subject: &str, load: Load) -> bool {
    match subject {
        "quark" | "quark-tls" | "quark-http3" => quark::call(load, Way::Futures, Over::of(subject)).await,
        "quark-with" => quark::call(load, Way::Functions, Over::Plain).await,
        "one-way" => quark::call(load, Way::Notifications, Over::Plain).await,
        "beside-large" => quark::call(load, Way::BesideLarge, Over::Plain).await,
        "local" => quark::call_itself(load).await,
        "tonic" | "tonic-two" | "tonic-frames" => raw_tonic::call(load, raw_tonic::frame_of(subject)).await,
        "tcp" => tcp::call(load).await,
        "tcp-futures" => tcp::call_with_futures(load).await,
        _ => return subject.strip_prefix("ring-").is_some_and(|what| ring::call(what, load)),
    }
    true
}

/// Blocks a thread of its own until whoever started this process closes its standard input.
async fn until_dismissed() {
    let _ = tokio::task::spawn_blocking(|| std::io::copy(&mut std::io::stdin(), &mut std::io::sink())).await;
}
