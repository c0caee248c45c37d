//! The goals, as data: a figure, over another one where it is a ratio, and the bound. Figures are asked for by subject and load.

use super::figures::All;
use super::table::{
    ASYNCIO_BESIDE, ASYNCIO_TCP, CAF, GRPC_CPP, MD5, RACTOR, RAW_TONIC, RAY, TOKIO_TCP, ZEROMQ_C,
};

/// A subject and a load.
pub(super) type Place = (&'static str, &'static str);

enum Bound {
    AtLeast(f64),
    AtMost(f64),
}
use Bound::{AtLeast, AtMost};

struct Goal {
    what: &'static str,
    figure: &'static str,
    of: Place,
    over: Over,
    bound: Bound,
}

/// What a figure is held against.
enum Over {
    Nothing,
    /// The same figure of a peer.
    Peer(Place),
    /// Nothing, but machines differ: a second row gives the figure as it would be where the goal was set, by a peer.
    Pace(Pace),
}

/// A figure of a peer, and what it was on the machine where the goals were set.
#[derive(Clone, Copy)]
struct Pace {
    by: &'static str,
    /// Else under the goal's own.
    load: Option<&'static str>,
    figure: &'static str,
    then: f64,
}

const fn ratio(what: &'static str, figure: &'static str, of: Place, over: Place, bound: Bound) -> Goal {
    Goal { what, figure, of, over: Over::Peer(over), bound }
}
const fn absolute(what: &'static str, figure: &'static str, of: Place, bound: Bound) -> Goal {
    Goal { what, figure, of, over: Over::Nothing, bound }
}
const fn paced(what: &'static str, figure: &'static str, of: Place, pace: Pace, bound: Bound) -> Goal {
    Goal { what, figure, of, over: Over::Pace(pace), bound }
}

const DEEP: &str = "depth 256";
const ONE: &str = "depth 1, one core";
const LARGE: &str = "1 MiB, depth 8";
const KEYS: &str = "10,000 keys";

const RATE: &str = "msgs_per_s";
const MIDDLE: &str = "p50_us";
const TAIL: &str = "p99_us";
const CPU: &str = "cpu_s_per_100k";
const EACH: &str = "us_per_msg";

const RUST: &str = "Quark, Rust";
const C: &str = "Quark, C";
const DEF: &str = "Quark, Python, def";
const ASYNC: &str = "Quark, Python, async def";
const BLOCKING: &str = "Quark, Python, blocking, threads";
const TASKS: &str = "asyncio TCP, a task per request";
const NO_FUTURE: &str = "Quark, Rust, no future per request";
const BATCHES: &str = "Quark, C, batches";
const OWN_RUST: &str = "own silo, Rust";
const OWN_C: &str = "own silo, C";
const OWN_DEF: &str = "own silo, Python, def";
const OWN_ASYNC: &str = "own silo, Python, async def";

const MD5_PACE: Pace = Pace { by: MD5, load: None, figure: EACH, then: 0.106 };
const TONIC_CPU: Pace = Pace { by: RAW_TONIC, load: None, figure: CPU, then: 0.20 };
const ASYNCIO_CPU: Pace = Pace { by: ASYNCIO_TCP, load: None, figure: CPU, then: 0.48 };
const ASYNCIO_TAIL: Pace = Pace { by: ASYNCIO_TCP, load: None, figure: TAIL, then: 1400.0 };
/// An interpreter lives on caches and memory, of which MD5 knows nothing. At depth 1 the peer would be all wake-ups, and a call to
/// the own silo has none.
const ASYNCIO_PACE: Pace = Pace { by: ASYNCIO_BESIDE, load: Some(DEEP), figure: EACH, then: 4.81 };

