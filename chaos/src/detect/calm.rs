//! A cluster in which nobody dies: CPU hogs and delays of up to two seconds may not make anybody take a silo for dead.
//!
//! The kernel this was made for has neither netem nor filters for `tc`. So a delay is a silo that is stopped for so long,
//! or one that is cut off for so long, whose TCP streams go on by retransmission.

use std::fmt;
use std::process::Stdio;
use std::time::{Duration, Instant};

use tokio::process::{Child, Command};
use tokio::time::sleep;

use crate::Result;
use crate::detect::calls::{Call, Calls};
use crate::detect::cluster::{Cluster, Departure, SILOS, callers_of_all};
use crate::detect::figures::{Figure, Measure, shown};
use crate::detect::leave::failures;
use crate::detect::watch::passed;
use crate::process::die_with_parent;
use crate::record::now;

/// How often everybody calls, which keeps the links busy.
const EVERY: Duration = Duration::from_millis(100);
/// How long somebody may still be taken for dead after the last delay.
const AFTERWARDS: Duration = Duration::from_secs(10);
/// Delays that began so long before a departure are told with it.
const RELATED: Duration = Duration::from_secs(20);

/// One silo was delayed.
struct Spike {
    kind: &'static str,
    silo: usize,
    from: u64,
    until: u64,
}

/// What happened while nobody died.
struct Course {
    minutes: u64,
    began: u64,
    spikes: Vec<Spike>,
    hogged: Duration,
    calls: Vec<Call>,
    departures: Vec<Departure>,
    isolations: usize,
}

pub(crate) async fn nobody_dies(cluster: &mut Cluster, minutes: u64) -> (Vec<Figure>, Result<()>) {
    let course = match disturb(cluster, minutes).await {
        Ok(course) => course,
        Err(error) => return (Vec::new(), Err(error)),
    };
    course.tell();
    let measure = Measure::Count { happened: course.departures.len(), among: course.to_string() };
    let fault = "none, but delays and load";
    (vec![Figure { fault, what: "living silos that left a view", measure }], Ok(()))
}

async fn disturb(cluster: &mut Cluster, minutes: u64) -> Result<Course> {
    cluster.calm().await?;
    let calls = Calls::begin(callers_of_all(cluster.members())?, EVERY);
    let began = now();
    let end = Instant::now() + Duration::from_secs(minutes * 60);
    let (spikes, hogged) = tokio::try_join!(delay_until(cluster, end), hog_until(end))?;
    sleep(AFTERWARDS).await;
    cluster.check_alive()?;
    let departures = cluster.departures(began).await?;
    let isolations = cluster.ask_all("isolations").await?;
    let isolations = isolations.iter().map(|answer| answer.found.split_whitespace().count()).sum();
    Ok(Course { minutes, began, spikes, hogged, calls: calls.end().await, departures, isolations })
}

impl Course {
    fn tell(&self) {
        for departure in &self.departures {
            self.tell_of(departure);
        }
        let longest = self.spikes.iter().map(Spike::lasted).max().unwrap_or_default();
        let failed: usize = failures(&self.calls).values().sum();
        println!(
            "  {} departures {self}; the longest delay was {}",
            self.departures.len(),
            shown(Some(longest))
        );
        println!(
            "  {} times a silo said isolated; {failed} of {} calls failed",
            self.isolations,
            self.calls.len()
        );
    }

    /// A departure, with what had been done shortly before.
    fn tell_of(&self, Departure { observer, silo, at }: &Departure) {
        let related = |spike: &&Spike| spike.from <= *at && passed(spike.from, *at) < RELATED;
        let second = |at| shown(Some(passed(self.began, at)));
        let spikes = self.spikes.iter().filter(related);
        let before: Vec<String> = spikes.map(|spike| format!("{spike} at {}", second(spike.from))).collect();
        println!("  {silo} left the view of {observer} at {}; before: {}", second(*at), before.join(", "));
    }
}

impl fmt::Display for Course {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = |kind| self.spikes.iter().filter(|spike| spike.kind == kind).count();
        let (stops, cuts, hogged) = (count(STOP), count(CUT), self.hogged.as_secs());
        let minutes = self.minutes;
        write!(f, "in {minutes} min with {stops} stops and {cuts} cuts of 0.2 to 2 s, {hogged} s of CPU hogs")
    }
}

const STOP: &str = "stop";
const CUT: &str = "cut";

impl Spike {
    fn lasted(&self) -> Duration {
        passed(self.from, self.until)
    }
}

impl fmt::Display for Spike {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of silo-{} for {}", self.kind, self.silo + 1, shown(Some(self.lasted())))
    }
}

/// Delays one silo after another.
async fn delay_until(cluster: &Cluster, end: Instant) -> Result<Vec<Spike>> {
    let mut spikes: Vec<Spike> = Vec::new();
    loop {
        sleep(between(2.0, 4.0)).await;
        if Instant::now() >= end {
            return Ok(spikes);
        }
        // Not the same silo twice in a row, which would be one longer delay.
        let before = spikes.last().map(|spike| spike.silo);
        let others: Vec<usize> = (0..SILOS).filter(|silo| Some(*silo) != before).collect();
        let silo = others[fastrand::usize(0..others.len())];
        let (lasting, from) = (between(0.2, 2.0), now());
        let kind = if fastrand::bool() {
            let member = &cluster.members()[silo];
            member.signal(libc::SIGSTOP)?;
            sleep(lasting).await;
            member.signal(libc::SIGCONT)?;
            STOP
        } else {
            let _cut = cluster.cut_off(silo)?;
            sleep(lasting).await;
            CUT
        };
        spikes.push(Spike { kind, silo, from, until: now() });
    }
}

/// Keeps all cores busy now and then; for how long altogether.
async fn hog_until(end: Instant) -> Result<Duration> {
    let cores = std::thread::available_parallelism()?.get();
    let mut hogged = Duration::ZERO;
    loop {
        sleep(between(2.0, 8.0)).await;
        if Instant::now() >= end {
            return Ok(hogged);
        }
        let began = Instant::now();
        let mut hogs: Vec<Child> = (0..cores).map(|_| spawn_hog()).collect::<Result<_>>()?;
        sleep(between(5.0, 15.0).min(end - began)).await;
        for hog in &mut hogs {
            hog.kill().await?;
        }
        hogged += began.elapsed();
    }
}

fn spawn_hog() -> Result<Child> {
    let mut command = Command::new(std::env::current_exe()?);
    command.arg("hog").stdin(Stdio::null()).process_group(0).kill_on_drop(true);
    die_with_parent(&mut command);
    Ok(command.spawn()?)
}

/// The program that keeps one core busy.
pub(crate) fn hog() -> ! {
    loop {
        std::hint::spin_loop();
    }
}

fn between(least: f64, most: f64) -> Duration {
    Duration::from_secs_f64(least + fastrand::f64() * (most - least))
}
