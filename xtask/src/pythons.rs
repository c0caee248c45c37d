//! `pythons`: the Python tests with one and the same wheel on every CPython that is claimed and that this machine has.
//!
//! The tests wait more than they work, so as many versions as there are cores have their turn at once, each in a run of this
//! program of its own beside a Redis of its own, which prints when it is over.

use std::path::Path;
use std::process::Output;
use std::time::Instant;

use crate::args::Args;
use crate::interpreter::Interpreter;
use crate::process::{self, Failure, Result, step, target};
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
    let which = Which { others: args.flag("--others"), ends: args.flag("--ends") };
    let (inner, wheel) = (args.value("--inner")?, args.value("--wheel")?);
    let filter = args.word();
    args.finish()?;
    match (inner, wheel) {
        (Some(minor), Some(wheel)) => on_one(&minor, Path::new(&wheel), filter.as_deref()),
        _ => on_each(&which, filter.as_deref()),
    }
}

fn on_each(which: &Which, filter: Option<&str>) -> Result<()> {
    let builder = Venv::ready(Needs::Build)?;
    // In a folder of its own: CI builds one elsewhere meanwhile, and each takes away what is there.
    let folder = target().join("pythons/wheels");
    let wheel = step("Python wheel", || builder.build_wheel(Profile::Debug, &folder))?;
    let mut total = Tally::default();
    let mut report = Vec::new();
    let chosen = which.choose(&mut report)?;
    let at_once = std::thread::available_parallelism().map_or(1, usize::from);
    for some in chosen.chunks(at_once) {
        let beside = |python| beside_a_redis(&builder, python, &wheel, filter);
        let begun = Instant::now();
        let ended: Vec<Result<Output>> = std::thread::scope(|scope| {
            let running: Vec<_> = some.iter().map(|python| scope.spawn(|| beside(python))).collect();
            running.into_iter().map(|run| run.join().expect("no panic in a thread")).collect()
        });
        for (python, output) in some.iter().zip(ended) {
            let output = output?;
            let said = String::from_utf8_lossy(&output.stdout);
            print!("{said}");
            eprint!("{}", String::from_utf8_lossy(&output.stderr));
            let tally = said.lines().rev().find_map(Tally::read).unwrap_or_else(Tally::of_a_failure);
            report.push(format!("{}: {tally}", python.version));
            total.add(&tally);
        }
        report.push(format!("   in {:.0} s", begun.elapsed().as_secs_f64()));
    }
    println!();
    report.iter().for_each(|line| println!("{line}"));
    println!("\n{total}");
    total.write(SUMMARY)?;
    if total.failed > 0 { Err(Failure::new("there were failures")) } else { Ok(()) }
}

impl Which {
    /// Those to be run; reports why each other one is not.
    fn choose(&self, report: &mut Vec<String>) -> Result<Vec<Interpreter>> {
        let base = Interpreter::find()?;
        let found = Interpreter::all();
        let claimed = || found.iter().filter(|python| !python.free_threaded).map(|python| python.minor);
        let ends = [claimed().min(), claimed().max()];
        let mut chosen = Vec::new();
        for python in found.iter().cloned() {
            let left_out = if python.free_threaded {
                "free-threaded, not claimed"
            } else if self.others && (python.minor, false) == (base.minor, base.free_threaded) {
                "left to `cargo xtask test`"
            } else if self.ends && !ends.contains(&Some(python.minor)) {
                "between the oldest and the newest, not run"
            } else {
                chosen.push(python);
                continue;
            };
            report.push(format!("{}: {left_out}", python.version));
        }
        Ok(chosen)
    }
}

fn beside_a_redis(
    builder: &Venv,
    python: &Interpreter,
    wheel: &Path,
    filter: Option<&str>,
) -> Result<Output> {
    let (minor, wheel) = (python.minor.to_string(), wheel.to_string_lossy());
    let words = ["pythons", "--inner", &minor, "--wheel", &wheel].into_iter().chain(filter);
    let mut inner = redis::self_beside(builder, &words.collect::<Vec<_>>())?;
    inner.output().map_err(|error| process::not_started(&inner, &error))
}

/// The inner run. What fails before there are tests counts as one failure.
fn on_one(minor: &str, wheel: &Path, filter: Option<&str>) -> Result<()> {
    let is_it = |python: &Interpreter| python.minor.to_string() == minor && !python.free_threaded;
    let python = Interpreter::all().into_iter().find(is_it);
    let python = python.ok_or_else(|| Failure::new(format!("there is no CPython 3.{minor}")))?;
    println!("\n== {} ({})", python.version, python.program);
    let mut tally = Tally::default();
    let folder = target().join("pythons").join(format!("3.{minor}"));
    let tested = Venv::at(folder, &python).and_then(|venv| {
        venv.fill(Needs::Tests)?;
        venv.install_built(wheel)?;
        // Those that one CPython is enough for have had one.
        test::pytest(&venv, &["-m", "not one_python"], filter, &mut tally)
    });
    let problems = tally.judge(tested.err().into_iter().collect())?;
    problems.iter().for_each(|problem| eprintln!("{problem}"));
    println!("\n{tally}");
    if tally.failed > 0 { Err(Failure::new("there were failures")) } else { Ok(()) }
}