const GOALS: &[Goal] = &[
    ratio("Rust, depth 256: raw tonic on one thread", RATE, (RUST, DEEP), (RAW_TONIC, DEEP), AtLeast(1.0)),
    ratio("C, depth 256: raw tonic on one thread", RATE, (C, DEEP), (RAW_TONIC, DEEP), AtLeast(1.0)),
    ratio("Rust, depth 256: ZeroMQ in C", RATE, (RUST, DEEP), (ZEROMQ_C, DEEP), AtLeast(1.0)),
    ratio("C, depth 256: ZeroMQ in C", RATE, (C, DEEP), (ZEROMQ_C, DEEP), AtLeast(1.0)),
    // ZeroMQ's caller has no future for a request either.
    ratio(
        "Rust, no future per request: ZeroMQ in C",
        RATE,
        (NO_FUTURE, DEEP),
        (ZEROMQ_C, DEEP),
        AtLeast(1.0),
    ),
    ratio("C, batches: ZeroMQ in C", RATE, (BATCHES, DEEP), (ZEROMQ_C, DEEP), AtLeast(1.0)),
    ratio("Rust, depth 256: ractor_cluster", RATE, (RUST, DEEP), (RACTOR, DEEP), AtLeast(3.0)),
    ratio("C, depth 256: ractor_cluster", RATE, (C, DEEP), (RACTOR, DEEP), AtLeast(3.0)),
    ratio("C, depth 256: CAF", RATE, (C, DEEP), (CAF, DEEP), AtLeast(6.0)),
    ratio("C, depth 256: gRPC C++", RATE, (C, DEEP), (GRPC_CPP, DEEP), AtLeast(6.0)),
    ratio("Rust, no future per request: raw tonic", RATE, (NO_FUTURE, DEEP), (RAW_TONIC, DEEP), AtLeast(1.3)),
    ratio("C, batches: raw tonic", RATE, (BATCHES, DEEP), (RAW_TONIC, DEEP), AtLeast(1.3)),
    ratio("Rust over TLS, depth 256: without", RATE, ("Quark, Rust, TLS", DEEP), (RUST, DEEP), AtLeast(0.75)),
    ratio("Rust, depth 1, one core, p50: raw tonic", MIDDLE, (RUST, ONE), (RAW_TONIC, ONE), AtMost(1.25)),
    ratio("C, depth 1, one core, p50: raw tonic", MIDDLE, (C, ONE), (RAW_TONIC, ONE), AtMost(1.6)),
    ratio("Python def, depth 256: asyncio TCP", RATE, (DEF, DEEP), (ASYNCIO_TCP, DEEP), AtLeast(0.8)),
    ratio(
        "Python async def, depth 256: asyncio TCP with tasks",
        RATE,
        (ASYNC, DEEP),
        (TASKS, DEEP),
        AtLeast(0.7),
    ),
    ratio("Python def, depth 256: pyzmq asyncio", RATE, (DEF, DEEP), ("pyzmq asyncio", DEEP), AtLeast(5.0)),
    ratio("Python def, depth 256: grpc.aio", RATE, (DEF, DEEP), ("grpc.aio", DEEP), AtLeast(10.0)),
    ratio("Python def, depth 256: Ray", RATE, (DEF, DEEP), (RAY, DEEP), AtLeast(40.0)),
    paced("Python def, depth 256, p99, µs", TAIL, (DEF, DEEP), ASYNCIO_TAIL, AtMost(3000.0)),
    paced("Python async def, depth 256, p99, µs", TAIL, (ASYNC, DEEP), ASYNCIO_TAIL, AtMost(3000.0)),
    ratio(
        "Python def, depth 1, one core, p50: asyncio TCP",
        MIDDLE,
        (DEF, ONE),
        (ASYNCIO_TCP, ONE),
        AtMost(1.3),
    ),
    ratio(
        "Python async def, depth 1, one core, p50: asyncio TCP",
        MIDDLE,
        (ASYNC, ONE),
        (ASYNCIO_TCP, ONE),
        AtMost(1.3),
    ),
    ratio(
        "Python blocking, depth 1, one core, p50: asyncio TCP",
        MIDDLE,
        (BLOCKING, ONE),
        (ASYNCIO_TCP, ONE),
        AtMost(1.3),
    ),
    ratio(
        "C calls Python: Python def",
        RATE,
        ("Quark, C calls Python (def)", DEEP),
        (DEF, DEEP),
        AtLeast(0.9),
    ),
    ratio("Python calls C: Python def", RATE, ("Quark, Python calls C", DEEP), (DEF, DEEP), AtLeast(0.9)),
    paced("own silo, Rust, p50, µs", MIDDLE, (OWN_RUST, "depth 1"), MD5_PACE, AtMost(1.0)),
    paced("own silo, Rust, depth 256, µs for each", EACH, (OWN_RUST, DEEP), MD5_PACE, AtMost(1.0)),
    paced("own silo, Python async def, p50, µs", MIDDLE, (OWN_ASYNC, "depth 1"), ASYNCIO_PACE, AtMost(10.0)),
    paced(
        "own silo, Python async def, depth 256, µs for each",
        EACH,
        (OWN_ASYNC, DEEP),
        ASYNCIO_PACE,
        AtMost(10.0),
    ),
    paced("own silo, Python def, p50, µs", MIDDLE, (OWN_DEF, "depth 1"), ASYNCIO_PACE, AtMost(10.0)),
    paced("own silo, Python def, depth 256, µs for each", EACH, (OWN_DEF, DEEP), ASYNCIO_PACE, AtMost(10.0)),
    paced("own silo, C, depth 256, µs for each", EACH, (OWN_C, DEEP), MD5_PACE, AtMost(1.5)),
    ratio("Rust, 1 MiB: raw tonic", RATE, (RUST, LARGE), (RAW_TONIC, LARGE), AtLeast(0.9)),
    ratio("C, 1 MiB: raw tonic", RATE, (C, LARGE), (RAW_TONIC, LARGE), AtLeast(0.9)),
    ratio("Python def, 1 MiB: raw tonic", RATE, (DEF, LARGE), (RAW_TONIC, LARGE), AtLeast(0.6)),
    ratio(
        "small calls beside 1 MiB, p99: their own",
        TAIL,
        ("small calls beside 1 MiB", "depth 16"),
        ("small calls alone", "depth 16"),
        AtMost(5.0),
    ),
    ratio("lookup, 3 silos: MD5 alone", EACH, ("lookup, 3 silos", KEYS), (MD5, KEYS), AtMost(1.15)),
    ratio("lookup, 1,000 silos: MD5 alone", EACH, ("lookup, 1,000 silos", KEYS), (MD5, KEYS), AtMost(1.15)),
    ratio(
        "batch of 10,000 lookups: MD5 one by one",
        EACH,
        ("lookup, 1,000 silos, batch", KEYS),
        (MD5, KEYS),
        AtMost(0.35),
    ),
    ratio(
        "batch of 10,000 lookups from Python: hashlib.md5 alone",
        EACH,
        ("lookup from Python, 1,000 silos, batch", KEYS),
        ("hashlib.md5 alone", KEYS),
        AtMost(0.6),
    ),
    absolute("a silo in or out at 1,000, µs", EACH, ("a silo in or out", "1,000 silos"), AtMost(300.0)),
    paced("CPU, Rust, depth 256, s per 100,000", CPU, (RUST, DEEP), TONIC_CPU, AtMost(0.25)),
    paced("CPU, C, depth 256, s per 100,000", CPU, (C, DEEP), TONIC_CPU, AtMost(0.25)),
    paced("CPU, Python def, depth 256, s per 100,000", CPU, (DEF, DEEP), ASYNCIO_CPU, AtMost(1.0)),
    paced("CPU, Python async def, depth 256, s per 100,000", CPU, (ASYNC, DEEP), ASYNCIO_CPU, AtMost(1.0)),
];

