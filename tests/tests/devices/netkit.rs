//! A gateway whose net1 is a netkit device.

use anyhow::{Context, Result, ensure};
use egress_tests::gateway::Agent;
use egress_tests::lab::addresses::{GATEWAY_OUTSIDE, ROUTER, mac};
use egress_tests::lab::names::EXTERNAL_PORT;
use egress_tests::{Lab, skip};
use rtnetlink::packet_route::link::NetkitMode;
use rtnetlink::{LinkNetkit, new_connection};

use super::{config, works};
use crate::rig::{NEEDS, text};
use crate::wire::agent;

/// Puts a netkit pair in the place of net1's veth pair; false if the kernel knows none. Debian 12's `ip` does not either.
fn replace_net1(lab: &Lab) -> Result<bool> {
    lab.node.sh(&format!("ip link del {EXTERNAL_PORT}"))?;
    let made = lab.node.run(|| -> Result<()> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(async {
            let (connection, handle, _) = new_connection()?;
            tokio::spawn(connection);
            handle.link().add(LinkNetkit::new(EXTERNAL_PORT, "net1", NetkitMode::L2).build()).execute().await?;
            Ok(())
        })
    })?;
    if let Err(error) = made {
        println!("SKIP: no netkit: {error:#}");
        return Ok(false);
    }
    lab.node.sh(&format!("ip link set net1 address {}", mac::text(mac::GATEWAY_OUTSIDE)))?;
    lab.node.sh(&format!("ip link set net1 netns {}", lab.gateway.ns.name()))?;
    lab.node.sh(&format!("ip link set {EXTERNAL_PORT} master external addrgenmode none up"))?;
    for line in [
        "ip link set net1 up",
        &format!("ip address add {}/16 dev net1", GATEWAY_OUTSIDE.0),
        &format!("ip -6 address add {}/64 dev net1 nodad", GATEWAY_OUTSIDE.1),
        &format!("ip route add default via {} dev net1", ROUTER.0),
        &format!("ip -6 route add default via {} dev net1", ROUTER.1),
    ] {
        lab.gateway.ns.sh(line)?;
    }
    Ok(true)
}

fn over_netkit(forward: &str) -> Result<()> {
    if skip(NEEDS) {
        return Ok(());
    }
    let lab = Lab::build(config())?;
    if !replace_net1(&lab)? {
        return Ok(());
    }
    let _agent = agent(&lab, &[("--forward", forward)])?;
    let report = Agent::query(&lab, "doctor")?;
    let checks = report["checks"].as_array().context("no checks")?;
    let out = checks.iter().find(|check| text(check, "name") == "forward out").context("no forward out")?;
    let mode = if forward == "neigh" { "neigh" } else { "peer" };
    ensure!(text(out, "detail").starts_with(mode) && text(out, "detail").ends_with("netkit net1"), "{out}");
    works(&lab)
}

#[test]
fn peer_reaches_a_netkit() -> Result<()> {
    over_netkit("auto")
}

#[test]
fn neigh_reaches_a_netkit() -> Result<()> {
    over_netkit("neigh")
}
