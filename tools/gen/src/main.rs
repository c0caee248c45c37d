//! Writes the generated files of the repository, or with `--check` compares them with what would be written.
//!
//! Run it as `cargo xtask gen`. Each generator gives a [`Generated`] and touches no file; only [`main`] does.

mod header;
mod proto;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

/// Problems are for people only.
type Result<T> = std::result::Result<T, String>;

/// A generated file.
struct Generated {
    /// Relative to the root of the repository.
    path: &'static str,
    content: String,
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let check = match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [] => false,
        ["--check"] => true,
        _ => {
            eprintln!("error: cargo xtask gen takes --check and nothing else");
            return ExitCode::from(2);
        }
    };
    match run(check) {
        Ok(()) => ExitCode::SUCCESS,
        Err(problem) => {
            eprintln!("error: {problem}");
            ExitCode::FAILURE
        }
    }
}

fn run(check: bool) -> Result<()> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let files = [proto::generate(&root)?, header::generate(&root)?];
    let mut stale = Vec::new();
    for Generated { path, content } in &files {
        let committed = fs::read_to_string(root.join(path)).unwrap_or_default();
        if committed == *content {
            println!("{path}: up to date");
        } else if check {
            println!("{path}: {}", first_difference(&committed, content));
            stale.push(*path);
        } else {
            write(&root.join(path), content)?;
            println!("{path}: written");
        }
    }
    if stale.is_empty() {
        return Ok(());
    }
    Err(format!("not what its sources say: {}; run `cargo xtask gen`, then `git diff`", stale.join(", ")))
}

fn write(path: &Path, content: &str) -> Result<()> {
    let folder = path.parent().map_or_else(PathBuf::new, Path::to_path_buf);
    fs::create_dir_all(folder)
        .and_then(|()| fs::write(path, content))
        .map_err(|e| format!("{}: {e}", path.display()))
}

fn first_difference(committed: &str, generated: &str) -> String {
    if committed.is_empty() {
        return "missing".to_owned();
    }
    let (mut left, mut right) = (committed.lines(), generated.lines());
    let mut line = 1;
    loop {
        match (left.next(), right.next()) {
            (None, None) => return "differs in its line ends".to_owned(),
            (old, new) if old != new => {
                let show = |text: Option<&str>| text.unwrap_or("(end of file)").to_owned();
                return format!(
                    "line {line} differs\n  committed: {}\n  generated: {}",
                    show(old),
                    show(new)
                );
            }
            _ => line += 1,
        }
    }
}

/// What rustfmt makes of a source, by the settings of this repository.
fn rustfmt(root: &Path, source: &str) -> Result<String> {
    use std::io::Write as _;
    let hint = "; is it installed? (`rustup component add rustfmt`)";
    let mut formatter = Command::new("rustfmt")
        .args(["--edition", "2024", "--emit", "stdout", "--config-path"])
        .arg(root.join("rustfmt.toml"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .map_err(|e| format!("rustfmt: {e}{hint}"))?;
    // Everything is written before anything is read, which a file of this size allows: rustfmt reads to the end first.
    formatter
        .stdin
        .take()
        .expect("piped above")
        .write_all(source.as_bytes())
        .map_err(|e| format!("rustfmt: {e}{hint}"))?;
    let output = formatter.wait_with_output().map_err(|e| format!("rustfmt: {e}"))?;
    if !output.status.success() {
        return Err(format!("rustfmt ended with {}{hint}", output.status));
    }
    String::from_utf8(output.stdout).map_err(|e| format!("rustfmt: {e}"))
}

#[cfg(test)]
mod tests {
    use super::first_difference;

    #[test]
    fn a_difference_is_shown_by_its_line() {
        let shown = first_difference("a\nb\n", "a\nc\n");
        assert_eq!(shown, "line 2 differs\n  committed: b\n  generated: c");
        assert_eq!(first_difference("", "a\n"), "missing");
        assert_eq!(first_difference("a", "a\n"), "differs in its line ends");
        assert!(first_difference("a\n", "a\nb\n").contains("(end of file)"));
    }
}
