//! What Redis says of itself in INFO, as differences between two times. Pure.

use std::collections::BTreeMap;

use crate::Figures;

/// What it used since its start.
#[derive(Clone, Debug, Default)]
pub(crate) struct Usage {
    /// How often each command was called, also by scripts.
    calls: BTreeMap<String, f64>,
    cpu_seconds: f64,
    bytes_in: f64,
    bytes_out: f64,
    pub(crate) clients: f64,
}

/// The commands of whoever measures.
const OWN: [&str; 6] = ["info", "slowlog|len", "slowlog|reset", "mset", "slowlog", "command"];

impl Usage {
    /// Out of the text of `INFO all`.
    pub(crate) fn of(info: &str) -> Self {
        let mut usage = Self::default();
        for (name, value) in info.lines().filter_map(|line| line.trim_end().split_once(':')) {
            let number = || value.parse().unwrap_or(0.0);
            match name {
                "used_cpu_sys" | "used_cpu_user" => usage.cpu_seconds += number(),
                "total_net_input_bytes" => usage.bytes_in = number(),
                "total_net_output_bytes" => usage.bytes_out = number(),
                "connected_clients" => usage.clients = number(),
                _ => {
                    let calls = value.strip_prefix("calls=").and_then(|rest| rest.split(',').next());
                    if let (Some(command), Some(calls)) = (name.strip_prefix("cmdstat_"), calls) {
                        usage.calls.insert(command.to_owned(), calls.parse().unwrap_or(0.0));
                    }
                }
            }
        }
        usage
    }

    /// What was used since `before`.
    pub(crate) fn since(&self, before: &Self) -> Self {
        let calls =
            self.calls.iter().filter(|(name, _)| !OWN.contains(&name.as_str())).map(|(name, calls)| {
                (name.clone(), calls - before.calls.get(name).copied().unwrap_or_default())
            });
        Self {
            calls: calls.filter(|(_, calls)| *calls > 0.0).collect(),
            cpu_seconds: self.cpu_seconds - before.cpu_seconds,
            bytes_in: self.bytes_in - before.bytes_in,
            bytes_out: self.bytes_out - before.bytes_out,
            clients: self.clients,
        }
    }

    pub(crate) fn commands(&self) -> f64 {
        self.calls.values().sum()
    }

    /// What is above what `rate`, used in so many seconds, lets expect of so many others.
    pub(crate) fn beyond(&self, rate: &Self, rate_seconds: f64, seconds: f64) -> [(&'static str, f64); 3] {
        let beyond = |mine: f64, of_rate: f64| (mine - of_rate * seconds / rate_seconds).max(0.0);
        [
            ("commands", beyond(self.commands(), rate.commands())),
            ("bytes", beyond(self.bytes_in + self.bytes_out, rate.bytes_in + rate.bytes_out)),
            ("cpu_s", beyond(self.cpu_seconds, rate.cpu_seconds)),
        ]
    }

    /// By the second.
    pub(crate) fn add_to(&self, figures: &mut Figures, prefix: &str, seconds: f64) {
        let mut add = |name: &str, value: f64| {
            figures.insert(format!("{prefix}_{name}"), value / seconds);
        };
        add("commands", self.commands());
        add("cpu", self.cpu_seconds);
        add("bytes_in", self.bytes_in);
        add("bytes_out", self.bytes_out);
        self.calls.iter().for_each(|(command, calls)| add(&format!("command_{command}"), *calls));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_used_is_the_difference_and_leaves_out_whoever_measures() {
        let before = Usage::of(
            "# CPU\r\nused_cpu_sys:1.5\r\nused_cpu_user:0.5\r\n\
             cmdstat_get:calls=10,usec=5,usec_per_call=0.5\r\ncmdstat_info:calls=1,usec=1\r\n",
        );
        let after = Usage::of(
            "total_net_input_bytes:70\r\nconnected_clients:3\r\nused_cpu_sys:2.5\r\nused_cpu_user:0.5\r\n\
             cmdstat_get:calls=25,usec=5\r\ncmdstat_info:calls=2,usec=1\r\ncmdstat_client|id:calls=2,usec=1\r\n",
        );
        let used = after.since(&before);
        assert_eq!((used.commands(), used.cpu_seconds, used.bytes_in, used.clients), (17.0, 1.0, 70.0, 3.0));
        let mut figures = Figures::new();
        used.add_to(&mut figures, "rest", 5.0);
        assert_eq!((figures["rest_commands"], figures["rest_command_get"]), (3.4, 3.0));
        assert!(!figures.contains_key("rest_command_info"));
        assert_eq!(used.beyond(&used, 10.0, 5.0)[0], ("commands", 8.5));
    }
}
