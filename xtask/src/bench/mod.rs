//! `bench`: Quark beside what it is measured against, between fresh processes, in one run.
//!
//! Absolute figures drift between machines and minutes; ratios within a run hold, to about 15 %. `table` says what is
//! measured, `drivers` builds the programs, `measure` runs two of them against each other, `report`, `goals`, `chart` and `publish`
//! say what came out. `memory` is another kind of measurement.

mod chart;
mod drivers;
mod figures;
mod goals;
mod measure;
mod memory;
mod network;
pub(crate) mod publish;
mod report;
mod selection;
mod table;

use std::fs;

use drivers::Drivers;
use figures::All;
pub(crate) use figures::Figures;
pub(crate) use measure::call;
use measure::{Times, measure};
use network::Network;
pub(crate) use report::{machine, others, thousands};
use selection::Selection;
use table::{GROUPS, GROWTH, Group, LOSSY, Load, RAW_TONIC, Subject, TOKIO_TCP};

use crate::args::Args;
use crate::process::{self, Failure, Result, target};
use crate::python::{Needs, Profile, Venv};

const ROUNDS: usize = 3;
/// Whole runs for `--goals`, and rounds in each.
const RUNS: usize = 3;
const GOAL_ROUNDS: usize = 5;

/// Below this ratio to TCP raw tonic is itself slow, and ratios to it say nothing.
const SOUND: f64 = 0.6;

pub(crate) fn run(mut args: Args) -> Result<()> {
    let quick = args.flag("--quick");
    let publishing = args.flag("--publish");
    let [list, copies, memory, growth, lossy] =
        ["--list", "--copies", "--memory", "--growth", "--lossy"].map(|name| args.flag(name));
    let goals = args.flag("--goals");
    let only = args.value("--only")?;
    args.finish()?;
    if goals && (list || copies || memory || growth || lossy || only.is_some()) {
        return Err(Failure::new("--goals goes with --quick and --publish only"));
    }
    if goals {
        return hold_against_goals(quick, publishing);
    }
    let selection = Selection::new(quick, only.as_deref());
    if publishing && selection.is_partial() {
        return Err(Failure::new("--publish is for whole runs, not for --only"));
    }
    if copies {
        return count_copies();
    }
    if memory {
        return memory::run(quick, publishing);
    }
    let (part, groups) = match (growth, lossy) {
        (true, _) => ("growth", GROWTH),
        (_, true) => ("lossy", LOSSY),
        _ => ("echo", GROUPS),
    };
    if lossy && publishing {
        return Err(Failure::new("--publish is not for --lossy"));
    }
    if list {
        selection.list(groups);
        return Ok(());
    }
    let network = if lossy { Some(Network::lossy()?) } else { None };
    let run = measure_all(&selection, groups, network.as_ref(), ROUNDS)?;
    finish(part, groups, &run, quick, publishing)
}

/// Runs several times what the goals are about.
fn hold_against_goals(quick: bool, publishing: bool) -> Result<()> {
    let selection = Selection::of_places(quick, goals::places());
    let (mut all, mut text) = (Vec::new(), String::new());
    for number in 1..=RUNS {
        println!("\n## Run {number} of {RUNS}");
        let run = measure_all(&selection, GROUPS, None, GOAL_ROUNDS)?;
        text += &format!("Run {number}: {}.\n", run.how);
        text += &run.failures.iter().map(|failed| format!("Not measured, {failed}.\n")).collect::<String>();
        all.push(run.all);
    }
    text = format!("{}, {text}\n{}", machine(), goals::table(&all));
    println!("\n{text}");
    keep("goals.md", &text)?;
    if publishing { publish::tables("goals", &text) } else { Ok(()) }
}

/// What a run gave.
struct Run {
    /// How busy the machine was, and how long was measured.
    how: String,
    all: All,
    tables: String,
    failures: Vec<String>,
}

