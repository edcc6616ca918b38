//! Counts tests by what their runner says when it is done.
//!
//! A test that fails has its output shown, and that may hold anything: cargo-nextest shows the closing line
//! of the test's own process, and a test about runners quotes one. So only the line that closes the whole run
//! counts, once.

use std::fmt;

/// How many tests ended how.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) passed: u64,
    pub(crate) failed: u64,
    pub(crate) skipped: u64,
}

/// The program that runs the tests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Runner {
    /// `cargo nextest run`: one summary for all binaries.
    Nextest,
    /// `cargo test`: a closing line for each binary, and for the doc tests of each crate.
    Libtest,
}

/// Reads one run's output, line by line.
#[derive(Debug)]
pub(crate) struct Tally {
    runner: Runner,
    /// Of the binaries that are done.
    counts: Counts,
    /// How many tests the binary that runs now has announced.
    announced: Option<u64>,
}

impl Counts {
    /// Reads what [`Display`](fmt::Display) writes: the last line of `cargo xtask test`.
    pub(crate) fn parse(line: &str) -> Option<Counts> {
        let counts = pairs(line, ',');
        (counts.to_string() == line).then_some(counts)
    }

    /// Counts tests that returned at once for want of a program as skipped, and not as passed.
    pub(crate) fn skip(&mut self, count: u64) {
        let count = count.min(self.passed);
        self.passed -= count;
        self.skipped += count;
    }

    fn all(self) -> u64 {
        self.passed + self.failed + self.skipped
    }
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} passed, {} failed, {} skipped", self.passed, self.failed, self.skipped)
    }
}

impl std::ops::AddAssign for Counts {
    fn add_assign(&mut self, more: Counts) {
        self.passed += more.passed;
        self.failed += more.failed;
        self.skipped += more.skipped;
    }
}

impl Tally {
    pub(crate) fn of(runner: Runner) -> Tally {
        Tally { runner, counts: Counts::default(), announced: None }
    }

    /// Takes in the next line, which may be coloured (`CARGO_TERM_COLOR=always`).
    pub(crate) fn read(&mut self, line: &str) {
        let line = without_colours(line);
        match self.runner {
            Runner::Nextest => self.read_nextest(&line),
            Runner::Libtest => self.read_libtest(&line),
        }
    }

    /// What was counted up to now.
    pub(crate) fn counts(&self) -> Counts {
        self.counts
    }

    // A test's output is indented further, and the summary comes last.
    fn read_nextest(&mut self, line: &str) {
        if line.starts_with("     Summary [")
            && let Some((_, rest)) = line.split_once(" run: ")
        {
            self.counts = pairs(rest, ',');
        }
    }

    // A quoted line lies between "running 3 tests" and the closing line that accounts for all three.
    fn read_libtest(&mut self, line: &str) {
        if let Some(announced) = self.announced {
            let closing = line.strip_prefix("test result: ").and_then(|rest| rest.split_once(". "));
            let counts = closing.map(|(_, rest)| pairs(rest, ';'));
            if let Some(counts) = counts.filter(|counts| counts.all() == announced) {
                self.counts += counts;
                self.announced = None;
            }
        } else if let Some(rest) = line.strip_prefix("running ") {
            self.announced = rest.split(' ').next().and_then(|number| number.parse().ok());
        }
    }
}

/// Adds up `3 passed (1 slow), 1 timed out`; what is in parentheses is said of tests that are counted before
/// it.
fn pairs(text: &str, separator: char) -> Counts {
    let mut counts = Counts::default();
    for part in outside_parentheses(text).split(separator) {
        let Some((number, word)) = part.trim().split_once(' ') else { continue };
        let Ok(count) = number.parse::<u64>() else { continue };
        match word.trim() {
            "passed" | "measured" => counts.passed += count,
            "failed" | "exec failed" | "timed out" => counts.failed += count,
            "skipped" | "ignored" => counts.skipped += count,
            _ => {}
        }
    }
    counts
}

fn outside_parentheses(text: &str) -> String {
    let mut inside = false;
    text.chars()
        .filter(|char| {
            inside = *char == '(' || inside && *char != ')';
            !inside && *char != ')'
        })
        .collect()
}

/// A colour is set by an escape, a bracket, and anything up to an `m`.
fn without_colours(line: &str) -> String {
    let mut parts = line.split("\u{1b}[");
    let first = parts.next().unwrap_or_default();
    let rest = parts.map(|part| part.split_once('m').map_or(part, |(_, rest)| rest));
    std::iter::once(first).chain(rest).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(passed: u64, failed: u64, skipped: u64) -> Counts {
        Counts { passed, failed, skipped }
    }

    fn tally(runner: Runner, output: &str) -> Counts {
        let mut tally = Tally::of(runner);
        output.lines().for_each(|line| tally.read(line));
        tally.counts()
    }

    #[test]
    fn a_failure_is_counted_once_in_what_both_runners_said() {
        // Each was captured from a crate whose tests pass, fail, are ignored, and quote a runner.
        let check =
            |runner, output: &str, expected| assert_eq!(tally(runner, output), expected, "{runner:?}");
        check(Runner::Nextest, include_str!("../tests/captured/nextest.txt"), counts(3, 3, 1));
        check(Runner::Nextest, include_str!("../tests/captured/nextest-in-colour.txt"), counts(3, 3, 1));
        check(Runner::Libtest, include_str!("../tests/captured/libtest.txt"), counts(3, 3, 1));
        check(Runner::Libtest, include_str!("../tests/captured/doctest.txt"), counts(1, 1, 0));
    }

    #[test]
    fn every_way_for_a_test_to_end_is_counted() {
        let check = |line: &str, expected| assert_eq!(tally(Runner::Nextest, line), expected, "{line}");
        check("     Summary [  21.021s] 5 tests run: 5 passed (3 slow, 1 leaky), 4 skipped", counts(5, 0, 4));
        check(
            "     Summary [   0.1s] 9 tests run: 6 passed, 2 failed, 1 timed out, 0 skipped",
            counts(6, 3, 0),
        );
        check("     Summary [   0.1s] 1 test run: 0 passed, 1 exec failed, 0 skipped", counts(0, 1, 0));
        check("     Summary [   9.1s] 3/8 tests run: 2 passed, 1 failed, 2 skipped", counts(2, 1, 2));
        check("test one_of_3_passed ... ok", counts(0, 0, 0));
    }

    #[test]
    fn what_was_skipped_for_want_of_a_program_did_not_pass() {
        let mut found = counts(5, 1, 2);
        found.skip(2);
        assert_eq!(found, counts(3, 1, 4));
        assert_eq!(Counts::parse(&found.to_string()), Some(found));
        assert_eq!(Counts::parse("error: nothing"), None);
    }
}
