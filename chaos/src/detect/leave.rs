//! A silo that leaves as it should, while everybody else calls: no call may fail, and its actors have new owners soon.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use tokio::time::sleep;

use crate::Result;
use crate::detect::calls::{Call, Calls, Ending};
use crate::detect::cluster::{Cluster, callers_of_all, with_each};
use crate::detect::figures::{Figure, Measure, shown};
use crate::detect::watch::{Answered, EVERY, Watch, figures_of_new_owners};
use crate::record::now;

const FAULT: &str = "planned leave";
const GOAL: Duration = Duration::from_secs(1);
/// For how long everybody calls before the leave, and after its end.
const AROUND: Duration = Duration::from_secs(1);

pub(crate) async fn planned_leave(cluster: &mut Cluster) -> (Vec<Figure>, Result<()>) {
    let (leaves, ended) = with_each(cluster, leave).await;
    let sum = |count: fn(&Leave) -> usize| leaves.iter().map(count).sum::<usize>();
    let failed = sum(|leave| leave.failures.values().sum());
    let among = format!("of {} calls", sum(|leave| leave.made));
    let mut figures = figures_of_new_owners(FAULT, GOAL, leaves.iter().map(|leave| leave.elsewhere));
    figures.push(Figure {
        fault: FAULT,
        what: "calls that failed",
        measure: Measure::Count { happened: failed, among },
    });
    (figures, ended)
}

struct Leave {
    elsewhere: Answered,
    made: usize,
    failures: BTreeMap<String, usize>,
}

async fn leave(cluster: &mut Cluster, silo: usize) -> Result<Leave> {
    let watch = Watch::begin(cluster, silo).await?;
    let load = Calls::begin(callers_of_all(cluster.others(silo))?, EVERY);
    sleep(AROUND).await;
    let at = now();
    cluster.silo(silo).tell_to_leave()?;
    let elsewhere = watch.answered_elsewhere(at).await?;
    cluster.silo(silo).left().await?;
    sleep(AROUND).await;
    let calls = [watch.end().await, load.end().await].concat();
    let leave = Leave { elsewhere, made: calls.len(), failures: failures(&calls) };
    println!("  {} leaves: {leave}", cluster.silo(silo).id());
    cluster.silo(silo).bring_back().await?;
    Ok(leave)
}

impl fmt::Display for Leave {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Answered { silos, client } = self.elsewhere;
        write!(
            f,
            "new owners answer silos after {}, the client after {}; {} calls",
            shown(silos),
            shown(client),
            self.made
        )?;
        self.failures.iter().try_for_each(|(ending, count)| write!(f, ", {count} failed: {ending}"))
    }
}

/// How calls failed, and how many.
pub(crate) fn failures(calls: &[Call]) -> BTreeMap<String, usize> {
    let mut failures = BTreeMap::new();
    for call in calls {
        if let Ending::Failed(how) = &call.ending {
            *failures.entry(how.clone()).or_default() += 1;
        }
    }
    failures
}
