//! A network namespace whose loopback loses packets.

use std::ffi::OsString;

use crate::process::{self, Result, step};

/// Of a hundred packets, lost.
const LOSS: &str = "1%";
/// The same for iptables.
const PROBABILITY: &str = "0.01";

/// The namespace; it goes with this.
pub(super) struct Network {
    name: String,
}

impl Network {
    /// Packets of TCP are as large as the sender makes them here, which is up to 64 KiB, and those of QUIC too: what is
    /// sent at once is lost at once.
    pub(super) fn new() -> Result<Self> {
        let hint = "run it as root on Linux, with iproute2 and iptables installed";
        let network = Self { name: format!("quark-bench-{}", std::process::id()) };
        run(&["ip", "netns", "add", &network.name]).map_err(|failure| failure.hint(hint))?;
        network.inside(&["ip", "link", "set", "lo", "up"])?;
        let netem = ["tc", "qdisc", "add", "dev", "lo", "root", "netem", "loss", LOSS];
        if network.inside(&netem).is_ok() {
            step("packets are lost by netem", || Ok(()))?;
            return Ok(network);
        }
        let statistic = ["-m", "statistic", "--mode", "random", "--probability", PROBABILITY, "-j", "DROP"];
        let rule = [&["iptables", "-A", "INPUT", "-i", "lo"][..], &statistic].concat();
        network.inside(&rule).map_err(|failure| failure.hint(hint))?;
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
