//! The Python environment of the project, in the build directory, and the wheel in it.
//!
//! Nothing is installed twice: each requirements file leaves its text, and the wheel its fingerprint, beside what was
//! installed from it.

use std::fs;
use std::hash::{DefaultHasher, Hasher as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::process::{self, Failure, Result, step};

/// How much has to be in the environment.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Needs {
    /// An interpreter with pip.
    Nothing,
    /// What builds the wheel.
    Build,
    /// What the tests import.
    Tests,
}

/// How the wheel is built.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Profile {
    Debug,
    Release,
}

/// A virtual environment.
pub(crate) struct Venv {
    folder: PathBuf,
}

impl Venv {
    /// The environment, made and filled if need be.
    pub(crate) fn ready(needs: Needs) -> Result<Self> {
        let venv = Self { folder: process::target().join("xtask-venv") };
        venv.create()?;
        let build = ["requirements-build.txt"].as_slice();
        let tests = ["requirements.txt", "requirements-build.txt"].as_slice();
        match needs {
            Needs::Nothing => Ok(()),
            Needs::Build => venv.install(build),
            Needs::Tests => venv.install(tests),
        }?;
        Ok(venv)
    }

    /// Its interpreter.
    pub(crate) fn python(&self) -> PathBuf {
        self.program("python")
    }

    /// One of the programs that are installed in it.
    pub(crate) fn program(&self, name: &str) -> PathBuf {
        self.folder.join("bin").join(name)
    }

    /// Builds the wheel and installs it, if it is another than the one that is there.
    pub(crate) fn install_wheel(&self, profile: Profile) -> Result<()> {
        step("Python wheel", || {
            let wheel = self.build_wheel(profile, &process::target().join("wheels"))?;
            let content = fs::read(&wheel).map_err(|e| Failure::new(format!("{}: {e}", wheel.display())))?;
            let mut hasher = DefaultHasher::new();
            hasher.write(&content);
            let fingerprint = format!("{:016x}", hasher.finish());
            self.once("wheel", &fingerprint, || {
                let pip = ["install", "--quiet", "--force-reinstall", "--no-deps"];
                process::run(self.pip().args(pip).arg(&wheel))
            })
        })
    }

    /// Builds the wheel into a folder of its own and returns its path.
    pub(crate) fn build_wheel(&self, profile: Profile, folder: &Path) -> Result<PathBuf> {
        // Wheels of other versions must not be taken for the one that is built now.
        for old in wheels(folder) {
            fs::remove_file(&old).map_err(|e| Failure::new(format!("{}: {e}", old.display())))?;
        }
        let mut maturin = process::command(self.program("maturin"));
        maturin.args(["build", "--manifest-path", "quark-py/Cargo.toml", "--locked"]);
        maturin.arg("--interpreter").arg(self.python()).arg("--out").arg(folder);
        match profile {
            // For this machine only, so that nothing has to be audited.
            Profile::Debug => maturin.args(["--compatibility", "linux"]),
            Profile::Release => maturin.arg("--release"),
        };
        // maturin asks the activated environment, and there may be another one.
        maturin.env("VIRTUAL_ENV", &self.folder).env_remove("CONDA_PREFIX");
        process::run(&mut maturin)?;
        wheels(folder)
            .pop()
            .ok_or_else(|| Failure::new(format!("maturin left no wheel in {}", folder.display())))
    }

    fn create(&self) -> Result<()> {
        let base = BasePython::find()?;
        let stamp = format!("{} {}", base.version, base.program);
        if self.read_stamp("python") == stamp && self.python().exists() {
            return Ok(());
        }
        step(&format!("Python environment with {} ({})", base.version, base.program), || {
            let _ = fs::remove_dir_all(&self.folder);
            process::run_quietly(process::command(&base.program).args(["-m", "venv"]).arg(&self.folder))?;
            self.write_stamp("python", &stamp)
        })
    }

