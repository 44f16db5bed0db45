//! `prepare` in a Pod that has just got its interfaces.

use anyhow::{Result, ensure};
use egress_tests::gateway::Agent;
use egress_tests::{Family, Lab, LabConfig, skip};

use crate::rig::{CLUSTER, Files, GATEWAY, NEEDS};

/// Waits for the only egress address, of IPv6, whose duplicate address detection goes on.
#[test]
fn an_address_that_is_tentative_is_waited_for() -> Result<()> {
    if skip(NEEDS) {
        return Ok(());
    }
    let lab = Lab::build(LabConfig::default())?;
    let [v4, v6] = Family::BOTH.map(|family| lab.gateway.addr(family));
    lab.gateway.ns.sh("sysctl -w net/ipv6/conf/net1/accept_dad=1 net/ipv6/conf/net1/dad_transmits=1")?;
    for address in [v4, v6] {
        lab.gateway.ns.sh(&format!("ip addr flush dev net1 to {address}"))?;
    }
    let only_v6 =
        GATEWAY.replace("- 172.17.0.11,", "- ").replace("- 172.17.0.12,", "- ").replace("- 10.18.0.0/16\n", "\n");
    let files = Files::write(&lab, CLUSTER, &only_v6)?;
    let files = ["--file", &files.cluster.display().to_string(), "--file", &files.gateway.display().to_string()];
    let prepare = || Agent::run(&lab, &[&["prepare"], &files[..]].concat());
    ensure!(!prepare()?.status.success(), "nothing is there");
    lab.gateway.ns.sh(&format!("ip addr add {v6}/64 dev net1"))?;
    let shown = lab.gateway.ns.sh("ip -6 addr show dev net1 tentative")?;
    ensure!(shown.contains(&v6.to_string()), "it is no longer tentative: {shown}");
    let prepared = prepare()?;
    ensure!(prepared.status.success(), "{}", prepared.stderr);
    Ok(())
}
