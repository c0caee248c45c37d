//! One silo joins, leaves and dies, in turn: when the last of the others has it in its view.

use std::time::{Duration, Instant};

use quark_core::MembershipUrl;

use crate::agents::{Agent, views, watch};
use crate::{Figures, Result};

/// How often each is done.
const ROUNDS: usize = 2;

/// What measures a change beside how long it takes: told when one begins and when what follows it is over.
pub(crate) trait Meter {
    fn begin(&mut self) -> Result<()>;
    /// So many more of each thing than without the change.
    fn end(&mut self) -> Result<Vec<(&'static str, f64)>>;
}

#[derive(Clone, Copy)]
enum Change {
    Join,
    Leave,
    Kill,
}

/// Adds `join_s`, `leave_s` and `kill_s`, the longest of some rounds, and what else is measured as the median.
pub(crate) async fn measure(
    agents: &[Agent],
    url: impl Fn(&str) -> MembershipUrl,
    meter: &mut impl Meter,
    after: Duration,
    figures: &mut Figures,
) -> Result<()> {
    let rounds =
        [Change::Join, Change::Leave, Change::Join, Change::Kill].into_iter().cycle().take(4 * ROUNDS);
    let mut comer = None;
    let mut all = Vec::new();
    for (number, change) in rounds.enumerate() {
        let id = format!("comer-{}", number / 2);
        meter.begin()?;
        let views_before = views(agents);
        let is_there = matches!(change, Change::Join);
        let (looked_for, began) = (id.clone(), Instant::now());
        let seen = watch(agents, move |view| view.silo(&looked_for).is_some() == is_there);
        match (change, comer.take()) {
            (Change::Join, _) => comer = Some(Agent::start(id.clone(), url(&id)).await?),
            (Change::Leave, Some(agent)) => Agent::leave(agent).await?,
            (Change::Kill, Some(agent)) => Agent::die(agent).await,
            _ => return Err("nobody is there to leave".into()),
        }
        let took = seen.await?.map(|last| (last - began).as_secs_f64());
        tokio::time::sleep(after).await;
        let name = match change {
            Change::Join => "join",
            Change::Leave => "leave",
            Change::Kill => "kill",
        };
        eprintln!("{name} {id}: {took:?} s");
        let mut measured = meter.end()?;
        measured.push(("views", (views(agents) - views_before) as f64 / agents.len() as f64));
        all.push((name, took, measured));
    }
    for name in ["join", "leave", "kill"] {
        let of_name = || all.iter().filter(|(one, ..)| *one == name);
        // One that never came is no figure.
        if of_name().all(|(_, took, _)| took.is_some()) {
            let longest = of_name().filter_map(|(_, took, _)| *took).fold(0.0, f64::max);
            figures.insert(format!("{name}_s"), longest);
        }
        for (at, (what, _)) in all[0].2.iter().enumerate() {
            let mut values: Vec<f64> = of_name().map(|(_, _, measured)| measured[at].1).collect();
            values.sort_by(f64::total_cmp);
            figures.insert(format!("{name}_{what}"), values[values.len() / 2]);
        }
    }
    Ok(())
}