/// What is a goal too and cannot be seen in this run.
const ELSEWHERE: &str = "Not in this run: memory has `cargo xtask bench --memory`.";

/// What has to be measured for them, and for the soundness of the run.
pub(super) fn places() -> Vec<Place> {
    let of_goals = GOALS.iter().flat_map(|goal| [Some(goal.of), goal.peer()]).flatten();
    of_goals.chain([(TOKIO_TCP, DEEP)]).collect()
}

/// So much of a goal is worth saying where it is missed.
const NEARLY: f64 = 0.8;

/// The table of the goals whose figures are there, in one run or several.
pub(super) fn table(runs: &[All]) -> String {
    let columns = match runs.len() {
        1 => " measured | met? |".to_owned(),
        count => (1..=count).map(|number| format!(" run {number} |")).collect::<String>() + " met in |",
    };
    let mut text = format!("| goal | bound |{columns}\n|---|---|{}\n", "---|".repeat(1 + runs.len()));
    for goal in GOALS {
        text += &goal.row(goal.what, &runs.iter().filter_map(|all| goal.measured(all)).collect::<Vec<_>>());
        if let Over::Pace(pace) = goal.over {
            let what = format!("– where {} has {}", pace.by, pace.then);
            text +=
                &goal.row(&what, &runs.iter().filter_map(|all| goal.at_pace(pace, all)).collect::<Vec<_>>());
        }
    }
    text + "\n" + ELSEWHERE + "\n"
}

impl Goal {
    /// How much of it was reached: 1 and more is all.
    fn reached(&self, measured: f64) -> f64 {
        match self.bound {
            AtLeast(bound) => measured / bound,
            AtMost(bound) => bound / measured,
        }
    }

