//! What a run has measured so far, and what it has not: a measure that fails does not end the others.

use anyhow::{Result, bail, ensure};
use serde::Serialize;

use super::Plan;
use super::series::Measure;

/// A measure that has no numbers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Missing {
    /// What was to be measured.
    pub name: String,
    /// Whether that went wrong; otherwise it was left out.
    pub failed: bool,
    /// Why there are none.
    pub reason: String,
}

impl Missing {
    /// It went wrong.
    pub(super) fn failed(name: &str, error: &anyhow::Error) -> Self {
        Self { name: name.to_owned(), failed: true, reason: format!("{error:#}") }
    }

    /// One line.
    pub(super) fn text(&self) -> String {
        let how = if self.failed { "failed" } else { "skipped" };
        format!("{}: {how}: {}", self.name, self.reason.split_whitespace().collect::<Vec<_>>().join(" "))
    }
}

/// All of a run.
#[derive(Debug, Clone, Default)]
pub struct Outcome {
    /// With numbers.
    pub measures: Vec<Measure>,
    /// Without.
    pub missing: Vec<Missing>,
    /// What could not be had for all.
    pub remarks: Vec<String>,
}

impl Outcome {
    /// Fails if there is nothing, as no name matched.
    pub(super) fn ensure_any(&self, plan: &Plan) -> Result<()> {
        let any = !self.measures.is_empty() || !self.missing.is_empty();
        plan.met(any, "docs/bench.md and the report of a whole run have the names")
    }

    /// Fails if a measure did.
    pub(super) fn judge(&self) -> Result<()> {
        let failed: Vec<_> = self.missing.iter().filter(|it| it.failed).map(Missing::text).collect();
        ensure!(failed.is_empty(), "{} failed:\n{}", measures(failed.len()), failed.join("\n"));
        Ok(())
    }
}

fn measures(count: usize) -> String {
    if count == 1 { "1 measure".to_owned() } else { format!("{count} measures") }
}

/// An outcome that is being written.
#[derive(Debug)]
pub(super) struct Book<'plan> {
    pub(super) plan: &'plan Plan,
    outcome: Outcome,
    /// Rows that a table of the kernel's may have, and that were opened so far.
    room: u64,
    opened: u64,
}

impl<'plan> Book<'plan> {
    pub(super) const fn new(plan: &'plan Plan, room: u64) -> Self {
        let outcome = Outcome { measures: Vec::new(), missing: Vec::new(), remarks: Vec::new() };
        Self { plan, outcome, room, opened: 0 }
    }

    /// Rows that a table of the kernel's NAT may have.
    pub(super) const fn room(&self) -> u64 {
        self.room
    }

    /// Takes what bears these names, if one of them is wanted; `rows` are what the kernel's NAT opens for it in one table.
    pub(super) fn take<M>(&mut self, names: &[&str], rows: u64, measure: impl FnOnce(&Plan) -> Result<M>)
    where
        M: IntoIterator<Item = Measure>,
    {
        if !names.iter().any(|name| self.plan.wants(name)) {
            return;
        }
        match self.open(rows) {
            Err(error) => self.miss(names, false, format!("{error:#}")),
            Ok(()) => match measure(self.plan) {
                Ok(found) => self.outcome.measures.extend(found),
                Err(error) => self.miss(names, true, format!("{error:#}")),
            },
        }
    }

    /// Says that these failed.
    pub(super) fn fail(&mut self, names: &[&str], error: &anyhow::Error) {
        self.miss(names, true, format!("{error:#}"));
    }

    /// What cannot be had for all.
    pub(super) fn remark(&mut self, text: String) {
        eprintln!("{text}");
        self.outcome.remarks.push(text);
    }

    /// They would be dropped where there is no room, and the measure would be of something else.
    fn open(&mut self, rows: u64) -> Result<()> {
        let all = self.opened + rows;
        if rows > 0 && all > self.room {
            bail!(
                "nf_conntrack_max is {} and may not be raised; {all} rows of the kernel's NAT would be open by then",
                self.room
            );
        }
        self.opened = all;
        Ok(())
    }

    fn miss(&mut self, names: &[&str], failed: bool, reason: String) {
        for name in names {
            let missing = Missing { name: (*name).to_owned(), failed, reason: reason.clone() };
            eprintln!("{}", missing.text());
            self.outcome.missing.push(missing);
        }
    }

    /// Whether anything failed.
    pub(super) fn has_failed(&self) -> bool {
        self.outcome.missing.iter().any(|it| it.failed)
    }

    pub(super) fn close(self) -> Outcome {
        self.outcome
    }
}

#[cfg(test)]
mod tests {
    use anyhow::anyhow;

    use super::*;
    use crate::bench::peers::Peer;
    use crate::bench::series::Unit;

    fn one(name: &str) -> [Measure; 1] {
        let mut measure = Measure::new(name, Unit::Bytes, None);
        measure.add(Peer::Ours, 1.0);
        [measure]
    }

    #[test]
    fn one_that_fails_does_not_end_the_others() {
        let mut book = Book::new(&Plan::QUICK, 100);
        book.take(&["a"], 0, |_| Err::<[Measure; 1], _>(anyhow!("no such\nthing").context("look")));
        book.take(&["b"], 0, |_| Ok(one("b")));
        assert!(book.has_failed());
        let outcome = book.close();
        assert_eq!(outcome.missing.iter().map(Missing::text).collect::<Vec<_>>(), ["a: failed: look: no such thing"]);
        assert_eq!(outcome.measures.iter().map(|it| it.name.as_str()).collect::<Vec<_>>(), ["b"]);
        let error = outcome.judge().unwrap_err().to_string();
        assert_eq!(error, "1 measure failed:\na: failed: look: no such thing");
    }

    #[test]
    fn what_the_kernel_has_no_room_for_is_skipped_by_name() {
        let mut book = Book::new(&Plan::QUICK, 100);
        book.take(&["few"], 60, |_| Ok(one("few")));
        book.take(&["many"], 41, |_| Ok(one("many")));
        book.take(&["none"], 0, |_| Ok(one("none")));
        book.take(&["as many as there are"], 40, |_| Ok(one("as many as there are")));
        assert!(!book.has_failed());
        let outcome = book.close();
        let said: Vec<_> = outcome.missing.iter().map(Missing::text).collect();
        assert_eq!(
            said,
            [
                "many: skipped: nf_conntrack_max is 100 and may not be raised; 101 rows of the kernel's NAT would be open by then"
            ]
        );
        assert_eq!(outcome.measures.len(), 3);
        assert!(outcome.judge().is_ok());
    }

    #[test]
    fn only_what_is_wanted_is_taken() {
        let plan = Plan { only: Some("x".to_owned()), ..Plan::QUICK };
        let mut book = Book::new(&plan, 0);
        book.take(&["a"], 1, |_| Ok(one("a")));
        let outcome = book.close();
        assert!(outcome.measures.is_empty() && outcome.missing.is_empty());
        assert!(outcome.ensure_any(&plan).unwrap_err().to_string().contains("no measure's name contains \"x\""));
    }
}
