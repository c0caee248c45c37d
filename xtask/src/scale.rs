//! `scale`: what membership costs and how fast it is, by the size of the cluster, as tables for docs/MEMBERSHIP.md.
//!
//! What it does is in quark-bench (`src/bin/scale`); here that is built, started and reported, and goals are judged.

use std::process::Command;
use std::time::Duration;

use crate::args::Args;
use crate::bench::{Figures, call, machine, others, publish, thousands};
use crate::process::{self, Failure, Result, cargo, step, target};
use crate::python::{Needs, Venv};
use crate::redis;

/// How long one measurement may take.
const LIMIT: Duration = Duration::from_secs(1_800);
/// A join or a leave reaches all within so many seconds.
const GOAL: f64 = 1.0;
/// So many times the commands for each agent, at the most, in ten times as large a cluster.
const MOST_GROWTH: f64 = 1.25;

/// One line of a table: what it is called, the figure, its unit, and what it may be at the most.
type Line = (&'static str, &'static str, &'static str, Option<f64>);

const REST: [Line; 9] = [
    ("at rest, commands a second for each agent", "each_commands", "", None),
    ("at rest, bytes a second in and out for each agent", "each_bytes", "B", None),
    ("at rest, CPU of Redis", "rest_cpu", "% of a core", None),
    ("at rest, views published", "rest_views", "", Some(0.0)),
    ("at rest, commands of 5 ms or more", "rest_slow", "", None),
    ("CPU of an agent at rest", "agent_cpu", "% of a core", None),
    ("memory of an agent without its ring", "agent_kib", "KiB", None),
    ("connections to Redis for each agent", "each_connections", "", None),
    ("start of all: the last sees all", "start_seen_s", "s", None),
];

const START: [Line; 2] = [
    ("start of all: views of each agent", "start_views", "", None),
    ("start of all: commands for each agent", "each_start", "", None),
];

const CHANGES: [Line; 12] = [
    ("join: the last sees it", "join_s", "s", Some(GOAL)),
    ("join: commands for each agent", "join_each", "", None),
    ("join: views of each agent", "join_views", "", Some(1.5)),
    ("leave: the last sees it", "leave_s", "s", Some(GOAL)),
    ("leave: commands for each agent", "leave_each", "", None),
    ("kill: the last sees it", "kill_s", "s", Some(5.0)),
    ("kill: commands for each agent", "kill_each", "", None),
    ("original silo, its word heard: the last sees it", "original_heard_s", "s", Some(GOAL)),
    ("original silo, its word lost: the last sees it", "original_unheard_s", "s", None),
    ("the ring of all: made", "ring_made_ms", "ms", None),
    ("the ring of all: one silo comes", "ring_changed_ms", "ms", None),
    ("the ring of all: memory", "ring_kib", "KiB", None),
];

const GOSSIP: [Line; 10] = [
    ("at rest, datagrams a second sent by each agent", "rest_datagrams", "", None),
    ("at rest, their bytes, with IP's", "rest_datagram_bytes", "B", None),
    ("at rest, views published", "rest_views", "", Some(0.0)),
    ("CPU of an agent at rest", "agent_cpu", "% of a core", None),
    ("memory of an agent without its ring", "agent_kib", "KiB", None),
    ("start of all: the last sees all", "start_seen_s", "s", None),
    ("start of all: views of each agent", "start_views", "", None),
    ("join: the last sees it", "join_s", "s", None),
    ("leave: the last sees it", "leave_s", "s", None),
    ("kill: the last sees it", "kill_s", "s", None),
];

pub(crate) fn run(mut args: Args) -> Result<()> {
    let agents = args.number("--agents")?.unwrap_or(1_000);
    let foreign = args.number("--foreign-keys")?.unwrap_or(5_000_000);
    let seconds = args.number("--seconds")?.unwrap_or(65);
    let simulated = args.number("--simulated")?;
    let [restarts, gossip, publishing] = ["--restarts", "--gossip", "--publish"].map(|name| args.flag(name));
    args.finish()?;
    if let Some(count) = simulated {
        return simulate(count, publishing);
    }
    step("Rust: the program that measures", || {
        process::run(&mut cargo(&[
            "build",
            "--locked",
            "--release",
            "--package",
            "quark-bench",
            "--bin",
            "scale",
        ]))
    })?;
    let others = others();
    let (part, (table, missed)) = if gossip {
        ("gossip", by_gossip(seconds)?)
    } else {
        let server = redis::find_server(&Venv::ready(Needs::Nothing)?)?;
        match restarts {
            true => ("restarts", of_restarts(&server)?),
            false => ("scale", in_redis(&server, agents, foreign, seconds)?),
        }
    };
    let text = format!("{}; {others}.\n\n{table}", machine());
    println!("\n{text}");
    if publishing {
        publish::tables_of("docs/MEMBERSHIP.md", part, &text)?;
    }
    if missed.is_empty() { Ok(()) } else { Err(Failure::new(format!("missed: {}", missed.join(", ")))) }
}

/// The test of quark-core that has a simulated store, with so many silos. Nothing in it depends on the machine.
fn simulate(count: u64, publishing: bool) -> Result<()> {
    let mut test = cargo(&["test", "--locked", "--release", "--package", "quark-core", "--lib"]);
    test.args(["a_change_costs_each_silo_of_a_large_cluster", "--", "--nocapture"]);
    test.env("QUARK_SCALE_AGENTS", count.to_string());
    let mut lines = Vec::new();
    let see = |line: &str| lines.extend(line.starts_with('|').then(|| line.to_owned()));
    let ended = process::run_and_see(&mut test, see, |_| {})?;
    if !ended.success() {
        return Err(Failure::new(format!("the simulation of {count} silos ended with {ended}")));
    }
    if publishing {
        publish::tables_of("docs/MEMBERSHIP.md", "simulated", &lines.join("\n"))?;
    }
    Ok(())
}

fn measure(words: &[String]) -> Result<Figures> {
    let mut command = process::command(target().join("release/scale"));
    command.args(words);
    step(&words.join(" "), || call(command, LIMIT))
}

fn in_redis(server: &str, agents: u64, foreign: u64, seconds: u64) -> Result<(String, Vec<String>)> {
    let few = (agents / 10).max(2);
    let mut columns = Vec::new();
    let beside_others = (foreign > 0).then_some((agents, foreign));
    for (count, keys) in [(few, 0), (agents, 0)].into_iter().chain(beside_others) {
        let words = ["redis", server, &count.to_string(), &keys.to_string(), &seconds.to_string()];
        let mut figures = measure(&words.map(str::to_owned))?;
        derive(&mut figures, count as f64);
        let beside =
            if keys > 0 { format!(" beside {} other keys", thousands(keys as f64)) } else { String::new() };
        columns.push((format!("{} agents{beside}", thousands(count as f64)), figures));
    }
    let lines: Vec<Line> = [&REST[..], &START, &CHANGES].concat();
    let (table, mut missed) = table(&lines, &columns);
    let each = |column: usize| columns[column].1.get("each_commands").copied().unwrap_or(f64::NAN);
    if each(1) > each(0) * MOST_GROWTH {
        missed.push(format!("commands of each agent: {:.2} at {few}, {:.2} at {agents}", each(0), each(1)));
    }
    Ok((table, missed))
}

fn by_gossip(seconds: u64) -> Result<(String, Vec<String>)> {
    const AGENTS: u64 = 100;
    let program = target().join("release/scale").display().to_string();
    let script = format!("ip link set lo up && exec {program} gossip {AGENTS} {seconds}");
    let mut command = Command::new("unshare");
    command.args(["--net", "sh", "-c", &script]);
    let mut figures = step("gossip, in a network namespace", || call(command, LIMIT))
        .map_err(|failure| failure.hint("run it as root on Linux, with iproute2 and iptables installed"))?;
    derive(&mut figures, AGENTS as f64);
    Ok(table(&GOSSIP, &[(format!("{AGENTS} agents"), figures)]))
}

/// Figures for each agent, and percents.
fn derive(figures: &mut Figures, count: f64) {
    let mut put = |name: &str, of: &[&str], by: f64| {
        let values: Vec<f64> = of.iter().filter_map(|name| figures.get(*name).copied()).collect();
        if values.len() == of.len() {
            figures.insert(name.to_owned(), values.iter().sum::<f64>() * by);
        }
    };
    put("each_commands", &["rest_commands"], 1.0 / count);
    put("each_bytes", &["rest_bytes_in", "rest_bytes_out"], 1.0 / count);
    put("each_connections", &["connections"], 1.0 / count);
    put("each_start", &["start_commands"], 1.0 / count);
    for name in ["join", "leave", "kill"] {
        put(&format!("{name}_each"), &[&format!("{name}_commands")], 1.0 / count);
    }
    put("rest_cpu", &["rest_cpu"], 100.0);
    put("agent_cpu", &["agent_cpu"], 100.0);
}

/// In Markdown, with what missed its goal.
fn table(lines: &[Line], columns: &[(String, Figures)]) -> (String, Vec<String>) {
    let names: String = columns.iter().map(|(name, _)| format!(" {name} |")).collect();
    let mut text = format!("| | goal |{names}\n|---|---|{}\n", "---|".repeat(columns.len()));
    let mut missed = Vec::new();
    for (what, figure, unit, goal) in lines {
        let goal_text = goal.map_or_else(String::new, |goal| format!("≤ {goal} {unit}"));
        text += &format!("| {what} | {} |", goal_text.trim());
        for (name, figures) in columns {
            let value = figures.get(*figure);
            // What was never seen misses any goal.
            let is_missed =
                value.map_or(figure.ends_with("_s"), |value| goal.is_some_and(|goal| *value > goal));
            let shown = value.map_or_else(|| "never".to_owned(), |value| format!("{} {unit}", short(*value)));
            let shown = shown.trim();
            if is_missed {
                missed.push(format!("{what}, {name}: {shown}"));
                text += &format!(" **{shown}** |");
            } else {
                text += &format!(" {shown} |");
            }
        }
        text.push('\n');
    }
    (text, missed)
}

fn short(value: f64) -> String {
    match value {
        value if value >= 100.0 => thousands(value),
        value if value >= 10.0 || value == value.trunc() => format!("{value:.0}"),
        value => format!("{value:.2}"),
    }
}

fn of_restarts(server: &str) -> Result<(String, Vec<String>)> {
    const SILOS: &str = "100";
    const FLAPPING: &str = "30";
    let figures = measure(&["restarts", server, SILOS, FLAPPING].map(str::to_owned))?;
    let value = |name: String| figures.get(&name).copied().unwrap_or_default();
    let mut text = "| | views of the client | actors moved | least possible | calls | failed, by code |\n\
                    |---|---|---|---|---|---|\n"
        .to_owned();
    let kinds = [
        ("rolling", "rolling restart"),
        ("full", "full restart"),
        ("flapping", "a silo that comes and goes"),
    ];
    for (name, what) in kinds {
        let of = |figure: &str| value(format!("{name}_{figure}"));
        let begin = format!("{name}_failed_");
        let codes: Vec<String> = figures
            .iter()
            .filter_map(|(name, count)| Some(format!("{} {count:.0}", name.strip_prefix(&begin)?)))
            .collect();
        let codes = if codes.is_empty() { "0".to_owned() } else { codes.join(", ") };
        text += &format!(
            "| {what} | {:.0} | {} | {} | {} | {codes} |\n",
            of("views"),
            thousands(of("moved")),
            thousands(of("least")),
            thousands(of("calls"))
        );
    }
    text += &format!(
        "\nViews that each silo published: {:.1} in the full restart, whose start took {:.2} s until all saw all; {:.1} for \
         each time that the one came and went.\n",
        value("full_views_of_silos".to_owned()),
        value("full_start_s".to_owned()),
        value("flapping_views_of_silos".to_owned()) / value("flapping_rounds".to_owned()).max(1.0)
    );
    let mut missed = Vec::new();
    for name in ["rolling", "flapping"] {
        let (moved, least) = (value(format!("{name}_moved")), value(format!("{name}_least")));
        // Which silo it is that comes and goes, chance weighs.
        if moved > least * 1.5 {
            missed.push(format!("{name}: {moved} moved, {least} at the least"));
        }
    }
    Ok((text, missed))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn figures(pairs: &[(&str, f64)]) -> Figures {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), *value)).collect()
    }

    #[test]
    fn a_goal_is_missed_by_more_and_by_what_was_never_seen() {
        let lines = [("join", "join_s", "s", Some(1.0)), ("views", "views", "", None)];
        let columns = [
            ("few".to_owned(), figures(&[("join_s", 0.5), ("views", 1_234.0)])),
            ("many".to_owned(), figures(&[("join_s", 1.5)])),
        ];
        let (text, missed) = table(&lines, &columns);
        assert!(
            text.contains("| join | ≤ 1 s | 0.50 s | **1.50 s** |\n| views |  | 1,234 | never |"),
            "{text}"
        );
        assert_eq!(missed, ["join, many: 1.50 s"]);
        let (_, missed) = table(&lines, &[("none".to_owned(), Figures::new())]);
        assert_eq!(missed, ["join, none: never"]);
    }

    #[test]
    fn what_each_agent_takes_is_the_whole_by_their_number() {
        let mut all = figures(&[
            ("rest_commands", 50.0),
            ("rest_bytes_in", 1.0),
            ("rest_bytes_out", 9.0),
            ("rest_cpu", 0.5),
        ]);
        derive(&mut all, 10.0);
        assert_eq!((all["each_commands"], all["each_bytes"], all["rest_cpu"]), (5.0, 1.0, 50.0));
        assert!(!all.contains_key("join_each"));
    }
}
