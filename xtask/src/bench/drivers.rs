//! The programs that serve and call: built as far as they are wanted, and what is missing said aloud.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::lossy::Network;
use super::table::{Driver, Subject};
use crate::process::{self, Result, cargo, step, target};
use crate::python::{Needs, Profile, Venv};

pub(super) struct Drivers {
    binaries: PathBuf,
    /// What comes before each command.
    inside: Vec<OsString>,
    python: Option<PathBuf>,
    /// What cannot be measured here: a driver, the beginning of its words, and why.
    missing: Vec<(Driver, &'static str, String)>,
}

impl Drivers {
    /// Builds what these subjects need.
    ///
    /// They run in `network`, or where everything runs.
    pub(super) fn ready(subjects: &[&Subject], network: Option<&Network>) -> Result<Self> {
        let wanted = |driver: Driver| {
            let has = |(one, _): (Driver, &str)| one == driver;
            subjects.iter().any(|subject| has(subject.call) || subject.serve.is_some_and(has))
        };
        let binaries = target().join("release");
        let inside = network.map(|network| network.words().to_vec()).unwrap_or_default();
        let mut drivers = Self { binaries, inside, python: None, missing: Vec::new() };
        build_rust()?;
        drivers.make_certificates()?;
        for (driver, source, libraries) in [
            (Driver::C, "bench/c/quark.c", &["-lquark"][..]),
            (Driver::CTcp, "bench/c/tcp.c", &[]),
            (Driver::CZeroMq, "bench/c/zeromq.c", &["-lzmq"]),
        ] {
            if wanted(driver) {
                drivers.build_c(driver, source, libraries)?;
            }
        }
        if wanted(Driver::Python) {
            drivers.python_ready()?;
        }
        for (_, word, why) in &drivers.missing {
            println!("   left out, {word}: {why}");
        }
        Ok(drivers)
    }

    /// Why a subject cannot be measured here.
    pub(super) fn lacks(&self, subject: &Subject) -> Option<&str> {
        let lacking = |(driver, word): (Driver, &str)| {
            let found =
                self.missing.iter().find(|(one, begin, _)| *one == driver && word.starts_with(begin))?;
            Some(found.2.as_str())
        };
        lacking(subject.call).or_else(|| lacking(subject.serve?))
    }

    /// The program with its first words, on one core if so wished.
    pub(super) fn command(&self, driver: Driver, core: Option<&str>) -> Command {
        let python = self.python.as_deref().map(Path::as_os_str);
        let words = match driver {
            Driver::Rust => vec![self.binaries.join("quark-bench").into_os_string()],
            Driver::C | Driver::CTcp | Driver::CZeroMq => vec![self.c_program(driver).into_os_string()],
            Driver::Python => vec![
                python.unwrap_or("python3".as_ref()).to_owned(),
                process::root().join("python-tests/bench/echo.py").into_os_string(),
            ],
        };
        let pinned = core.map(|core| ["taskset".into(), "--cpu-list".into(), core.into()]);
        let mut all = self.inside.iter().cloned().chain(pinned.into_iter().flatten()).chain(words);
        let mut command = process::command(all.next().unwrap_or_default());
        command.args(all).env("QUARK_BENCH_CERTIFICATES", certificates());
        command
    }

    /// A new authority for those who speak TLS.
    fn make_certificates(&self) -> Result<()> {
        // There may be none yet.
        let _ = std::fs::remove_dir_all(certificates());
        let mut make = process::command(self.binaries.join("quark-bench"));
        process::run(make.arg("certificates").arg(certificates()))
    }

    fn c_program(&self, driver: Driver) -> PathBuf {
        self.binaries.join(format!("bench-{driver:?}").to_lowercase())
    }

    fn build_c(&mut self, driver: Driver, source: &str, libraries: &[&str]) -> Result<()> {
        let mut cc = process::command(std::env::var_os("CC").unwrap_or_else(|| "cc".into()));
        cc.args(["-std=c11", "-O2", "-Wall", "-Wextra", "-Iinclude", source, "-o"])
            .arg(self.c_program(driver));
        cc.arg("-L").arg(&self.binaries).args(libraries).arg("-pthread");
        cc.arg(format!("-Wl,-rpath,{}", self.binaries.display()));
        match step(source, || process::run_quietly(&mut cc)) {
            Ok(_) => Ok(()),
            // The only one whose library is no part of the project.
            Err(_) if driver == Driver::CZeroMq => {
                let why = "there is no ZeroMQ for C (Debian has it as libzmq3-dev)";
                self.missing.push((driver, "zeromq", why.to_owned()));
                Ok(())
            }
            Err(failure) => Err(failure),
        }
    }

    fn python_ready(&mut self) -> Result<()> {
        // Peers from the registry are wished for; the measurement goes on without them.
        let venv = Venv::ready(Needs::Bench).or_else(|failure| {
            eprintln!("{failure}");
            Venv::ready(Needs::Tests)
        })?;
        venv.install_wheel(Profile::Release)?;
        for (word, module) in [("grpc", "grpc"), ("zeromq", "zmq")] {
            let mut import = process::command(venv.python());
            if process::run_quietly(import.args(["-c", &format!("import {module}")])).is_err() {
                let why = format!("the Python environment has no {module}");
                self.missing.push((Driver::Python, word, why));
            }
        }
        self.python = Some(venv.python());
        Ok(())
    }
}

/// Where the certificates are.
fn certificates() -> PathBuf {
    target().join("bench/certificates")
}

/// The programs in Rust, and the library for those in C.
pub(super) fn build_rust() -> Result<()> {
    step("Rust and C, release", || {
        process::run(&mut cargo(&["build", "--locked", "--release", "-p", "quark-bench", "-p", "quark-ffi"]))
    })
}
