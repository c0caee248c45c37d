//! Running one example in its language, with a limit, and comparing what it prints.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io::{Read as _, Seek as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use super::extract::{Example, Language};
use crate::process::{self, Failure, Result, cargo, root, target};
use crate::python::{TOKIO_OF_THE_TESTS, Venv};

/// The Redis that examples speak of; the one of the tests takes its place.
const LOCAL_REDIS: &str = "redis://localhost";

/// With the workspace's profile, and with tokio's features as they are when its tests are built, what has been compiled for those serves
/// the examples too. Where this is no longer so, nothing is lost but time.
fn rust_manifest() -> Result<String> {
    let workspace = root().join("Cargo.toml");
    let text = fs::read_to_string(&workspace).map_err(|e| at(&workspace, &e))?;
    Ok(format!(
        r#"[package]
name = "readme-rust"
version = "0.0.0"
edition = "2024"
publish = false

[dependencies]
quark-core = {{ path = "{root}/quark-core" }}
tokio = {{ version = "1", features = ["macros", "rt-multi-thread", "time", "{tokio}"] }}

[workspace]

{profile}
# A member there, and not one of all packages.
[profile.dev.package.quark-core]
debug = "line-tables-only"
"#,
        root = root().display(),
        tokio = TOKIO_OF_THE_TESTS.join("\", \""),
        profile = sections(&text, "[profile.dev"),
    ))
}

/// The sections of a TOML file whose headings begin so.
fn sections(text: &str, heading: &str) -> String {
    let mut is_wanted = false;
    let of_wanted = |line: &&str| {
        if line.starts_with('[') {
            is_wanted = line.starts_with(heading);
        }
        is_wanted
    };
    text.lines().filter(of_wanted).flat_map(|line| [line, "\n"]).collect()
}

pub(crate) struct Runner<'a> {
    venv: &'a Venv,
    folder: PathBuf,
    redis: Option<String>,
    path: OsString,
}

impl<'a> Runner<'a> {
    /// With the environment's Python as `python`.
    pub(crate) fn new(venv: &'a Venv) -> Result<Self> {
        let folder = target().join("readme");
        let redis = std::env::var("QUARK_TEST_REDIS").ok();
        fs::create_dir_all(&folder).map_err(|e| at(&folder, &e))?;
        Ok(Self { venv, folder, redis, path: venv.path()? })
    }

    /// The PATH of the examples in Python and in shell.
    pub(crate) fn path(mut self, path: &OsStr) -> Self {
        path.clone_into(&mut self.path);
        self
    }

    /// Builds and runs an example.
    pub(crate) fn run(&self, page: &str, example: &Example) -> Result<()> {
        let code = match &self.redis {
            Some(redis) => example.code.replace(LOCAL_REDIS, redis),
            None => example.code.clone(),
        };
        let mut program = match example.language {
            Language::Python => {
                let mut python = process::command(self.venv.python());
                python
                    .env("PATH", &self.path)
                    .arg("-W")
                    .arg("error")
                    .arg(self.write(&format!("{}.py", example.name), &code)?);
                python
            }
            Language::Pytest => {
                let mut pytest = process::command(self.venv.python());
                // With the settings of the tests, under which warnings are errors too.
                pytest.args(["-m", "pytest", "-q", "-c", "python-tests/pyproject.toml"]);
                pytest.arg(self.write(&format!("test_{}.py", example.name), &code)?);
                pytest
            }
            Language::Shell => self.shell(&self.write(&format!("{}.sh", example.name), &code)?),
            Language::C => {
                self.compiled("CC", "cc", "-std=c11", &self.write(&format!("{}.c", example.name), &code)?)?
            }
            Language::Cpp => self.compiled(
                "CXX",
                "c++",
                "-std=c++17",
                &self.write(&format!("{}.cpp", example.name), &code)?,
            )?,
            Language::Rust => self.rust(&example.name, &code)?,
        };
        let where_from = format!("{page}, line {} ({})", example.line, example.name);
        let printed = output_within(&mut program, Duration::from_secs(example.timeout), &where_from)?;
        match &example.output {
            Some(expected) if !matches(expected, &printed) => {
                Err(Failure::new(format!("{where_from} printed\n{printed}instead of\n{expected}")))
            }
            _ => Ok(()),
        }
    }

    fn write(&self, name: &str, text: &str) -> Result<PathBuf> {
        let path = self.folder.join(name);
        fs::create_dir_all(path.parent().unwrap_or(&self.folder)).map_err(|e| at(&path, &e))?;
        fs::write(&path, text).map_err(|e| at(&path, &e))?;
        Ok(path)
    }

    /// In the root of the repository, where a reader would be.
    fn shell(&self, script: &Path) -> Command {
        let mut shell = process::command("sh");
        shell.arg("-eu").arg(script).env("PATH", &self.path);
        shell
    }

    fn compiled(&self, variable: &str, compiler: &str, standard: &str, source: &Path) -> Result<Command> {
        let program = source.with_extension("program");
        let library = target().join("debug");
        let mut command = process::command(std::env::var_os(variable).unwrap_or_else(|| compiler.into()));
        command
            .args([standard, "-Wall", "-Wextra", "-Werror", "-Iinclude"])
            .arg(source)
            .arg("-o")
            .arg(&program);
        command.arg("-L").arg(&library).args(["-lquark", "-pthread"]);
        command.arg(format!("-Wl,-rpath,{}", library.display()));
        process::run(&mut command)?;
        Ok(process::command(program))
    }