fn measure_all(
    selection: &Selection,
    groups: &'static [Group],
    network: Option<&Network>,
    rounds: usize,
) -> Result<Run> {
    let chosen: Vec<&Subject> = groups
        .iter()
        .flat_map(|group| group.loads.iter().flat_map(|load| selection.subjects(group, load)))
        .collect();
    if chosen.is_empty() {
        return Err(Failure::new("nothing matches").hint("`cargo xtask bench --list` shows what there is"));
    }
    let drivers = Drivers::ready(&chosen, network)?;
    let times = if selection.quick {
        Times { warm_up: 0.1, measured: 0.25, rounds }
    } else {
        Times { warm_up: 0.4, measured: 1.2, rounds }
    };
    let how = format!("{}; medians of {rounds} times {} s", others(), times.measured);
    let tables = format!("{}; {how}.\n", machine());
    print!("\n{tables}");
    let mut run = Run { how, all: All::default(), tables, failures: Vec::new() };
    for group in groups {
        let mut heading = format!("\n### {}\n", group.title);
        for load in group.loads {
            let mut subjects = selection.subjects(group, load);
            subjects.retain(|subject| drivers.lacks(subject).is_none());
            measure_one_load(&drivers, load, &subjects, &times, &mut run);
            let table = report::table(&run.all, group, load, &subjects);
            if !table.is_empty() {
                let text = format!("{}\n{table}", std::mem::take(&mut heading));
                print!("{text}");
                run.tables += &text;
            }
            sound(&run.all)?;
        }
    }
    for group in groups {
        for subject in group.subjects {
            let note = drivers.lacks(subject).map(|why| format!("Left out, {}: {why}.\n", subject.name));
            if let Some(note) = note.filter(|note| !run.tables.contains(note)) {
                run.tables += &format!("\n{note}");
            }
        }
    }
    Ok(run)
}

/// The rounds are interleaved, so that a slow minute hits all subjects alike.
fn measure_one_load(
    drivers: &Drivers,
    load: &'static Load,
    subjects: &[&'static Subject],
    times: &Times,
    run: &mut Run,
) {
    for _ in 0..times.rounds {
        for subject in subjects {
            match measure(drivers, subject, load, times) {
                Ok(figures) => run.all.add(subject.name, load.name, figures),
                Err(failure) => {
                    eprintln!("{failure}");
                    // A round without figures: the next ones stay beside those of the others.
                    run.all.add(subject.name, load.name, Figures::default());
                    run.failures.push(format!("{}, {}", subject.name, load.name));
                }
            }
        }
    }
}

/// # Errors
/// When a baseline is slow.
fn sound(all: &All) -> Result<()> {
    let rate = |subject| all.median(subject, "depth 256", "msgs_per_s");
    let (Some(tonic), Some(tcp)) = (rate(RAW_TONIC), rate(TOKIO_TCP)) else { return Ok(()) };
    if tonic >= SOUND * tcp {
        return Ok(());
    }
    let ratio = tonic / tcp;
    Err(Failure::new(format!("this run is void: {RAW_TONIC} reached {ratio:.2} × {TOKIO_TCP}"))
        .hint(format!("the baseline itself is slow below {SOUND}; is the machine busy?")))
}

fn finish(part: &str, groups: &[Group], run: &Run, quick: bool, publishing: bool) -> Result<()> {
    let mut text = run.tables.clone();
    if quick {
        text = format!("A quick run: short measurements and fewer of them; the ratios are rough.\n\n{text}");
    }
    for failed in &run.failures {
        text += &format!("\nNot measured, {failed}: it failed or hung.\n");
    }
    if part == "echo" {
        let goals = format!("\n### Goals\n\n{}", goals::table(std::slice::from_ref(&run.all)));
        print!("{goals}");
        text += &goals;
    }
    let (report, figures) = if part == "echo" { ("report", "figures") } else { (part, part) };
    keep(&format!("{report}.md"), &text)?;
    keep(&format!("{figures}.json"), &run.all.json())?;
    if publishing {
        publish::tables(part, &text)?;
        match part {
            "echo" => publish::chart("speed", &chart::bars(&run.all, groups))?,
            _ => publish::chart("growth", &chart::growth(&run.all, &GROWTH[0], &GROWTH[1]))?,
        }
    }
    match run.failures.len() {
        0 => Ok(()),
        count => Err(Failure::new(format!("{count} measurements failed, see above"))),
    }
}

/// Writes a file into target/bench.
fn keep(name: &str, text: &str) -> Result<()> {
    let folder = target().join("bench");
    fs::create_dir_all(&folder)
        .and_then(|()| fs::write(folder.join(name), text))
        .map_err(|error| Failure::new(format!("{}: {error}", folder.join(name).display())))?;
    println!("   written to {}", folder.join(name).display());
    Ok(())
}

/// Which copies of a large payload remain between two Python programs.
fn count_copies() -> Result<()> {
    let venv = Venv::ready(Needs::Tests)?;
    venv.install_wheel(Profile::Dist)?;
    process::run(process::command(venv.python()).arg("python-tests/bench/copies.py"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slow_baseline_voids_the_run() {
        let with = |tonic: u32| {
            let mut all = All::default();
            for (name, rate) in [(RAW_TONIC, tonic), (TOKIO_TCP, 1000)] {
                all.add(name, "depth 256", figures::of_line(&format!("{{\"msgs_per_s\": {rate}}}")));
            }
            sound(&all)
        };
        assert!(with(610).is_ok() && sound(&All::default()).is_ok());
        let failure = with(590).unwrap_err().to_string();
        assert!(failure.contains("void") && failure.contains("0.59"), "{failure}");
    }
}
