//! `bench --memory`: what links, waiting calls and silos of the view take, and a million calls at once.

use std::process::Command;
use std::time::Duration;

use super::figures::{All, Figures};
use super::measure::{Running, call, serve};
use super::{drivers, keep, publish, report};
use crate::process::{self, Result, step, target};
use crate::python::{Needs, Profile, Venv};

/// A million calls on a busy machine.
const LIMIT: Duration = Duration::from_secs(300);

pub(super) fn run(quick: bool, publishing: bool) -> Result<()> {
    drivers::build_rust()?;
    let venv = Venv::ready(Needs::Tests)?;
    venv.install_wheel(Profile::Dist)?;
    let others = report::others();
    let many = if quick { 200_000 } else { 1_000_000 };
    let links = step("links", || links(200, 0))?;
    let view = step("a view of 1,000 silos, 20 of them linked", || self::links(20, 980))?;
    let waiting = step("calls that wait", || pending(1, 100_000))?;
    let million = step("calls in flight to 8 silos", || pending(8, many))?;
    let [bare, blocking, silo] = step("Python", || python(&venv))?;

    let mut text = format!("{}; {others}.\n\n", report::machine());
    text += "| what | measured | goal | met? |\n|---|---|---|---|\n";
    let mut row = |what: &str, value: f64, unit: &str, goal: Option<f64>| {
        let met = goal.map_or(" | ", |goal| if value <= goal { " | yes" } else { " | **no**" });
        let goal = goal.map_or(String::new(), |goal| format!("≤ {goal} {unit}"));
        text += &format!("| {what} | {value:.1} {unit} | {goal}{met} |\n");
    };
    row("an idle link, at the silo that dials", links["dialled_kib"], "KiB", Some(64.0));
    row("an idle link, at the silo that accepts", links["accepted_kib"], "KiB", Some(64.0));
    row("a silo in the view", view["view_kib"] / 1000.0, "KiB", None);
    row("a process that sees 1,000 silos and links to 20", view["process_kib"] / 1024.0, "MiB", Some(64.0));
    row("a call that waits, at its caller", waiting["caller_bytes"], "bytes", None);
    row("a request that waits, at the silo that has it", waiting["server_bytes"], "bytes", None);
    row(
        "an idle silo in blocking Python, over the bare interpreter",
        (blocking - bare) / 1024.0,
        "MiB",
        Some(15.0),
    );
    row(
        "an idle silo in asyncio's Python, over the bare interpreter",
        (silo - bare) / 1024.0,
        "MiB",
        Some(15.0),
    );
    text += &format!(
        "\n{} calls of 64 B in flight from one process to 8 silos in processes of their own: all held after {:.1} s, all ended \
         after {:.1} s; peak {:.0} MiB at the caller and {:.0} MiB at the eight together.\n",
        report::thousands(million["calls"]),
        million["all_held_s"],
        million["all_ended_s"],
        million["caller_peak_kib"] / 1024.0,
        million["server_peak_kib"] / 1024.0
    );
    print!("\n{text}");
    keep("memory.md", &text)?;
    let mut all = All::default();
    for (name, figures) in [("links", links), ("view", view), ("waiting", waiting), ("million", million)] {
        all.add(name, "memory", figures);
    }
    keep("memory.json", &all.json())?;
    if publishing {
        publish::tables("memory", &text)?;
    }
    Ok(())
}

fn bench(words: &[&str]) -> Command {
    let mut command = process::command(target().join("dist/quark-bench"));
    command.arg("memory").args(words);
    command
}

/// So many processes with so many silos each, and their targets.
fn silos(processes: usize, each: usize) -> Result<(Vec<Running>, String)> {
    let mut running = Vec::new();
    let mut targets = Vec::new();
    for _ in 0..processes {
        let (server, told) = serve(bench(&["serve", &each.to_string()]))?;
        running.push(server);
        targets.push(told);
    }
    Ok((running, targets.join(",")))
}

fn links(linked: usize, others: usize) -> Result<Figures> {
    let (servers, targets) = silos(1, linked)?;
    call(bench(&["links", &targets, &others.to_string(), &servers[0].pid()]), LIMIT)
}

fn pending(processes: usize, calls: usize) -> Result<Figures> {
    let (servers, targets) = silos(processes, 1)?;
    let pids: Vec<String> = servers.iter().map(Running::pid).collect();
    call(bench(&["pending", &targets, &calls.to_string(), &pids.join(",")]), LIMIT)
}

/// KiB of a bare interpreter, and of one with an idle silo without asyncio and with it.
fn python(venv: &Venv) -> Result<[f64; 3]> {
    const TELL: &str = "print('{\"kib\": %s}' % next(l.split()[1] for l in open('/proc/self/status') if l.startswith('VmRSS:')))";
    const SILO: &str = "Silo('a', membership='static://', handler=lambda request: b'')";
    let blocking =
        format!("import time\nfrom quark import blocking\nwith blocking.{SILO}:\n time.sleep(0.5)\n {TELL}");
    let asyncio = format!(
        "import asyncio, quark\nasync def main():\n async with quark.{SILO}:\n  await asyncio.sleep(0.5)\n  {TELL}\n\
         asyncio.run(main())"
    );
    let kib_of = |script: &str| {
        let mut python = process::command(venv.python());
        python.args(["-c", script]);
        call(python, LIMIT).map(|figures| figures["kib"])
    };
    Ok([kib_of(TELL)?, kib_of(&blocking)?, kib_of(&asyncio)?])
}
