//! `readme`: runs the marked examples of the README and of docs/, so that they are run and not believed.

mod extract;
mod run;

use std::ffi::OsStr;
use std::fs;

use crate::args::Args;
use crate::process::{self, Failure, Result, step};
use crate::python::{Needs, Profile, Venv};
use crate::redis;
use extract::{Example, Language};

pub(crate) fn run(mut args: Args) -> Result<()> {
    let inner = args.flag("--inner");
    args.finish()?;
    if inner { run_examples() } else { beside_redis() }
}

/// Runs the examples in an inner run of this program.
pub(crate) fn beside_redis() -> Result<()> {
    redis::run_self_beside(&Venv::ready(Needs::Build)?, &["readme", "--inner"])
}

/// Runs those of the README in Python, with what is installed in an environment, in a process with this PATH.
pub(crate) fn run_python_examples(venv: &Venv, path: &OsStr) -> Result<()> {
    let mut examples = marked(README)?;
    examples.retain(|(_, example)| example.language == Language::Python);
    run_with(&run::Runner::new(venv)?.path(path), &examples)
}

fn run_examples() -> Result<()> {
    let mut examples = Vec::new();
    for page in pages()? {
        examples.extend(marked(&page)?);
    }
    let has =
        |languages: &[Language]| examples.iter().any(|(_, example)| languages.contains(&example.language));
    let venv = Venv::ready(if has(&[Language::Pytest]) { Needs::Tests } else { Needs::Build })?;
    if has(&[Language::Python, Language::Pytest, Language::Shell]) {
        venv.install_wheel(Profile::Debug)?;
    }
    if has(&[Language::C, Language::Cpp, Language::Shell]) {
        crate::test::programs_beside()?;
    }
    run_with(&run::Runner::new(&venv)?, &examples)
}

/// The marked examples of a page, beside its name.
fn marked(page: &str) -> Result<Vec<(String, Example)>> {
    let unreadable = |e| Failure::new(format!("{page}: {e}"));
    let text = fs::read_to_string(process::root().join(page)).map_err(unreadable)?;
    let marked = extract::examples(&text).map_err(|failure| failure.within(page))?;
    if page == README && marked.is_empty() {
        return Err(
            Failure::new("README.md marks no example to be run").hint("see xtask/src/readme/extract.rs")
        );
    }
    Ok(marked.into_iter().map(|example| (page.to_owned(), example)).collect())
}

fn run_with(runner: &run::Runner<'_>, examples: &[(String, Example)]) -> Result<()> {
    let mut failed = 0;
    for (page, example) in examples {
        if let Err(failure) = step(&format!("{page}: {}", example.name), || runner.run(page, example)) {
            eprintln!("{failure}");
            failed += 1;
        }
    }
    println!("{} examples, {failed} failed", examples.len());
    if failed == 0 { Ok(()) } else { Err(Failure::new(format!("{failed} examples failed"))) }
}

const README: &str = "README.md";

/// The README first, then what is in docs/.
fn pages() -> Result<Vec<String>> {
    let unreadable = |e: std::io::Error| Failure::new(format!("docs: {e}"));
    let mut docs = Vec::new();
    for entry in fs::read_dir(process::root().join("docs")).map_err(unreadable)? {
        let name = entry.map_err(unreadable)?.file_name().to_string_lossy().into_owned();
        docs.extend(name.ends_with(".md").then(|| format!("docs/{name}")));
    }
    docs.sort();
    Ok([README.to_owned()].into_iter().chain(docs).collect())
}
