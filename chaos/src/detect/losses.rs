//! A silo that is lost without a word: killed, stopped, cut off. How long until its actors answer elsewhere, and, where it
//! still lives, how long until it is back when the fault is over.

use std::time::Duration;

use crate::Result;
use crate::detect::cluster::{Cluster, until, with_each};
use crate::detect::figures::{Figure, Measure, shown};
use crate::detect::watch::{Answered, LIMIT, Watch, figures_of_new_owners, passed};
use crate::record::now;

const KILLED_GOAL: Duration = Duration::from_secs(5);
/// Of a silo that is stopped or cut off.
const SILENT_GOAL: Duration = Duration::from_secs(15);

pub(crate) async fn killed(cluster: &mut Cluster) -> (Vec<Figure>, Result<()>) {
    let (losses, ended) = with_each(cluster, async |cluster, silo| {
        let watch = Watch::begin(cluster, silo).await?;
        let at = now();
        cluster.silo(silo).kill().await?;
        let elsewhere = watch.answered_elsewhere(at).await?;
        watch.end().await;
        tell(cluster, silo, "killed", elsewhere, "");
        cluster.silo(silo).bring_back().await?;
        Ok(elsewhere)
    })
    .await;
    (figures_of_new_owners("killed silo", KILLED_GOAL, losses.into_iter()), ended)
}

pub(crate) async fn stopped(cluster: &mut Cluster) -> (Vec<Figure>, Result<()>) {
    const FAULT: &str = "stopped silo";
    let (losses, ended) = with_each(cluster, async |cluster, silo| {
        let watch = Watch::begin(cluster, silo).await?;
        let at = now();
        cluster.silo(silo).signal(libc::SIGSTOP)?;
        let elsewhere = watch.answered_elsewhere(at).await?;
        let continued_at = now();
        cluster.silo(silo).signal(libc::SIGCONT)?;
        let back = back(cluster, &watch, continued_at).await?;
        watch.end().await;
        tell(cluster, silo, "stopped", elsewhere, &format!("; continued, back after {}", shown(back)));
        Ok((elsewhere, back))
    })
    .await;
    let (elsewhere, back): (Vec<_>, _) = losses.into_iter().unzip();
    let mut figures = figures_of_new_owners(FAULT, SILENT_GOAL, elsewhere.into_iter());
    figures.push(without_goal(FAULT, "continued: all see it, it owns and answers", back));
    (figures, ended)
}

pub(crate) async fn cut_off(cluster: &mut Cluster) -> (Vec<Figure>, Result<()>) {
    const FAULT: &str = "cut-off silo";
    let (losses, ended) = with_each(cluster, async |cluster, silo| {
        let watch = Watch::begin(cluster, silo).await?;
        let at = now();
        let cut = cluster.cut_off(silo)?;
        let (elsewhere, isolated) = tokio::join!(watch.answered_elsewhere(at), isolated(cluster, silo, at));
        let (elsewhere, isolated) = (elsewhere?, isolated?);
        let healed_at = now();
        drop(cut);
        let back = back(cluster, &watch, healed_at).await?;
        watch.end().await;
        let rest = format!("; says isolated after {}; healed, back after {}", shown(isolated), shown(back));
        tell(cluster, silo, "cut off", elsewhere, &rest);
        Ok((elsewhere, (isolated, back)))
    })
    .await;
    let (elsewhere, rest): (Vec<_>, Vec<_>) = losses.into_iter().unzip();
    let (isolated, back) = rest.into_iter().unzip();
    let mut figures = figures_of_new_owners(FAULT, SILENT_GOAL, elsewhere.into_iter());
    figures.push(without_goal(FAULT, "says `isolated`", isolated));
    figures.push(without_goal(FAULT, "healed: all see all, it owns and answers", back));
    (figures, ended)
}

/// How long a silo took to say that it is cut off.
async fn isolated(cluster: &Cluster, silo: usize, since: u64) -> Result<Option<Duration>> {
    let said = until(LIMIT, async || {
        let answer = cluster.members()[silo].ask("health")?.answer().await?;
        Ok((answer.found == "isolated").then_some(answer.at))
    });
    Ok(said.await?.map(|at| passed(since, at)))
}

/// How long it took until everybody sees everybody and the silo answers for its actors again.
async fn back(cluster: &Cluster, watch: &Watch, since: u64) -> Result<Option<Duration>> {
    let whole = cluster.whole(LIMIT).await?.map(|at| passed(since, at));
    let answers = watch.answered_by_it(since).await?.all();
    Ok(whole.zip(answers).map(|(whole, answers)| whole.max(answers)))
}

fn without_goal(fault: &'static str, what: &'static str, times: Vec<Option<Duration>>) -> Figure {
    Figure { fault, what, measure: Measure::Times { goal: None, times } }
}

fn tell(cluster: &Cluster, silo: usize, fault: &str, answered: Answered, rest: &str) {
    let id = cluster.members()[silo].id();
    let (silos, client) = (shown(answered.silos), shown(answered.client));
    println!("  {id} {fault}: new owners answer silos after {silos}, the client after {client}{rest}");
}
