//! Whole silos that are called all the while: a rolling restart, a full one, and one silo that comes and goes. They share this
//! process and a loopback network; membership is in Redis.
//!
//! Who owns what is followed by the client that calls, from view to view.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use quark_core::{Caller, Client, LoopbackNetwork, MembershipUrl, Request, Silo};
use tokio::task::{JoinHandle, JoinSet};

use crate::server::Server;
use crate::{Figures, Result};

const ACTORS: usize = 10_000;
const ACTOR_TYPE: &str = "Counter";
const DRAIN: Duration = Duration::from_secs(5);
const LIMIT: Duration = Duration::from_secs(60);
/// Calls a second, and how long each may take.
const CALL_PAUSE: Duration = Duration::from_millis(2);
const CALL_TIMEOUT: Duration = Duration::from_secs(5);

pub(crate) async fn run(server: &str, count: usize, seconds: u64) -> Result<Figures> {
    let server = Server::start(server)?;
    let site = Site { network: LoopbackNetwork::new(), url: server.url().parse()? };
    let mut figures = Figures::new();
    let mut silos = site.start(0..count).await?;
    let client = Client::builder().membership(site.url.clone()).network(&site.network).start().await?;
    all_see(silos.iter().map(Silo::caller).chain([client.caller()]), count).await?;
    let load = Load::begin(client.caller());

    // Each silo in turn.
    let watched = Watch::begin(client.caller(), &load);
    for number in 0..count {
        silos.remove(0).stop(DRAIN).await;
        silos.extend(site.start(number..number + 1).await?);
        all_see(silos.iter().map(Silo::caller).chain([client.caller()]), count).await?;
    }
    watched.end("rolling", &mut figures).await;
    figures.insert("rolling_least".to_owned(), 2.0 * ACTORS as f64);

    // All at once.
    let watched = Watch::begin(client.caller(), &load);
    let mut stopping = JoinSet::new();
    for silo in silos.drain(..) {
        stopping.spawn(async move { silo.stop(DRAIN).await });
    }
    while stopping.join_next().await.is_some() {}
    let began = Instant::now();
    let mut silos = site.start(0..count).await?;
    all_see(silos.iter().map(Silo::caller).chain([client.caller()]), count).await?;
    figures.insert("full_start_s".to_owned(), began.elapsed().as_secs_f64());
    let views: u64 = silos.iter().map(|silo| silo.view_version()).sum();
    figures.insert("full_views_of_silos".to_owned(), views as f64 / count as f64);
    watched.end("full", &mut figures).await;
    figures.insert("full_least".to_owned(), 2.0 * ACTORS as f64);

    // One more comes and goes every second.
    let watched = Watch::begin(client.caller(), &load);
    let views_before: u64 = silos.iter().map(|silo| silo.view_version()).sum();
    let (began, mut rounds) = (Instant::now(), 0);
    while began.elapsed() < Duration::from_secs(seconds) {
        let flapping = site.start(count..count + 1).await?;
        tokio::time::sleep(Duration::from_millis(500)).await;
        flapping[0].stop(DRAIN).await;
        tokio::time::sleep(Duration::from_millis(500)).await;
        rounds += 1;
    }
    let views: u64 = silos.iter().map(|silo| silo.view_version()).sum();
    watched.end("flapping", &mut figures).await;
    let each = |views: u64| views as f64 / count as f64;
    figures.insert("flapping_views_of_silos".to_owned(), each(views - views_before));
    figures.insert("flapping_rounds".to_owned(), f64::from(rounds));
    figures.insert("flapping_least".to_owned(), f64::from(2 * rounds) * ACTORS as f64 / (count + 1) as f64);
    load.end().await;
    client.stop(DRAIN).await;
    for silo in silos.drain(..) {
        silo.stop(Duration::ZERO).await;
    }
    Ok(figures)
}

struct Site {
    network: LoopbackNetwork,
    url: MembershipUrl,
}

impl Site {
    /// Starts these silos, all at once.
    async fn start(&self, numbers: std::ops::Range<usize>) -> Result<Vec<Silo>> {
        let mut starting = JoinSet::new();
        for number in numbers {
            let silo = Silo::builder(format!("silo-{number:03}")).membership(self.url.clone());
            let handler =
                |request: Request| async move { Ok::<_, quark_core::Error>(request.payload().clone()) };
            starting.spawn(silo.network(&self.network).handler(handler).start());
        }
        let mut silos = Vec::new();
        while let Some(started) = starting.join_next().await {
            silos.push(started??);
        }
        silos.sort_by(|one, other| one.id().cmp(other.id()));
        Ok(silos)
    }
}

