//! The course of `chaos`: a cluster for each kind of membership, its faults, and the verdict over its ledgers.

use std::fs::{self, File};
use std::io::BufReader;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use crate::Result;
use crate::cluster::{Cluster, Programs, SILOS};
use crate::ledger::Ledger;
use crate::plan::{self, Planned};
use crate::process::fresh_folder;
use crate::report::{self, Outcome};
use crate::rules;
use crate::site::Meeting;

/// How many silos may suffer at once.
const MOST_AT_ONCE: u32 = 2;
/// How long the cluster runs before the first fault, and after the last.
const CALM: Duration = Duration::from_secs(4);

/// What to do.
pub(crate) struct Order {
    pub(crate) programs: Programs,
    pub(crate) redis: String,
    pub(crate) folder: PathBuf,
    pub(crate) faults: usize,
    pub(crate) seed: u64,
    pub(crate) meetings: Vec<Meeting>,
    /// The networks that are spoken, with TLS; without TLS when there is none.
    pub(crate) transport: Option<String>,
}

pub(crate) async fn run(order: &Order) -> Result<()> {
    let folder = order.folder.join(order.seed.to_string());
    println!("seed {} (the same faults again: --seed {})", order.seed, order.seed);
    let mut outcomes = Vec::new();
    for (number, meeting) in order.meetings.iter().enumerate() {
        // An odd one goes to the first.
        let count = (order.faults + order.meetings.len() - 1 - number) / order.meetings.len();
        let planned = plan::plan(order.seed, count, SILOS.len(), *meeting == Meeting::Redis);
        let folder = folder.join(meeting.name());
        fresh_folder(&folder)?;
        println!("== {count} faults, membership by {}", meeting.name());
        outcomes.push(one_cluster(order, *meeting, &planned, &folder).await?);
    }
    let broken = report::print(&outcomes);
    if broken == 0 {
        let _ = fs::remove_dir_all(&folder);
        return Ok(());
    }
    Err(format!("{broken} rules broken; ledgers and logs are in {}", folder.display()).into())
}

async fn one_cluster(order: &Order, meeting: Meeting, planned: &[Planned], folder: &Path) -> Result<Outcome> {
    let cluster = Rc::new(
        Cluster::start(meeting, &order.programs, &order.redis, folder, order.transport.as_deref()).await?,
    );
    tokio::time::sleep(CALM).await;
    suffer_all(&cluster, planned).await;
    tokio::time::sleep(CALM).await;
    let (interference, problems) = cluster.end().await;
    let ledger = read_ledgers(cluster.folder())?;
    let broken = rules::check(&ledger, &interference);
    let faults = planned.iter().map(|planned| planned.fault.kind()).collect();
    Ok(Outcome { meeting, ledger, faults, broken, problems })
}

/// Faults begin in the order of the plan, each when its silos have recovered and few enough others suffer.
async fn suffer_all(cluster: &Rc<Cluster>, planned: &[Planned]) {
    let places = Arc::new(Semaphore::new(MOST_AT_ONCE as usize));
    let mut running = JoinSet::new();
    for Planned { after, fault } in planned {
        tokio::time::sleep(*after).await;
        let silos = fault.silos();
        let count = u32::try_from(silos.len()).expect("a fault has few silos");
        let permit = places.clone().acquire_many_owned(count).await.expect("it is never closed");
        let mut held = Vec::new();
        for silo in silos {
            held.push(cluster.silos[*silo].clone().lock_owned().await);
        }
        let suffering = cluster.clone().suffer(*fault, held);
        running.spawn_local(async move {
            suffering.await;
            drop(permit);
        });
    }
    while let Some(ended) = running.join_next().await {
        if let Err(error) = ended {
            cluster.problem(format!("a fault could not be made: {error}"));
        }
    }
}

fn read_ledgers(folder: &Path) -> Result<Ledger> {
    let mut ledger = Ledger::default();
    let mut files: Vec<PathBuf> = fs::read_dir(folder)?.flatten().map(|entry| entry.path()).collect();
    files.sort();
    for file in files.iter().filter(|file| file.extension().is_some_and(|kind| kind == "ledger")) {
        ledger
            .read(BufReader::new(File::open(file)?))
            .map_err(|error| format!("{}: {error}", file.display()))?;
    }
    Ok(ledger)
}
