//! The gateway's own addresses: what listens is reached, what does not is silent.

use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream};

use anyhow::{Context, Result, ensure};
use egress_common::abi::config::flags;
use egress_tests::capture::Captured;
use egress_tests::lab::addresses::{GATEWAY_INSIDE, GATEWAY_OUTSIDE};
use egress_tests::packet::{Transport, build, proto};
use egress_tests::traffic::{Call, icmp, tcp, udp};
use egress_tests::{Family, Host, Lab, LabConfig, skip};

use crate::rig::{NEEDS, PORT, change_config, flows};
use crate::wire::{
    agent, dropped, drops, ensure_clean, header, icmp as icmp_of, into_eth0, into_net1, of, udp as datagram,
};

/// Who reaches which of the gateway's addresses: outside knows no way to the inner one.
fn ways(lab: &Lab, family: Family) -> Result<Vec<(&Host, IpAddr)>> {
    let (inner, outer) = (of(GATEWAY_INSIDE, family), of(GATEWAY_OUTSIDE, family));
    let pod = lab.client("pod1")?;
    let outside = lab.external_hosts().map(|host| (host, outer));
    Ok([(pod, inner), (pod, outer)].into_iter().chain(outside).collect())
}

#[test]
fn what_listens_is_reached() -> Result<()> {
    if skip(NEEDS) {
        return Ok(());
    }
    let lab = Lab::build(LabConfig::default())?;
    let _agent = agent(&lab, &[])?;
    let outside = lab.capture_external()?;
    for family in Family::BOTH {
        let own = [of(GATEWAY_INSIDE, family), of(GATEWAY_OUTSIDE, family)].map(|it| SocketAddr::new(it, PORT));
        let tcp_servers = own.map(|at| tcp::Server::start(&lab.gateway.ns, at, tcp::Serve::Echo));
        let udp_servers = own.map(|at| udp::Server::start(&lab.gateway.ns, at));
        for (host, address) in ways(&lab, family)? {
            tcp::once(&host.ns, Call::to(address, PORT), b"over TCP")?;
            udp::once(&host.ns, Call::to(address, PORT), b"over UDP")?;
            icmp::once(&host.ns, address, 77)?;
        }
        tcp_servers.into_iter().try_for_each(|it| it.map(drop))?;
        udp_servers.into_iter().try_for_each(|it| it.map(drop))?;
    }
    ensure!(flows(&lab)?.is_empty(), "{:?}", flows(&lab)?);
    ensure!(drops(&lab)?.is_empty(), "{:?}", drops(&lab)?);
    ensure_clean(&outside.stop()?, &[])
}

#[test]
fn what_does_not_listen_is_silent() -> Result<()> {
    if skip(NEEDS) {
        return Ok(());
    }
    let lab = Lab::build(LabConfig::default())?;
    let _agent = agent(&lab, &[])?;
    let (inside, outside) = (lab.capture_internal()?, lab.capture_external()?);
    for family in Family::BOTH {
        let (inner, outer) = (of(GATEWAY_INSIDE, family), of(GATEWAY_OUTSIDE, family));
        let (pod, server) = (lab.client("pod1")?.addr(family), lab.server.addr(family));
        for (from, to, in_by_eth0) in
            [(pod, inner, true), (pod, outer, true), (server, outer, false), (server, inner, false)]
        {
            let send = |packet: Vec<u8>| if in_by_eth0 { into_eth0(&lab, &packet) } else { into_net1(&lab, &packet) };
            let segment = |flags| build::tcp((from, 4000), (to, 9), (1, 1), flags, b"");
            // SYN, SYN and ACK, ACK, FIN and ACK, RST
            for flags in [2, 0x12, 0x10, 0x11, 4] {
                dropped(&lab, "no_mapping", 1, || send(header(from, to, proto::TCP).packet(&segment(flags))))?;
            }
            dropped(&lab, "no_mapping", 1, || send(datagram((from, 4000), (to, 9), b"anybody?")))?;
            let protocol = |number| header(from, to, number).packet(b"16 bytes of it..");
            for number in [4, proto::GRE, proto::ESP, proto::SCTP, 33, 253] {
                dropped(&lab, "no_mapping", 1, || send(protocol(number)))
                    .with_context(|| format!("{number} to {to}"))?;
            }
            dropped(&lab, "protocol", 2, || send(protocol(51)).and_then(|()| send(protocol(112))))?;
            let other = build::icmp(from, to, if family == Family::V4 { 10 } else { 200 }, 0, [0; 4], &[0; 12]);
            dropped(&lab, "icmp_type", 1, || send(header(from, to, icmp_of(family)).packet(&other)))?;
        }
    }
    // Refusals, if there were any, would have been sent by now: the same queue answers this.
    for family in Family::BOTH {
        icmp::once(&lab.client("pod1")?.ns, of(GATEWAY_INSIDE, family), 77)?;
        icmp::once(&lab.server.ns, of(GATEWAY_OUTSIDE, family), 77)?;
    }
    let refuses = |it: &&Captured| match it.ip().and_then(|ip| Some((ip, ip.transport.as_ref()?))) {
        Some((_, Transport::Tcp { source: 9, .. } | Transport::Udp { source: 9, .. })) => true,
        Some((ip, _)) => ip.quoted.is_some() || ip.is_icmp(14),
        None => false,
    };
    let frames = [inside.stop()?, outside.stop()?].concat();
    let refusals: Vec<_> = frames.iter().filter(refuses).collect();
    ensure!(refusals.is_empty(), "{refusals:?}");
    Ok(())
}

