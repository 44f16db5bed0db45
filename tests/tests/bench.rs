//! `cargo xtask bench` brings numbers; how fast anything is stays its own business.

use anyhow::{Result, ensure};
use egress_tests::bench::{Plan, measure};
use egress_tests::{Need, skip};

use crate::rig::NEEDS;

#[test]
fn every_peer_has_numbers() -> Result<()> {
    if skip(NEEDS) || skip(&["iptables-restore", "nft", "tc"].map(Need::Tool)) {
        return Ok(());
    }
    for (only, peers) in [("1000 flows", 5), ("30000 distinct", 3), ("connect", 4)] {
        let plan = Plan { rounds: 1, turn: 1 << 14, only: Some(only.to_owned()), flows: 1 << 17, ..Plan::QUICK };
        let measures = measure(&plan)?;
        ensure!(!measures.is_empty(), "nothing of {only}");
        for measure in measures {
            let wanted = if measure.name.contains("cores") { 4 } else { peers };
            ensure!(measure.is_sane() && measure.series.len() == wanted, "{measure:?}");
        }
    }
    Ok(())
}
