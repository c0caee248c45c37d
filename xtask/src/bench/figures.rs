//! Figures by subject and load, of all rounds, and their medians.

use std::collections::BTreeMap;

/// The figures of one measurement, by name.
pub(crate) type Figures = BTreeMap<String, f64>;

/// Everything that was measured.
#[derive(Default)]
pub(super) struct All(BTreeMap<(&'static str, &'static str), Vec<Figures>>);

impl All {
    pub(super) fn add(&mut self, subject: &'static str, load: &'static str, figures: Figures) {
        self.0.entry((subject, load)).or_default().push(figures);
    }

    /// One figure in each round; nothing where it was not measured.
    fn rounds(&self, subject: &str, load: &str, figure: &str) -> impl Iterator<Item = Option<f64>> {
        let found = self.0.iter().find(|((s, l), _)| *s == subject && *l == load);
        found.into_iter().flat_map(|(_, rounds)| rounds).map(move |round| round.get(figure).copied())
    }

    /// The median of one figure over the rounds.
    pub(super) fn median(&self, subject: &str, load: &str, figure: &str) -> Option<f64> {
        median(self.rounds(subject, load, figure).flatten().collect())
    }

    /// The median of one figure over another of the same round, each as its subject, load and name: what the machine did in a
    /// round, it did to both.
    pub(super) fn median_ratio(&self, of: (&str, &str, &str), over: (&str, &str, &str)) -> Option<f64> {
        let over = self.rounds(over.0, over.1, over.2);
        let pairs = self.rounds(of.0, of.1, of.2).zip(over);
        median(pairs.filter_map(|(of, over)| Some(of? / over?)).collect())
    }

    /// All rounds of all measurements as JSON.
    pub(super) fn json(&self) -> String {
        let entries = self.0.iter().map(|((subject, load), rounds)| {
            let rounds: Vec<String> = rounds.iter().map(to_json).collect();
            format!(
                "  {{\"subject\": \"{subject}\", \"load\": \"{load}\", \"rounds\": [{}]}}",
                rounds.join(", ")
            )
        });
        format!("[\n{}\n]\n", entries.collect::<Vec<_>>().join(",\n"))
    }
}

fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied()
}

fn to_json(figures: &Figures) -> String {
    let pairs = figures.iter().map(|(name, value)| format!("\"{name}\": {value}"));
    format!("{{{}}}", pairs.collect::<Vec<_>>().join(", "))
}

/// A driver's line: `{"name": number, …}`.
pub(super) fn of_line(line: &str) -> Figures {
    let pairs = line.trim().trim_matches(['{', '}']).split(',').filter_map(|pair| pair.split_once(':'));
    let mut figures: Figures = pairs
        .filter_map(|(name, value)| {
            Some((name.trim().trim_matches('"').to_owned(), value.trim().parse().ok()?))
        })
        .collect();
    if let Some(rate) = figures.get("msgs_per_s").copied() {
        figures.insert("us_per_msg".to_owned(), 1e6 / rate);
    }
    figures
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ratio_is_within_a_round() {
        let mut all = All::default();
        let [slow, fast, lost] = ["{\"p50_us\": 20}", "{\"p50_us\": 10}", ""];
        for (a, b) in [(slow, slow), (fast, fast), (slow, slow), (fast, lost), (fast, fast)] {
            all.add("a", "load", of_line(a));
            all.add("b", "load", of_line(b));
        }
        let ratio = |over| all.median_ratio(("a", "load", "p50_us"), over);
        assert_eq!(ratio(("b", "load", "p50_us")), Some(1.0));
        assert_eq!(ratio(("b", "other", "p50_us")), None);
    }

    #[test]
    fn the_median_is_of_each_figure_by_itself() {
        let mut all = All::default();
        for (rate, time) in [(1, 9), (3, 8), (2, 1)] {
            all.add("a", "b", of_line(&format!("{{\"msgs_per_s\": {rate}.0, \"p50_us\": {time}}}")));
        }
        assert_eq!(all.median("a", "b", "msgs_per_s"), Some(2.0));
        assert_eq!(all.median("a", "b", "p50_us"), Some(8.0));
        assert_eq!(all.median("a", "b", "us_per_msg"), Some(1e6 / 2.0));
        assert_eq!(all.median("a", "c", "p50_us"), None);
    }
}
