//! Adds up what libtest prints, and tests beside it.

use std::fmt;

/// Counts over all test binaries of a run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    /// Tests that ran and held.
    pub(crate) passed: u64,
    /// Tests that failed, and steps that failed without a test to blame.
    pub(crate) failed: u64,
    /// Tests that said `SKIP: reason`, and ignored ones.
    pub(crate) skipped: u64,
    place: Place,
    /// `SKIP:` of the binary that is printing: libtest will count these tests as passed.
    pending: u64,
    /// What the tests that failed said, as far as people read: without backtraces.
    said: Vec<String>,
}

/// Lines of failed tests that are said again.
const MOST_SAID: usize = 100;

/// Where in libtest's output a line stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Place {
    /// Outside of captured output.
    #[default]
    Outside,
    /// In the output of tests that passed; `skipped`: this one has already said so.
    Successes { skipped: bool },
    /// In the output of tests that failed: counted as such, whatever they said; `backtrace`: in one of its backtraces.
    Failures { backtrace: bool },
}

impl Tally {
    /// What failed tests said: a log shows it hundreds of lines before its end.
    pub(crate) fn said(&self) -> &[String] {
        &self.said
    }

    /// Takes one line of output.
    pub(crate) fn line(&mut self, line: &str) {
        if let Some(counts) = line.strip_prefix("test result: ") {
            self.result(counts);
        } else if line.starts_with("running ") && line.trim_end_matches('s').ends_with(" test") {
            (self.place, self.pending) = (Place::Outside, 0);
        } else if line == "successes:" {
            self.place = Place::Successes { skipped: false };
        } else if line == "failures:" {
            self.place = Place::Failures { backtrace: false };
        } else if line.starts_with("---- ") && line.ends_with(" stdout ----") {
            match &mut self.place {
                Place::Successes { skipped: it } | Place::Failures { backtrace: it } => *it = false,
                Place::Outside => {}
            }
        } else if line.eq_ignore_ascii_case("stack backtrace:") {
            if let Place::Failures { backtrace } = &mut self.place {
                *backtrace = true;
            }
        } else if line.starts_with("SKIP: ") {
            self.skip();
        }
        if self.place == (Place::Failures { backtrace: false }) && self.said.len() < MOST_SAID {
            self.said.push(line.to_owned());
        }
    }

    /// Takes one test that libtest knows nothing of.
    pub(crate) fn test(&mut self, passed: bool) {
        *(if passed { &mut self.passed } else { &mut self.failed }) += 1;
    }

    fn skip(&mut self) {
        match &mut self.place {
            Place::Failures { .. } | Place::Successes { skipped: true } => return,
            Place::Successes { skipped } => *skipped = true,
            Place::Outside => {}
        }
        self.pending += 1;
    }

    fn result(&mut self, counts: &str) {
        // "ok. 3 passed; 0 failed; 1 ignored; 0 measured; 7 filtered out; finished in 0.02s"
        let count = |name: &str| -> u64 {
            let parts = counts.split([';', '.']).filter_map(|part| part.trim().split_once(' '));
            parts.filter(|(_, what)| *what == name).find_map(|(number, _)| number.parse().ok()).unwrap_or(0)
        };
        self.passed += count("passed").saturating_sub(self.pending);
        self.failed += count("failed");
        self.skipped += count("ignored") + self.pending;
        (self.place, self.pending) = (Place::Outside, 0);
    }
}

/// The closing line of `cargo xtask test`.
impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} passed, {} failed, {} skipped", self.passed, self.failed, self.skipped)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(output: &str) -> String {
        let mut tally = Tally::default();
        output.lines().for_each(|line| tally.line(line));
        tally.to_string()
    }

    #[test]
    fn binaries_add_up() {
        let output = "\
running 4 tests
test a ... ok
test result: ok. 3 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.02s

running 12 tests
test result: FAILED. 10 passed; 2 failed; 0 ignored; 0 measured; 5 filtered out; finished in 12.00s";
        assert_eq!(of(output), "13 passed, 2 failed, 1 skipped");
    }

    #[test]
    fn tests_beside_libtest_count_too() {
        let mut tally = Tally::default();
        tally.line("test result: ok. 3 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out");
        for passed in [true, false, true] {
            tally.test(passed);
        }
        assert_eq!(tally.to_string(), "5 passed, 1 failed, 0 skipped");
    }

    #[test]
    fn a_test_that_skips_did_not_pass_however_often_it_says_so() {
        let output = "\
running 3 tests
test a ... ok

successes:

---- a stdout ----
SKIP: no root
SKIP: really

---- b stdout ----
some words
SKIP: no netns

successes:
    a
    b
    c

test result: ok. 3 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.00s";
        assert_eq!(of(output), "1 passed, 0 failed, 2 skipped");
    }

    #[test]
    fn a_test_that_fails_is_not_a_skip() {
        let output = "\
running 2 tests
failures:

---- a stdout ----
SKIP: half of it
thread 'a' panicked
stack backtrace:
   0: a
             at ./a.rs:1:1

failures:
    a

test result: FAILED. 1 passed; 1 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.00s";
        assert_eq!(of(output), "1 passed, 1 failed, 0 skipped");
        let mut tally = Tally::default();
        output.lines().for_each(|line| tally.line(line));
        let said = tally.said().join("\n");
        assert!(
            said.starts_with("failures:\n\n---- a stdout ----\n") && said.ends_with("panicked\nfailures:\n    a\n"),
            "{said}"
        );
        (0..2 * MOST_SAID).for_each(|_| output.lines().for_each(|line| tally.line(line)));
        assert_eq!(tally.said().len(), MOST_SAID);
    }

    #[test]
    fn uncaptured_skips_count_and_a_crashed_binary_leaves_none_behind() {
        let output = "\
running 2 tests
SKIP: printed by a child
running 1 test
SKIP: this one counts
test result: ok. 1 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.00s";
        assert_eq!(of(output), "0 passed, 0 failed, 1 skipped");
    }
}
