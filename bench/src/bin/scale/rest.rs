//! A time in which nothing changes, and what this process takes.

use std::time::{Duration, Instant};

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
