//! `cargo xtask bench` brings numbers; how fast anything is stays its own business.

use anyhow::{Result, ensure};
use std::time::Duration;

use egress_tests::bench::{Outcome, Plan, measure, programs};
use egress_tests::{Need, skip};

use crate::rig::NEEDS;

fn plan() -> Plan {
    let watch = Duration::from_millis(300);
    Plan {
        rounds: 1,
        turn: 1 << 13,
        flows: 1 << 17,
        table: 1 << 13,
        bytes: 1 << 22,
        runs: 1 << 9,
        watch,
        ..Plan::QUICK
    }
}

#[test]
fn every_peer_has_numbers() -> Result<()> {
    if skip(NEEDS) || skip(&["iptables-restore", "nft", "tc"].map(Need::Tool)) {
        return Ok(());
    }
    let Outcome { measures, missing, .. } = measure(&plan())?;
    ensure!(missing.is_empty(), "{missing:?}");
    // How many peers each has; one is missing where the kernel has no TCX (6.6).
    for (part, count, peers) in [
        ("established, IPv4, 64 B", 5, 2..=6),
        ("through a bridge", 1, 5..=6),
        ("bare cables", 2, 2..=6),
        ("XDP frames", 1, 2..=3),
        ("answers", 1, 4..=4),
        ("cores", 1, 4..=4),
        ("new flows", 2, 3..=3),
        ("all ports taken", 1, 1..=1),
        ("connect", 1, 4..=4),
        ("bulk", 2, 4..=4),
        ("memory", 2, 1..=1),
        ("the agent's CPU", 2, 1..=1),
    ] {
        let found: Vec<_> = measures.iter().filter(|it| it.name.contains(part)).collect();
        ensure!(found.len() == count, "{part}: {found:?}");
        let bad = found.iter().find(|it| !it.is_sane() || !peers.contains(&it.series.len()));
        ensure!(bad.is_none(), "{bad:?}");
    }
    Ok(())
}

#[test]
fn programs_tell_where_their_time_goes() -> Result<()> {
    if skip(NEEDS) || skip(&[Need::Tool("tc")]) {
        return Ok(());
    }
    let sections = programs(&plan())?;
    ensure!(sections.len() == 5, "{sections:?}");
    for section in sections {
        let sane = section.rows.iter().all(|(_, values)| values.iter().all(|it| it.is_finite() && *it >= 0.0));
        ensure!(!section.rows.is_empty() && sane, "{section:?}");
    }
    Ok(())
}
