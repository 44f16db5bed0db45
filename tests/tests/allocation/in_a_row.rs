//! More connections in a row than there are ports: the sequence comes round, and not onto one that lives.

use anyhow::{Context, Result, ensure};
use egress_common::abi::family::V4;
use egress_tests::gateway::Agent;
use egress_tests::gateway::table::bijection;
use egress_tests::lab::addresses::mac;
use egress_tests::packet::build::{self, Header};
use egress_tests::packet::{Transport, parse_ip, proto};
use egress_tests::testrun::Program;
use egress_tests::{Family, Lab, LabConfig, skip};

use crate::rig::{CLUSTER, Files, GATEWAY, NEEDS, change_config, edited, flows, pins, stat};

/// More than an address has ports.
const CONNECTIONS: usize = 70_000;
/// The clock passes the time that a closed connection keeps its port for after so many.
const AT_ONCE: usize = 5000;
const REMOTE: u16 = 443;
const SYN: u8 = 2;
const RST: u8 = 4;

#[test]
fn more_than_64k_connections_meet_no_live_one() -> Result<()> {
    if skip(NEEDS) {
        return Ok(());
    }
    let lab = Lab::build(LabConfig::default())?;
    // One address, and ports for a few of them only.
    let one = edited(GATEWAY, "    - 172.17.0.12,fd00:172:17::12\n", "");
    let profile = "---\napiVersion: egress-ebpf.dev/v1alpha1\nkind: EgressGatewayProfile\nmetadata: {name: default}\n\
                   spec: {portRange: {min: 1024, max: 17407}}\n";
    let _agent = Agent::start(&lab, Files::write(&lab, CLUSTER, &format!("{one}{profile}"))?.options())?;
    let open = |name: &str, side| Program::open(&lab.gateway.ns, &pins(&lab)?.join("progs").join(name), side);
    let (out, inward) = (open("egw_out", "eth0")?, open("egw_in", "net1")?);
    let far = (lab.far.addr(Family::V4), REMOTE);
    let egress = lab.gateway.addr(Family::V4);

    // Some that live for the whole time.
    let living = (0..200).map(|n| (lab.client("pod2").map(|pod| pod.addr(Family::V4)), 30_000 + n));
    let living: Vec<_> = living.map(|(pod, port)| Ok((pod?, port))).collect::<Result<_>>()?;
    out.run_all(living.iter().map(|from| outward(*from, far, SYN)))?;
    // Otherwise they end as connections that nobody answered.
    change_config(&lab, |config| config.timeouts.tcp_opening = 100_000)?;
    let before = mine(&lab, &living)?;
    ensure!(before.len() == living.len(), "{} of {}", before.len(), living.len());
    let (created, reclaimed) = (stat(&lab, "counters/flows_created")?, stat(&lab, "counters/flows_reclaimed")?);

    let pod = lab.client("pod1")?.addr(Family::V4);
    let mut refused = 0;
    for first in (0..CONNECTIONS).step_by(AT_ONCE) {
        let ports = (first..CONNECTIONS.min(first + AT_ONCE)).map(|n| 1 + (n % 65_535) as u16);
        let ran = out.run_all(ports.map(|port| outward((pod, port), far, SYN)))?;
        // Each is reset by the server.
        let given: Vec<_> = ran.iter().filter_map(|ran| source_port(&ran.frame, egress)).collect();
        refused += ran.len() - given.len();
        inward.run_all(given.into_iter().map(|port| inbound(far, (egress, port))))?;
        change_config(&lab, |config| config.clock_offset_ns += 10_000_000_000)?;
    }
    ensure!(refused == 0, "{refused} connections were refused");
    let created = stat(&lab, "counters/flows_created")? - created;
    // The last ones use the first ones' inside ports again.
    ensure!(created >= CONNECTIONS as u64 - (CONNECTIONS as u64 - 65_535), "{created} flows");
    let reclaimed = stat(&lab, "counters/flows_reclaimed")? - reclaimed;
    ensure!(reclaimed > created / 2, "{reclaimed} of {created} took over a port");
    ensure!(mine(&lab, &living)? == before, "a connection that lives has another port");
    bijection::<V4>(&lab).map(drop)
}

/// Inside and egress ports of these connections.
fn mine(lab: &Lab, living: &[(std::net::IpAddr, u16)]) -> Result<Vec<(u16, u16)>> {
    let pod = living.first().context("none")?.0;
    Ok(flows(lab)?.iter().filter(|it| it.inside == pod).map(|it| (it.inside_port, it.egress_port)).collect())
}

type End = (std::net::IpAddr, u16);

fn outward(from: End, to: End, flags: u8) -> Vec<u8> {
    let packet = Header::new(from.0, to.0, proto::TCP).packet(&build::tcp(from, to, (1, 0), flags, b""));
    build::ethernet(mac::GATEWAY_INSIDE, mac::OVERLAY, &packet)
}

fn inbound(from: End, to: End) -> Vec<u8> {
    let packet = Header::new(from.0, to.0, proto::TCP).packet(&build::tcp(from, to, (1, 2), RST, b""));
    build::ethernet(mac::GATEWAY_OUTSIDE, mac::ROUTER, &packet)
}

/// The port that a frame got, if it was translated.
fn source_port(frame: &[u8], egress: std::net::IpAddr) -> Option<u16> {
    let ip = parse_ip(frame.get(14..)?).filter(|ip| ip.source == egress)?;
    match ip.transport? {
        Transport::Tcp { source, .. } => Some(source),
        _ => None,
    }
}
