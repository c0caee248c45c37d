//! A silo's row that Redis lost: how long until it is back, and whether anybody took the silo for dead.

use std::time::Duration;

use tokio::time::sleep;

use crate::Result;
use crate::detect::cluster::{Cluster, NAME, until, with_each};
use crate::detect::figures::{Figure, Measure, shown};
use crate::detect::watch::{LIMIT, passed};
use crate::record::now;
use crate::resp::{Connection, Reply};

const FAULT: &str = "lost Redis row";
const GOAL: Duration = Duration::from_secs(10);
/// For how long evictions are still looked for when the row is back.
const AFTERWARDS: Duration = Duration::from_secs(1);

pub(crate) async fn lost_row(cluster: &mut Cluster) -> (Vec<Figure>, Result<()>) {
    let (losses, ended) = with_each(cluster, async |cluster, silo| {
        let mut redis = cluster.site.redis().lock().await.connect()?;
        let id = cluster.silo(silo).id().to_owned();
        let at = now();
        lose(&mut redis, &id).await?;
        let back = until(LIMIT, async || Ok(is_there(&mut redis, &id).await?.then(now))).await?;
        let took = back.map(|back| passed(at, back));
        sleep(AFTERWARDS).await;
        let evictions = cluster.departures(at).await?.len();
        println!("  row of {id} lost: back after {}, {evictions} evictions", shown(took));
        Ok((took, evictions))
    })
    .await;
    let among = format!("with {} rows lost", losses.len());
    let (times, evictions): (_, Vec<usize>) = losses.into_iter().unzip();
    let happened = evictions.iter().sum();
    let figure = |what, measure| Figure { fault: FAULT, what, measure };
    let figures = vec![
        figure("it is back", Measure::Times { goal: Some(GOAL), times }),
        figure("evictions meanwhile", Measure::Count { happened, among }),
    ];
    (figures, ended)
}

async fn lose(redis: &mut Connection, id: &str) -> Result<()> {
    let row = redis.ask(&["DEL", &row(id)]).await?;
    let entry = redis.ask(&["ZREM", &index(), id]).await?;
    if (&row, &entry) == (&Reply::Number(1), &Reply::Number(1)) {
        return Ok(());
    }
    Err(format!("{id} had no row or no place in the index: DEL said {row:?}, ZREM {entry:?}").into())
}

/// Row and index entry, both.
async fn is_there(redis: &mut Connection, id: &str) -> Result<bool> {
    let has_row = redis.ask(&["EXISTS", &row(id)]).await? == Reply::Number(1);
    Ok(has_row && redis.ask(&["ZSCORE", &index(), id]).await? != Reply::Nothing)
}

fn row(id: &str) -> String {
    format!("{NAME}:silo:{id}")
}

fn index() -> String {
    format!("{NAME}:index")
}
