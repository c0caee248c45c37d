//! What a run prints at its end: how calls ended, which faults there were, which rules were broken.

use std::collections::BTreeMap;
use std::fmt::Display;

use crate::cluster::language;
use crate::ledger::{Delivered, Ledger};
use crate::rules::Broken;
use crate::site::Meeting;

/// How many broken rules are shown.
const SHOWN: usize = 20;

/// What became of one cluster.
pub(crate) struct Outcome {
    pub(crate) meeting: Meeting,
    pub(crate) ledger: Ledger,
    pub(crate) faults: Vec<&'static str>,
    pub(crate) broken: Vec<Broken>,
    pub(crate) problems: Vec<String>,
}

/// Prints everything; how many rules were broken.
pub(crate) fn print(outcomes: &[Outcome]) -> usize {
    for outcome in outcomes {
        println!("\n== membership by {}", outcome.meeting.name());
        println!("  {} faults: {}", outcome.faults.len(), counted(&outcome.faults));
        print_endings(&outcome.ledger);
        for problem in &outcome.problems {
            println!("  problem: {problem}");
        }
        for broken in outcome.broken.iter().take(SHOWN) {
            println!("  broken: {broken}");
        }
        if outcome.broken.len() > SHOWN {
            let rules: Vec<_> = outcome.broken.iter().map(|broken| broken.rule).collect();
            println!("  … and {} more; in all: {}", outcome.broken.len() - SHOWN, counted(&rules));
        }
    }
    let broken = outcomes.iter().map(|outcome| outcome.broken.len() + outcome.problems.len()).sum();
    println!("\nrules broken: {broken}");
    broken
}

/// How often each of these occurs.
fn counted<T: Ord + Display>(items: &[T]) -> String {
    let mut counts = BTreeMap::<_, usize>::new();
    for item in items {
        *counts.entry(item).or_default() += 1;
    }
    counts.iter().map(|(item, count)| format!("{item} {count}")).collect::<Vec<_>>().join(", ")
}

/// One line for each ending, one column for each language of the caller.
fn print_endings(ledger: &Ledger) {
    const LANGUAGES: [&str; 3] = ["rust", "c", "python"];
    let mut table = BTreeMap::<String, [usize; 3]>::new();
    let mut count = |caller, ending: String| {
        let column = LANGUAGES.iter().position(|one| *one == language(ledger.names.text(caller)));
        table.entry(ending).or_default()[column.expect("ids begin with a language")] += 1;
    };
    for end in &ledger.ends {
        let delivered = match end.delivered {
            Delivered::Unsaid => "",
            Delivered::No => " (not delivered)",
            Delivered::Yes => " (delivered)",
            Delivered::Unknown => " (unknown)",
        };
        count(end.call.caller, format!("{}{delivered}", ledger.names.text(end.outcome)));
    }
    for begin in &ledger.begins {
        count(begin.call.caller, "all calls".to_owned());
    }
    for run in &ledger.runs {
        count(run.on, "handlers run there".to_owned());
    }
    println!("  {:<32}{:>10}{:>10}{:>10}", "calls by ending and caller", "Rust", "C", "Python");
    for (ending, [rust, c, python]) in &table {
        println!("  {ending:<32}{rust:>10}{c:>10}{python:>10}");
    }
}
