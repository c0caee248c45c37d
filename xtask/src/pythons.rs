//! `pythons`: the Python tests with one and the same wheel on every CPython that is claimed and that this machine has.

use std::path::Path;
use std::time::Instant;

use crate::args::Args;
use crate::interpreter::Interpreter;
use crate::process::{Failure, Result, step, target};
use crate::python::{Needs, Profile, Venv};
use crate::tally::Tally;
use crate::{redis, test};

/// Where the counts are left.
const SUMMARY: &str = "pythons-summary.txt";

/// Which of those that are there.
struct Which {
    /// All but the one of `cargo xtask test`.
    others: bool,
    /// The oldest and the newest.
    ends: bool,
}

pub(crate) fn run(mut args: Args) -> Result<()> {
    let inner = args.flag("--inner");
    let which = Which { others: args.flag("--others"), ends: args.flag("--ends") };
    let filter = args.word();
    args.finish()?;
    if inner {
        return on_each(which, filter.as_deref());
    }
    let words = ["pythons", "--inner"]
        .into_iter()
        .chain(which.others.then_some("--others"))
        .chain(which.ends.then_some("--ends"))
        .chain(filter.as_deref());
    redis::run_self_beside(&Venv::ready(Needs::Nothing)?, &words.collect::<Vec<_>>())
}

fn on_each(which: Which, filter: Option<&str>) -> Result<()> {
    let base = Interpreter::find()?;
    let builder = Venv::ready(Needs::Build)?;
    // In a folder of its own: CI builds one elsewhere meanwhile, and each takes away what is there.
    let folder = target().join("pythons/wheels");
    let wheel = step("Python wheel", || builder.build_wheel(Profile::Debug, &folder))?;
    test::programs_beside()?;
    let mut total = Tally::default();
    let mut report = Vec::new();
    let found = Interpreter::all();
    let claimed = || found.iter().filter(|python| !python.free_threaded).map(|python| python.minor);
    let ends = [claimed().min(), claimed().max()];
    for python in &found {
        let left_out = if python.free_threaded {
            Some("free-threaded, not claimed")
        } else if which.others && (python.minor, false) == (base.minor, base.free_threaded) {
            Some("left to `cargo xtask test`")
        } else if which.ends && !ends.contains(&Some(python.minor)) {
            Some("between the oldest and the newest, not run")
        } else {
            None
        };
        if let Some(reason) = left_out {
            report.push(format!("{}: {reason}", python.version));
            continue;
        }
        let start = Instant::now();
        let tally = on_one(python, &wheel, filter)?;
        report.push(format!("{}: {tally} in {:.0} s", python.version, start.elapsed().as_secs_f64()));
        total.add(&tally);
    }
    println!();
    report.iter().for_each(|line| println!("{line}"));
    println!("\n{total}");
    total.write(SUMMARY)?;
    if total.failed > 0 { Err(Failure::new("there were failures")) } else { Ok(()) }
}

/// What fails before there are tests counts as one failure, and the other versions have their turn.
fn on_one(python: &Interpreter, wheel: &Path, filter: Option<&str>) -> Result<Tally> {
    println!("\n== {} ({})", python.version, python.program);
    let mut tally = Tally::default();
    let folder = target().join("pythons").join(format!("3.{}", python.minor));
    let tested = Venv::at(folder, python).and_then(|venv| {
        venv.fill(Needs::Tests)?;
        venv.install_built(wheel)?;
        test::pytest(&venv, filter, &mut tally)
    });
    let problems = tally.judge(tested.err().into_iter().collect())?;
    problems.iter().for_each(|problem| eprintln!("{problem}"));
    Ok(tally)
}