    /// What has to be measured beside the figure.
    fn peer(&self) -> Option<Place> {
        match self.over {
            Over::Nothing => None,
            Over::Peer(peer) => Some(peer),
            Over::Pace(pace) => Some((pace.by, pace.load.unwrap_or(self.of.1))),
        }
    }

    fn measured(&self, all: &All) -> Option<f64> {
        let (subject, load) = self.of;
        match self.over {
            Over::Peer(peer) => all.median_ratio((subject, load, self.figure), (peer.0, peer.1, self.figure)),
            Over::Nothing | Over::Pace(_) => all.median(subject, load, self.figure),
        }
    }

    fn at_pace(&self, pace: Pace, all: &All) -> Option<f64> {
        let (subject, load) = self.of;
        let at = (pace.by, pace.load.unwrap_or(load), pace.figure);
        let ratio = all.median_ratio((subject, load, self.figure), at);
        ratio.map(|ratio| ratio * pace.then)
    }

    /// A row of the table, if there is anything to say.
    fn row(&self, what: &str, measured: &[f64]) -> String {
        let (sign, bound) = match self.bound {
            AtLeast(bound) => ("≥", bound),
            AtMost(bound) => ("≤", bound),
        };
        let times = if matches!(self.over, Over::Peer(_)) { " ×" } else { "" };
        let runs_with = |part: f64| measured.iter().filter(|value| self.reached(**value) >= part).count();
        let met = runs_with(1.0);
        let verdict = match (measured.len(), met) {
            (0, _) => return String::new(),
            (1, 1) => " yes |\n".to_owned(),
            (1, _) => " **no** |\n".to_owned(),
            (all, met) if met == all => format!(" {met} of {all} |\n"),
            (all, met) => format!(" **{met} of {all}**; {NEARLY} of it: {} |\n", runs_with(NEARLY)),
        };
        let values: String = measured.iter().map(|value| format!(" {value:.2}{times} |")).collect();
        format!("| {what} | {sign} {bound}{times} |{values}{verdict}")
    }
}

#[cfg(test)]
mod tests {
    use super::super::figures::of_line;
    use super::super::table::GROUPS;
    use super::*;

    #[test]
    fn a_goal_is_held_against_each_run() {
        let run = |rate: u32| {
            let mut all = All::default();
            for (subject, rate) in [(RUST, rate), (RAW_TONIC, 100)] {
                all.add(subject, DEEP, of_line(&format!("{{\"msgs_per_s\": {rate}}}")));
            }
            all
        };
        let first_row = |runs: &[All]| table(runs).lines().nth(2).unwrap().to_owned();
        let name = "Rust, depth 256: raw tonic on one thread";
        assert_eq!(first_row(&[run(100)]), format!("| {name} | ≥ 1 × | 1.00 × | yes |"));
        let three = first_row(&[run(110), run(90), run(100)]);
        assert_eq!(
            three,
            format!("| {name} | ≥ 1 × | 1.10 × | 0.90 × | 1.00 × | **2 of 3**; 0.8 of it: 3 |")
        );
    }

    #[test]
    fn a_time_is_given_at_the_pace_of_where_its_goal_was_set_too() {
        let mut all = All::default();
        // Half as fast as there.
        for (subject, seconds) in [(RUST, 0.48), (RAW_TONIC, 0.40)] {
            all.add(subject, DEEP, of_line(&format!("{{\"cpu_s_per_100k\": {seconds}}}")));
        }
        let table = table(&[all]);
        let rows: Vec<_> = table.lines().filter(|row| row.contains("≤ 0.25")).collect();
        assert_eq!(rows[0], "| CPU, Rust, depth 256, s per 100,000 | ≤ 0.25 | 0.48 | **no** |");
        assert_eq!(rows[1], "| – where raw tonic, one thread has 0.2 | ≤ 0.25 | 0.24 | yes |");
    }

    #[test]
    fn every_goal_is_about_something_that_is_measured() {
        let is_measured = |(subject, load): Place| {
            GROUPS.iter().any(|group| {
                group.subjects.iter().any(|one| one.name == subject)
                    && group.loads.iter().any(|one| one.name == load)
            })
        };
        for goal in GOALS {
            assert!(is_measured(goal.of) && goal.peer().is_none_or(is_measured), "{}", goal.what);
        }
    }
}
