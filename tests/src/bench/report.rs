//! Tables for a terminal, Markdown with bars, JSON with every number.

use std::fmt::Write;
use std::fs;

use anyhow::{Context, Result};

use super::Reports;
use super::peers::Peer;
use super::series::Measure;
use crate::spread::Spread;

const OTHERS: [Peer; 4] = [Peer::Iptables, Peer::Nft, Peer::Forward, Peer::Floor];
const BAR: f64 = 40.0;

/// Writes what is asked for.
pub(super) fn write(measures: &[Measure], reports: &Reports) -> Result<()> {
    let text = markdown(measures);
    println!("{text}");
    if let Some(path) = &reports.markdown {
        fs::write(path, &text).with_context(|| format!("write {}", path.display()))?;
    }
    if let Some(path) = &reports.json {
        let json = serde_json::to_string_pretty(measures)?;
        fs::write(path, json).with_context(|| format!("write {}", path.display()))?;
    }
    Ok(())
}

fn markdown(measures: &[Measure]) -> String {
    let mut text = String::from(
        "# Benchmark\n\nMedian (smallest to largest) of the rounds; ratios are ours by the other's, taken round by round in one run.\n",
    );
    for measure in measures {
        let _ = writeln!(text, "\n## {} [{}]\n", measure.name, measure.unit.name());
        table(&mut text, measure);
        bars(&mut text, measure);
        let mut notes = measure.notes.clone();
        notes.dedup();
        notes.iter().for_each(|note| _ = writeln!(text, "- {note}"));
    }
    text
}

fn table(text: &mut String, measure: &Measure) {
    text.push_str("| | median | min | max | ratio | min | max | goal |\n|---|---|---|---|---|---|---|---|\n");
    for peer in [Peer::Ours].iter().chain(&OTHERS) {
        let Some(values) = measure.series.get(peer.label()) else { continue };
        let value = Spread::of(values.iter().copied());
        let _ = write!(
            text,
            "| {} | {} | {} | {} |",
            peer.label(),
            number(value.median),
            number(value.min),
            number(value.max)
        );
        let ratios = measure.ratios(*peer);
        if *peer == Peer::Ours || ratios.is_empty() {
            text.push_str(" | | | |\n");
            continue;
        }
        let ratio = Spread::of(ratios);
        let goal = measure.goal.filter(|goal| goal.against == *peer);
        let goal = goal.map_or_else(String::new, |goal| {
            let bound = if goal.at_most { '≤' } else { '≥' };
            format!("must {bound} {}, aim {}: {}", goal.must, goal.aim, goal.verdict(ratio.median))
        });
        let _ = writeln!(text, " {:.2} | {:.2} | {:.2} | {goal} |", ratio.median, ratio.min, ratio.max);
    }
}

fn bars(text: &mut String, measure: &Measure) {
    let medians: Vec<_> =
        measure.series.iter().map(|(label, values)| (label, Spread::of(values.iter().copied()).median)).collect();
    let most = medians.iter().map(|it| it.1).fold(0.0, f64::max);
    text.push_str("\n```\n");
    for (label, median) in medians {
        let bar = "#".repeat((median / most * BAR).round() as usize);
        let _ = writeln!(text, "{label:<20} {bar} {}", number(median));
    }
    text.push_str("```\n");
}

fn number(value: f64) -> String {
    if value >= 1000.0 { format!("{value:.0}") } else { format!("{value:.2}") }
}
