//! Running other programs: where the repository is, a step with its heading and duration, and failures that name the
//! command.

use std::ffi::OsStr;
use std::fmt;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Output, Stdio};
use std::time::Instant;

pub(crate) type Result<T> = std::result::Result<T, Failure>;

/// What went wrong, in one line, and what to do about it.
#[derive(Debug)]
pub(crate) struct Failure {
    message: String,
    hint: Option<String>,
}

impl Failure {
    pub(crate) fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), hint: None }
    }

    /// The same, and where it was.
    pub(crate) fn within(mut self, place: &str) -> Self {
        self.message = format!("{place}, {}", self.message);
        self
    }

    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "error: {}", self.message)?;
        self.hint.as_ref().map_or(Ok(()), |hint| write!(f, "\n  hint: {hint}"))
    }
}

/// The root of the repository.
pub(crate) fn root() -> PathBuf {
    let here = std::env::var_os("CARGO_MANIFEST_DIR").unwrap_or_else(|| env!("CARGO_MANIFEST_DIR").into());
    PathBuf::from(here).parent().expect("xtask is a folder of the repository").to_path_buf()
}

/// Where cargo builds.
pub(crate) fn target() -> PathBuf {
    // A relative one is relative to the folder that cargo is called in, and all calls from here are made in the root.
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), |folder| root().join(folder))
}

/// Runs one step under a heading, and says how long it took.
pub(crate) fn step<T>(heading: &str, work: impl FnOnce() -> Result<T>) -> Result<T> {
    println!("== {heading}");
    let start = Instant::now();
    let result = work();
    let outcome = if result.is_ok() { "done" } else { "FAILED" };
    println!("   {outcome} in {:.1} s", start.elapsed().as_secs_f64());
    result
}

/// A command, run in the root of the repository.
pub(crate) fn command(program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new(program);
    command.current_dir(root());
    // `cargo run` describes xtask to its child, which would have nested cargos rebuild what looks at these, and
    // programs load libraries from other places than when they are run by hand.
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        if text.starts_with("CARGO_PKG_") || text.starts_with("CARGO_MANIFEST_") || text == "CARGO_BIN_NAME" {
            command.env_remove(name);
        }
    }
    if let Some(paths) = std::env::var_os("LD_LIBRARY_PATH") {
        let target = target();
        let of_cargo = |path: &PathBuf| {
            path.starts_with(&target) || path.iter().any(|part| part == "rustlib" || part == "toolchains")
        };
        let kept: Vec<PathBuf> = std::env::split_paths(&paths).filter(|path| !of_cargo(path)).collect();
        match std::env::join_paths(kept) {
            Ok(kept) if !kept.is_empty() => command.env("LD_LIBRARY_PATH", kept),
            _ => command.env_remove("LD_LIBRARY_PATH"),
        };
    }
    command
}

/// The cargo that runs this.
pub(crate) fn cargo(arguments: &[&str]) -> Command {
    let mut cargo = command(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.args(arguments);
    cargo
}

/// Compiles a C program that finds the library for C among `binaries`.
pub(crate) fn compile_c(source: &str, program: &Path, binaries: &Path) -> Result<()> {
    let mut cc = command(std::env::var_os("CC").unwrap_or_else(|| "cc".into()));
    cc.args(["-std=c11", "-O1", "-Wall", "-Wextra", "-Iinclude", source, "-o"]).arg(program);
    cc.arg("-L").arg(binaries).args(["-lquark", "-pthread"]);
    cc.arg(format!("-Wl,-rpath,{}", binaries.display()));
    run(&mut cc)
}

/// Runs a command to its end; anything but success is a failure that names it.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    let status = command.status().map_err(|e| not_started(command, &e))?;
    if status.success() {
        Ok(())
    } else {
        Err(Failure::new(format!("`{}` ended with {status}", shown(command))))
    }
}

/// Runs a command whose output is of interest only when it fails.
pub(crate) fn run_quietly(command: &mut Command) -> Result<Output> {
    let output = command.stdin(Stdio::null()).output().map_err(|e| not_started(command, &e))?;
    if output.status.success() {
        return Ok(output);
    }
    let said = [output.stdout.as_slice(), output.stderr.as_slice()].concat();
    let said = String::from_utf8_lossy(&said).trim_end().to_owned();
    Err(Failure::new(format!("`{}` ended with {}\n{said}", shown(command), output.status)))
}

/// Runs a command and shows each line of its standard output to `see`, and of its standard error to `see_error`, from a thread
/// of its own, after printing it. Returns how it ended.
pub(crate) fn run_and_see(
    command: &mut Command,
    see: impl FnMut(&str),
    see_error: impl FnMut(&str) + Send,
) -> Result<ExitStatus> {
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().map_err(|e| not_started(command, &e))?;
    let (output, errors) = (child.stdout.take().expect("piped"), child.stderr.take().expect("piped"));
    std::thread::scope(|scope| {
        scope.spawn(|| each_line(errors, see_error, |text| eprint!("{text}")));
        each_line(output, see, |text| print!("{text}"));
    });
    child.wait().map_err(|e| not_started(command, &e))
}

fn each_line(from: impl std::io::Read, mut see: impl FnMut(&str), print: impl Fn(&str)) {
    let (mut lines, mut line) = (BufReader::new(from), Vec::new());
    while lines.read_until(b'\n', &mut line).is_ok_and(|read| read > 0) {
        let text = String::from_utf8_lossy(&line);
        print(&text);
        see(text.trim_end());
        line.clear();
    }
}

pub(crate) fn not_started(command: &Command, error: &std::io::Error) -> Failure {
    let program = command.get_program().display();
    Failure::new(format!("`{program}` cannot be run: {error}"))
        .hint(format!("is {program} installed and in the PATH?"))
}

/// The command as one would type it, its program by name.
pub(crate) fn shown(command: &Command) -> String {
    let program = Path::new(command.get_program());
    let words = std::iter::once(program.file_name().unwrap_or_default()).chain(command.get_args());
    words.map(|word| word.to_string_lossy().into_owned()).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_names_the_command() {
        let failure = run(&mut command("false")).unwrap_err().to_string();
        assert!(failure.starts_with("error: `false` ended with exit status: 1"), "{failure}");
        let failure = run(&mut command("no-such-program")).unwrap_err().to_string();
        assert!(failure.contains("hint: is no-such-program installed"), "{failure}");
    }

    #[test]
    fn lines_are_seen_as_they_come() {
        let (mut seen, mut errors) = (Vec::new(), Vec::new());
        let ended = run_and_see(
            command("sh").args(["-c", "printf 'a\nb'; echo c >&2"]),
            |line| seen.push(line.to_owned()),
            |line| errors.push(line.to_owned()),
        );
        assert!(ended.unwrap().success());
        assert_eq!((seen, errors), (vec!["a".to_owned(), "b".to_owned()], vec!["c".to_owned()]));
    }
}
