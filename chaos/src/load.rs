//! The calls that a program makes: bursts to one actor after another, at a fixed rate, without waiting for their ends.
//!
//! Most are small calls. Some are one-way, some large, some cancelled midway, some to be failed by the handler or
//! handled slowly.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use quark_core::{Caller, Envelope};

use crate::node::ACTOR_TYPE;
use crate::record::{Record, now};

/// How many actors there are.
const ACTORS: u32 = 60;
/// How many calls one actor gets at once, so that their order can be seen.
const BURST: u32 = 4;

/// The calls of one process.
pub(crate) struct Load {
    caller: Caller,
    record: Arc<Record>,
    /// `id:life`
    who: String,
    stopped: AtomicBool,
    made: AtomicU64,
    succeeded: AtomicU64,
    failed: AtomicU64,
}

/// One call that is about to be made.
struct Planned {
    id: String,
    actor: String,
    payload: Vec<u8>,
    timeout: Duration,
    manner: Manner,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Manner {
    OneWay,
    Cancelled,
    Method(&'static str),
}

impl Load {
    pub(crate) fn new(caller: Caller, record: Arc<Record>, who: String) -> Arc<Self> {
        Arc::new(Self {
            caller,
            record,
            who,
            stopped: AtomicBool::default(),
            made: AtomicU64::default(),
            succeeded: AtomicU64::default(),
            failed: AtomicU64::default(),
        })
    }

    pub(crate) fn stop(&self) {
        self.stopped.store(true, Ordering::Release);
    }

    /// Makes so many calls a second.
    pub(crate) async fn call_until_stopped(self: Arc<Self>, rate: f64) {
        let mut bursts = tokio::time::interval(Duration::from_secs_f64(f64::from(BURST) / rate));
        bursts.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
        let mut numbers = HashMap::<u32, u32>::new();
        while !self.stopped.load(Ordering::Acquire) {
            bursts.tick().await;
            let actor = fastrand::u32(0..ACTORS);
            for _ in 0..BURST {
                let number = numbers.entry(actor).or_default();
                *number += 1;
                self.make(self.plan(actor, *number));
            }
        }
    }

    /// Returns when no call waits for its ending.
    pub(crate) async fn all_ended(&self) {
        let mut look = tokio::time::interval(Duration::from_millis(20));
        while self.made.load(Ordering::Acquire) > self.ended() {
            look.tick().await;
        }
    }

    /// How many calls succeeded and how many failed.
    pub(crate) fn summary(&self) -> String {
        format!("{} {}", self.succeeded.load(Ordering::Acquire), self.failed.load(Ordering::Acquire))
    }

    fn ended(&self) -> u64 {
        self.succeeded.load(Ordering::Acquire) + self.failed.load(Ordering::Acquire)
    }

    fn plan(&self, actor: u32, number: u32) -> Planned {
        let actor = format!("a{actor}");
        let id = format!("{}:{actor}:{number}", self.who);
        let mut size = 64;
        let manner = match fastrand::u8(0..100) {
            0..10 => Manner::OneWay,
            10..15 => Manner::Cancelled,
            15..17 => Manner::Method("fail"),
            17..22 => Manner::Method("slow"),
            22..24 => {
                size = fastrand::usize(64 * 1024..=1024 * 1024);
                Manner::Method("echo")
            }
            _ => Manner::Method("echo"),
        };
        let mut payload = format!("{id} ").into_bytes();
        payload.resize(size.max(payload.len()), b'.');
        Planned { id, actor, payload, timeout: Duration::from_millis(fastrand::u64(1000..=5000)), manner }
    }

    fn make(self: &Arc<Self>, call: Planned) {
        let Planned { id, actor, payload, timeout, manner } = call;
        let kind = if manner == Manner::OneWay { "notify" } else { "call" };
        let (size, view) = (payload.len(), self.caller.view_version());
        self.record.write(&format!("begin {id} {kind} {} {size} {} {view}", timeout.as_millis(), now()));
        self.made.fetch_add(1, Ordering::AcqRel);
        let method = if let Manner::Method(method) = manner { method } else { "echo" };
        let load = self.clone();
        if manner == Manner::OneWay {
            let sent =
                self.caller.notify((ACTOR_TYPE, actor), method, payload).timeout(timeout).into_future();
            tokio::spawn(async move { load.ended_with(&id, sent.await.map(|()| "-".to_owned())) });
            return;
        }
        let envelope = Envelope::request(ACTOR_TYPE, actor, method, payload);
        let handle = self.caller.call_with(envelope, Some(timeout), move |result| {
            load.ended_with(&id, result.map(|reply| String::from_utf8_lossy(&reply).into_owned()));
        });
        if manner == Manner::Cancelled {
            let midway = Duration::from_millis(fastrand::u64(0..50));
            tokio::spawn(async move {
                tokio::time::sleep(midway).await;
                handle.cancel();
            });
        }
    }

    fn ended_with(&self, id: &str, result: quark_core::Result<String>) {
        let (outcome, delivered, reply) = match &result {
            Ok(reply) => ("ok", "-", reply.as_str()),
            Err(error) => (error.kind().code(), error.delivered().as_str(), "-"),
        };
        let view = self.caller.view_version();
        self.record.write(&format!("end {id} {outcome} {delivered} {} {view} {reply}", now()));
        let counter = if result.is_ok() { &self.succeeded } else { &self.failed };
        counter.fetch_add(1, Ordering::AcqRel);
    }
}