    /// Installs the first of these files, which may include the others.
    fn install(&self, files: &[&str]) -> Result<()> {
        let folder = process::root().join("python-tests");
        let mut content = String::new();
        for file in files {
            let path = folder.join(file);
            content +=
                &fs::read_to_string(&path).map_err(|e| Failure::new(format!("{}: {e}", path.display())))?;
        }
        self.once(files[0], &content, || {
            step(&format!("Python packages of {}", files[0]), || {
                let pip = ["install", "--quiet", "--requirement"];
                process::run_quietly(self.pip().args(pip).arg(folder.join(files[0]))).map(drop).map_err(
                    |failure| failure.hint("the first time, this needs a package index to be reachable"),
                )
            })
        })
    }

    fn pip(&self) -> Command {
        let mut pip = process::command(self.python());
        pip.args(["-m", "pip", "--disable-pip-version-check"]);
        pip
    }

    /// Does something unless it was done for the same text before.
    fn once(&self, name: &str, text: &str, work: impl FnOnce() -> Result<()>) -> Result<()> {
        if self.read_stamp(name) == text {
            return Ok(());
        }
        work()?;
        self.write_stamp(name, text)
    }

    fn stamp(&self, name: &str) -> PathBuf {
        self.folder.join(format!(".xtask-{name}"))
    }

    fn read_stamp(&self, name: &str) -> String {
        fs::read_to_string(self.stamp(name)).unwrap_or_default()
    }

    fn write_stamp(&self, name: &str, text: &str) -> Result<()> {
        fs::write(self.stamp(name), text)
            .map_err(|e| Failure::new(format!("{}: {e}", self.stamp(name).display())))
    }
}

fn wheels(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
    entries.filter(|path| path.extension().is_some_and(|extension| extension == "whl")).collect()
}

/// An interpreter that the environment can be made from.
struct BasePython {
    program: String,
    version: String,
}

impl BasePython {
    /// `QUARK_PYTHON`, else the first of the usual names that really runs, is new enough and can make environments.
    ///
    /// Running it is the only way to know: a name in the PATH may be a shim without an interpreter behind it.
    fn find() -> Result<Self> {
        if let Ok(program) = std::env::var("QUARK_PYTHON") {
            return Self::probe(&program)
                .map_err(|why| Failure::new(format!("QUARK_PYTHON={program} cannot be used: {why}")));
        }
        let names = ["python3", "python", "/usr/bin/python3"].map(str::to_owned).into_iter();
        let versions = (9..=14).rev().map(|minor| format!("python3.{minor}"));
        let mut reasons = Vec::new();
        for program in names.chain(versions) {
            match Self::probe(&program) {
                Ok(found) => return Ok(found),
                Err(why) => reasons.push(format!("{program}: {why}")),
            }
        }
        Err(Failure::new(format!("no usable Python ({})", reasons.join("; ")))
            .hint("install CPython 3.9 or later with its venv module, or name one in QUARK_PYTHON"))
    }

    fn probe(program: &str) -> std::result::Result<Self, String> {
        const QUESTION: &str = "import sys, venv, ensurepip; \
            print(sys.version_info >= (3, 9), '%s %d.%d.%d' % ((sys.implementation.name,) + sys.version_info[:3]))";
        let asked = process::command(program).args(["-c", QUESTION]).stdin(Stdio::null()).output();
        let output = asked.map_err(|e| match e.kind() {
            std::io::ErrorKind::NotFound => "not found".to_owned(),
            _ => e.to_string(),
        })?;
        let said = String::from_utf8_lossy(&output.stdout);
        match said.trim().split_once(' ') {
            Some(("True", version)) => Ok(Self { program: program.to_owned(), version: version.to_owned() }),
            Some((_, version)) => Err(format!("is {version}, too old")),
            None => {
                let complaint = String::from_utf8_lossy(&output.stderr);
                let mut lines = complaint.trim().lines();
                // Of a traceback the last line says it, of a shim's message the first.
                let telling =
                    if complaint.starts_with("Traceback") { lines.next_back() } else { lines.next() };
                Err(telling.unwrap_or("says nothing").to_owned())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::BasePython;

    #[test]
    fn a_python_that_only_seems_to_be_there_is_told_from_one_that_is() {
        assert_eq!(BasePython::probe("no-such-python").err().as_deref(), Some("not found"));
        assert_eq!(BasePython::probe("false").err().as_deref(), Some("says nothing"));
        assert!(BasePython::find().is_ok_and(|python| python.version.contains(" 3.")));
    }
}
