//! `cargo xtask bench` brings numbers; how fast anything is stays its own business.

use anyhow::{Result, ensure};
use std::time::Duration;

use egress_tests::bench::{Outcome, Plan, measure, programs};
use egress_tests::{Need, skip};

use crate::rig::NEEDS;

/// Every measure, with as little of each as there can be.
fn plan() -> Plan {
    let watch = Duration::from_millis(300);
    Plan {
        rounds: 1,
        turn: 1 << 13,
        flows: 1 << 17,
        many: 1 << 12,
        table: 1 << 13,
        bytes: 1 << 22,
        runs: 1 << 9,
        watch,
        ..Plan::WHOLE
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
        ("established, IPv4, 64 B", 9, 2..=6),
        ("established, IPv4, 1500 B", 6, 2..=6),
        ("established, IPv6", 10, 2..=6),
        ("through a bridge", 4, 5..=6),
        ("bare cables", 5, 2..=6),
        ("XDP frames", 4, 2..=3),
        ("answers", 1, 4..=4),
        ("cores", 1, 4..=4),
        ("new flows, IPv4", 2, 3..=3),
        ("new flows, IPv6", 2, 3..=3),
        ("all ports taken", 3, 1..=1),
        ("connect,", 1, 4..=4),
        ("open connection", 1, 4..=4),
        ("bulk", 4, 4..=4),
        ("bytes per packet", 2, 4..=4),
        ("memory", 2, 1..=1),
        ("the agent's CPU", 2, 1..=1),
    ] {
        let found: Vec<_> = measures.iter().filter(|it| it.name.contains(part)).collect();
        ensure!(found.len() == count, "{part}: {found:?}");
        let bad = found.iter().find(|it| !it.is_sane() || !peers.contains(&it.series.len()));
        ensure!(bad.is_none(), "{bad:?}");
    }
    // A packet on the wire is at least an acknowledgement's header, and what is put together at most 64 KiB and its own.
    let sizes = measures.iter().filter(|it| it.name.contains("bytes per packet")).flat_map(|it| it.series.values());
    let odd: Vec<_> = sizes.flatten().filter(|it| !(54.0..65_550.0).contains(*it)).collect();
    ensure!(odd.is_empty(), "{odd:?} bytes per packet");
    Ok(())
}

/// Programs, hot, cold, under load, guard and orders, helpers, XDP: rows of each section.
const SECTIONS: [usize; 7] = [5, 5, 5, 3, 9, 18, 10];

#[test]
fn programs_tell_where_their_time_goes() -> Result<()> {
    if skip(NEEDS) || skip(&[Need::Tool("tc")]) {
        return Ok(());
    }
    let sections = programs(&plan())?;
    ensure!(sections.iter().map(|it| it.rows.len()).collect::<Vec<_>>() == SECTIONS, "{sections:?}");
    for section in sections {
        let sane = section.rows.iter().all(|(_, values)| values.iter().all(|it| it.is_finite() && *it >= 0.0));
        ensure!(!section.rows.is_empty() && sane, "{section:?}");
    }
    Ok(())
}
