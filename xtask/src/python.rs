//! The Python environment of the project, in the build directory, and the wheel in it.
//!
//! Nothing is installed twice: each requirements file leaves its text, and the wheel its fingerprint, beside what was
//! installed from it.

use std::ffi::OsString;
use std::fs;
use std::hash::{DefaultHasher, Hasher as _};
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::interpreter::Interpreter;
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
    /// That and what Python is compared with.
    Bench,
    /// What the tests import and the type checkers.
    Types,
    /// What builds a wheel for others and proves that it is one.
    Dist,
}

/// How the wheel is built.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Profile {
    Debug,
    Release,
    /// As it is handed out, for this machine only.
    Dist,
    /// As it is handed out, for other machines: linked against an old glibc.
    Portable,
}

/// What the workspace has of tokio's features when its tests are built, beside those that the library asks for. What is built with the
/// same is not compiled a second time.
pub(crate) const TOKIO_OF_THE_TESTS: [&str; 3] = ["process", "signal", "test-util"];

/// A virtual environment.
pub(crate) struct Venv {
    folder: PathBuf,
}

impl Venv {
    /// The project's environment, made and filled if need be; by one command at a time.
    pub(crate) fn ready(needs: Needs) -> Result<Self> {
        let _locked = locked("xtask-venv")?;
        let venv = Self::at(process::target().join("xtask-venv"), &Interpreter::find()?)?;
        venv.fill(needs)?;
        Ok(venv)
    }

    /// An environment for this interpreter, the one that is there or a new one.
    pub(crate) fn at(folder: PathBuf, base: &Interpreter) -> Result<Self> {
        let venv = Self { folder };
        venv.create(base)?;
        Ok(venv)
    }

    /// A new environment with nothing in it.
    pub(crate) fn fresh(folder: PathBuf) -> Result<Self> {
        let _ = fs::remove_dir_all(&folder);
        Self::at(folder, &Interpreter::find()?)
    }

    /// Installs what is needed unless it is there.
    pub(crate) fn fill(&self, needs: Needs) -> Result<()> {
        const BUILD: &str = "requirements-build.txt";
        const TESTS: &str = "requirements.txt";
        match needs {
            Needs::Nothing => Ok(()),
            Needs::Build => self.install(&[BUILD]),
            Needs::Tests => self.install(&[TESTS, BUILD]),
            Needs::Bench => self.install(&["requirements-bench.txt", TESTS, BUILD]),
            Needs::Types => self.install(&["requirements-types.txt", TESTS, BUILD]),
            Needs::Dist => self.install(&["requirements-dist.txt", BUILD]),
        }
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
            self.install_built(&wheel)
        })
    }

    /// Installs a wheel, if it is another than the one that is there.
    pub(crate) fn install_built(&self, wheel: &Path) -> Result<()> {
        let content = fs::read(wheel).map_err(|e| Failure::new(format!("{}: {e}", wheel.display())))?;
        let mut hasher = DefaultHasher::new();
        hasher.write(&content);
        let fingerprint = format!("{:016x}", hasher.finish());
        self.once("wheel", &fingerprint, || {
            let pip = ["install", "--quiet", "--force-reinstall", "--no-deps"];
            process::run(self.pip().args(pip).arg(wheel))
        })
    }

    /// Builds the wheel into a folder of its own and returns its path.
    pub(crate) fn build_wheel(&self, profile: Profile, folder: &Path) -> Result<PathBuf> {
        // maturin moves the library away and back.
        let _locked = locked("wheel")?;
        // Wheels of other versions must not be taken for the one that is built now.
        for old in wheels(folder) {
            fs::remove_file(&old).map_err(|e| Failure::new(format!("{}: {e}", old.display())))?;
        }
        let mut maturin = process::command(self.program("maturin"));
        maturin.args(["build", "--manifest-path", "quark-py/Cargo.toml", "--locked"]);
        maturin.arg("--interpreter").arg(self.python()).arg("--out").arg(folder);
        match profile {
            // For this machine only, so that nothing has to be audited.
            Profile::Debug => {
                let like_the_tests = TOKIO_OF_THE_TESTS.map(|feature| format!("tokio/{feature}")).join(",");
                maturin.args(["--compatibility", "linux", "--features", "extension-module"]);
                maturin.args(["--features", &like_the_tests])
            }
            Profile::Release => maturin.arg("--release"),
            Profile::Dist => maturin.args(["--profile", "dist", "--compatibility", "linux"]),
            Profile::Portable => self.portable(&mut maturin)?,
        };
        // maturin asks the activated environment, and there may be another one.
        maturin.env("VIRTUAL_ENV", &self.folder).env_remove("CONDA_PREFIX");
        process::run(&mut maturin)?;
        wheels(folder)
            .pop()
            .ok_or_else(|| Failure::new(format!("maturin left no wheel in {}", folder.display())))
    }

    /// Has maturin build for machines that are older than this one or laid out otherwise.
    fn portable<'a>(&self, maturin: &'a mut Command) -> Result<&'a mut Command> {
        maturin.args(["--profile", "dist", "--compression-level", "9"]);
        if cfg!(target_os = "linux") {
            // maturin looks for zig, and for a Python that has it, in the PATH.
            maturin.args(["--zig", "--compatibility", "manylinux2014"]).env("PATH", self.path()?);
        }
        Ok(maturin.env_remove("RUSTFLAGS").env("CARGO_ENCODED_RUSTFLAGS", portable_flags()))
    }

    /// The PATH with the environment's programs in front.
    pub(crate) fn path(&self) -> Result<OsString> {
        let path = std::env::var_os("PATH").unwrap_or_default();
        std::env::join_paths(std::iter::once(self.folder.join("bin")).chain(std::env::split_paths(&path)))
            .map_err(|e| Failure::new(e.to_string()))
    }

    fn create(&self, base: &Interpreter) -> Result<()> {
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

    /// pip in this environment.
    pub(crate) fn pip(&self) -> Command {
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

/// Holds what several commands may want at once, as long as the file is there.
fn locked(what: &str) -> Result<fs::File> {
    let path = process::target().join(format!("{what}.lock"));
    let file = fs::create_dir_all(process::target()).and_then(|()| fs::File::create(&path));
    let locked = file.and_then(|file| file.lock().map(|()| file));
    locked.map_err(|e| Failure::new(format!("{}: {e}", path.display())))
}

/// Flags for a rustc that builds for others, as CARGO_ENCODED_RUSTFLAGS has them.
pub(crate) fn portable_flags() -> String {
    // Messages of panics name source files; where they were on this machine is nobody's business.
    let home = std::env::var_os("CARGO_HOME").map(PathBuf::from);
    let cargo = home.or_else(|| std::env::home_dir().map(|home| home.join(".cargo"))).unwrap_or_default();
    let remapped = [(process::root(), "quark"), (cargo, "cargo")];
    let flags = remapped.map(|(from, to)| format!("--remap-path-prefix={}={to}", from.display()));
    flags.join("\u{1f}")
}

/// The wheels in a folder.
pub(crate) fn wheels(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
    entries.filter(|path| path.extension().is_some_and(|extension| extension == "whl")).collect()
}
