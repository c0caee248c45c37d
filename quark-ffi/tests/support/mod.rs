//! What tests of the built library need: where it is, running commands, and saying what was left out.
#![allow(dead_code, reason = "each file of tests uses some of it")]

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The folder with libquark.so, which cargo builds beside the tests.
pub(crate) fn library_folder() -> PathBuf {
    let test = std::env::current_exe().expect("this program has a path");
    // target/PROFILE/deps/programs-HASH
    test.parent().and_then(Path::parent).expect("cargo's layout").to_owned()
}

pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("a workspace").to_owned()
}

/// Runs a command, which has to succeed, and gives what it printed.
pub(crate) fn check(command: &mut Command, what: &str) -> String {
    let output = command.output().unwrap_or_else(|error| panic!("{what}: {error}"));
    let text =
        format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{what}: {}\n{text}", output.status);
    text
}

/// Tells `cargo xtask test` of something that was not run; it knows what may be left out.
pub(crate) fn left_out(what: &str) {
    eprintln!("NOT RUN: {what}");
    if let Some(file) = std::env::var_os("QUARK_TEST_SKIPS") {
        let file = std::fs::OpenOptions::new().append(true).create(true).open(file);
        writeln!(file.expect("the file of skips can be written"), "{what}").expect("and is");
    }
}

/// The functions that include/quark.h declares.
pub(crate) fn declared() -> Vec<String> {
    let header = std::fs::read_to_string(root().join("include/quark.h")).expect("the header");
    let code: String =
        header.split("/*").map(|part| part.split_once("*/").map_or(part, |(_, code)| code)).collect();
    let words = code.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_' || c == '('));
    let names = words.filter_map(|word| word.split_once('(')).map(|(name, _)| name);
    let mut names: Vec<_> = names.filter(|name| name.starts_with("quark_")).map(str::to_owned).collect();
    names.sort_unstable();
    names
}

/// Compares what a library defines with what the header declares, and names what differs.
pub(crate) fn same(defined: &[String], declared: &[String]) {
    let without = |some: &[String], others: &[String]| -> Vec<String> {
        some.iter().filter(|name| !others.contains(name)).take(20).cloned().collect()
    };
    let (more, fewer) = (without(defined, declared), without(declared, defined));
    assert!(defined == declared, "not in the header, at first: {more:?}; not in the library: {fewer:?}");
}

/// The symbols that a library defines for others, as `nm` lists them with an option.
pub(crate) fn defined(library: &Path, option: &str) -> Vec<String> {
    let symbols = check(Command::new("nm").args([option, "--defined-only"]).arg(library), "nm");
    let columns = symbols.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    let mut names: Vec<_> =
        columns.filter(|columns| columns.len() == 3).map(|columns| columns[2].to_owned()).collect();
    names.sort_unstable();
    names
}
