//! The words of `flows` for what a flow is doing, and the shape of its JSON.

use std::collections::BTreeSet;
use std::io::Read;
use std::net::{IpAddr, Shutdown, SocketAddr, TcpListener};

use anyhow::{Context, Result, ensure};
use egress_tests::gateway::Agent;
use egress_tests::packet::{build, proto};
use egress_tests::traffic::{Call, PATIENCE, icmp, tcp, udp};
use egress_tests::{Family, Lab, LabConfig, eventually, skip};

use crate::rig::{Flow, NEEDS, PORT, flows, text};
use crate::wire::{agent, header, into_eth0};

/// Behind the router, which drops what goes there without a word.
const SILENT: [&str; 2] = ["198.51.100.7", "2001:db8:51::7"];

fn flow(lab: &Lab, protocol: &str, port: u16, remote: IpAddr) -> Result<Flow> {
    let found =
        flows(lab)?.into_iter().find(|it| (&*it.protocol, it.inside_port, it.remote) == (protocol, port, remote));
    found.with_context(|| format!("no {protocol} flow from port {port} to {remote}"))
}

fn becomes(lab: &Lab, state: &str, protocol: &str, port: u16, remote: IpAddr) -> Result<()> {
    let mut last = None;
    let done = eventually(state, PATIENCE, || {
        last = flow(lab, protocol, port, remote).ok();
        Ok(last.as_ref().is_some_and(|it| it.state == state))
    });
    done.with_context(|| format!("{protocol} from {port}: {last:?}"))
}

#[test]
fn every_state_is_told() -> Result<()> {
    if skip(NEEDS) {
        return Ok(());
    }
    let lab = Lab::build(LabConfig::default())?;
    lab.router.ns.sh("ip route add blackhole 198.51.100.0/24")?;
    lab.router.ns.sh("ip -6 route add blackhole 2001:db8:51::/64")?;
    let _agent = agent(&lab, &[])?;
    let pod = lab.client("pod1")?;
    for (family, silent) in Family::BOTH.into_iter().zip(SILENT) {
        let (own, server, silent) = (pod.addr(family), lab.server.addr(family), silent.parse::<IpAddr>()?);
        let syn = build::tcp((own, 4000), (silent, 443), (1, 0), 2, b"");
        into_eth0(&lab, &header(own, silent, proto::TCP).packet(&syn))?;
        becomes(&lab, "opening", "tcp", 4000, silent)?;
        udp::connect_in(&pod.ns, Call::to(silent, 53).from_port(4000))?.send(b"?")?;
        becomes(&lab, "unreplied", "udp", 4000, silent)?;

        let _echo = udp::Server::start(&lab.server.ns, SocketAddr::new(server, PORT))?;
        udp::once(&pod.ns, Call::to(server, PORT).from_port(4001), b"!")?;
        becomes(&lab, "replied", "udp", 4001, server)?;
        icmp::once(&pod.ns, server, 4001)?;
        let name = if family == Family::V4 { "icmp" } else { "icmpv6" };
        becomes(&lab, "replied", name, 4001, server)?;

        let listener = lab.server.ns.run(|| TcpListener::bind(SocketAddr::new(server, PORT)))??;
        let mut client = tcp::connect_in(&pod.ns, Call::to(server, PORT).from_port(4002))?;
        let (served, _) = listener.accept()?;
        becomes(&lab, "established", "tcp", 4002, server)?;
        client.shutdown(Shutdown::Write)?;
        becomes(&lab, "closing", "tcp", 4002, server)?;
        drop(served);
        ensure!(client.read(&mut [0; 8])? == 0, "the server closed");
        becomes(&lab, "closed", "tcp", 4002, server)?;
        // Nobody listens: the answer is RST.
        drop(listener);
        ensure!(tcp::connect_in(&pod.ns, Call::to(server, PORT + 1).from_port(4003)).is_err(), "nobody listens");
        becomes(&lab, "closed", "tcp", 4003, server)?;
    }
    Ok(())
}

#[test]
fn the_json_has_these_keys_and_no_others() -> Result<()> {
    if skip(NEEDS) {
        return Ok(());
    }
    let lab = Lab::build(LabConfig::default())?;
    let mut agent = agent(&lab, &[])?;
    let (pod, server) = (lab.client("pod1")?, lab.server.addr(Family::V4));
    let _echo = udp::Server::start(&lab.server.ns, SocketAddr::new(server, PORT))?;
    udp::once(&pod.ns, Call::to(server, PORT).from_port(4000), b"!")?;
    icmp::once(&pod.ns, server, 77)?;
    icmp::once(&pod.ns, lab.server.addr(Family::V6), 77)?;
    let running = agent.ask("flows")?;
    agent.kill9()?;
    let keys = |value: &serde_json::Value| -> BTreeSet<String> {
        value.as_object().into_iter().flatten().map(|(key, _)| key.clone()).collect()
    };
    let names = |names: &[&str]| -> BTreeSet<String> { names.iter().map(|it| (*it).to_owned()).collect() };
    for answer in [running, Agent::query(&lab, "flows")?] {
        let list = answer.as_array().context("not a list")?;
        ensure!(list.len() == 3, "{answer}");
        for flow in list {
            let wanted = "protocol inside inside_port egress egress_port remote remote_port state age_seconds idle_seconds \
                          packets bytes";
            ensure!(keys(flow) == names(&wanted.split_whitespace().collect::<Vec<_>>()), "{flow}");
            for directions in [&flow["packets"], &flow["bytes"]] {
                ensure!(keys(directions) == names(&["out", "in"]), "{flow}");
            }
            let icmp = text(flow, "protocol") != "udp";
            ensure!(flow["remote_port"].is_null() == icmp, "{flow}");
            ensure!(!icmp || flow["inside_port"] == 77, "{flow}");
            ensure!(flow["age_seconds"].as_u64() >= flow["idle_seconds"].as_u64(), "{flow}");
        }
        let protocols: Vec<_> = list.iter().map(|flow| text(flow, "protocol")).collect();
        ensure!(protocols == ["icmp", "udp", "icmpv6"], "{protocols:?}");
    }
    Ok(())
}
