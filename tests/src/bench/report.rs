//! Tables for a terminal, Markdown with plots (Mermaid's `xychart`, which GitHub draws), JSON with every number.

use std::fmt::Write;
use std::fs;

use anyhow::{Context, Result};
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

/// Writes what is asked for.
pub(super) fn write(machine: &Machine, outcome: &Outcome, programs: &[Section], reports: &Reports) -> Result<()> {
    println!("{}", text(machine, outcome, programs, false));
    if let Some(path) = &reports.markdown {
        let text = text(machine, outcome, programs, true);
        fs::write(path, text).with_context(|| format!("write {}", path.display()))?;
    }
    if let Some(path) = &reports.json {
        let Outcome { measures, missing, remarks } = outcome;
        let json = serde_json::to_string_pretty(&Everything { machine, measures, missing, remarks, programs })?;
        fs::write(path, json).with_context(|| format!("write {}", path.display()))?;
    }
    Ok(())
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
}
