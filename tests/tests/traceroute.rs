//! Packets whose TTL rises hop by hop: who shows itself.

use std::net::IpAddr;

use anyhow::{Context, Result, ensure};
use egress_tests::capture::{Capture, Captured, Direction};
use egress_tests::lab::RealChecksums;
use egress_tests::lab::addresses::{GATEWAY_INSIDE, OVERLAY_ROUTER, ROUTER, mac, no_snat_networks};
use egress_tests::packet::build::{self, Header};
use egress_tests::packet::proto;
use egress_tests::traffic::{PATIENCE, inject, path, udp};
use egress_tests::{Family, Lab, LabConfig, skip};

use crate::gateways::{self, Kind};
use crate::quotes::{TIME_EXCEEDED, UNREACHABLE, error_about};
use crate::rig::{NEEDS, PORT};
use crate::talk::{Talk, message};
use crate::wire::{agent, dropped, ensure_clean, header, holds, icmp, of, talkative};

/// A MAC that answers nobody: the bridge shall not learn a wrong place for a real one.
const PROBER: [u8; 6] = [2, 0, 0, 0, 0x77, 0x01];

/// Probes of the usual kinds, each different from all others.
fn probes(own: IpAddr, far: IpAddr, ttl: u8) -> [(&'static str, Vec<u8>); 3] {
    let number = u16::from(ttl);
    let packet = |protocol, payload: &[u8]| {
        Header { ttl, id: u32::from(ttl) + 0x100, ..Header::new(own, far, protocol) }.packet(payload)
    };
    let (from, to) = ((own, 40_000 + number), (far, 33_434 + number));
    [
        ("UDP", packet(proto::UDP, &build::udp(from, to, &message(32, ttl)))),
        ("ICMP", packet(icmp(Family::of(own)), &build::echo_request(own, far, 0x7777, number, &message(32, ttl)))),
        ("TCP", packet(proto::TCP, &build::tcp(from, (far, 80), (1_000 * u32::from(ttl), 0), 2, b""))),
    ]
}

/// What the target itself answers.
fn is_answer(frame: &Captured, far: IpAddr, kind: &str) -> bool {
    let family = Family::of(far);
    let reply = if family == Family::V4 { 0 } else { 129 };
    let unreachable = if family == Family::V4 { UNREACHABLE.0 } else { UNREACHABLE.1 };
    let ours = |ip: &&egress_tests::packet::Ip| frame.direction == Direction::In && ip.source == far;
    frame.ip().filter(ours).is_some_and(|ip| match kind {
        "UDP" => ip.is_icmp(unreachable),
        "ICMP" => ip.is_icmp(reply),
        _ => ip.protocol == proto::TCP,
    })
}

#[test]
fn from_inside_it_shows_every_hop() -> Result<()> {
    if skip(gateways::NEEDS) {
        return Ok(());
    }
    for kind in Kind::BOTH {
        let lab = Lab::build(LabConfig::default().checksums(RealChecksums::AT_RECEIVERS))?;
        talkative(&lab)?;
        let _gateway = kind.start(&lab)?;
        let outside = lab.capture_external()?;
        let pod = lab.client("pod1")?;
        for (family, node) in [(Family::V4, "10.17.0.1"), (Family::V6, "fd00:10:17::1")] {
            let (own, far) = (pod.addr(family), lab.far.addr(family));
            let tap = Capture::start(&pod.ns, "eth0")?;
            let node: IpAddr = node.parse()?;
            for (ttl, hop) in (1..).zip([Some(node), Some(of(GATEWAY_INSIDE, family)), Some(of(ROUTER, family)), None])
            {
                for (name, packet) in probes(own, far, ttl) {
                    let what = || format!("{kind:?} {family:?} {name} {ttl}");
                    inject(&pod.ns, "eth0", &build::ethernet(mac::OVERLAY, PROBER, &packet))?;
                    let Some(hop) = hop else {
                        tap.wait_for(PATIENCE, |it| is_answer(it, far, name)).with_context(what)?;
                        continue;
                    };
                    let (by, _) = error_about(&tap, TIME_EXCEEDED, &packet).with_context(what)?;
                    // The node has an address in each subnet, and the kernel's choice among them is not ours.
                    ensure!(by == hop || (ttl == 1 && family == Family::V6), "{}: {by}, not {hop}", what());
                }
            }
        }
        ensure_clean(&outside.stop()?, &[])?;
    }
    Ok(())
}

/// The node as a router that knows the way out.
fn node_answers(lab: &Lab) -> Result<()> {
    lab.node.sh("ip route add default via 10.16.0.12 dev overlay")?;
    lab.node.sh("ip -6 route add default via fd00:10:16::c dev overlay").map(drop)
}

#[test]
fn from_outside_it_shows_the_egress_address_only() -> Result<()> {
    if skip(NEEDS) {
        return Ok(());
    }
    let lab = Lab::build(LabConfig::default().checksums(RealChecksums::EVERYWHERE))?;
    talkative(&lab)?;
    node_answers(&lab)?;
    for mode in ["peer", "stack"] {
        let _agent = agent(&lab, &[("--forward", mode)])?;
        let outside = lab.capture_external()?;
        for (family, host, routers) in
            Family::BOTH.into_iter().flat_map(|family| [(family, &lab.server, 0_u8), (family, &lab.far, 1)])
        {
            let talk = Talk::start(lab.client("pod1")?, 4000, host, PORT, family)?;
            let tap = Capture::start(&host.ns, "eth0")?;
            // The router if there is one, the gateway, the node.
            for hops in 1..=routers + 2 {
                let what = || format!("{mode} {family:?} {} {hops}", talk.remote);
                let text = message(100, hops);
                let probe = || {
                    path::set_hops(&talk.outer, hops)?;
                    Ok::<_, anyhow::Error>(talk.outer.send(&text)?)
                };
                if hops == routers + 1 {
                    dropped(&lab, "ttl_inbound", 1, || probe().map(drop)).with_context(what)?;
                } else {
                    probe()?;
                }
                let sent = tap.wait_for(PATIENCE, |it| it.direction == Direction::Out && holds(it, &text))?;
                let (by, _) = error_about(&tap, TIME_EXCEEDED, sent.packet()).with_context(what)?;
                if hops <= routers {
                    ensure!(by != talk.egress.ip(), "{}: {by}", what());
                } else {
                    ensure!(by == talk.egress.ip(), "{}: {by} shows itself", what());
                }
            }
            path::set_hops(&talk.outer, routers + 3)?;
            talk.outer.send(b"at last")?;
            let came = udp::receive(&talk.inner)?;
            ensure!(came.payload == b"at last", "{came:?}");
        }
        ensure_clean(&outside.stop()?, &[])?;
    }
    Ok(())
}

/// The same into a TCP connection that is being opened, by segments of it.
#[test]
fn from_outside_into_a_connection() -> Result<()> {
    if skip(NEEDS) {
        return Ok(());
    }
    let lab = Lab::build(LabConfig::default().checksums(RealChecksums::AT_RECEIVERS))?;
    talkative(&lab)?;
    node_answers(&lab)?;
    let _agent = agent(&lab, &[])?;
    let outside = lab.capture_external()?;
    for family in Family::BOTH {
        let (pod, server) = (lab.client("pod1")?.addr(family), lab.server.addr(family));
        let syn = Header::new(pod, server, proto::TCP).packet(&build::tcp((pod, 4000), (server, 80), (1, 0), 2, b""));
        crate::wire::into_eth0(&lab, &syn)?;
        let is_syn = |it: &Captured| {
            it.direction == Direction::In
                && it.ip().is_some_and(|ip| ip.protocol == proto::TCP && ip.destination == server)
        };
        let seen = outside.wait_for(PATIENCE, is_syn)?;
        let (egress, port) = seen.ip().and_then(|ip| Some((ip.source, ip.ports()?.0))).context("not TCP")?;
        let tap = Capture::start(&lab.server.ns, "eth0")?;
        for ttl in [1, 2] {
            let segment = build::tcp((server, 80), (egress, port), (900, 2), 0x18, &message(400, ttl));
            let packet = Header { ttl, ..Header::new(server, egress, proto::TCP) }.packet(&segment);
            inject(&lab.server.ns, "eth0", &build::ethernet(mac::GATEWAY_OUTSIDE, mac::SERVER, &packet))?;
            let (by, _) = error_about(&tap, TIME_EXCEEDED, &packet).with_context(|| format!("{family:?} {ttl}"))?;
            ensure!(by == egress, "{family:?} {ttl}: {by} shows itself");
        }
    }
    ensure_clean(&outside.stop()?, &[])
}

/// About what is not translated, too: the bystander may be seen, the node before it may not.
#[test]
fn to_what_is_not_translated() -> Result<()> {
    if skip(NEEDS) {
        return Ok(());
    }
    let no_snat = no_snat_networks();
    let lab = Lab::build(LabConfig::default().checksums(RealChecksums::AT_RECEIVERS).return_routes(&no_snat))?;
    talkative(&lab)?;
    let _agent = agent(&lab, &[])?;
    let outside = lab.capture_external()?;
    for family in Family::BOTH {
        let (bystander, server) = (lab.client("bystander")?.addr(family), lab.server.addr(family));
        let tap = Capture::start(&lab.server.ns, "eth0")?;
        let probe = build::udp((server, PORT), (bystander, 33_434), b"to the bystander");
        let probe = Header { ttl: 1, ..Header::new(server, bystander, proto::UDP) }.packet(&probe);
        inject(&lab.server.ns, "eth0", &build::ethernet(mac::GATEWAY_OUTSIDE, mac::SERVER, &probe))?;
        let (by, _) = error_about(&tap, TIME_EXCEEDED, &probe).with_context(|| format!("{family:?} 1"))?;
        ensure!(by == lab.gateway.addr(family), "{by} shows itself");

        // By the node in its own name, which may not be seen, and by the bystander itself.
        for (number, by) in [(1, of(OVERLAY_ROUTER, family)), (2, bystander)] {
            let probe = build::udp((server, PORT), (bystander, 33_434 + number), b"to the bystander");
            let probe = header(server, bystander, proto::UDP).packet(&probe);
            let kind = if family == Family::V4 { TIME_EXCEEDED.0 } else { TIME_EXCEEDED.1 };
            let error = header(by, server, icmp(family)).packet(&build::icmp(by, server, kind, 0, [0; 4], &probe));
            crate::wire::into_eth0(&lab, &error)?;
            let (seen, _) = error_about(&tap, TIME_EXCEEDED, &probe).with_context(|| format!("{family:?} {by}"))?;
            let wanted = if by == bystander { by } else { lab.gateway.addr(family) };
            ensure!(seen == wanted, "{family:?}: {by} shows itself as {seen}");
        }
    }
    ensure_clean(&outside.stop()?, &no_snat)
}
