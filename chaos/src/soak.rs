//! The course of `soak`: the programs of `chaos` on loopback under a fuller load, one silo that leaves or is killed now
//! and then, and a look at what the others hold.

use std::net::UdpSocket;
use std::time::{Duration, Instant};

use tokio::time::sleep;

use crate::Result;
use crate::cluster::Programs;
use crate::process::{Description, Process};
use crate::trend::{Sample, Slopes};

/// Those that live through; the silos come first.
const STEADY: [&str; 6] = ["rust-1", "c-1", "python-1", "rust-client", "c-client", "python-client"];
const STEADY_SILOS: usize = 3;
/// The one that leaves and is killed in turn.
const VICTIM: &str = "rust-victim";
/// Calls a second, each.
const RATE: u32 = 400;
const SAMPLE_INTERVAL: Duration = Duration::from_secs(10);
/// The victim leaves at the beginning of a minute and is killed in its middle.
const SAMPLES_BETWEEN_BLOWS: usize = 3;

pub(crate) async fn run(programs: &Programs, minutes: u64) -> Result<()> {
    let gossip = free_endpoints(STEADY_SILOS)?;
    let describe = |id: &str, own: Option<&String>| {
        let seeds: Vec<String> =
            gossip.iter().filter(|seed| Some(*seed) != own).map(|seed| format!("seed={seed}")).collect();
        let bind = own.map_or("127.0.0.1:0", String::as_str);
        Description {
            id: id.to_owned(),
            is_client: id.ends_with("client"),
            program: programs.of(id),
            place: None,
            url: format!("gossip://{bind}?{}", seeds.join("&")),
            cluster: format!("soak-{}", std::process::id()),
            folder: None,
            security: Vec::new(),
            rate: Some(RATE),
        }
    };
    let mut steady: Vec<Process> = STEADY
        .iter()
        .enumerate()
        .map(|(number, id)| Process::new(describe(id, gossip.get(number))))
        .collect();
    let mut victim = Process::new(describe(VICTIM, None));
    for process in steady.iter_mut().chain([&mut victim]) {
        process.start().await?;
    }
    println!("{} processes, {} calls/s, {minutes} min", STEADY.len() + 1, RATE * (STEADY.len() as u32 + 1));

    let series = sample_for(Duration::from_secs(minutes * 60), &mut steady, &mut victim).await?;

    // All are quiet before the first leaves, so that nobody calls into a cluster that is going away.
    let mut total = (0, 0);
    for process in steady.iter_mut().chain([&mut victim]) {
        let (succeeded, failed) = process.quiet().await?;
        total = (total.0 + succeeded, total.1 + failed);
    }
    for process in steady.iter_mut().chain([&mut victim]) {
        process.leave().await?;
    }
    println!("\n{} calls succeeded, {} failed", total.0, total.1);
    judge(&series)
}

/// Samples and blows until the time is over; the samples of each steady process.
async fn sample_for(
    lasting: Duration,
    steady: &mut [Process],
    victim: &mut Process,
) -> Result<Vec<Vec<Sample>>> {
    let began = Instant::now();
    let mut series = vec![Vec::new(); steady.len()];
    println!("MiB / threads / descriptors\n{:>7}{}", "s", STEADY.map(|id| format!("{id:>18}")).concat());
    for number in 1.. {
        sleep((SAMPLE_INTERVAL * number).saturating_sub(began.elapsed())).await;
        let mut line = format!("{:>7.0}", began.elapsed().as_secs_f64());
        for (process, samples) in steady.iter_mut().zip(&mut series) {
            if let Some(status) = process.ended() {
                return Err(format!("{} ended by itself: {status}", process.name()).into());
            }
            let pid = process.pid().ok_or_else(|| format!("{} does not run", process.name()))?;
            let sample = Sample::take(pid, began.elapsed().as_secs_f64())?;
            line += &format!("{:>10.1}{:>4}{:>4}", sample.memory, sample.threads, sample.descriptors);
            samples.push(sample);
        }
        println!("{line}");
        if began.elapsed() >= lasting {
            break;
        }
        match number as usize % (2 * SAMPLES_BETWEEN_BLOWS) {
            0 => victim.leave().await?,
            SAMPLES_BETWEEN_BLOWS => victim.kill().await?,
            _ => continue,
        }
        victim.start().await?;
    }
    Ok(series)
}

/// Prints the slopes; fails when something grows without end.
fn judge(series: &[Vec<Sample>]) -> Result<()> {
    println!("growth per hour, over the second half; at most {} MiB", Slopes::MOST_MEMORY);
    println!("  {:<16}{:>12}{:>12}{:>12}", "", "MiB", "threads", "descriptors");
    let mut growing = Vec::new();
    for (id, samples) in STEADY.iter().zip(series) {
        let slopes = Slopes::of(samples);
        println!("  {id:<16}{:>12.1}{:>12.1}{:>12.1}", slopes.memory, slopes.threads, slopes.descriptors);
        growing.extend(slopes.growing(samples).into_iter().map(|what| format!("{what} of {id}")));
    }
    if growing.is_empty() {
        println!("nothing grows");
        return Ok(());
    }
    Err(format!("growing without end: {}", growing.join(", ")).into())
}

/// Endpoints that are free now; all are held until the last is chosen.
fn free_endpoints(count: usize) -> Result<Vec<String>> {
    let sockets: Vec<UdpSocket> =
        (0..count).map(|_| UdpSocket::bind("127.0.0.1:0")).collect::<std::io::Result<_>>()?;
    sockets.iter().map(|socket| Ok(socket.local_addr()?.to_string())).collect()
}
