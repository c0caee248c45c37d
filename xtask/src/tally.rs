//! Counting tests by what their runners print, and holding skips against the list of expected ones.

use std::{fmt, fs};

use crate::process::{Failure, Result, root, target};

/// What every password of the tests contains. No line that a test prints may.
const CANARY: &str = "canary-";

/// Counts over all runners.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    pub(crate) passed: usize,
    pub(crate) failed: usize,
    pub(crate) skipped: usize,
    /// A description of each skip, or of several at one place.
    skips: Vec<String>,
    /// Lines that had a password in them, without it.
    leaks: Vec<String>,
}

impl Tally {
    /// Takes note of a line of `cargo test`.
    pub(crate) fn see_cargo(&mut self, line: &str) {
        if let Some(result) = line.strip_prefix("test result: ") {
            let counts = result.split_once(". ").map_or("", |(_, counts)| counts);
            for (count, what) in counts.split("; ").filter_map(counted) {
                match what {
                    "passed" => self.passed += count,
                    "failed" => self.failed += count,
                    "ignored" => self.skipped += count,
                    _ => {}
                }
            }
        } else if let Some((name, outcome)) =
            line.strip_prefix("test ").and_then(|test| test.rsplit_once(" ... "))
            && let Some(reason) = outcome.strip_prefix("ignored")
        {
            self.skips.push(format!("rust {name}{reason}"));
        }
    }

    /// Looks for passwords in what a test printed on either of its outputs.
    pub(crate) fn see_output(&mut self, line: &str) {
        if let Some((before, _)) = line.split_once(CANARY) {
            self.failed += 1;
            self.leaks.push(before.to_owned());
        }
    }

    /// Where passwords were printed.
    pub(crate) fn leaks(&self) -> &[String] {
        &self.leaks
    }

    /// Takes note of a line of pytest.
    pub(crate) fn see_pytest(&mut self, line: &str) {
        if let Some(skip) = line.strip_prefix("SKIPPED [").and_then(|skip| skip.split_once("] ")) {
            self.skips.push(format!("python {}", skip.1));
            return;
        }
        let Some((counts, seconds)) = line.trim_matches(['=', ' ']).rsplit_once(" in ") else { return };
        let seconds = seconds.split(' ').next().unwrap_or_default();
        if seconds.strip_suffix('s').is_none_or(|seconds| seconds.parse::<f64>().is_err()) {
            return;
        }
        for (count, what) in counts.split(", ").filter_map(counted) {
            match what {
                "passed" | "xfailed" => self.passed += count,
                "failed" | "xpassed" | "error" | "errors" => self.failed += count,
                "skipped" => self.skipped += count,
                _ => {}
            }
        }
    }

    /// Takes note of a Rust test that said that it left itself out, though its runner counted it as passed.
    pub(crate) fn see_own_skip(&mut self, line: &str) {
        if !line.trim().is_empty() {
            self.passed = self.passed.saturating_sub(1);
            self.skipped += 1;
            self.skips.push(format!("rust {}", line.trim()));
        }
    }

    /// Names the skips and holds them against the list; returns all problems. What failed without a test's failing
    /// counts, too.
    pub(crate) fn judge(&mut self, mut problems: Vec<Failure>) -> Result<Vec<Failure>> {
        self.skips.iter().for_each(|skip| println!("skipped: {skip}"));
        for skip in self.judge_skips(&expected_skips()?) {
            problems.push(
                Failure::new(format!("a test was skipped: {skip}"))
                    .hint("may it? then xtask/expected-skips.txt"),
            );
        }
        if !problems.is_empty() && self.failed == 0 {
            // It did not come to a test's failing: something did not build or start.
            self.failed = problems.len();
        }
        Ok(problems)
    }

    /// Adds the counts of another.
    pub(crate) fn add(&mut self, other: &Self) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.skipped += other.skipped;
        self.skips.extend_from_slice(&other.skips);
    }

    /// Of a run that came to no test.
    pub(crate) fn of_a_failure() -> Self {
        Self { failed: 1, ..Self::default() }
    }

    /// The counts of another run, as it printed them; nothing for other lines.
    pub(crate) fn read(line: &str) -> Option<Self> {
        let mut tally = Self::default();
        for part in line.split(", ") {
            match counted(part)? {
                (count, "passed") => tally.passed = count,
                (count, "failed") => tally.failed = count,
                (count, "skipped") => tally.skipped = count,
                _ => return None,
            }
        }
        (tally.to_string() == line).then_some(tally)
    }

    /// Leaves the counts in a file of the build directory.
    pub(crate) fn write(&self, name: &str) -> Result<()> {
        let written = fs::write(target().join(name), format!("{self}\n"));
        written.map_err(|e| Failure::new(format!("{name}: {e}")))
    }

    /// Counts each skip that is not expected as a failure, and returns them.
    fn judge_skips(&mut self, expected: &[String]) -> Vec<String> {
        let surprise = |skip: &&String| !expected.iter().any(|text| skip.contains(text.as_str()));
        let surprises: Vec<String> = self.skips.iter().filter(surprise).cloned().collect();
        self.failed += surprises.len();
        self.skipped = self.skipped.saturating_sub(surprises.len());
        surprises
    }
}