#[test]
fn the_gateways_own_traffic_passes() -> Result<()> {
    if skip(NEEDS) {
        return Ok(());
    }
    let lab = Lab::build(LabConfig::default())?;
    let _agent = agent(&lab, &[])?;
    let outside = lab.capture_external()?;
    let gateway = &lab.gateway.ns;
    for family in Family::BOTH {
        for host in lab.external_hosts().into_iter().chain([lab.client("pod1")?]) {
            let at = SocketAddr::new(host.addr(family), PORT);
            let _tcp = tcp::Server::start(&host.ns, at, tcp::Serve::Echo)?;
            let _udp = udp::Server::start(&host.ns, at)?;
            let own = tcp::once(gateway, Call::to(at.ip(), PORT), b"over TCP")?;
            ensure!(own.port() >= 57344, "{own} is a port of the NAT");
            udp::once(gateway, Call::to(at.ip(), PORT), b"over UDP")?;
            icmp::once(gateway, at.ip(), 60_000)?;
        }
    }
    ensure!(flows(&lab)?.is_empty() && drops(&lab)?.is_empty(), "{:?} {:?}", flows(&lab)?, drops(&lab)?);
    ensure_clean(&outside.stop()?, &[])
}

/// The kernel's answers to a connection it holds go on, also when the agent comes later than the connection.
#[test]
fn a_connection_of_the_gateway_outlives_a_start() -> Result<()> {
    if skip(NEEDS) {
        return Ok(());
    }
    let lab = Lab::build(LabConfig::default())?;
    let address = lab.server.addr(Family::V4);
    let _server = tcp::Server::start(&lab.server.ns, SocketAddr::new(address, PORT), tcp::Serve::Echo)?;
    let mut stream: TcpStream = tcp::connect_in(&lab.gateway.ns, Call::to(address, PORT))?;
    let _agent = agent(&lab, &[])?;
    stream.write_all(b"still here")?;
    let mut answer = [0; 10];
    stream.read_exact(&mut answer).context("no answer")?;
    ensure!(&answer == b"still here");
    Ok(())
}

#[test]
fn addresses_of_others_are_not_ours() -> Result<()> {
    not_ours(&[0])
}

/// The kernel, whose NAT may have a flow of an own address then, would forward what is to any other.
#[test]
fn nor_are_they_while_packets_are_passed_on() -> Result<()> {
    not_ours(&[flags::YIELD, flags::YIELD | flags::YIELD_NOT_SYN, flags::YIELD_NOT_SYN])
}

fn not_ours(passed_on: &[u32]) -> Result<()> {
    if skip(NEEDS) {
        return Ok(());
    }
    let lab = Lab::build(LabConfig::default())?;
    let _agent = agent(&lab, &[])?;
    let inside = lab.capture_internal()?;
    let all = [
        (Family::V4, ["172.17.0.50", "8.8.8.8", "10.17.0.9", "172.17.0.12"]),
        (Family::V6, ["fd00:172:17::50", "2001:db8::1", "fd00:10:17::9", "fd00:172:17::12"]),
    ];
    for (bits, (family, others)) in passed_on.iter().flat_map(|bits| all.map(|one| (bits, one))) {
        let cleared = !(flags::YIELD | flags::YIELD_NOT_SYN);
        change_config(&lab, |config| config.flags = config.flags & cleared | bits)?;
        let server = lab.server.addr(family);
        for other in others {
            let other: IpAddr = other.parse()?;
            dropped(&lab, "not_ours", 2, || {
                into_net1(&lab, &datagram((server, 53), (other, 4000), b"not yours"))?;
                into_net1(
                    &lab,
                    &header(server, other, icmp_of(family)).packet(&build::echo_request(server, other, 1, 1, b"")),
                )
            })?;
        }
    }
    let passed = inside.stop()?.into_iter().filter(|it| crate::wire::holds(it, b"not yours")).count();
    ensure!(passed == 0, "{passed} came through");
    Ok(())
}
