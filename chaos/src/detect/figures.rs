//! What was measured, what it should be, and the table that says so. Pure.

use std::time::Duration;

/// One measured thing.
#[derive(Clone, Debug)]
pub(crate) struct Figure {
    pub(crate) fault: &'static str,
    pub(crate) what: &'static str,
    pub(crate) measure: Measure,
}

#[derive(Clone, Debug)]
pub(crate) enum Measure {
    /// How long it took, each time; nothing where it had not happened when nobody waited any longer.
    Times { goal: Option<Duration>, times: Vec<Option<Duration>> },
    /// How often it happened, which should be never, and among how much.
    Count { happened: usize, among: String },
}

impl Figure {
    /// Whether the goal is missed. What never happened misses any.
    pub(crate) fn is_missed(&self) -> bool {
        match &self.measure {
            Measure::Times { goal, times } => {
                let late = |time: Duration| goal.is_some_and(|goal| time > goal);
                times.is_empty() || times.iter().any(|time| time.is_none_or(late))
            }
            Measure::Count { happened, .. } => *happened > 0,
        }
    }

    fn goal(&self) -> String {
        match &self.measure {
            Measure::Times { goal: Some(goal), .. } => format!("≤ {} s", goal.as_secs()),
            Measure::Times { goal: None, .. } => "–".to_owned(),
            Measure::Count { .. } => "0".to_owned(),
        }
    }

    fn cell(&self) -> String {
        let measured = match &self.measure {
            Measure::Times { times, .. } => [least(times), median(times), most(times)].map(shown).join(" / "),
            Measure::Count { happened, among } => format!("{happened} {among}"),
        };
        if self.is_missed() { format!("**{measured}**, missed") } else { measured }
    }

    fn is_the_same_as(&self, other: &Self) -> bool {
        self.fault == other.fault && self.what == other.what
    }
}

/// A time in seconds, as in the table.
pub(crate) fn shown(time: Option<Duration>) -> String {
    time.map_or_else(|| "never".to_owned(), |time| format!("{:.2} s", time.as_secs_f64()))
}

/// In Markdown: a row for each thing, a column for each kind of membership.
pub(crate) fn table(columns: &[(&str, Vec<Figure>)]) -> String {
    let names: Vec<String> = columns.iter().map(|(name, _)| format!(" {name} |")).collect();
    let mut lines = vec![
        format!("| fault | measured | goal |{}", names.concat()),
        format!("|---|---|---|{}", "---|".repeat(columns.len())),
    ];
    let mut rows: Vec<&Figure> = Vec::new();
    for figure in columns.iter().flat_map(|(_, figures)| figures) {
        if !rows.iter().any(|row| row.is_the_same_as(figure)) {
            rows.push(figure);
        }
    }
    for row in rows {
        let cell = |figures: &Vec<Figure>| {
            let figure = figures.iter().find(|figure| figure.is_the_same_as(row));
            format!(" {} |", figure.map_or_else(|| "–".to_owned(), Figure::cell))
        };
        let cells: String = columns.iter().map(|(_, figures)| cell(figures)).collect();
        lines.push(format!("| {} | {} | {} |{cells}", row.fault, row.what, row.goal()));
    }
    lines.join("\n")
}

/// The longest of all; never is the longest.
pub(crate) fn most(times: &[Option<Duration>]) -> Option<Duration> {
    sorted(times).last().copied().flatten()
}

fn least(times: &[Option<Duration>]) -> Option<Duration> {
    sorted(times).first().copied().flatten()
}

fn median(times: &[Option<Duration>]) -> Option<Duration> {
    sorted(times).get(times.len() / 2).copied().flatten()
}

fn sorted(times: &[Option<Duration>]) -> Vec<Option<Duration>> {
    let mut times = times.to_vec();
    times.sort_by_key(|time| time.unwrap_or(Duration::MAX));
    times
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(times: &[u64]) -> Vec<Option<Duration>> {
        times.iter().map(|time| Some(Duration::from_secs(*time))).collect()
    }

    fn figure(what: &'static str, measure: Measure) -> Figure {
        Figure { fault: "killed", what, measure }
    }

    fn times(goal: Option<u64>, times: Vec<Option<Duration>>) -> Figure {
        figure("moved", Measure::Times { goal: goal.map(Duration::from_secs), times })
    }

    #[test]
    fn never_is_longer_than_any_time() {
        let times = [seconds(&[4, 1]), vec![None]].concat();
        assert_eq!((least(&times), median(&times), most(&times)), (seconds(&[1])[0], seconds(&[4])[0], None));
        assert_eq!(most(&seconds(&[3, 9, 2])), seconds(&[9])[0]);
    }

    #[test]
    fn one_late_time_misses_the_goal_and_so_does_never_even_without_a_goal() {
        assert!(!times(Some(5), seconds(&[1, 5])).is_missed());
        assert!(times(Some(5), seconds(&[1, 6])).is_missed());
        assert!(times(None, vec![None]).is_missed());
        assert!(!times(None, seconds(&[100])).is_missed());
        assert!(times(None, Vec::new()).is_missed(), "nothing was measured");
        assert!(figure("failed", Measure::Count { happened: 1, among: String::new() }).is_missed());
    }

    #[test]
    fn the_table_has_a_row_for_each_thing_and_a_column_for_each_membership() {
        let failed = figure("failed", Measure::Count { happened: 0, among: "of 10 calls".to_owned() });
        let redis = vec![times(Some(5), seconds(&[1, 3, 2])), failed];
        let gossip = vec![times(Some(5), seconds(&[4, 5, 6]))];
        let expected = "\
| fault | measured | goal | Redis | gossip |
|---|---|---|---|---|
| killed | moved | ≤ 5 s | 1.00 s / 2.00 s / 3.00 s | **4.00 s / 5.00 s / 6.00 s**, missed |
| killed | failed | 0 | 0 of 10 calls | – |";
        assert_eq!(table(&[("Redis", redis), ("gossip", gossip)]), expected);
    }
}
