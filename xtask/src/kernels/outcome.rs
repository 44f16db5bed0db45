//! What a virtual machine said, as results.

use std::collections::BTreeMap;

use crate::tally::Tally;

/// Results of one kernel.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    /// Its own name for itself.
    pub(crate) release: String,
    /// Verified instructions by program.
    pub(crate) programs: BTreeMap<String, u64>,
    /// Sections of the run, by name.
    pub(crate) sections: BTreeMap<String, Section>,
    /// What went wrong outside of tests.
    pub(crate) errors: Vec<String>,
}

/// One section: the load, or a run of the test binary.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Section {
    /// What libtest counted; nothing for the load.
    pub(crate) tally: Tally,
    /// It came to its end and said that all was well.
    pub(crate) good: bool,
}

impl Outcome {
    /// Reads a console.
    pub(crate) fn read(console: &str) -> Self {
        let mut outcome = Self::default();
        let mut open: Option<(String, Tally)> = None;
        let mut done = false;
        for line in console.lines() {
            // What a test left without a newline may stand before it.
            let said = line.split_once("@@ ").and_then(|(_, said)| said.split_once(' ').or(Some((said, ""))));
            match (said, &mut open) {
                (Some(("kernel", release)), _) => release.clone_into(&mut outcome.release),
                (Some(("program", words)), _) => {
                    if let Some((name, count)) = words.split_once(' ') {
                        outcome.programs.insert(name.to_owned(), count.parse().unwrap_or(0));
                    }
                }
                (Some(("begin", name)), _) => open = Some((name.to_owned(), Tally::default())),
                (Some(("end", words)), _) => {
                    if let Some((name, tally)) = open.take() {
                        let good = words.strip_prefix(name.as_str()) == Some(" 0") && tally.failed == 0;
                        outcome.sections.insert(name, Section { tally, good });
                    }
                }
                (Some(("done", _)), _) => done = true,
                (Some((what @ ("error" | "refused" | "module"), words)), _) => {
                    outcome.errors.push(format!("{what} {words}"))
                }
                (_, Some((_, tally))) => tally.line(line),
                _ => {}
            }
        }
        if !done {
            outcome.errors.push("the machine did not come to its end".to_owned());
        }
        outcome
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_console_is_read() {
        let console = "\
SeaBIOS
@@ kernel 6.1.0-56-cloud-amd64
@@ begin load
@@ program egw_in 1234
@@ end load 0
@@ begin wire
running 2 tests
test result: ok. 2 passed; 0 failed; 0 ignored; 0 measured; 7 filtered out; finished in 1.00s
@@ end wire 0
@@ done";
        let outcome = Outcome::read(console);
        assert_eq!(outcome.release, "6.1.0-56-cloud-amd64");
        assert_eq!(outcome.programs["egw_in"], 1234);
        assert!(outcome.sections["load"].good && outcome.sections["wire"].good);
        assert_eq!(outcome.sections["wire"].tally.passed, 2);
        assert!(outcome.errors.is_empty());
    }

    #[test]
    fn what_is_cut_off_or_refused_is_not_good() {
        let outcome =
            Outcome::read("@@ begin load\n@@ refused egw_in: no\n@@ end load 1\n@@ begin wire\nrunning 2 tests\n");
        assert!(!outcome.sections["load"].good && !outcome.sections.contains_key("wire"));
        assert_eq!(outcome.errors, ["refused egw_in: no", "the machine did not come to its end"]);
    }
}
