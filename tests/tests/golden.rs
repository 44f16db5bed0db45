//! Golden packets: the programs of a running gateway get one packet each (`BPF_PROG_TEST_RUN`), and what comes out must be what
//! an independent model makes of it, byte for byte.

mod address;
mod answers;
mod bench;
mod discarded;
mod errors;
mod errors_in;
mod errors_out;
mod fragments;
mod fragments_refused;
mod guard;
mod held;
mod midflow;
mod options;
mod ports;
mod queries;
mod refused;
mod shape;
mod story;
mod sums;
mod super_packets;
mod tags;
mod talk;

use anyhow::{Context, Result};
use egress_tests::lab::RealChecksums;
use egress_tests::{Family, Lab, LabConfig, skip};

use self::bench::{Bench, Mode};
use crate::rig::NEEDS;

/// Runs the work for both families on one gateway, in each mode.
fn on_a_bench(modes: &[Mode], work: impl Fn(&Bench<'_>, Family) -> Result<()>) -> Result<()> {
    on_a_lab(LabConfig::default(), modes, work)
}

/// The same in another lab.
fn on_a_lab(config: LabConfig, modes: &[Mode], work: impl Fn(&Bench<'_>, Family) -> Result<()>) -> Result<()> {
    if skip(NEEDS) {
        return Ok(());
    }
    let lab = Lab::build(config.checksums(RealChecksums::EVERYWHERE))?;
    for mode in modes {
        let bench = Bench::start(&lab, *mode)?;
        for family in Family::BOTH {
            work(&bench, family).with_context(|| format!("{mode:?} {family:?}"))?;
        }
    }
    Ok(())
}

/// As many are told of a table.
const MOST_FAILURES: usize = 6;

/// All that `rows` gives, each in its own right: one that fails does not hide the others.
fn every<T>(rows: impl IntoIterator<Item = T>, mut check: impl FnMut(T) -> Result<()>) -> Result<()> {
    let failures: Vec<_> = rows.into_iter().filter_map(|row| check(row).err()).map(|it| format!("{it:#}")).collect();
    let shown = failures.len().min(MOST_FAILURES);
    anyhow::ensure!(shown == 0, "{} rows failed, the first:\n{}", failures.len(), failures[..shown].join("\n"));
    Ok(())
}
