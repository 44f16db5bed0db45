//! `datapath: xdp`: what XDP carries, what it hands on, and that nothing is lost between it and TC.

mod carried;
mod handed_on;
mod life;
mod neighbours;
mod shortcuts;

use anyhow::{Context, Result};
use egress_common::verdict::Counter;
use egress_tests::gateway::{Agent, AgentOptions};
use egress_tests::lab::names::{EXTERNAL_PORT, INTERNAL_PORT};
use egress_tests::system::switch_gro;
use egress_tests::{Lab, eventually};

use crate::rig::{CLUSTER, FOLLOW, Files, GATEWAY, config, text};
use crate::wire::counter;

/// The sample with a profile that says this of the datapath.
fn with_datapath(datapath: &str) -> String {
    format!(
        "{GATEWAY}---\napiVersion: egress-ebpf.dev/v1alpha1\nkind: EgressGatewayProfile\nmetadata: {{name: default}}\n\
         spec: {{datapath: {datapath}}}\n"
    )
}

/// An agent that is to use XDP, with a gateway Pod's capabilities.
pub(crate) fn options(lab: &Lab) -> Result<AgentOptions> {
    Ok(Files::write(lab, CLUSTER, &with_datapath("xdp"))?.options().as_pod())
}

/// The node's ends of both cables take frames from XDP, as NICs do, or do not.
pub(crate) fn take_frames(lab: &Lab, on: bool) -> Result<()> {
    [INTERNAL_PORT, EXTERNAL_PORT].iter().try_for_each(|port| switch_gro(&lab.node, port, on))
}

/// Waits until XDP may send in these directions: bits of `egress_common::abi::config::flags`.
pub(crate) fn sends(lab: &Lab, bits: u32) -> Result<()> {
    use egress_common::abi::config::flags::{XDP_IN, XDP_OUT};
    eventually("XDP sends where it shall", FOLLOW, || Ok(config(lab)?.flags & (XDP_OUT | XDP_IN) == bits))
}

/// Packets that went by XDP, and all that were translated.
pub(crate) fn share(lab: &Lab) -> Result<(u64, u64)> {
    let all = counter(lab, Counter::OutPackets)? + counter(lab, Counter::InPackets)?;
    Ok((counter(lab, Counter::XdpPackets)?, all))
}

/// What `doctor` says under this name.
fn told(lab: &Lab, name: &str) -> Result<String> {
    let report = Agent::query(lab, "doctor")?;
    let checks = report["checks"].as_array().context("no checks")?;
    let found = checks.iter().find(|it| text(it, "name") == name);
    Ok(text(found.with_context(|| format!("doctor says nothing of {name}: {report}"))?, "detail").to_owned())
}

/// The ids of the XDP programs of the gateway's eth0 and net1; 0 if there is none.
fn attached(lab: &Lab) -> Result<[u64; 2]> {
    let id = |interface: &str| -> Result<u64> {
        let shown = lab.gateway.ns.sh(&format!("ip -j link show dev {interface}"))?;
        let shown: serde_json::Value = serde_json::from_str(&shown)?;
        Ok(shown[0]["xdp"]["prog"]["id"].as_u64().unwrap_or(0))
    };
    Ok([id("eth0")?, id("net1")?])
}
