//! Counting, timing and reporting, the same for every subject in Rust.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;

use crate::load::Load;
use crate::usage::{cpu_seconds, memory_kib};

/// Measures calls; shared by all who make them.
pub(crate) struct Meter {
    pub(crate) load: Load,
    /// Messages that one recorded time stands for.
    at_once: u64,
    nanoseconds: Mutex<Histogram<u64>>,
}

/// What was used before the measured time began.
pub(crate) struct Begun {
    cpu: f64,
    at: Instant,
}

impl Meter {
    pub(crate) fn new(load: Load) -> Arc<Self> {
        Self::of_many(load, 1)
    }

    pub(crate) fn of_many(load: Load, at_once: u64) -> Arc<Self> {
        let nanoseconds = Histogram::new_with_bounds(1, 60_000_000_000, 3).expect("bounds in order");
        Arc::new(Self { load, at_once, nanoseconds: Mutex::new(nanoseconds) })
    }

    pub(crate) fn record(&self, time: Duration) {
        let nanoseconds = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        self.nanoseconds.lock().expect("nobody panics with it").saturating_record(nanoseconds);
    }

    /// Forgets the warm-up.
    pub(crate) fn begin(&self) -> Begun {
        self.nanoseconds.lock().expect("nobody panics with it").reset();
        Begun { cpu: self.cpu_seconds(), at: Instant::now() }
    }

    /// Prints the line of JSON.
    pub(crate) fn report(&self, begun: &Begun) {
        let (took, cpu) = (begun.at.elapsed().as_secs_f64(), self.cpu_seconds() - begun.cpu);
        let times = self.nanoseconds.lock().expect("nobody panics with it");
        let calls = (times.len() * self.at_once) as f64;
        let at = |share: f64| times.value_at_quantile(share) as f64 / 1000.0;
        // The sum of none is -0.
        let servers = 0.0 + self.load.servers.iter().map(|pid| memory_kib(pid, "VmHWM")).sum::<f64>();
        println!(
            "{{\"msgs_per_s\": {:.1}, \"p50_us\": {:.3}, \"p99_us\": {:.3}, \"p999_us\": {:.3}, \
             \"cpu_s_per_100k\": {:.4}, \"caller_kib\": {:.0}, \"server_kib\": {servers:.0}}}",
            calls / took,
            at(0.5),
            at(0.99),
            at(0.999),
            cpu / calls * 100_000.0,
            memory_kib("self", "VmHWM"),
        );
    }

    /// Keeps `depth` futures of `call` in flight, warms up, measures and reports.
    pub(crate) async fn run<F: Future<Output = ()> + Send + 'static>(
        self: Arc<Self>,
        call: impl Fn() -> F + Clone + Send + 'static,
    ) {
        self.lanes(self.load.warm_up, &call).await;
        let begun = self.begin();
        self.lanes(self.load.measured, &call).await;
        self.report(&begun);
    }

    async fn lanes<F: Future<Output = ()> + Send + 'static>(
        self: &Arc<Self>,
        time: Duration,
        call: &(impl Fn() -> F + Clone + Send + 'static),
    ) {
        let end = Instant::now() + time;
        let lane = || {
            let (meter, call) = (self.clone(), call.clone());
            tokio::spawn(async move {
                let mut began = Instant::now();
                while began < end {
                    call().await;
                    let now = Instant::now();
                    meter.record(now - began);
                    began = now;
                }
            })
        };
        let lanes: Vec<_> = (0..self.load.depth).map(|_| lane()).collect();
        for lane in lanes {
            lane.await.expect("a lane does not panic");
        }
    }

    /// User and system seconds of this process and of those that serve.
    fn cpu_seconds(&self) -> f64 {
        cpu_seconds("self") + self.load.servers.iter().map(|pid| cpu_seconds(pid)).sum::<f64>()
    }
}