    fn rust(&self, name: &str, code: &str) -> Result<Command> {
        self.write("rust/Cargo.toml", &rust_manifest()?)?;
        self.write(&format!("rust/src/bin/{name}.rs"), code)?;
        // The versions that everything else is tested with.
        let lock = self.folder.join("rust/Cargo.lock");
        fs::copy(root().join("Cargo.lock"), &lock).map_err(|e| at(&lock, &e))?;
        let mut build = cargo(&["build", "--quiet", "--bin", name, "--manifest-path"]);
        build.arg(self.folder.join("rust/Cargo.toml")).env("CARGO_TARGET_DIR", target());
        process::run(&mut build)?;
        Ok(process::command(target().join("debug").join(name)))
    }
}

/// Runs a program to its end and returns what it printed; it fails when it takes longer or does not succeed.
fn output_within(program: &mut Command, limit: Duration, name: &str) -> Result<String> {
    // Files, because nobody reads while the program runs, and a pipe would be full some time.
    let mut printed = temporary()?;
    let mut complained = temporary()?;
    program.stdin(Stdio::null()).stdout(copy(&printed)?).stderr(copy(&complained)?);
    let mut child = program.spawn().map_err(|e| Failure::new(format!("{name}: {e}")))?;
    let end = Instant::now() + limit;
    let outcome = loop {
        match child.try_wait().map_err(|e| Failure::new(format!("{name}: {e}")))? {
            Some(status) if status.success() => return text(&mut printed),
            Some(status) => break format!("ended with {status}"),
            None if Instant::now() >= end => {
                let _ = child.kill();
                let _ = child.wait();
                break format!("had not ended after {} s", limit.as_secs());
            }
            None => std::thread::sleep(Duration::from_millis(10)),
        }
    };
    Err(Failure::new(format!(
        "{name} {outcome}\n{}{}",
        text(&mut printed)?,
        text(&mut complained)?.trim_end()
    )))
}

fn temporary() -> Result<File> {
    use std::sync::atomic::{AtomicU32, Ordering};
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let name = format!("xtask-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
    let path = std::env::temp_dir().join(name);
    let file =
        File::options().create_new(true).read(true).write(true).open(&path).map_err(|e| at(&path, &e))?;
    // It lives as long as it is open.
    fs::remove_file(&path).map_err(|e| at(&path, &e))?;
    Ok(file)
}

fn copy(file: &File) -> Result<File> {
    file.try_clone().map_err(|e| Failure::new(e.to_string()))
}

fn text(file: &mut File) -> Result<String> {
    let mut bytes = Vec::new();
    file.rewind().and_then(|()| file.read_to_end(&mut bytes)).map_err(|e| Failure::new(e.to_string()))?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

fn at(path: &Path, error: &dyn std::fmt::Display) -> Failure {
    Failure::new(format!("{}: {error}", path.display()))
}

/// Whether a text is the expected one, in which three dots stand for anything. White space at line ends does not count.
fn matches(expected: &str, printed: &str) -> bool {
    let trimmed = |text: &str| {
        let lines: Vec<&str> = text.lines().map(str::trim_end).collect();
        lines.join("\n").trim_end().to_owned()
    };
    let (expected, printed) = (trimmed(expected), trimmed(printed));
    let parts: Vec<&str> = expected.split("...").collect();
    let [first, middle @ .., last] = &parts[..] else { return expected == printed };
    let Some(mut rest) = printed.strip_prefix(first) else { return false };
    for part in middle {
        let Some(found) = rest.find(part) else { return false };
        rest = &rest[found + part.len()..];
    }
    rest.ends_with(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dots_in_the_expected_output_stand_for_anything() {
        assert!(matches("a\nb\n", "a  \nb"));
        assert!(!matches("a\nb\n", "a\nb\nc\n"));
        assert!(matches("at 127.0.0.1:... ready\n", "at 127.0.0.1:4711 ready\n"));
        assert!(matches("first\n...\nlast\n", "first\n1\n2\nlast\n"));
        assert!(!matches("first...last", "first"));
        assert!(!matches("aa...aa", "aaa"));
    }

    #[test]
    fn sections_are_found_by_their_headings() {
        let text = "[a]\nx = 1\n[b]\ny = 2\n[a.c]\nz = 3\n";
        assert_eq!(sections(text, "[a"), "[a]\nx = 1\n[a.c]\nz = 3\n");
    }

    #[test]
    fn a_program_has_to_end_in_time_and_well() {
        let run = |script: &str, limit: u64| {
            output_within(Command::new("sh").args(["-c", script]), Duration::from_millis(limit), "it")
        };
        assert_eq!(run("echo hello", 10_000).unwrap(), "hello\n");
        let failure = run("echo out; echo err >&2; exit 3", 10_000).unwrap_err().to_string();
        assert!(failure.contains("exit status: 3\nout\nerr"), "{failure}");
        assert!(run("exec sleep 60", 50).unwrap_err().to_string().contains("had not ended"));
    }
}
