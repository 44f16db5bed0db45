//! Devices and datapaths that a machine may lack, and that the kernels of `cargo xtask kernels` have.

mod netkit;
mod vrf;

use anyhow::{Context, Result, ensure};
use egress_tests::lab::RealChecksums;
use egress_tests::lab::names::INTERNAL_PORT;
use egress_tests::{Family, Lab, LabConfig, Need, skip};

use crate::lab::{ensure_from, exchange_all};
use crate::rig::{NEEDS, complaints};
use crate::wire::{agent, ensure_clean};

/// What passes between the gateway's port of the OVS datapath and the overlay.
const KINDS: [&str; 3] = ["eth_type(0x0800),ipv4()", "eth_type(0x86dd),ipv6()", "eth_type(0x0806),arp()"];

fn config() -> LabConfig {
    LabConfig::default().checksums(RealChecksums::AT_RECEIVERS)
}

fn works(lab: &Lab) -> Result<()> {
    ensure!(complaints(lab)?.is_empty(), "{:?}", complaints(lab)?);
    let outside = lab.capture_external()?;
    for family in Family::BOTH {
        for server in lab.external_hosts() {
            ensure_from(&exchange_all(lab.client("pod1")?, server, family)?, lab.gateway.addr(family))?;
        }
    }
    ensure_clean(&outside.stop()?, &[])
}

/// Puts a kernel OVS datapath between the gateway's eth0 and the overlay's bridge. Its flows are written by hand: no daemon runs.
fn through_ovs(lab: &Lab) -> Result<()> {
    let node = &lab.node;
    node.sh("ip link add ovs-port type veth peer name ovs-side")?;
    for line in [
        &format!("ip link set {INTERNAL_PORT} nomaster")[..],
        "ip link set ovs-port master overlay up",
        "ip link set ovs-side up",
        "ovs-dpctl add-dp ovs",
        &format!("ovs-dpctl add-if ovs {INTERNAL_PORT}"),
        "ovs-dpctl add-if ovs ovs-side",
    ] {
        node.sh(line)?;
    }
    for (from, to) in [(1, 2), (2, 1)] {
        for kind in KINDS {
            node.sh(&format!("ovs-dpctl add-flow ovs in_port({from}),eth(),{kind} {to}"))?;
        }
    }
    Ok(())
}

/// Packets that the datapath took from the gateway, of IPv4 and IPv6.
fn from_gateway(lab: &Lab) -> Result<u64> {
    let flows = lab.node.sh("ovs-dpctl dump-flows ovs")?;
    let of_gateway = flows.lines().filter(|line| line.contains("in_port(1)") && !line.contains("eth_type(0x0806)"));
    of_gateway
        .map(|line| {
            let (_, rest) = line.split_once("packets:").with_context(|| line.to_owned())?;
            Ok(rest.split(',').next().unwrap_or_default().trim().parse::<u64>()?)
        })
        .sum()
}

fn over_ovs(forward: &str) -> Result<()> {
    if skip(NEEDS) || skip(&[Need::Tool("ovs-dpctl")]) {
        return Ok(());
    }
    let lab = Lab::build(config())?;
    through_ovs(&lab)?;
    let _agent = agent(&lab, &[("--forward", forward)])?;
    let before = from_gateway(&lab)?;
    works(&lab)?;
    let passed = from_gateway(&lab)? - before;
    lab.node.sh("ovs-dpctl del-dp ovs")?;
    // Three kinds of traffic to each server, and each got answers.
    ensure!(passed >= 2 * 3 * 2, "OVS took {passed} packets from the gateway");
    Ok(())
}

/// `bpf_redirect_peer` ends in the peer's receive handler: the OVS port's.
#[test]
fn peer_reaches_an_ovs_port() -> Result<()> {
    over_ovs("peer")
}

#[test]
fn neigh_reaches_an_ovs_port() -> Result<()> {
    over_ovs("neigh")
}
