//! A time in which nothing changes, and what this process takes.

use std::time::{Duration, Instant};

use quark_core::{DEFAULT_VIRTUAL_NODES, HashRing, SiloId};

use crate::agents::{Agent, views};
use crate::usage::{cpu_seconds, memory_kib};
use crate::{Figures, Result};

/// Lets so much time pass, and adds what the agents used of the machine and how many views they published, which should be
/// none. Returns the seconds.
pub(crate) async fn pass(agents: &[Agent], seconds: u64, figures: &mut Figures) -> Result<f64> {
    let (began, cpu, views_before) = (Instant::now(), cpu_seconds("self"), views(agents));
    tokio::time::sleep(Duration::from_secs(seconds)).await;
    let passed = began.elapsed().as_secs_f64();
    let count = agents.len() as f64;
    figures.insert("agent_cpu".to_owned(), (cpu_seconds("self") - cpu) / passed / count);
    figures.insert("rest_views".to_owned(), (views(agents) - views_before) as f64);
    Ok(passed)
}

/// What this process has of memory, in KiB.
pub(crate) fn memory() -> f64 {
    memory_kib("self", "VmRSS")
}

/// Adds what the ring of so many silos takes, which is the same at each of them: to be made, to be changed by one silo, and
/// of memory.
pub(crate) fn ring(count: usize, figures: &mut Figures) -> Result<()> {
    const COPIES: usize = 16;
    let silos: Vec<SiloId> =
        (0..count).map(|number| format!("silo-{number:04}").parse()).collect::<quark_core::Result<_>>()?;
    let weighted = || silos.iter().map(|id| (id.clone(), DEFAULT_VIRTUAL_NODES));
    let mut rings = vec![HashRing::of(weighted())];
    let (before, began) = (memory(), Instant::now());
    rings.extend((0..COPIES).map(|_| HashRing::of(weighted())));
    let each = |since: Instant| since.elapsed().as_secs_f64() * 1e3 / COPIES as f64;
    figures.insert("ring_made_ms".to_owned(), each(began));
    figures.insert("ring_kib".to_owned(), (memory() - before) / COPIES as f64);
    let began = Instant::now();
    for ring in rings.iter_mut().skip(1) {
        ring.add("comer", DEFAULT_VIRTUAL_NODES)?;
    }
    figures.insert("ring_changed_ms".to_owned(), each(began));
    Ok(())
}
