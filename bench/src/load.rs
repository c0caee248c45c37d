//! What a caller is told to do, the same words for every driver.

use std::time::Duration;

/// The words that follow `call SUBJECT`.
#[derive(Clone)]
pub(crate) struct Load {
    /// `NAME@ADDRESS,…`, or `-` where nobody serves.
    pub(crate) targets: String,
    /// Calls in flight.
    pub(crate) depth: usize,
    /// Bytes of each payload.
    pub(crate) payload: usize,
    /// Actors that are called in turn.
    pub(crate) actors: usize,
    pub(crate) measured: Duration,
    /// Calls in this time are not counted: connections are made, caches and allocators warm up.
    pub(crate) warm_up: Duration,
    /// The processes that serve.
    pub(crate) servers: Vec<String>,
}

impl Load {
    /// `TARGETS DEPTH PAYLOAD ACTORS SECONDS WARM-UP PID,…`
    pub(crate) fn of(words: &[&str]) -> Option<Self> {
        let [targets, depth, payload, actors, seconds, warm_up, pids] = *words else { return None };
        Some(Self {
            targets: targets.to_owned(),
            depth: depth.parse().ok()?,
            payload: payload.parse().ok()?,
            actors: actors.parse().ok()?,
            measured: Duration::from_secs_f64(seconds.parse().ok()?),
            warm_up: Duration::from_secs_f64(warm_up.parse().ok()?),
            servers: pids.split(',').filter(|pid| *pid != "-").map(str::to_owned).collect(),
        })
    }

    /// The address of the only target.
    pub(crate) fn address(&self) -> &str {
        self.targets.rsplit('@').next().unwrap_or_default()
    }

    /// The ids of the actors.
    pub(crate) fn ids(&self) -> Vec<String> {
        (0..self.actors).map(|number| format!("device-{:07}", 1234 + number)).collect()
    }
}
