//! A network namespace: a loopback interface that nobody else hears, and one that loses packets.

use std::ffi::OsString;
use std::sync::atomic::{AtomicU32, Ordering};

use crate::process::{self, Result, step};

/// Of a hundred packets, lost.
const LOSS: &str = "1%";
/// The same for iptables.
const PROBABILITY: &str = "0.01";

const HINT: &str = "run it as root on Linux, with iproute2 and iptables installed";

/// The namespace; it goes with this.
pub(super) struct Network {
    name: String,
}

impl Network {
    /// One that has its loopback interface and nothing else.
    pub(super) fn alone() -> Result<Self> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let network = Self { name: format!("quark-bench-{}-{number}", std::process::id()) };
        run(&["ip", "netns", "add", &network.name]).map_err(|failure| failure.hint(HINT))?;
        network.inside(&["ip", "link", "set", "lo", "up"])?;
        Ok(network)
    }

    /// Packets of TCP are as large as the sender makes them here, which is up to 64 KiB, and those of QUIC too: what is
    /// sent at once is lost at once.
    pub(super) fn lossy() -> Result<Self> {
        let network = Self::alone()?;
        let netem = ["tc", "qdisc", "add", "dev", "lo", "root", "netem", "loss", LOSS];
        if network.inside(&netem).is_ok() {
            step("packets are lost by netem", || Ok(()))?;
            return Ok(network);
        }
        let statistic = ["-m", "statistic", "--mode", "random", "--probability", PROBABILITY, "-j", "DROP"];
        let rule = [&["iptables", "-A", "INPUT", "-i", "lo"][..], &statistic].concat();
        network.inside(&rule).map_err(|failure| failure.hint(HINT))?;
        step("packets are lost by iptables: this kernel has no netem", || Ok(()))?;
        Ok(network)
    }

    /// What comes before a command that runs in it.
    pub(super) fn words(&self) -> [OsString; 4] {
        ["ip", "netns", "exec", &self.name].map(OsString::from)
    }

    fn inside(&self, words: &[&str]) -> Result<()> {
        run(&[&["ip", "netns", "exec", &self.name][..], words].concat())
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        let _ = run(&["ip", "netns", "delete", &self.name]);
    }
}

fn run(words: &[&str]) -> Result<()> {
    process::run_quietly(process::command(words[0]).args(&words[1..])).map(drop)
}
