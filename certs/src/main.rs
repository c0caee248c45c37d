//! The command alone, for `cargo xtask certs`.

use std::process::ExitCode;

use quark_certs::command::{Failure, HELP, run};

fn main() -> ExitCode {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    match run(&arguments) {
        Ok(said) => {
            print!("{said}");
            ExitCode::SUCCESS
        }
        Err(Failure::Usage(problem)) => {
            eprintln!("{problem}\n\n{HELP}");
            ExitCode::from(2)
        }
        Err(Failure::Failed(problem)) => {
            eprintln!("{problem}");
            ExitCode::FAILURE
        }
    }
}
