//! What was measured as Markdown.

use std::time::Duration;

use super::figures::All;
use super::table::{Group, Load, Subject};

/// One table: the subjects of a group under one load.
pub(super) fn table(all: &All, group: &Group, load: &Load, subjects: &[&Subject]) -> String {
    let is_measured = |one: &Subject| all.median(one.name, load.name, "msgs_per_s").is_some();
    let measured: Vec<&&Subject> = subjects.iter().filter(|one| !one.is_pace && is_measured(one)).collect();
    if measured.is_empty() {
        return String::new();
    }
    // At depth 1 time is what counts; it is 1 / throughput, but for the tail.
    let (figure, compared) = if load.depth == 1 { ("p50_us", "p50") } else { ("msgs_per_s", "msg/s") };
    let baselines: Vec<&&str> = group
        .baselines
        .iter()
        .filter(|name| all.median(name, load.name, figure).is_some() && measured.len() > 1)
        .collect();
    let mut text = format!(
        "**{}**\n\n| | msg/s | p50 µs | p99 µs | p99.9 µs | CPU s per 100k | peak MiB, caller + server |",
        load.name
    );
    text += &baselines.iter().map(|name| format!(" {compared} × {name} |")).collect::<String>();
    text += &format!("\n|---|{}\n", "---|".repeat(6 + baselines.len()));
    for subject in measured {
        let value = |name: &str| all.median(subject.name, load.name, name).unwrap_or_default();
        text += &format!(
            "| {} | {} | {} | {} | {} | {:.3} | {:.0} + {:.0} |",
            subject.name,
            thousands(value("msgs_per_s")),
            short(value("p50_us")),
            short(value("p99_us")),
            short(value("p999_us")),
            value("cpu_s_per_100k"),
            value("caller_kib") / 1024.0,
            value("server_kib") / 1024.0
        );
        for baseline in &baselines {
            let base = all.median(baseline, load.name, figure).unwrap_or(f64::NAN);
            text += &format!(" {:.2} |", value(figure) / base);
        }
        text.push('\n');
    }
    text
}

/// `1,234,567`.
pub(crate) fn thousands(number: f64) -> String {
    let digits = format!("{number:.0}");
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// With as many digits as say something.
fn short(number: f64) -> String {
    if number < 10.0 { format!("{number:.2}") } else { thousands(number) }
}

/// Where and how it was measured.
pub(crate) fn machine() -> String {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let cpus = read("/proc/cpuinfo");
    let model =
        cpus.lines().find_map(|line| line.strip_prefix("model name")).unwrap_or(": unknown processor");
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let rustc = crate::process::run_quietly(crate::process::command("rustc").arg("--version"));
    let rustc = rustc.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned());
    format!(
        "{}, {cores} cores, Linux {}, {}",
        model.trim_start_matches([':', '\t', ' ']),
        read("/proc/sys/kernel/osrelease").trim(),
        rustc.unwrap_or_else(|_| "rustc unknown".to_owned())
    )
}

/// What else runs: how busy the machine is while nothing of ours is.
pub(crate) fn others() -> String {
    let before = processor_times();
    std::thread::sleep(Duration::from_secs(1));
    let passed: Vec<u64> = processor_times().iter().zip(before).map(|(now, then)| now - then).collect();
    let idle: u64 = passed.iter().skip(3).take(2).sum();
    let busy = 1.0 - idle as f64 / passed.iter().sum::<u64>().max(1) as f64;
    let remark = if busy > 0.1 { ": **others used this machine**, the figures are rough" } else { "" };
    format!("{:.0} % busy in the second before it{remark}", 100.0 * busy)
}

/// Time of all cores so far: user, nice, system, idle, waiting for input and output, two kinds of interrupts, and stolen by
/// other machines.
fn processor_times() -> Vec<u64> {
    let text = std::fs::read_to_string("/proc/stat").unwrap_or_default();
    let fields = text.lines().next().unwrap_or_default().split_whitespace().skip(1).take(8);
    fields.filter_map(|field| field.parse().ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_grouped() {
        assert_eq!(thousands(7.0), "7");
        assert_eq!(thousands(123_456.4), "123,456");
        assert_eq!(thousands(1_234_567.0), "1,234,567");
        assert_eq!(short(1.234), "1.23");
    }
}
