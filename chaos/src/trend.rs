//! What a process holds, over time: read from `/proc`, and judged by the slope of its later half. The judgement is pure.

use std::fs;

use crate::Result;

/// What one process held at one time.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Sample {
    /// Seconds since the beginning.
    pub(crate) at: f64,
    /// Resident memory, in MiB.
    pub(crate) memory: f64,
    pub(crate) threads: f64,
    pub(crate) descriptors: f64,
}

impl Sample {
    pub(crate) fn take(pid: u32, at: f64) -> Result<Self> {
        let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
        let field = |name: &str| -> Result<f64> {
            let line = status.lines().find_map(|line| line.strip_prefix(name));
            let word = line.and_then(|rest| rest.split_whitespace().next());
            Ok(word.ok_or_else(|| format!("/proc/{pid}/status has no {name}"))?.parse()?)
        };
        let descriptors = fs::read_dir(format!("/proc/{pid}/fd"))?.count() as f64;
        Ok(Self { at, memory: field("VmRSS:")? / 1024.0, threads: field("Threads:")?, descriptors })
    }
}

/// How much more was held each hour, by least squares over the later half of the samples.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Slopes {
    pub(crate) memory: f64,
    pub(crate) threads: f64,
    pub(crate) descriptors: f64,
}

impl Slopes {
    /// More memory than this each hour is a leak: 5 MiB in ten minutes.
    pub(crate) const MOST_MEMORY: f64 = 30.0;
    /// Less than this, in MiB, is the coming and going of an allocator, however steep it is in a short run.
    const NOISE: f64 = 2.0;

    pub(crate) fn of(samples: &[Sample]) -> Self {
        let later = &samples[samples.len() / 2..];
        let slope = |what: fn(&Sample) -> f64| {
            let points: Vec<(f64, f64)> =
                later.iter().map(|sample| (sample.at / 3600.0, what(sample))).collect();
            least_squares(&points)
        };
        Self {
            memory: slope(|sample| sample.memory),
            threads: slope(|sample| sample.threads),
            descriptors: slope(|sample| sample.descriptors),
        }
    }

    /// What grows without end, in words. Connections come and go, so that threads and descriptors count as growing only
    /// when the last quarter of the samples never came down to what the second one reached.
    pub(crate) fn growing(&self, samples: &[Sample]) -> Vec<&'static str> {
        let quarter = samples.len().div_ceil(4);
        let before = &samples[quarter.min(samples.len())..(2 * quarter).min(samples.len())];
        let last = &samples[samples.len().saturating_sub(quarter)..];
        let stays_above = |what: fn(&Sample) -> f64| {
            let most = before.iter().map(what).fold(f64::MIN, f64::max);
            last.iter().map(what).all(|held| held > most)
        };
        let hours = samples.last().map_or(0.0, |last| last.at - samples[samples.len() / 2].at) / 3600.0;
        let grows = [
            ("memory", self.memory > Self::MOST_MEMORY && self.memory * hours > Self::NOISE),
            ("threads", self.threads > 0.0 && stays_above(|sample| sample.threads)),
            ("descriptors", self.descriptors > 0.0 && stays_above(|sample| sample.descriptors)),
        ];
        grows.into_iter().filter(|(_, grows)| *grows).map(|(name, _)| name).collect()
    }
}

fn least_squares(points: &[(f64, f64)]) -> f64 {
    let count = points.len() as f64;
    let mean = |coordinate: fn(&(f64, f64)) -> f64| points.iter().map(coordinate).sum::<f64>() / count;
    let (x, y) = (mean(|point| point.0), mean(|point| point.1));
    let spread: f64 = points.iter().map(|point| (point.0 - x).powi(2)).sum();
    if spread == 0.0 {
        return 0.0;
    }
    points.iter().map(|point| (point.0 - x) * (point.1 - y)).sum::<f64>() / spread
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An hour, a sample each minute.
    fn hour(held: impl Fn(f64) -> (f64, f64, f64)) -> Vec<Sample> {
        let sample = |minute| {
            let (memory, threads, descriptors) = held(f64::from(minute));
            Sample { at: f64::from(minute) * 60.0, memory, threads, descriptors }
        };
        (0..60).map(sample).collect()
    }

    fn growing(samples: &[Sample]) -> Vec<&'static str> {
        Slopes::of(samples).growing(samples)
    }

    #[test]
    fn what_warms_up_or_goes_up_and_down_does_not_grow() {
        let calm = hour(|minute| (50.0 + minute.min(20.0) * 5.0, 8.0, 20.0 + minute % 3.0));
        assert!(Slopes::of(&calm).memory.abs() < 1e-6);
        assert_eq!(growing(&calm), [""; 0]);
    }

    #[test]
    fn a_steady_growth_is_found_and_its_slope_is_that_of_an_hour() {
        let leaking = hour(|minute| (50.0 + minute, 8.0 + minute / 4.0, 20.0 + minute / 2.0));
        let slopes = Slopes::of(&leaking);
        assert!((slopes.memory - 60.0).abs() < 1e-6 && (slopes.descriptors - 30.0).abs() < 1e-6);
        assert_eq!(growing(&leaking), ["memory", "threads", "descriptors"]);
        let slowly = hour(|minute| (50.0 + minute * 0.4, 8.0, 20.0));
        assert_eq!(growing(&slowly), [""; 0]);
    }

    #[test]
    fn this_process_can_be_sampled() {
        let sample = Sample::take(std::process::id(), 0.0).expect("there is a /proc");
        assert!(sample.memory > 0.5 && sample.threads >= 1.0 && sample.descriptors >= 3.0);
    }
}
