//! Who is translated: the truth table on the wire, and what happens when it is edited.

mod live;

use std::net::{IpAddr, SocketAddr};

use anyhow::{Context, Result, ensure};
use egress_tests::gateway::Agent;
use egress_tests::lab::Client;
use egress_tests::lab::addresses::{inside_networks, mac, no_snat_networks};
use egress_tests::packet::{build, proto};
use egress_tests::traffic::{Call, PATIENCE, inject, udp};
use egress_tests::{Family, Lab, LabConfig, eventually, skip};

use crate::lab::{ensure_from, exchange_all};
use crate::rig::{CLUSTER, Files, NEEDS, PORT, source_at, stat, with_no_snat};

/// The server as `snat: false` blocks.
const SERVER: [&str; 2] = ["172.17.0.100/32", "fd00:172:17::64/128"];

/// Beside the default lab: a Pod of ns1 (selected) inside the `snat: false` CIDR and one that nothing says anything about.
const MORE_PODS: &str = "---
apiVersion: v1
kind: Pod
metadata: {name: chosen, namespace: ns1}
status: {phase: Running, podIPs: [{ip: 10.18.0.6}, {ip: 'fd00:10:18::6'}]}
---
apiVersion: v1
kind: Pod
metadata: {name: other, namespace: ns2}
status: {phase: Running, podIPs: [{ip: 10.17.0.11}, {ip: 'fd00:10:17::b'}]}
";

fn config() -> LabConfig {
    let config = LabConfig::default().client(Client::new("chosen", 18, 6)).client(Client::new("other", 17, 11));
    config.return_routes(&inside_networks())
}

#[test]
fn truth_table() -> Result<()> {
    if skip(NEEDS) {
        return Ok(());
    }
    let lab = Lab::build(config())?;
    let files = Files::write(&lab, &(CLUSTER.to_owned() + MORE_PODS), &with_no_snat(&SERVER))?;
    let _agent = Agent::start(&lab, files.options())?;
    for family in Family::BOTH {
        let [server, far] = [&lab.server, &lab.far].map(|host| {
            let at = SocketAddr::new(host.addr(family), PORT);
            udp::Server::start(&host.ns, at).map(|server| (server, Call::to(at.ip(), PORT)))
        });
        let (server, far) = (server?, far?);
        // Selected, selected in the CIDR, neither, in the CIDR.
        for (name, translated) in [("pod1", true), ("chosen", true), ("other", true), ("bystander", false)] {
            let client = lab.client(name)?;
            let seen = |(server, call): &(udp::Server, Call)| source_at(&client.ns, server, *call);
            let wanted = if translated { lab.gateway.addr(family) } else { client.addr(family) };
            assert_eq!(seen(&far)?.ip(), wanted, "{name} to the far server");
            // The destination comes first, whoever sends.
            assert_eq!(seen(&server)?.ip(), client.addr(family), "{name} to a server in a snat: false CIDR");
        }
    }
    assert_eq!(stat(&lab, "drops/guard")?, 0);
    Ok(())
}

/// Both directions of what is not translated, also when an external host begins.
#[test]
fn inbound_to_a_no_snat_cidr_is_forwarded_and_nothing_else() -> Result<()> {
    if skip(NEEDS) {
        return Ok(());
    }
    let lab = Lab::build(config())?;
    let _agent = Agent::start(&lab, Files::samples(&lab)?.options())?;
    let (bystander, pod) = (lab.client("bystander")?, lab.client("pod1")?);
    for family in Family::BOTH {
        for host in [&lab.server, &lab.far] {
            ensure_from(&exchange_all(bystander, host, family)?, bystander.addr(family))?;
            ensure_from(&exchange_all(host, bystander, family)?, host.addr(family))?;
        }
        let before = stat(&lab, "drops/not_ours")?;
        let server = udp::Server::start(&pod.ns, SocketAddr::new(pod.addr(family), PORT))?;
        let socket = udp::connect_in(&lab.server.ns, Call::to(pod.addr(family), PORT))?;
        eventually("a packet to a Pod is dropped", PATIENCE, || {
            socket.send(b"from outside").context("send")?;
            Ok(stat(&lab, "drops/not_ours")? > before)
        })?;
        ensure!(server.seen().is_empty(), "{:?} came in", server.seen());
    }
    assert!(stat(&lab, "counters/untranslated")? > 40);
    assert_eq!(stat(&lab, "counters/flows_created")?, 0);
    assert!(no_snat_networks().len() == 2);
    Ok(())
}

/// What the routing table sends back out of eth0 keeps its source, also that of a selected Pod.
#[test]
fn from_inside_to_inside_is_not_translated() -> Result<()> {
    if skip(NEEDS) {
        return Ok(());
    }
    let lab = Lab::build(LabConfig::default())?;
    let _agent = Agent::start(&lab, Files::samples(&lab)?.options())?;
    let (from, to) = (lab.client("pod1")?, lab.client("pod2")?);
    for family in Family::BOTH {
        let (source, destination) = (from.addr(family), to.addr(family));
        let server = udp::Server::start(&to.ns, SocketAddr::new(destination, PORT))?;
        let datagram = build::udp((source, 4000), (destination, PORT), b"around");
        let packet = build::Header::new(source, destination, proto::UDP).packet(&datagram);
        // Straight to the gateway: the node would route it by itself.
        let frame = build::ethernet(mac::GATEWAY_INSIDE, mac::OVERLAY, &packet);
        eventually("it came back in", PATIENCE, || {
            inject(&lab.node, egress_tests::lab::names::INTERNAL_PORT, &frame)?;
            Ok(!server.seen().is_empty())
        })?;
        assert_eq!(server.peers().first().map(SocketAddr::ip), Some::<IpAddr>(source));
    }
    assert_eq!(stat(&lab, "counters/flows_created")?, 0);
    Ok(())
}
