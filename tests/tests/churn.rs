//! Flows come and go on two CPUs while others are expired, reclaimed and revoked, and the clock runs ahead.

use std::time::Duration;

use anyhow::{Result, ensure};
use egress_tests::skip;
use egress_tests::soak::{self, Plan};

use crate::rig::NEEDS;

fn one_cpu() -> Result<bool> {
    let one = std::thread::available_parallelism()?.get() < 2;
    if one {
        println!("SKIP: one CPU only");
    }
    Ok(one)
}

/// More flows than the table holds: it must not evict half a flow to make room, nor leave one behind.
#[test]
fn a_table_that_is_too_small_loses_no_half() -> Result<()> {
    if skip(NEEDS) || one_cpu()? {
        return Ok(());
    }
    let report = soak::run(Plan { time: Duration::from_secs(8), max_flows: 2048, sockets: false })?;
    println!("{report}");
    ensure!(report.refused * 5 > report.flows, "the table was not asked for a fifth more: {report}");
    ensure!(report.flows > 2048, "{report}");
    Ok(())
}

/// As `cargo xtask soak`, for less time.
#[test]
fn a_short_soak_leaves_nothing_behind() -> Result<()> {
    if skip(NEEDS) || one_cpu()? {
        return Ok(());
    }
    let report = soak::run(Plan { time: Duration::from_secs(12), max_flows: soak::ROOM, sockets: true })?;
    println!("{report}");
    ensure!(report.flows > 1000 && report.reclaimed > 0 && report.exchanges > 0, "{report}");
    Ok(())
}
