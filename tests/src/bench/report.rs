//! Tables for a terminal, Markdown with plots (Mermaid's `xychart`, which GitHub draws), JSON with every number.

use std::fmt::Write;
use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::path::Path;

use anyhow::{Context, Result, ensure};
use serde::Serialize;

use super::Reports;
use super::book::{Missing, Outcome};
use super::machine::Machine;
use super::peers::Peer;
use super::programs::Section;
use super::series::{Goal, Measure, Unit};
use crate::spread::Spread;

const BAR: f64 = 40.0;

#[derive(Serialize)]
struct Everything<'a> {
    machine: &'a Machine,
    measures: &'a [Measure],
    missing: &'a [Missing],
    remarks: &'a [String],
    programs: &'a [Section],
}

/// Whether the files can be written: asked before anything is measured. What is in them stays until then.
pub(super) fn ensure_writable(reports: &Reports) -> Result<()> {
    for (option, path) in [("--json", &reports.json), ("--markdown", &reports.markdown)] {
        let Some(path) = path else { continue };
        let is_new = !path.exists();
        let opened = OpenOptions::new().append(true).create(true).open(path);
        opened.with_context(|| format!("{option} {}: cannot be written, nothing was measured", path.display()))?;
        if is_new {
            let _ = fs::remove_file(path);
        }
    }
    Ok(())
}

/// Writes what is asked for: each, also if another one fails.
pub(super) fn write(machine: &Machine, outcome: &Outcome, programs: &[Section], reports: &Reports) -> Result<()> {
    let Outcome { measures, missing, remarks } = outcome;
    let everything = Everything { machine, measures, missing, remarks, programs };
    let json = || serde_json::to_string_pretty(&everything).context("numbers as JSON");
    let markdown = || Ok(text(machine, outcome, programs, true));
    let printed = writeln!(io::stdout(), "{}", text(machine, outcome, programs, false)).context("standard output");
    let written =
        [file("--json", reports.json.as_deref(), json), file("--markdown", reports.markdown.as_deref(), markdown)];
    let failed: Vec<_> =
        written.into_iter().chain([printed]).filter_map(Result::err).map(|error| format!("{error:#}")).collect();
    ensure!(failed.is_empty(), "the report was not written: {}", failed.join("; "));
    Ok(())
}

fn file(option: &str, path: Option<&Path>, text: impl FnOnce() -> Result<String>) -> Result<()> {
    let Some(path) = path else { return Ok(()) };
    fs::write(path, text()?).with_context(|| format!("{option} {}", path.display()))
}

fn text(machine: &Machine, outcome: &Outcome, programs: &[Section], plots: bool) -> String {
    let mut text = String::from("# Benchmark\n\n| | |\n|---|---|\n");
    for (name, value) in machine.rows() {
        let _ = writeln!(text, "| {name} | {value} |");
    }
    without(&mut text, outcome);
    if !outcome.measures.is_empty() {
        text.push_str(
            "\nMedian, smallest and largest of the rounds; ratios are ours by the other's, taken round by round in one run.\n",
        );
        goals(&mut text, &outcome.measures);
    }
    outcome.measures.iter().for_each(|it| one(&mut text, it, plots));
    programs.iter().for_each(|it| section(&mut text, it));
    text
}

/// First, so that nobody takes a report for whole that is not.
fn without(text: &mut String, outcome: &Outcome) {
    let missing = outcome.missing.iter().map(Missing::text);
    let lines: Vec<_> = missing.chain(outcome.remarks.iter().cloned()).collect();
    if !lines.is_empty() {
        let _ = writeln!(text, "\n## Not measured, or not as it should be\n\n- {}", lines.join("\n- "));
    }
}

fn one(text: &mut String, measure: &Measure, plots: bool) {
    let _ = writeln!(text, "\n## {} [{}]\n", measure.name, measure.unit.name());
    let state = measure.state.text();
    if !state.is_empty() {
        let _ = writeln!(text, "{state}\n");
    }
    table(text, measure);
    if plots && measure.series.len() > 1 {
        plot(text, measure);
    }
    bars(text, measure);
    let mut notes = measure.notes.clone();
    notes.dedup();
    notes.iter().for_each(|note| _ = writeln!(text, "- {note}"));
}

fn section(text: &mut String, section: &Section) {
    let _ = writeln!(text, "\n## {}\n\n| | {} |", section.title, section.columns.join(" | "));
    let _ = writeln!(text, "|---|{}", "---|".repeat(section.columns.len()));
    for (name, values) in &section.rows {
        let values: Vec<_> = values.iter().map(|value| number(*value)).collect();
        let _ = writeln!(text, "| {name} | {} |", values.join(" | "));
    }
    section.notes.iter().for_each(|note| _ = writeln!(text, "\n{note}"));
}

/// What was to be reached, and what was.
fn goals(text: &mut String, measures: &[Measure]) {
    text.push_str("\n## Goals\n\n| measure | against | must | aim | median | min | max | reached |\n|---|---|---|---|---|---|---|---|\n");
    for measure in measures {
        let Some(goal) = measure.goal else { continue };
        let against = goal.against.map_or("", Peer::label);
        let _ = write!(text, "| {} | {against} | {} |", measure.name, bounds(goal).join(" | "));
        let _ = match measure.judged() {
            Some((goal, values)) => {
                let it = Spread::of(values);
                let verdict = goal.verdict(it.median);
                writeln!(text, " {} | {} | {} | {verdict} |", number(it.median), number(it.min), number(it.max))
            }
            None => writeln!(text, " | | | not measured |"),
        };
    }
}

