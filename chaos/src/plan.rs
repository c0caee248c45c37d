//! Which faults come when: chosen by a seeded generator, so that a plan can be had again from its seed. Pure.

use std::fmt;
use std::time::Duration;

use fastrand::Rng;

/// Something that is done to the cluster. Silos are named by their place, durations say until it is undone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// SIGKILL, and a new start after a while.
    Kill { silo: usize, away: Duration },
    /// SIGSTOP, and SIGCONT after a while.
    Stop { silo: usize, lasting: Duration },
    /// A planned leave, and a new start after a while.
    Leave { silo: usize, away: Duration },
    /// A silo and everybody else, Redis too, do not hear each other.
    CutOff { silo: usize, lasting: Duration },
    /// Two silos do not hear each other.
    CutPair { silos: [usize; 2], lasting: Duration },
    /// The second silo does not hear the first.
    CutOneWay { silos: [usize; 2], lasting: Duration },
    /// What a silo sends is let through slowly.
    Slow { silo: usize, lasting: Duration },
    /// Redis is killed, and started empty after a while.
    RedisRestart { away: Duration },
    /// Redis is stopped by a signal, and goes on after a while.
    RedisPause { lasting: Duration },
}

/// A fault, and how long after the one before it begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Planned {
    pub(crate) after: Duration,
    pub(crate) fault: Fault,
}

impl Fault {
    /// What it is called in tables.
    pub(crate) fn kind(self) -> &'static str {
        match self {
            Self::Kill { .. } => "kill",
            Self::Stop { .. } => "stop",
            Self::Leave { .. } => "leave",
            Self::CutOff { .. } => "cut off",
            Self::CutPair { .. } => "cut pair",
            Self::CutOneWay { .. } => "cut one way",
            Self::Slow { .. } => "slow link",
            Self::RedisRestart { .. } => "redis restart",
            Self::RedisPause { .. } => "redis pause",
        }
    }

    /// The silos that it concerns.
    pub(crate) fn silos(&self) -> &[usize] {
        match self {
            Self::Kill { silo, .. }
            | Self::Stop { silo, .. }
            | Self::Leave { silo, .. }
            | Self::CutOff { silo, .. }
            | Self::Slow { silo, .. } => std::slice::from_ref(silo),
            Self::CutPair { silos, .. } | Self::CutOneWay { silos, .. } => silos,
            Self::RedisRestart { .. } | Self::RedisPause { .. } => &[],
        }
    }

    /// How long it lasts.
    pub(crate) fn lasting(self) -> Duration {
        match self {
            Self::Kill { away, .. } | Self::Leave { away, .. } | Self::RedisRestart { away } => away,
            Self::Stop { lasting, .. }
            | Self::CutOff { lasting, .. }
            | Self::CutPair { lasting, .. }
            | Self::CutOneWay { lasting, .. }
            | Self::Slow { lasting, .. }
            | Self::RedisPause { lasting } => lasting,
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} for {:.1} s", self.kind(), self.lasting().as_secs_f64())
    }
}

/// `count` faults for so many silos.
pub(crate) fn plan(seed: u64, count: usize, silos: usize, has_redis: bool) -> Vec<Planned> {
    // Two clusters of one run suffer differently.
    let mut random = Rng::with_seed(seed.wrapping_mul(2) + u64::from(has_redis));
    let mut before: Vec<usize> = Vec::new();
    let mut planned = Vec::with_capacity(count);
    for _ in 0..count {
        // A silo that has just been hurt is left alone once, so that faults of different silos overlap.
        let free: Vec<usize> = (0..silos).filter(|silo| !before.contains(silo)).collect();
        let fault = choose(&mut random, &free, has_redis);
        before = fault.silos().to_vec();
        planned.push(Planned { after: between(&mut random, 1.0, 3.0), fault });
    }
    planned
}

fn choose(random: &mut Rng, free: &[usize], has_redis: bool) -> Fault {
    let two: Vec<usize> = random.choose_multiple(free.iter().copied(), 2);
    let (silo, silos) = (two[0], [two[0], two[1]]);
    match random.u32(0..if has_redis { 18 } else { 15 }) {
        0..=3 => Fault::Kill { silo, away: between(random, 0.2, 8.0) },
        4..=5 => Fault::Stop { silo, lasting: between(random, 0.2, 6.0) },
        6 => Fault::Stop { silo, lasting: Duration::from_secs(20) },
        7..=8 => Fault::Leave { silo, away: between(random, 0.2, 5.0) },
        9..=10 => Fault::CutOff { silo, lasting: between(random, 0.5, 15.0) },
        11 => Fault::CutPair { silos, lasting: between(random, 0.5, 12.0) },
        12..=13 => Fault::CutOneWay { silos, lasting: between(random, 0.5, 12.0) },
        14 => Fault::Slow { silo, lasting: between(random, 2.0, 8.0) },
        15..=16 => Fault::RedisRestart { away: between(random, 0.0, 3.0) },
        _ => Fault::RedisPause { lasting: between(random, 1.0, 8.0) },
    }
}

/// In whole milliseconds, which is what is printed.
fn between(random: &mut Rng, least: f64, most: f64) -> Duration {
    Duration::from_millis(((least + random.f64() * (most - least)) * 1000.0) as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_gives_the_same_plan_again_and_another_seed_another() {
        assert_eq!(plan(7, 50, 6, true), plan(7, 50, 6, true));
        assert_ne!(plan(7, 50, 6, true), plan(8, 50, 6, true));
    }

    #[test]
    fn every_kind_of_fault_comes_and_those_of_redis_only_where_there_is_one() {
        let kinds = |has_redis| {
            let planned = plan(1, 500, 6, has_redis);
            planned.iter().map(|planned| planned.fault.kind()).collect::<std::collections::BTreeSet<_>>()
        };
        assert_eq!(kinds(true).len(), 9);
        assert_eq!(kinds(false).len(), 7);
    }

    #[test]
    fn a_silo_is_not_hurt_twice_in_a_row() {
        for pair in plan(3, 500, 6, false).windows(2) {
            let [first, second] = [pair[0].fault, pair[1].fault];
            assert!(second.silos().iter().all(|silo| !first.silos().contains(silo)), "{pair:?}");
        }
    }
}
