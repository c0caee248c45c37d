//! The Pythons of this machine.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use crate::process::{self, Failure, Result};

/// The versions that are claimed: each 3.N of these.
const CLAIMED: RangeInclusive<u32> = 9..=14;

/// An interpreter that environments can be made from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Interpreter {
    pub(crate) program: String,
    /// As in "cpython 3.9.18".
    pub(crate) version: String,
    /// The 9 of 3.9.18, and its 18.
    pub(crate) minor: u32,
    patch: u32,
    /// Built without the interpreter lock.
    pub(crate) free_threaded: bool,
}

impl Interpreter {
    /// `QUARK_PYTHON`, else the first of the usual names that really runs, is new enough and can make environments.
    ///
    /// Running it is the only way to know: a name in the PATH may be a shim without an interpreter behind it.
    pub(crate) fn find() -> Result<Self> {
        if let Ok(program) = std::env::var("QUARK_PYTHON") {
            return Self::probe(&program)
                .map_err(|why| Failure::new(format!("QUARK_PYTHON={program} cannot be used: {why}")));
        }
        let names = ["python3", "python", "/usr/bin/python3"].map(str::to_owned).into_iter();
        let versions = CLAIMED.rev().map(|minor| format!("python3.{minor}"));
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

    /// One CPython of each claimed version and build that this machine has, the newest of each, in order.
    pub(crate) fn all() -> Vec<Self> {
        newest_of_each(candidates().iter().filter_map(|path| Self::probe(&path.to_string_lossy()).ok()))
    }

    fn probe(program: &str) -> std::result::Result<Self, String> {
        const QUESTION: &str = "import sys, sysconfig, venv, ensurepip; v = sys.version_info; \
            print(v >= (3, 9), bool(sysconfig.get_config_var('Py_GIL_DISABLED')), sys.implementation.name, *v[:3])";
        let asked = process::command(program).args(["-c", QUESTION]).stdin(Stdio::null()).output();
        let output = asked.map_err(|e| match e.kind() {
            std::io::ErrorKind::NotFound => "not found".to_owned(),
            _ => e.to_string(),
        })?;
        let said = String::from_utf8_lossy(&output.stdout);
        if let [new_enough, free_threaded, name, major, minor, patch] =
            said.split_whitespace().collect::<Vec<_>>()[..]
        {
            let version = format!("{name} {major}.{minor}.{patch}");
            if new_enough != "True" {
                return Err(format!("is {version}, too old"));
            }
            return Ok(Self {
                program: program.to_owned(),
                version,
                minor: minor.parse().unwrap_or_default(),
                patch: patch.parse().unwrap_or_default(),
                free_threaded: free_threaded == "True",
            });
        }
        let complaint = String::from_utf8_lossy(&output.stderr);
        let mut lines = complaint.trim().lines();
        // Of a traceback the last line says it, of a shim's message the first.
        let telling = if complaint.starts_with("Traceback") { lines.next_back() } else { lines.next() };
        Err(telling.unwrap_or("says nothing").to_owned())
    }
}

/// Whatever may be an interpreter: by name in the PATH, and those of pyenv, which has most of them in no PATH.
fn candidates() -> Vec<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let names: Vec<String> =
        CLAIMED.flat_map(|minor| [format!("python3.{minor}"), format!("python3.{minor}t")]).collect();
    let in_path =
        std::env::split_paths(&path).flat_map(|folder| names.iter().map(move |name| folder.join(name)));
    let home = std::env::var_os("HOME").map(|home| Path::new(&home).join(".pyenv"));
    let pyenv = std::env::var_os("PYENV_ROOT").map(PathBuf::from).into_iter().chain(home);
    let of_pyenv = pyenv
        .flat_map(|root| std::fs::read_dir(root.join("versions")).into_iter().flatten().flatten())
        .map(|entry| entry.path().join("bin/python"));
    in_path.chain(of_pyenv).filter(|program| program.exists()).collect()
}

fn newest_of_each(found: impl Iterator<Item = Interpreter>) -> Vec<Interpreter> {
    let mut newest = BTreeMap::<(u32, bool), Interpreter>::new();
    for python in found {
        let claimed = python.version.starts_with("cpython 3.") && CLAIMED.contains(&python.minor);
        let kind = (python.minor, python.free_threaded);
        if claimed && newest.get(&kind).is_none_or(|other| other.patch < python.patch) {
            newest.insert(kind, python);
        }
    }
    newest.into_values().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_python_that_only_seems_to_be_there_is_told_from_one_that_is() {
        assert_eq!(Interpreter::probe("no-such-python").err().as_deref(), Some("not found"));
        assert_eq!(Interpreter::probe("false").err().as_deref(), Some("says nothing"));
        assert!(Interpreter::find().is_ok_and(|python| python.version.contains(" 3.")));
    }

    #[test]
    fn of_each_version_and_build_the_newest_is_taken() {
        let python = |name: &str, minor, patch, free_threaded| Interpreter {
            program: format!("/{minor}.{patch}"),
            version: format!("{name} 3.{minor}.{patch}"),
            minor,
            patch,
            free_threaded,
        };
        let found = [
            python("cpython", 13, 0, false),
            python("cpython", 9, 2, false),
            python("cpython", 9, 18, false),
            python("cpython", 13, 0, true),
            python("cpython", 9, 3, false),
            python("pypy", 10, 14, false),
            python("cpython", 99, 0, false),
        ];
        let taken = newest_of_each(found.clone().into_iter());
        assert_eq!(taken, [found[2].clone(), found[0].clone(), found[3].clone()]);
    }
}