fn bounds(goal: Goal) -> [String; 2] {
    let sign = if goal.at_most { '≤' } else { '≥' };
    [goal.must, goal.aim].map(|bound| format!("{sign} {bound}"))
}

fn table(text: &mut String, measure: &Measure) {
    let rates = measure.unit == Unit::NsPerPacket;
    let more = if rates { [" Mpps |", "---|"] } else { ["", ""] };
    let _ = writeln!(text, "| | median | min | max |{} ratio | min | max |", more[0]);
    let _ = writeln!(text, "|---|---|---|---|{}---|---|---|", more[1]);
    for peer in Peer::ALL {
        let Some(values) = measure.series.get(peer.label()) else { continue };
        let it = Spread::of(values.iter().copied());
        let _ = write!(text, "| {} | {} | {} | {} |", peer.label(), number(it.median), number(it.min), number(it.max));
        if rates {
            let _ = write!(text, " {:.2} |", 1e3 / it.median);
        }
        let ratios = measure.ratios(peer);
        let _ = if peer == Peer::Ours || ratios.is_empty() {
            writeln!(text, " | | |")
        } else {
            let it = Spread::of(ratios);
            writeln!(text, " {:.2} | {:.2} | {:.2} |", it.median, it.min, it.max)
        };
    }
}

/// Medians in the order of reports.
fn medians(measure: &Measure) -> Vec<(&'static str, f64)> {
    let median = |peer: Peer| {
        let values = measure.series.get(peer.label())?;
        Some((peer.label(), Spread::of(values.iter().copied()).median))
    };
    Peer::ALL.into_iter().filter_map(median).collect()
}

fn plot(text: &mut String, measure: &Measure) {
    let medians = medians(measure);
    let labels: Vec<_> = medians.iter().map(|it| format!("\"{}\"", it.0)).collect();
    let values: Vec<_> = medians.iter().map(|it| number(it.1)).collect();
    let most = medians.iter().map(|it| it.1).fold(0.0, f64::max);
    let _ = write!(
        text,
        "\n```mermaid\nxychart-beta horizontal\n    x-axis [{}]\n    y-axis \"{}\" 0 --> {}\n    bar [{}]\n```\n",
        labels.join(", "),
        measure.unit.name(),
        number(most * 1.05),
        values.join(", ")
    );
}

fn bars(text: &mut String, measure: &Measure) {
    let medians = medians(measure);
    let most = medians.iter().map(|it| it.1).fold(0.0, f64::max);
    text.push_str("\n```\n");
    for (label, median) in medians {
        let bar = "#".repeat((median / most * BAR).round() as usize);
        let _ = writeln!(text, "{label:<20} {bar} {}", number(median));
    }
    text.push_str("```\n");
}

fn number(value: f64) -> String {
    if value >= 100.0 || value.fract() == 0.0 { format!("{value:.0}") } else { format!("{value:.2}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_goal_is_judged_and_a_plot_is_drawn() {
        let goal = Goal { against: Some(Peer::Iptables), must: 0.6, aim: 0.5, at_most: true };
        let mut measure = Measure::new("packets", Unit::NsPerPacket, Some(goal));
        for (ours, theirs) in [(400.0, 1000.0), (500.0, 1000.0), (550.0, 1000.0)] {
            measure.add(Peer::Ours, ours);
            measure.add(Peer::Iptables, theirs);
        }
        let missing = Missing { name: "frames".to_owned(), failed: true, reason: "no\nXDP".to_owned() };
        let outcome =
            Outcome { measures: vec![measure], missing: vec![missing], remarks: vec!["few buckets".to_owned()] };
        let text = text(&Machine::look(), &outcome, &[], true);
        assert!(text.contains("\n- frames: failed: no XDP\n- few buckets\n"), "{text}");
        let goals = "| packets | iptables MASQUERADE | ≤ 0.6 | ≤ 0.5 | 0.50 | 0.40 | 0.55 | aim |\n";
        assert!(text.contains(goals), "{text}");
        assert!(text.contains("| ours | 500 | 400 | 550 | 2.00 | | | |\n"), "{text}");
        assert!(text.contains("    x-axis [\"ours\", \"iptables MASQUERADE\"]\n"), "{text}");
        assert!(text.contains("    bar [500, 1000]\n"), "{text}");
    }

    #[test]
    fn a_file_that_cannot_be_written_is_named_at_once_and_keeps_no_other_back() {
        let folder = std::env::temp_dir().join(format!("bench-report-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let (good, bad) = (folder.join("all.json"), folder.join("nowhere/all.md"));
        let reports = Reports { json: Some(good.clone()), markdown: Some(bad.clone()) };
        let error = ensure_writable(&reports).unwrap_err();
        let said = format!("--markdown {}: cannot be written, nothing was measured", bad.display());
        assert_eq!(error.to_string(), said);
        assert!(!good.exists());
        fs::write(&good, "before").unwrap();
        ensure_writable(&Reports { markdown: None, ..reports.clone() }).unwrap();
        assert_eq!(fs::read_to_string(&good).unwrap(), "before");

        let error = write(&Machine::look(), &Outcome::default(), &[], &reports).unwrap_err().to_string();
        let json = fs::read_to_string(&good).unwrap();
        fs::remove_dir_all(&folder).unwrap();
        assert!(error.contains(&format!("--markdown {}", bad.display())) && !error.contains("--json"), "{error}");
        assert!(json.contains("\"measures\""), "{json}");
    }
}
