//! A gateway whose interfaces belong to a VRF, as Kube-OVN's EVPN set-up has it.

use anyhow::Result;
use egress_tests::lab::addresses::{GATEWAY_INSIDE, GATEWAY_OUTSIDE, OVERLAY_ROUTER, ROUTER};
use egress_tests::{Lab, skip};

use super::{config, works};
use crate::rig::NEEDS;
use crate::wire::agent;

/// Kube-OVN's.
const TABLE: u32 = 2000;

/// Makes `interface` a port of a VRF and gives back what the kernel takes away then: its IPv6 address and the routes by it.
fn enslave(lab: &Lab, interface: &str) -> Result<()> {
    let ns = &lab.gateway.ns;
    ns.sh(&format!("ip link add vrf-vpn type vrf table {TABLE}"))?;
    ns.sh("ip link set vrf-vpn up")?;
    ns.sh(&format!("ip link set {interface} master vrf-vpn"))?;
    if interface == "net1" {
        ns.sh(&format!("ip -6 address replace {}/64 dev net1 nodad", GATEWAY_OUTSIDE.1))?;
        ns.sh(&format!("ip route replace default via {} dev net1 onlink", ROUTER.0))?;
        ns.sh(&format!("ip -6 route replace default via {} dev net1 onlink", ROUTER.1))?;
        return Ok(());
    }
    ns.sh(&format!("ip -6 address replace {}/112 dev eth0 nodad", GATEWAY_INSIDE.1))?;
    for (from, to) in
        [("10.17.0.0/16", OVERLAY_ROUTER.0.to_string()), ("fd00:10:17::/112", OVERLAY_ROUTER.1.to_string())]
    {
        ns.sh(&format!("ip route replace {from} via {to} dev eth0 table {TABLE}"))?;
    }
    Ok(())
}

fn in_a_vrf(interface: &str) -> Result<()> {
    if skip(NEEDS) {
        return Ok(());
    }
    let lab = Lab::build(config())?;
    enslave(&lab, interface)?;
    let _agent = agent(&lab, &[])?;
    works(&lab)
}

#[test]
fn net1_in_a_vrf() -> Result<()> {
    in_a_vrf("net1")
}

#[test]
fn eth0_in_a_vrf() -> Result<()> {
    in_a_vrf("eth0")
}
