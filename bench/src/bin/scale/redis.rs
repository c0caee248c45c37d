//! A cluster over Redis: a start of all at once, a time of rest, changes, and a silo of the original Quark.

use std::time::{Duration, Instant};

use quark_core::MembershipUrl;

use crate::agents::{self, Agent};
use crate::changes::{self, Meter};
use crate::info::Usage;
use crate::rest;
use crate::server::Server;
use crate::{Figures, Result};

/// Until those who started at once have done what follows a start: a heartbeat and some.
const SETTLING: Duration = Duration::from_secs(15);
/// The same for a change.
const AFTER_A_CHANGE: Duration = Duration::from_secs(11);
/// How long an original silo's row lives, and how often it writes it.
const ORIGINAL_TTL: &str = "30";
const ORIGINAL_HEARTBEAT: Duration = Duration::from_secs(10);

pub(crate) async fn run(server: &str, count: usize, foreign: usize, seconds: u64) -> Result<Figures> {
    let mut figures = Figures::new();
    rest::ring(count, &mut figures)?;
    let mut server = Server::start(server)?;
    server.fill(foreign)?;
    let url: MembershipUrl = server.url().parse()?;
    let url = |_: &str| url.clone();

    let (before, memory, began) = (server.usage()?, rest::memory(), Instant::now());
    let agents = agents::start_all((0..count).map(|number| format!("silo-{number:04}")), url).await?;
    let started = began.elapsed().as_secs_f64();
    let all_seen = agents::watch(&agents, move |view| view.silos().len() == count).await?;
    let mut add = |name: &str, value: f64| {
        figures.insert(name.to_owned(), value);
    };
    add("start_s", started);
    if let Some(last) = all_seen {
        add("start_seen_s", (last - began).as_secs_f64());
    }
    eprintln!("started {count} in {started:.1} s, all seen: {:?}", all_seen.map(|last| last - began));
    tokio::time::sleep(SETTLING).await;
    let used = server.usage()?.since(&before);
    add("start_commands", used.commands());
    add("start_views", agents::views(&agents) as f64 / count as f64);
    add("agent_kib", (rest::memory() - memory) / count as f64);
    add("start_slow", server.slow_commands()?);
    used.add_to(&mut figures, "start", 1.0);

    let before = server.usage()?;
    let passed = rest::pass(&agents, seconds, &mut figures).await?;
    let resting = server.usage()?.since(&before);
    resting.add_to(&mut figures, "rest", passed);
    figures.insert("connections".to_owned(), resting.clients - 1.0);
    figures.insert("rest_slow".to_owned(), server.slow_commands()?);
    eprintln!("rest: {:.0} commands a second", resting.commands() / passed);

    let mut meter =
        RedisMeter { server: &mut server, resting: &resting, passed, before: Usage::default(), at: began };
    changes::measure(&agents, url, &mut meter, AFTER_A_CHANGE, &mut figures).await?;
    originals(&mut server, &agents, &mut figures).await?;
    Ok(figures)
}

struct RedisMeter<'a> {
    server: &'a mut Server,
    resting: &'a Usage,
    passed: f64,
    before: Usage,
    at: Instant,
}

impl Meter for RedisMeter<'_> {
    fn begin(&mut self) -> Result<()> {
        (self.before, self.at) = (self.server.usage()?, Instant::now());
        Ok(())
    }

    fn end(&mut self) -> Result<Vec<(&'static str, f64)>> {
        let used = self.server.usage()?.since(&self.before);
        Ok(used.beyond(self.resting, self.passed, self.at.elapsed().as_secs_f64()).to_vec())
    }
}

/// A program that knows only the original's two kinds of keys: once its word is heard, once it is not.
async fn originals(server: &mut Server, agents: &[Agent], figures: &mut Figures) -> Result<()> {
    for (id, is_heard, name) in
        [("original-1", true, "original_heard_s"), ("original-2", false, "original_unheard_s")]
    {
        let listening = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
        let port = listening.local_addr()?.port();
        let row = format!(
            "{{\"siloId\":\"{id}\",\"address\":\"127.0.0.1\",\"port\":{port},\"status\":1,\
             \"lastHeartbeat\":\"2026-01-01T00:00:00Z\"}}"
        );
        let key = format!("quark:silo:{id}");
        let began = Instant::now();
        let mut seen = agents::watch(agents, move |view| view.silo(id).is_some());
        server.ask(&["SET", &key, &row, "EX", ORIGINAL_TTL])?;
        if is_heard {
            server.ask(&["PUBLISH", "quark:membership", &format!("join:{id}")])?;
        }
        let mut beats = tokio::time::interval(ORIGINAL_HEARTBEAT);
        let last = loop {
            tokio::select! {
                seen = &mut seen => break seen?,
                _ = beats.tick() => drop(server.ask(&["SET", &key, &row, "EX", ORIGINAL_TTL])?),
                _ = listening.accept() => {}
            }
        };
        eprintln!("{name}: {:?}", last.map(|last| last - began));
        if let Some(last) = last {
            figures.insert(name.to_owned(), (last - began).as_secs_f64());
        }
    }
    Ok(())
}
