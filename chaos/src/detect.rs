//! The course of `detect`: how fast membership reacts to what happens to a silo, measured on five silos and a client.
//!
//! They are processes in namespaces of their own, with the membership's default settings. Everything is seen from
//! outside: programs are told to call and are asked what they see. Times begin when the fault is made and end by the
//! clock of whoever saw the end; it is the same clock.

mod calls;
mod calm;
mod cluster;
mod figures;
mod leave;
mod losses;
mod lost_row;
mod talk;
mod watch;

use std::fs;
use std::path::{Path, PathBuf};

use crate::Result;
use crate::process::fresh_folder;
use crate::site::Meeting;

pub(crate) use calm::hog;
use cluster::Cluster;
use figures::{Figure, table};

/// What to do.
pub(crate) struct Order {
    pub(crate) redis: String,
    pub(crate) folder: PathBuf,
    /// For how long nobody dies.
    pub(crate) minutes: u64,
    pub(crate) meetings: Vec<Meeting>,
    pub(crate) trials: Vec<Trial>,
}

/// One kind of measurement, in a cluster of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Trial {
    Killed,
    Stopped,
    CutOff,
    Leave,
    LostRow,
    FalseEviction,
}

impl Trial {
    const ALL: [Self; 6] =
        [Self::Killed, Self::Stopped, Self::CutOff, Self::Leave, Self::LostRow, Self::FalseEviction];

    fn name(self) -> &'static str {
        match self {
            Self::Killed => "killed",
            Self::Stopped => "stopped",
            Self::CutOff => "cut-off",
            Self::Leave => "leave",
            Self::LostRow => "lost-row",
            Self::FalseEviction => "false-eviction",
        }
    }

    /// The one of this name, or `all`.
    pub(crate) fn named(name: &str) -> Result<Vec<Self>> {
        let named: Vec<Self> =
            Self::ALL.into_iter().filter(|trial| name == "all" || name == trial.name()).collect();
        let names = Self::ALL.map(Self::name).join(", ");
        if named.is_empty() {
            Err(format!("a figure is one of {names}, not {name:?}").into())
        } else {
            Ok(named)
        }
    }

    fn is_possible(self, meeting: Meeting) -> bool {
        self != Self::LostRow || meeting == Meeting::Redis
    }
}

pub(crate) async fn run(order: &Order) -> Result<()> {
    let mut problems = Vec::new();
    let mut columns = Vec::new();
    for meeting in &order.meetings {
        let mut figures = Vec::new();
        for trial in order.trials.iter().filter(|trial| trial.is_possible(*meeting)) {
            println!("== {}, membership by {}", trial.name(), meeting.name());
            let (measured, ended) = measure(order, *trial, *meeting).await;
            figures.extend(measured);
            if let Err(error) = ended {
                println!("  {error}");
                problems.push(format!("{}, membership by {}: {error}", trial.name(), meeting.name()));
            }
        }
        columns.push((meeting.name(), figures));
    }
    println!("\n{}\n", table(&columns));
    println!("Times are least / median / most. Never: not within {} s.", watch::LIMIT.as_secs());
    judge(&columns, &problems, &order.folder)
}

/// What was measured, and whether that came to its end.
async fn measure(order: &Order, trial: Trial, meeting: Meeting) -> (Vec<Figure>, Result<()>) {
    let folder = order.folder.join(meeting.name()).join(trial.name());
    let started = async {
        fresh_folder(&folder)?;
        Cluster::start(meeting, &order.redis, &folder).await
    };
    let mut cluster = match started.await {
        Ok(cluster) => cluster,
        Err(error) => return (Vec::new(), Err(error)),
    };
    match trial {
        Trial::Killed => losses::killed(&mut cluster).await,
        Trial::Stopped => losses::stopped(&mut cluster).await,
        Trial::CutOff => losses::cut_off(&mut cluster).await,
        Trial::Leave => leave::planned_leave(&mut cluster).await,
        Trial::LostRow => lost_row::lost_row(&mut cluster).await,
        Trial::FalseEviction => calm::nobody_dies(&mut cluster, order.minutes).await,
    }
}

fn judge(columns: &[(&str, Vec<Figure>)], problems: &[String], folder: &Path) -> Result<()> {
    let missed =
        |(_, figures): &(&str, Vec<Figure>)| figures.iter().filter(|figure| figure.is_missed()).count();
    let missed: usize = columns.iter().map(missed).sum();
    for problem in problems {
        println!("not measured to the end: {problem}");
    }
    if missed == 0 && problems.is_empty() {
        let _ = fs::remove_dir_all(folder);
        return Ok(());
    }
    let broken_off = problems.len();
    let logs = folder.display();
    Err(format!("{missed} goals missed, {broken_off} measurements broken off; logs are in {logs}").into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trial_is_chosen_by_its_name() {
        assert_eq!(Trial::named("cut-off").unwrap(), [Trial::CutOff]);
        assert_eq!(Trial::named("all").unwrap(), Trial::ALL);
        assert!(Trial::named("cut").unwrap_err().to_string().contains("lost-row"));
    }
}