async fn all_see(callers: impl Iterator<Item = &Caller>, count: usize) -> Result<()> {
    for caller in callers {
        let mut views = caller.watch();
        let seen = async { views.wait_for(|view| view.silos().len() == count).await.is_ok() };
        if !tokio::time::timeout(LIMIT, seen).await.unwrap_or(false) {
            return Err(format!("{} does not see {count} silos", caller.id()).into());
        }
    }
    Ok(())
}

/// A steady load of calls to random actors.
struct Load {
    calls: Arc<AtomicU64>,
    failed: Arc<Mutex<BTreeMap<String, u64>>>,
    over: Arc<AtomicBool>,
    task: JoinHandle<()>,
}

impl Load {
    fn begin(caller: &Caller) -> Self {
        let calls = Arc::new(AtomicU64::new(0));
        let failed: Arc<Mutex<BTreeMap<String, u64>>> = Arc::default();
        let over = Arc::new(AtomicBool::new(false));
        let (caller, counted, failures, ended) =
            (caller.clone(), calls.clone(), failed.clone(), over.clone());
        let task = tokio::spawn(async move {
            let mut ticks = tokio::time::interval(CALL_PAUSE);
            let mut random = 0_usize;
            while !ended.load(Ordering::Relaxed) {
                ticks.tick().await;
                // A step that has no divisor in common with their number goes through all of them.
                random = (random + 7_919) % ACTORS;
                let call = caller.call((ACTOR_TYPE, actor(random)), "echo", "x").timeout(CALL_TIMEOUT);
                let failures = failures.clone();
                counted.fetch_add(1, Ordering::Relaxed);
                tokio::spawn(async move {
                    if let Err(error) = call.await {
                        let mut failures = failures.lock().expect("nobody panics with it");
                        *failures.entry(error.kind().to_string()).or_default() += 1;
                    }
                });
            }
        });
        Self { calls, failed, over, task }
    }

    async fn end(self) {
        self.over.store(true, Ordering::Relaxed);
        let _ = self.task.await;
    }
}

fn actor(number: usize) -> String {
    format!("actor-{number}")
}

/// What a client sees of a change: its views, the actors that moved from one to the next, and its calls that failed.
struct Watch<'a> {
    load: &'a Load,
    calls: u64,
    failed: BTreeMap<String, u64>,
    over: Arc<AtomicBool>,
    following: JoinHandle<(u64, u64)>,
}

impl<'a> Watch<'a> {
    fn begin(caller: &Caller, load: &'a Load) -> Self {
        let over = Arc::new(AtomicBool::new(false));
        let (mut views, ended) = (caller.watch(), over.clone());
        let keys: Vec<String> = (0..ACTORS).map(|number| format!("{ACTOR_TYPE}:{}", actor(number))).collect();
        let mut view = views.borrow_and_update().clone();
        let first = view.version();
        let following = tokio::spawn(async move {
            let mut moved = 0;
            while !ended.load(Ordering::Relaxed) {
                let changed = tokio::time::timeout(Duration::from_millis(100), views.changed()).await;
                if !matches!(changed, Ok(Ok(()))) {
                    continue;
                }
                let next = views.borrow_and_update().clone();
                let (before, after) =
                    (view.ring(ACTOR_TYPE).owners(&keys), next.ring(ACTOR_TYPE).owners(&keys));
                moved += before.iter().zip(&after).filter(|(before, after)| before != after).count() as u64;
                view = next.clone();
            }
            (view.version() - first, moved)
        });
        let failed = load.failed.lock().expect("nobody panics with it").clone();
        Self { load, calls: load.calls.load(Ordering::Relaxed), failed, over, following }
    }

    /// Adds what was seen since the beginning, when the calls have had the time to end.
    async fn end(self, name: &str, figures: &mut Figures) {
        tokio::time::sleep(CALL_TIMEOUT + Duration::from_secs(1)).await;
        self.over.store(true, Ordering::Relaxed);
        let (views, moved) = self.following.await.unwrap_or_default();
        let calls = self.load.calls.load(Ordering::Relaxed) - self.calls;
        let mut add = |what: &str, value: u64| figures.insert(format!("{name}_{what}"), value as f64);
        add("views", views);
        add("moved", moved);
        add("calls", calls);
        let mut failed = 0;
        for (code, count) in &*self.load.failed.lock().expect("nobody panics with it") {
            let since = count - self.failed.get(code).copied().unwrap_or_default();
            if since > 0 {
                add(&format!("failed_{code}"), since);
                failed += since;
            }
        }
        add("failed", failed);
        eprintln!("{name}: {views} views, {moved} moved, {failed} of {calls} calls failed");
    }
}
