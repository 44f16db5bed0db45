//! `--forward`: what is asked for, what `auto` picks, and that the packets really go that way.

use std::net::SocketAddr;

use anyhow::{Context, Result, ensure};
use egress_tests::gateway::Agent;
use egress_tests::lab::addresses::no_snat_networks;
use egress_tests::lab::{Net1, RealChecksums};
use egress_tests::traffic::{Call, udp};
use egress_tests::{Family, Lab, LabConfig, skip};

use crate::lab::{ensure_from, exchange_all};
use crate::protocols::{ensure_flows_tell_what_passed, ensure_ttl_lowered_once};
use crate::rig::{Files, NEEDS, PORT, complaints, flows, text};
use crate::wire::{agent, drops, ensure_clean};

const MANY: u64 = 40;

fn config() -> LabConfig {
    LabConfig::default().checksums(RealChecksums::AT_RECEIVERS).return_routes(&no_snat_networks())
}

/// What `doctor` says about the way out and the way in.
fn told(lab: &Lab) -> Result<[String; 2]> {
    let bad = complaints(lab)?;
    ensure!(bad.is_empty(), "{bad:?}");
    let report = Agent::query(lab, "doctor")?;
    let checks = report["checks"].as_array().context("no checks")?;
    let detail = |name: &str| -> Result<String> {
        let found = checks.iter().find(|it| text(it, "name") == name);
        Ok(text(found.with_context(|| format!("doctor says nothing of {name}"))?, "detail").to_owned())
    };
    Ok([detail("forward out")?, detail("forward in")?])
}

/// Packets that net1 sent itself, and IPv6 packets that the kernel forwarded.
fn kernels_share(lab: &Lab) -> Result<(u64, u64)> {
    let sent = lab.gateway.ns.counters("net1")?.tx_packets;
    let table = lab.gateway.ns.run(|| std::fs::read_to_string("/proc/thread-self/net/snmp6"))??;
    let line = table.lines().find(|it| it.starts_with("Ip6OutForwDatagrams")).context("no Ip6OutForwDatagrams")?;
    Ok((sent, line.split_whitespace().nth(1).context("no number")?.parse()?))
}

/// Traffic of all kinds, translated and not; then many datagrams of one flow.
fn works(lab: &Lab) -> Result<()> {
    let (inside, outside) = (lab.capture_internal()?, lab.capture_external()?);
    let (pod, bystander) = (lab.client("pod1")?, lab.client("bystander")?);
    for family in Family::BOTH {
        for server in lab.external_hosts() {
            ensure_from(&exchange_all(pod, server, family)?, lab.gateway.addr(family))?;
            ensure_from(&exchange_all(bystander, server, family)?, bystander.addr(family))?;
        }
        // The other way round: an external host opens a connection to an address that is not translated.
        ensure_from(&exchange_all(&lab.far, bystander, family)?, lab.far.addr(family))?;
        let server = lab.far.addr(family);
        let _echo = udp::Server::start(&lab.far.ns, SocketAddr::new(server, PORT))?;
        let socket = udp::connect_in(&pod.ns, Call::to(server, PORT))?;
        (0..MANY).try_for_each(|number| udp::exchange(&socket, &number.to_be_bytes()))?;
    }
    // Connections are shut on the way here: their last packets may come behind this line, on either side of the table.
    let flows: Vec<_> = flows(lab)?.into_iter().filter(|it| it.protocol != "tcp").collect();
    let (inside, outside) = (inside.stop()?, outside.stop()?);
    ensure_flows_tell_what_passed(&flows, &inside, &outside)?;
    for family in Family::BOTH {
        for server in lab.external_hosts() {
            ensure_ttl_lowered_once(bystander.addr(family), server.addr(family), &inside, &outside)?;
        }
    }
    let drops = drops(lab)?;
    ensure!(drops.is_empty(), "{drops:?}");
    ensure_clean(&outside, &no_snat_networks())
}

#[test]
fn a_veth_gets_peer_by_itself() -> Result<()> {
    if skip(NEEDS) {
        return Ok(());
    }
    let lab = Lab::build(config())?;
    let _agent = agent(&lab, &[])?;
    ensure!(told(&lab)? == ["peer (bpf_redirect_peer) by veth net1", "peer (bpf_redirect_peer) by veth eth0"]);
    let before = kernels_share(&lab)?;
    works(&lab)?;
    let after = kernels_share(&lab)?;
    ensure!(after.0 - before.0 < MANY, "net1 sent {} packets itself", after.0 - before.0);
    ensure!(after.1 == before.1, "the kernel forwarded {}", after.1 - before.1);
    Ok(())
}

#[test]
fn a_macvlan_gets_neigh_by_itself_and_refuses_peer() -> Result<()> {
    if skip(NEEDS) {
        return Ok(());
    }
    let lab = Lab::build(config().net1(Net1::Macvlan))?;
    let files = Files::samples(&lab)?;
    let refusal = Agent::refused(&lab, files.options().with("--forward", "peer"))?;
    ensure!(refusal.code == Some(1) && refusal.stderr.contains("net1"), "{refusal:?}");
    let _agent = agent(&lab, &[])?;
    ensure!(told(&lab)? == ["neigh (bpf_redirect_neigh) by macvlan net1", "peer (bpf_redirect_peer) by veth eth0"]);
    works(&lab)
}

#[test]
fn peer_can_be_asked_for() -> Result<()> {
    if skip(NEEDS) {
        return Ok(());
    }
    let lab = Lab::build(config())?;
    let _agent = agent(&lab, &[("--forward", "peer")])?;
    ensure!(told(&lab)?.iter().all(|it| it.starts_with("peer")), "{:?}", told(&lab)?);
    works(&lab)
}

#[test]
fn neigh_can_be_asked_for() -> Result<()> {
    if skip(NEEDS) {
        return Ok(());
    }
    let lab = Lab::build(config())?;
    let _agent = agent(&lab, &[("--forward", "neigh")])?;
    ensure!(told(&lab)?.iter().all(|it| it.starts_with("neigh")), "{:?}", told(&lab)?);
    let before = kernels_share(&lab)?;
    works(&lab)?;
    let after = kernels_share(&lab)?;
    ensure!(after.0 - before.0 > 2 * MANY, "net1 sent only {} packets", after.0 - before.0);
    ensure!(after.1 == before.1, "the kernel forwarded {}", after.1 - before.1);
    Ok(())
}

#[test]
fn the_stack_can_be_asked_for() -> Result<()> {
    if skip(NEEDS) {
        return Ok(());
    }
    let lab = Lab::build(config())?;
    let _agent = agent(&lab, &[("--forward", "stack")])?;
    ensure!(told(&lab)?.iter().all(|it| it.starts_with("stack")), "{:?}", told(&lab)?);
    let before = kernels_share(&lab)?;
    works(&lab)?;
    let after = kernels_share(&lab)?;
    ensure!(after.1 - before.1 > MANY, "the kernel forwarded only {}", after.1 - before.1);
    Ok(())
}
