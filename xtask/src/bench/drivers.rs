//! The programs that serve and call: built as far as they are wanted, and what is missing said aloud.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::network::Network;
use super::table::{Driver, Subject};
use crate::process::{self, Failure, Result, cargo, step, target};
use crate::python::{Needs, Profile, Venv};

/// One in C or C++.
struct Program {
    driver: Driver,
    source: &'static str,
    libraries: &'static [&'static str],
    /// Where its library comes from when that is no part of the project; the measurement goes on without.
    debian: Option<&'static str>,
}

const PROGRAMS: [Program; 5] = [
    Program { driver: Driver::C, source: "bench/c/quark.c", libraries: &["-lquark"], debian: None },
    Program { driver: Driver::CTcp, source: "bench/c/tcp.c", libraries: &[], debian: None },
    Program {
        driver: Driver::CZeroMq,
        source: "bench/c/zeromq.c",
        libraries: &["-lzmq"],
        debian: Some("libzmq3-dev"),
    },
    Program {
        driver: Driver::CppGrpc,
        source: "bench/cpp/grpc.cpp",
        libraries: &["-lgrpc++", "-lgrpc", "-lgpr", "-labsl_synchronization"],
        debian: Some("libgrpc++-dev"),
    },
    Program {
        driver: Driver::CppCaf,
        source: "bench/cpp/caf.cpp",
        libraries: &["-lcaf_io", "-lcaf_core"],
        debian: Some("libcaf-dev"),
    },
];

pub(super) struct Drivers {
    binaries: PathBuf,
    /// What comes before each command.
    inside: Vec<OsString>,
    python: Option<PathBuf>,
    /// For those who listen on every network that they find.
    secluded: Option<Network>,
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
        let binaries = target().join("dist");
        let inside = network.map(|network| network.words().to_vec()).unwrap_or_default();
        let mut drivers = Self { binaries, inside, python: None, secluded: None, missing: Vec::new() };
        build_rust()?;
        drivers.make_certificates()?;
        for program in PROGRAMS.iter().filter(|program| wanted(program.driver)) {
            drivers.build_program(program)?;
        }
        if wanted(Driver::Ractor) {
            drivers.build_ractor();
        }
        if wanted(Driver::Python) || wanted(Driver::Secluded) {
            drivers.python_ready()?;
        }
        if wanted(Driver::Secluded) {
            drivers.seclude();
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
        let secluded = self.secluded.as_ref().filter(|_| driver == Driver::Secluded);
        let inside = secluded.map_or_else(|| self.inside.clone(), |network| network.words().to_vec());
        let words = match driver {
            Driver::Rust => vec![self.binaries.join("quark-bench").into_os_string()],
            Driver::C
            | Driver::CTcp
            | Driver::CZeroMq
            | Driver::CppGrpc
            | Driver::CppCaf
            | Driver::Ractor => vec![self.program(driver).into_os_string()],
            Driver::Python | Driver::Secluded => vec![
                python.unwrap_or("python3".as_ref()).to_owned(),
                process::root().join("python-tests/bench/echo.py").into_os_string(),
            ],
        };
        let pinned = core.map(|core| ["taskset".into(), "--cpu-list".into(), core.into()]);
        let mut all = inside.into_iter().chain(pinned.into_iter().flatten()).chain(words);
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

    fn program(&self, driver: Driver) -> PathBuf {
        self.binaries.join(format!("bench-{driver:?}").to_lowercase())
    }

    fn build_program(&mut self, program: &Program) -> Result<()> {
        let (variable, compiler, standard) = match program.source.ends_with(".cpp") {
            true => ("CXX", "c++", "-std=c++17"),
            false => ("CC", "cc", "-std=c11"),
        };
        let mut compile = process::command(std::env::var_os(variable).unwrap_or_else(|| compiler.into()));
        compile.args([standard, "-O2", "-Wall", "-Wextra", "-Iinclude", program.source, "-o"]);
        compile.arg(self.program(program.driver)).arg("-L").arg(&self.binaries);
        compile.args(program.libraries).arg("-pthread");
        compile.arg(format!("-Wl,-rpath,{}", self.binaries.display()));
        match (step(program.source, || process::run_quietly(&mut compile)), program.debian) {
            (Ok(_), _) => Ok(()),
            (Err(failure), Some(debian)) => {
                self.cannot_build(
                    program.driver,
                    &failure,
                    &format!(" (Debian has its library as {debian})"),
                );
                Ok(())
            }
            (Err(failure), None) => Err(failure),
        }
    }

    /// A package of its own, with dependencies that nothing else here has.
    fn build_ractor(&mut self) {
        let folder = target().join("bench-ractor");
        let mut build = cargo(&[
            "build",
            "--quiet",
            "--locked",
            "--release",
            "--manifest-path",
            "bench/ractor/Cargo.toml",
        ]);
        build.env("CARGO_TARGET_DIR", &folder);
        let built = step("ractor_cluster", || {
            process::run(&mut build)?;
            std::fs::copy(folder.join("release/bench-ractor"), self.program(Driver::Ractor))
                .map_err(|error| Failure::new(format!("{}: {error}", folder.display())))
        });
        if let Err(failure) = built {
            self.cannot_build(Driver::Ractor, &failure, "");
        }
    }

    /// The measurement goes on without it.
    fn cannot_build(&mut self, driver: Driver, failure: &Failure, hint: &str) {
        eprintln!("{failure}");
        self.missing.push((driver, "", format!("it could not be built{hint}")));
    }

    fn seclude(&mut self) {
        match Network::alone() {
            Ok(network) => self.secluded = Some(network),
            Err(failure) => {
                eprintln!("{failure}");
                let why = "it listens on every network, and none could be made for it alone".to_owned();
                self.missing.push((Driver::Secluded, "", why));
            }
        }
    }

    fn python_ready(&mut self) -> Result<()> {
        // Peers from the registry are wished for; the measurement goes on without them.
        let venv = Venv::ready(Needs::Bench).or_else(|failure| {
            eprintln!("{failure}");
            Venv::ready(Needs::Tests)
        })?;
        venv.install_wheel(Profile::Dist)?;
        let (here, secluded) = (Driver::Python, Driver::Secluded);
        for (driver, word, module) in
            [(here, "grpc", "grpc"), (here, "zeromq", "zmq"), (secluded, "ray", "ray")]
        {
            let mut import = process::command(venv.python());
            if process::run_quietly(import.args(["-c", &format!("import {module}")])).is_err() {
                let why = format!("the Python environment has no {module}");
                self.missing.push((driver, word, why));
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
    step("Rust and C, as handed out", || {
        let build = ["build", "--locked", "--profile", "dist", "-p", "quark-bench", "-p", "quark-ffi"];
        process::run(cargo(&build).args(["--bin", "quark-bench", "--lib"]))
    })
}
