//! A small cluster in a simulated world: silos on a network with faults, on a clock that runs by itself.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use quark_core::{Delivered, Endpoint, Error, ErrorKind, LoopbackNetwork, Placement, Request, Result, Silo};
use tokio::time::Instant;

use crate::rules::{Call, Ending, Execution, Life, Seen};

pub(crate) const SILOS: [&str; 4] = ["a", "b", "c", "d"];

/// What a run has seen, as it goes on, and the same as text for comparing two runs.
#[derive(Clone)]
pub(crate) struct Log {
    pub(crate) seen: Arc<Mutex<Seen>>,
    pub(crate) trace: Arc<Mutex<Vec<String>>>,
    began: Instant,
}

impl Log {
    pub(crate) fn new() -> Self {
        Self { seen: Arc::default(), trace: Arc::default(), began: Instant::now() }
    }

    /// Numbers a call.
    pub(crate) fn begin(&self, call: Call) -> usize {
        let mut seen = self.seen.lock().unwrap();
        seen.calls.push(call);
        seen.calls.len() - 1
    }

    /// Notes how a call ended, or that its caller gave it up.
    pub(crate) fn end(&self, call: usize, took: Duration, ended: Option<Ending>) {
        self.note(format_args!("call {call} {ended:?}"));
        let call = &mut self.seen.lock().unwrap().calls[call];
        call.given_up = ended.is_none();
        call.endings.extend(ended.map(|ending| (took, ending)));
    }

    pub(crate) fn note(&self, what: impl std::fmt::Display) {
        let at = self.began.elapsed().as_micros();
        self.trace.lock().unwrap().push(format!("{at} {what}"));
    }
}

/// What differs from world to world.
pub(crate) struct Settings {
    cluster: String,
    lag_ms: u64,
    outbox_capacity: u32,
    inbox_capacity: usize,
    max_pending: usize,
}

impl Settings {
    pub(crate) fn choose(random: &mut fastrand::Rng, cluster: String) -> Self {
        let mut one_of = |choices: [usize; 4]| choices[random.usize(0..4)];
        Self {
            cluster,
            lag_ms: one_of([0, 0, 20, 400]) as u64,
            outbox_capacity: one_of([16_384, 16_384, 600, 8]) as u32,
            inbox_capacity: one_of([65_536, 65_536, 65_536, 3]),
            max_pending: one_of([262_144, 262_144, 262_144, 20]),
        }
    }
}

pub(crate) struct World {
    settings: Settings,
    pub(crate) network: LoopbackNetwork,
    pub(crate) log: Log,
    silos: BTreeMap<&'static str, Arc<Silo>>,
    lives: BTreeMap<&'static str, u32>,
    endpoints: BTreeMap<&'static str, Endpoint>,
}

impl World {
    pub(crate) fn new(settings: Settings, network: LoopbackNetwork, log: Log) -> Self {
        Self {
            settings,
            network,
            log,
            silos: BTreeMap::new(),
            lives: BTreeMap::new(),
            endpoints: BTreeMap::new(),
        }
    }

    /// Starts a silo, where it was before or elsewhere.
    pub(crate) async fn start(&mut self, id: &'static str, where_it_was: bool) {
        let number = self.lives.get(id).copied().unwrap_or_default() + 1;
        let life = Life { silo: id, number };
        let Settings { cluster, lag_ms, outbox_capacity, inbox_capacity, max_pending } = &self.settings;
        let (log, url) = (self.log.clone(), format!("memory://{cluster}?lag_ms={lag_ms}"));
        let builder = Silo::builder(id)
            .membership(url.parse().unwrap())
            .network(&self.network)
            .placement("Anywhere", Placement::Random)
            .configure(|config| {
                config.transport.outbox_capacity = *outbox_capacity;
                config.transport.max_pending = *max_pending;
                config.inbox_capacity = *inbox_capacity;
                if let Some(endpoint) = self.endpoints.get(id).filter(|_| where_it_was) {
                    config.listen = endpoint.clone();
                }
            })
            .handler(move |request| handle(log.clone(), life, request));
        let silo = builder.start().await.expect("the silo starts");
        self.log.note(format_args!("{id} starts its life {number}"));
        self.endpoints.insert(id, silo.endpoint().clone());
        self.silos.insert(id, Arc::new(silo));
        self.lives.insert(id, number);
    }

    pub(crate) fn silo(&self, id: &str) -> Option<Arc<Silo>> {
        self.silos.get(id).cloned()
    }

    pub(crate) fn life(&self, silo: &'static str) -> Life {
        Life { silo, number: self.lives[silo] }
    }

    /// Ends it without a word.
    pub(crate) fn crash(&mut self, id: &'static str) {
        self.log.note(format_args!("{id} crashes"));
        self.silos.remove(id);
    }

    /// Lets it leave. The task ends when it has.
    pub(crate) fn leave(&mut self, id: &'static str, drain: Duration) -> Option<tokio::task::JoinHandle<()>> {
        let silo = self.silos.remove(id)?;
        self.log.note(format_args!("{id} leaves within {drain:?}"));
        Some(tokio::spawn(async move { silo.stop(drain).await }))
    }

    pub(crate) fn running(&self) -> Vec<&'static str> {
        self.silos.keys().copied().collect()
    }
}

/// Does what the method says. The call's number is the correlation id.
async fn handle(log: Log, silo: Life, request: Request) -> Result<String> {
    let call: usize = request.correlation_id().parse().expect("calls are numbered");
    let envelope = request.envelope();
    let execution = Execution {
        call,
        silo,
        hops: envelope.hop_count,
        view: envelope.view_version,
        payload: request.payload().len(),
    };
    log.note(format_args!("{silo:?} runs {call} hops {}", execution.hops));
    log.seen.lock().unwrap().executions.push(execution);
    match request.method_name() {
        "slow" => tokio::time::sleep(Duration::from_millis(100)).await,
        "fail" => return Err(Error::new(ErrorKind::HandlerFailed, "as asked").with_delivered(Delivered::Yes)),
        // Nobody but the caller ends this.
        "never" => request.abandoned().await,
        _ => {}
    }
    Ok(call.to_string())
}