/// The line that stands alone at the end, for people and for CI.
impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} passed, {} failed, {} skipped", self.passed, self.failed, self.skipped)
    }
}

/// The texts of `xtask/expected-skips.txt`; only those that always hold when the environment says that nothing is missing.
fn expected_skips() -> Result<Vec<String>> {
    let path = root().join("xtask/expected-skips.txt");
    let text = fs::read_to_string(&path).map_err(|e| Failure::new(format!("{}: {e}", path.display())))?;
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    let nothing_is_missing = std::env::var_os("QUARK_TEST_NO_SKIPS").is_some();
    let allowed = lines.filter_map(|line| match line.strip_prefix("always ") {
        Some(text) => Some(text),
        None => (!nothing_is_missing).then_some(line),
    });
    Ok(allowed.map(str::to_owned).collect())
}

/// A number and the word after it.
fn counted(text: &str) -> Option<(usize, &str)> {
    let (number, what) = text.trim().split_once(' ')?;
    Some((number.parse().ok()?, what.trim()))
}

#[cfg(test)]
mod tests {
    use super::{CANARY, Tally};

    fn tally(passed: usize, failed: usize, skipped: usize) -> String {
        Tally { passed, failed, skipped, ..Tally::default() }.to_string()
    }

    #[test]
    fn what_one_run_prints_another_reads() {
        let printed = tally(12, 3, 4);
        assert_eq!(Tally::read(&printed).map(|read| read.to_string()), Some(printed));
        for line in ["12 passed", "3 passed, 2 skipped in 0.10s", "", "12 passed, 3 failed, x skipped"] {
            assert_eq!(Tally::read(line), None, "{line}");
        }
    }

    #[test]
    fn results_of_cargo_are_summed() {
        let mut seen = Tally::default();
        for line in [
            "running 2 tests",
            "test result: ok. 5 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.00s",
            "test result: FAILED. 2 passed; 3 failed; 0 ignored; 0 measured; 7 filtered out; finished in 1.20s",
        ] {
            seen.see_cargo(line);
        }
        assert_eq!(seen.to_string(), tally(7, 3, 1));
    }

    #[test]
    fn the_last_line_of_pytest_is_read_in_all_its_forms() {
        for (line, expected) in [
            ("============== 18 passed in 1.96s ==============", tally(18, 0, 0)),
            ("= 1 failed, 2 passed, 3 skipped, 1 warning, 2 errors in 62.10s (0:01:02) =", tally(2, 3, 3)),
            ("4 passed, 1 xfailed, 2 deselected in 0.10s", tally(5, 0, 0)),
            ("no tests ran in 0.01s", tally(0, 0, 0)),
            ("3 passed in the first round", tally(0, 0, 0)),
        ] {
            let mut seen = Tally::default();
            seen.see_pytest(line);
            assert_eq!(seen.to_string(), expected, "{line}");
        }
    }

    #[test]
    fn a_password_in_any_output_is_a_failure() {
        let mut seen = Tally::default();
        seen.see_output("cannot reach redis://u:***@h");
        assert_eq!(seen.to_string(), tally(0, 0, 0));
        seen.see_output(&format!("cannot reach redis://u:{CANARY}x@h"));
        assert_eq!(seen.to_string(), tally(0, 1, 0));
        assert_eq!(seen.leaks(), ["cannot reach redis://u:"]);
    }

    #[test]
    fn a_skip_is_a_failure_unless_it_is_expected() {
        let mut seen = Tally::default();
        for line in [
            "test slow::all_seeds ... ignored, takes an hour",
            "test other ... ignored",
            "test result: ok. 1 passed; 0 failed; 2 ignored; 0 measured; 0 filtered out; finished in 0.00s",
        ] {
            seen.see_cargo(line);
        }
        seen.see_own_skip("valgrind: not installed");
        seen.see_pytest("SKIPPED [2] python-tests/test_fork.py:12: needs Linux");
        seen.see_pytest("1 passed, 2 skipped in 0.10s");
        let expected = ["takes an hour", "valgrind: not installed", "test_fork.py"].map(str::to_owned);
        assert_eq!(seen.judge_skips(&expected), ["rust other"]);
        assert_eq!(seen.to_string(), tally(1, 1, 4));
    }
}
