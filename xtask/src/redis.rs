//! A Redis beside a command. How it is had is written once, in `python-tests/redis_for_tests.py`.

use std::process::Command;

use crate::process::{self, Failure, Result};
use crate::python::Venv;

/// This program once more, with these arguments, beside a Redis that it finds in `QUARK_TEST_REDIS`.
pub(crate) fn self_beside(venv: &Venv, arguments: &[&str]) -> Result<Command> {
    let this = std::env::current_exe().map_err(|e| Failure::new(format!("where is this program? {e}")))?;
    let mut command = process::command(venv.python());
    command.arg("python-tests/redis_for_tests.py").arg("--").arg(this).args(arguments);
    command.env("CARGO_MANIFEST_DIR", process::root().join("xtask"));
    Ok(command)
}

/// Runs it. The inner run has said what went wrong; the failure is for the exit status.
pub(crate) fn run_self_beside(venv: &Venv, arguments: &[&str]) -> Result<()> {
    let status = self_beside(venv, arguments)?.status().map_err(|e| Failure::new(format!("python: {e}")))?;
    if status.success() {
        Ok(())
    } else {
        Err(Failure::new(format!("`cargo xtask {}` failed, see above", arguments.join(" "))))
    }
}

/// The path of a redis-server binary, for those who run it themselves.
pub(crate) fn find_server(venv: &Venv) -> Result<String> {
    let mut python = process::command(venv.python());
    python.args(["-c", "from redis_for_tests import find_server; print(find_server())"]);
    let found = process::run_quietly(python.env("PYTHONPATH", process::root().join("python-tests")))?;
    Ok(String::from_utf8_lossy(&found.stdout).trim().to_owned())
}
