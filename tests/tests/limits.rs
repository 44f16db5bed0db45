//! Packets from inside at the end of their TTL or too big for the way: who answers, and that nothing is half done.

use std::net::{IpAddr, SocketAddr};

use anyhow::{Context, Result, ensure};
use egress_tests::capture::{Capture, Captured, Direction};
use egress_tests::lab::RealChecksums;
use egress_tests::lab::addresses::GATEWAY_INSIDE;
use egress_tests::packet::build::Header;
use egress_tests::packet::{build, proto};
use egress_tests::traffic::{Call, PATIENCE, icmp, udp};
use egress_tests::{Family, Host, Lab, LabConfig, eventually, oracle, skip};

use crate::quotes::{TIME_EXCEEDED, TOO_BIG, Types, is_about};
use crate::rig::{Flow, NEEDS, PORT, flows};
use crate::wire::{agent, drops, header, holds, into_eth0, into_net1, of};

const OWN_PORT: u16 = 4000;

/// An ICMP error of this type that came in and quotes a packet of `about`.
fn is_error(frame: &Captured, types: Types, about: (IpAddr, IpAddr)) -> bool {
    frame.direction == Direction::In && is_about(frame, types, about)
}

/// One datagram of the client's to the server's echo and back; the flow that it made.
fn established(lab: &Lab, client: &Host, family: Family) -> Result<Flow> {
    let server = lab.server.addr(family);
    let _echo = udp::Server::start(&lab.server.ns, SocketAddr::new(server, PORT))?;
    udp::once(&client.ns, Call::to(server, PORT).from_port(OWN_PORT), b"hello")?;
    let ours = |it: &Flow| (it.inside, it.inside_port, it.remote) == (client.addr(family), OWN_PORT, server);
    flows(lab)?.into_iter().find(|it| it.protocol == "udp" && ours(it)).context("no flow")
}

#[test]
fn ttl_at_its_end_is_answered_from_the_inside_address() -> Result<()> {
    if skip(NEEDS) {
        return Ok(());
    }
    let lab = Lab::build(LabConfig::default().checksums(RealChecksums::AT_RECEIVERS))?;
    for mode in ["peer", "stack"] {
        let _agent = agent(&lab, &[("--forward", mode)])?;
        for family in Family::BOTH {
            // ICMP errors are sparse for each destination: one of them per client.
            for (name, made) in [("pod1", false), ("pod2", true)] {
                let client = lab.client(name)?;
                let (own, server) = (client.addr(family), lab.server.addr(family));
                if made {
                    established(&lab, client, family)?;
                }
                let before = flows(&lab)?.len();
                let (at_client, outside) = (Capture::start(&client.ns, "eth0")?, lab.capture_external()?);
                let datagram = build::udp((own, OWN_PORT), (server, PORT), b"at its end");
                let packet = Header { ttl: 1, ..Header::new(own, server, proto::UDP) }.packet(&datagram);
                into_eth0(&lab, &packet)?;
                let answer = at_client.wait_for(PATIENCE, |it| is_error(it, TIME_EXCEEDED, (own, server)));
                let answer = answer.with_context(|| format!("{mode} {family:?} {name}"))?;
                let from = answer.ip().context("not IP")?.source;
                ensure!(from == of(GATEWAY_INSIDE, family), "{mode} {family:?}: answered from {from}");
                let checksums = answer.checksums().context("not IP")?;
                ensure!(checksums.are_real(), "{checksums}");
                ensure!(flows(&lab)?.len() == before, "it made a flow");
                let escaped: Vec<_> = outside.stop()?.into_iter().filter(|it| holds(it, b"at its end")).collect();
                ensure!(escaped.is_empty(), "{escaped:?}");
            }
        }
        ensure!(drops(&lab)?.is_empty(), "{:?}", drops(&lab)?);
    }
    Ok(())
}

#[test]
fn a_traceroute_shows_the_gateways_inside_address_first() -> Result<()> {
    if skip(NEEDS) {
        return Ok(());
    }
    let lab = Lab::build(LabConfig::default())?;
    let _agent = agent(&lab, &[])?;
    for family in Family::BOTH {
        let (pod, far) = (lab.client("pod1")?, lab.far.addr(family));
        let at_client = Capture::start(&pod.ns, "eth0")?;
        // The node is the first hop.
        icmp::Pinger::new(&pod.ns, family)?.ttl(2)?.send(far, 9, 1, b"who is there?")?;
        let answer = at_client.wait_for(PATIENCE, |it| is_error(it, TIME_EXCEEDED, (pod.addr(family), far)))?;
        ensure!(answer.ip().is_some_and(|ip| ip.source == of(GATEWAY_INSIDE, family)), "{answer:?}");
    }
    Ok(())
}

