//! A cluster by gossip, in a network namespace of its own, where iptables counts its datagrams.

use std::process::Command;
use std::time::{Duration, Instant};

use quark_core::MembershipUrl;

use crate::agents;
use crate::changes::{self, Meter};
use crate::rest;
use crate::{Figures, Result};

const SETTLING: Duration = Duration::from_secs(10);
const AFTER_A_CHANGE: Duration = Duration::from_secs(3);
/// Where the seeds gossip.
const FIRST_PORT: usize = 7_100;
const SEEDS: usize = 3;

pub(crate) async fn run(count: usize, seconds: u64) -> Result<Figures> {
    let mut figures = Figures::new();
    rest::ring(count, &mut figures)?;
    iptables(&["-A", "OUTPUT", "-p", "udp", "-j", "ACCEPT"])?;
    let seeds: Vec<String> = (0..SEEDS).map(|seed| format!("127.0.0.1:{}", FIRST_PORT + seed)).collect();
    let url = move |id: &str| {
        // The first few are the seeds.
        let number: Option<usize> = id.strip_prefix("silo-").and_then(|number| number.parse().ok());
        let port = number.filter(|number| *number < SEEDS).map_or(0, |number| FIRST_PORT + number);
        let text = format!("gossip://127.0.0.1:{port}?seed={}", seeds.join("&seed="));
        text.parse::<MembershipUrl>().expect("a URL")
    };
    let (memory, began) = (rest::memory(), Instant::now());
    let agents = agents::start_all((0..count).map(|number| format!("silo-{number:04}")), &url).await?;
    let all_seen = agents::watch(&agents, move |view| view.silos().len() == count).await?;
    if let Some(last) = all_seen {
        figures.insert("start_seen_s".to_owned(), (last - began).as_secs_f64());
    }
    eprintln!("started {count}, all seen: {:?}", all_seen.map(|last| last - began));
    tokio::time::sleep(SETTLING).await;
    figures.insert("start_views".to_owned(), agents::views(&agents) as f64 / count as f64);
    figures.insert("agent_kib".to_owned(), (rest::memory() - memory) / count as f64);

    let before = datagrams()?;
    let passed = rest::pass(&agents, seconds, &mut figures).await?;
    let resting = (datagrams()?.0 - before.0, datagrams()?.1 - before.1);
    for (name, value) in [("datagrams", resting.0), ("datagram_bytes", resting.1)] {
        figures.insert(format!("rest_{name}"), value / passed / count as f64);
    }
    changes::measure(&agents, url, &mut NoMeter, AFTER_A_CHANGE, &mut figures).await?;
    Ok(figures)
}

/// Gossip sends the same amount whatever happens, give or take what is news.
struct NoMeter;

impl Meter for NoMeter {
    fn begin(&mut self) -> Result<()> {
        Ok(())
    }

    fn end(&mut self) -> Result<Vec<(&'static str, f64)>> {
        Ok(Vec::new())
    }
}

/// How many were sent so far in this namespace, and their bytes with the headers of IP.
fn datagrams() -> Result<(f64, f64)> {
    counted(&iptables(&["-nvxL", "OUTPUT"])?).ok_or_else(|| "iptables counts nothing".into())
}

/// The two counters of the first rule.
fn counted(listing: &str) -> Option<(f64, f64)> {
    let mut words = listing.lines().nth(2)?.split_whitespace();
    Some((words.next()?.parse().ok()?, words.next()?.parse().ok()?))
}

fn iptables(words: &[&str]) -> Result<String> {
    let output = Command::new("iptables").args(words).output()?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    Err(format!("iptables: {}", String::from_utf8_lossy(&output.stderr).trim()).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_counters_are_those_of_the_first_rule() {
        let listing = "Chain OUTPUT (policy ACCEPT 5 packets, 300 bytes)\n    pkts      bytes target     prot opt in\n      \
                       12     3456 ACCEPT     17   --  *      *\n";
        assert_eq!(counted(listing), Some((12.0, 3456.0)));
        assert_eq!(counted("Chain OUTPUT (policy ACCEPT)\n pkts bytes\n"), None);
    }
}
