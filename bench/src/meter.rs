//! Counting, timing and reporting, the same for every subject.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::{Duration, Instant};

/// Calls before this are not counted: connections are made, caches and allocators warm up.
const WARM_UP: Duration = Duration::from_millis(500);

/// Keeps `depth` calls in flight and measures them.
pub(crate) struct Meter {
    pub(crate) depth: usize,
    seconds: Duration,
    server_pid: u32,
    latencies: RefCell<Vec<u32>>,
}

impl Meter {
    pub(crate) fn new(depth: usize, seconds: Duration, server_pid: u32) -> Self {
        Self { depth, seconds, server_pid, latencies: RefCell::new(Vec::with_capacity(1 << 20)) }
    }

    /// Runs `call` on `depth` lanes, warm-up first, and prints the line of JSON.
    pub(crate) async fn run<F: Future<Output = ()> + 'static>(self, call: impl Fn() -> F + Clone + 'static) {
        let meter = Rc::new(self);
        let lanes = tokio::task::LocalSet::new();
        let report = lanes.run_until(async {
            meter.clone().lanes(WARM_UP, call.clone()).await;
            meter.latencies.borrow_mut().clear();
            let (cpu, began) = (meter.cpu_seconds(), Instant::now());
            meter.clone().lanes(meter.seconds, call).await;
            (meter.cpu_seconds() - cpu, began.elapsed())
        });
        let (cpu, took) = report.await;
        let mut latencies = meter.latencies.borrow_mut();
        latencies.sort_unstable();
        let at = |share: f64| {
            let index = ((latencies.len() as f64 * share) as usize).min(latencies.len().saturating_sub(1));
            f64::from(latencies.get(index).copied().unwrap_or(0)) / 1000.0
        };
        let calls = latencies.len() as f64;
        println!(
            "{{\"msgs_per_s\": {:.0}, \"p50_us\": {:.1}, \"p99_us\": {:.1}, \"cpu_s_per_100k\": {:.3}}}",
            calls / took.as_secs_f64(),
            at(0.5),
            at(0.99),
            cpu / calls * 100_000.0
        );
    }

    async fn lanes<F: Future<Output = ()> + 'static>(
        self: Rc<Self>,
        time: Duration,
        call: impl Fn() -> F + Clone + 'static,
    ) {
        let end = Instant::now() + time;
        let lane = || {
            let (meter, call) = (self.clone(), call.clone());
            tokio::task::spawn_local(async move {
                let mut began = Instant::now();
                while began < end {
                    call().await;
                    let now = Instant::now();
                    let nanos = u32::try_from((now - began).as_nanos()).unwrap_or(u32::MAX);
                    meter.latencies.borrow_mut().push(nanos);
                    began = now;
                }
            })
        };
        let lanes: Vec<_> = (0..self.depth).map(|_| lane()).collect();
        for lane in lanes {
            lane.await.expect("a lane does not panic");
        }
    }

    /// User and system seconds of this process and the server's so far.
    fn cpu_seconds(&self) -> f64 {
        cpu_seconds_of("self") + cpu_seconds_of(&self.server_pid.to_string())
    }
}

/// Fields 14 and 15 of /proc/PID/stat, in ticks of 10 ms.
fn cpu_seconds_of(pid: &str) -> f64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let after_name = stat.rsplit(')').next().unwrap_or_default();
    let ticks = after_name.split_whitespace().skip(11).take(2).filter_map(|field| field.parse::<f64>().ok());
    ticks.sum::<f64>() / 100.0
}