#[test]
fn too_big_is_answered_with_the_mtu_of_the_way_out() -> Result<()> {
    if skip(NEEDS) {
        return Ok(());
    }
    let lab = Lab::build(LabConfig::default().mtu(1400, 1300).checksums(RealChecksums::AT_RECEIVERS))?;
    for mode in ["peer", "stack"] {
        let _agent = agent(&lab, &[("--forward", mode)])?;
        for family in Family::BOTH {
            for (name, made) in [("pod1", false), ("pod2", true)] {
                let client = lab.client(name)?;
                let (own, server) = (client.addr(family), lab.server.addr(family));
                if made {
                    established(&lab, client, family)?;
                }
                let (at_client, outside) = (Capture::start(&client.ns, "eth0")?, lab.capture_external()?);
                let datagram = build::udp((own, OWN_PORT), (server, PORT), &[b'x'; 1310]);
                into_eth0(&lab, &header(own, server, proto::UDP).packet(&datagram))?;
                let answer = at_client.wait_for(PATIENCE, |it| is_error(it, TOO_BIG, (own, server)));
                let answer = answer.with_context(|| format!("{mode} {family:?} {name}"))?;
                let ip = answer.ip().context("not IP")?;
                // The last two bytes of the second word, in both families.
                let mtu = answer.packet().get(ip.l4_offset + 6..ip.l4_offset + 8).context("cut short")?;
                ensure!(mtu == 1300_u16.to_be_bytes() && ip.source == of(GATEWAY_INSIDE, family), "{answer:?}");
                let escaped: Vec<_> = outside.stop()?.into_iter().filter(|it| holds(it, b"xxxxxxxx")).collect();
                ensure!(escaped.is_empty(), "{escaped:?}");
            }
        }
        ensure!(drops(&lab)?.is_empty(), "{:?}", drops(&lab)?);
    }
    Ok(())
}

/// Translated, then cut by the kernel; whole again at the other end.
#[test]
fn ipv4_that_may_be_fragmented_arrives_whole_both_ways() -> Result<()> {
    if skip(NEEDS) {
        return Ok(());
    }
    for (config, limit) in [(LabConfig::default().mtu(1400, 1300), 1300), (LabConfig::default(), 1400)] {
        let lab = Lab::build(config.checksums(RealChecksums::AT_RECEIVERS))?;
        for mode in ["peer", "stack"] {
            let _agent = agent(&lab, &[("--forward", mode)])?;
            let pod = lab.client("pod1")?;
            let flow = established(&lab, pod, Family::V4)?;
            let (own, server) = (pod.addr(Family::V4), lab.server.addr(Family::V4));
            let host = if limit == 1300 { &lab.server } else { pod };
            let (at_host, outside) = (Capture::start(&host.ns, "eth0")?, lab.capture_external()?);
            let payload: Vec<u8> = (0..=255).cycle().take(if limit == 1300 { 1350 } else { 1450 }).collect();
            let may = |from: (_, u16), to: (_, u16)| {
                let header = Header { dont_fragment: false, id: 7, ..header(from.0, to.0, proto::UDP) };
                header.packet(&build::udp(from, to, &payload))
            };
            let (source, port) = if limit == 1300 { (flow.egress, PORT) } else { (server, OWN_PORT) };
            let receiver = udp::Server::start(&host.ns, SocketAddr::new(host.addr(Family::V4), port))?;
            if limit == 1300 {
                into_eth0(&lab, &may((own, OWN_PORT), (server, PORT)))?;
            } else {
                into_net1(&lab, &may((server, PORT), (flow.egress, flow.egress_port)))?;
            }
            let arrived = || Ok(receiver.seen().iter().any(|it| it.payload == payload && it.peer.ip() == source));
            eventually("it arrived whole", PATIENCE, arrived).with_context(|| format!("{mode} {limit}"))?;
            drop(receiver);
            let frames = at_host.stop()?;
            let pieces: Vec<_> = frames
                .iter()
                .filter(|it| it.direction == Direction::In)
                .filter_map(Captured::ip)
                .filter(|ip| ip.fragment.is_some())
                .collect();
            ensure!(pieces.len() == 2, "{mode}: {} fragments", pieces.len());
            for ip in pieces {
                ensure!(
                    ip.source == source && ip.length <= limit && ip.ttl == if limit == 1300 { 62 } else { 61 },
                    "{ip:?}"
                );
            }
            // The echo of what came is as big again.
            let leaks = oracle::leaks(&outside.stop()?, &[]);
            ensure!(leaks.is_empty(), "{leaks:?}");
        }
    }
    Ok(())
}
