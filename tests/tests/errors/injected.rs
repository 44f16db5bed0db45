//! Errors of every type and code made by hand, about packets of every kind of flow.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use anyhow::{Context, Result, ensure};
use egress_tests::capture::Direction;
use egress_tests::lab::RealChecksums;
use egress_tests::lab::addresses::{OVERLAY_ROUTER, ROUTER};
use egress_tests::packet::build::{self, Header};
use egress_tests::packet::proto;
use egress_tests::traffic::PATIENCE;
use egress_tests::{Family, Lab, LabConfig, skip};

use super::flow;
use crate::quotes::{ensure_quotes, quote};
use crate::rig::{self, Flow, NEEDS, PORT, flows, stat};
use crate::talk::Way;
use crate::wire::{agent, dropped, drops, ensure_clean, header, holds, icmp, into_eth0, into_net1, of};

/// Types and their codes.
const fn errors(family: Family) -> &'static [(u8, u8)] {
    match family {
        Family::V4 => &[(3, 0), (3, 1), (3, 3), (3, 4), (3, 13), (3, 15), (4, 0), (11, 0), (11, 1), (12, 0), (12, 2)],
        Family::V6 => &[(1, 0), (1, 1), (1, 3), (1, 4), (1, 6), (2, 0), (3, 0), (3, 1), (4, 0), (4, 1), (4, 2)],
    }
}

/// A packet of each kind of flow that `from` sends to `to`; an echo is a request where it begins.
fn packets(from: (IpAddr, u16), to: (IpAddr, u16), request: bool) -> [(&'static str, u8, Vec<u8>); 3] {
    let family = Family::of(from.0);
    let echo = if family == Family::V4 { if request { 8 } else { 0 } } else { 128 + u8::from(!request) };
    let id = if request { from.1 } else { to.1 };
    let rest = ((u32::from(id) << 16) | 5).to_be_bytes();
    let payloads = [
        ("udp", proto::UDP, build::udp(from, to, b"a datagram that somebody complains about")),
        ("tcp", proto::TCP, build::tcp(from, to, (77, 0), 2, b"")),
        (
            if family == Family::V4 { "icmp" } else { "icmpv6" },
            icmp(family),
            build::icmp(from.0, to.0, echo, 0, rest, b"ping"),
        ),
    ];
    payloads.map(|(name, protocol, payload)| {
        (name, protocol, Header { id: 0x4321, ..header(from.0, to.0, protocol) }.packet(&payload))
    })
}

/// An error of `by` to the source of `about`, which it quotes.
fn error(by: IpAddr, about: &[u8], (kind, code): (u8, u8), quoted: usize) -> Result<Vec<u8>> {
    let to = egress_tests::packet::parse_ip(about).context("a packet")?.source;
    // The next hop's MTU of "fragmentation needed"; others have something there that must stay, too.
    let rest = [0, 0, 5, 20];
    let message = build::icmp(by, to, kind, code, rest, &about[..quoted.min(about.len())]);
    Ok(header(by, to, icmp(Family::of(by))).packet(&message))
}

/// A flow with its first packet as the Pod sent it and as the server sees it.
struct Made {
    flow: Flow,
    sent: Vec<u8>,
    seen: Vec<u8>,
}

/// Makes a flow of each kind.
fn three_flows(lab: &Lab, family: Family) -> Result<Vec<Made>> {
    let (pod, server) = (lab.client("pod1")?.addr(family), silent(family));
    let mut all = Vec::new();
    for (name, protocol, sent) in packets((pod, 4000), (server, PORT), true) {
        let outside = lab.capture_external()?;
        into_eth0(lab, &sent)?;
        let is_out = |it: &egress_tests::capture::Captured| {
            it.direction == Direction::In
                && it.ip().is_some_and(|ip| ip.protocol == protocol && ip.destination == server)
        };
        let seen = outside.wait_for(PATIENCE, is_out)?;
        all.push(Made { flow: flow(lab, name, pod, server)?, sent, seen: seen.packet().to_vec() });
    }
    Ok(all)
}

/// An address behind the router, which drops without a word what goes there.
const fn silent(family: Family) -> IpAddr {
    match family {
        Family::V4 => IpAddr::V4(Ipv4Addr::new(198, 51, 100, 7)),
        Family::V6 => IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0x51, 0, 0, 0, 0, 7)),
    }
}

fn silent_lab() -> Result<Lab> {
    let lab = Lab::build(LabConfig::default().checksums(RealChecksums::AT_RECEIVERS))?;
    lab.router.ns.sh("ip route add blackhole 198.51.100.0/24")?;
    lab.router.ns.sh("ip -6 route add blackhole 2001:db8:51::/64")?;
    Ok(lab)
}

/// Everything of a flow but its age.
fn timeless(flow: &Flow) -> Flow {
    Flow { age_seconds: 0, idle_seconds: 0, ..flow.clone() }
}

#[test]
fn from_outside_they_reach_the_pod_and_refresh_nothing() -> Result<()> {
    if skip(NEEDS) {
        return Ok(());
    }
    let lab = silent_lab()?;
    for mode in ["peer", "stack"] {
        let _agent = agent(&lab, &[("--forward", mode)])?;
        for family in Family::BOTH {
            let made = three_flows(&lab, family)?;
            rig::change_config(&lab, |config| config.clock_offset_ns += 5_000_000_000)?;
            let before = stat(&lab, "counters/icmp_errors")?;
            let mut count = 0;
            for Made { flow: old, sent, seen } in &made {
                for (error_type, length) in errors(family).iter().flat_map(|it| [(*it, 8), (*it, 16), (*it, 9_999)]) {
                    let what = || format!("{mode} {family:?} {} {error_type:?} quoting {length}", old.protocol);
                    let length = length + if family == Family::V4 { 20 } else { 40 };
                    let inside = lab.capture_internal()?;
                    into_net1(&lab, &error(of(ROUTER, family), seen, error_type, length)?)?;
                    let came = inside
                        .wait_for(PATIENCE, |it| it.direction == Direction::In && quote(it).is_some())
                        .with_context(what)?;
                    ensure_quotes(&came, sent).with_context(what)?;
                    let ip = came.ip().context("not IP")?;
                    ensure!(ip.source == of(ROUTER, family) && ip.destination == old.inside && ip.ttl == 62, "{ip:?}");
                    let head = &came.packet()[ip.l4_offset..ip.l4_offset + 8];
                    ensure!(
                        head[..2] == [error_type.0, error_type.1] && head[4..] == [0, 0, 5, 20],
                        "{}: {head:?}",
                        what()
                    );
                    count += 1;
                }
                let now = flow(&lab, &old.protocol, old.inside, old.remote)?;
                ensure!(timeless(&now) == timeless(old), "{old:?} became {now:?}");
                ensure!(now.idle_seconds >= old.idle_seconds + 5, "{old:?} was refreshed: {now:?}");
            }
            ensure!(stat(&lab, "counters/icmp_errors")? == before + count, "{count} errors were not counted");
        }
        ensure!(drops(&lab)?.is_empty(), "{:?}", drops(&lab)?);
    }
    Ok(())
}

/// Of the Pod itself, and of a router before it: the world hears one voice only.
#[test]
fn from_inside_they_leave_under_the_egress_address() -> Result<()> {
    if skip(NEEDS) {
        return Ok(());
    }
    let lab = silent_lab()?;
    let _agent = agent(&lab, &[])?;
    for family in Family::BOTH {
        let before = stat(&lab, "counters/icmp_errors")?;
        let mut count = 0;
        for Made { flow: old, .. } in three_flows(&lab, family)? {
            let remote = old.remote_port.unwrap_or(old.egress_port);
            let all = packets((old.remote, remote), (old.egress, old.egress_port), false);
            let translated = packets((old.remote, remote), (old.inside, old.inside_port), false);
            let of_kind = |all: [(&'static str, u8, Vec<u8>); 3]| all.into_iter().find(|it| it.0 == old.protocol);
            let (sent, within) = of_kind(all).zip(of_kind(translated)).context("a packet of each")?;
            for by in [old.inside, of(OVERLAY_ROUTER, family)] {
                for (error_type, length) in errors(family).iter().flat_map(|it| [(*it, 8), (*it, 9_999)]) {
                    let what = || format!("{family:?} {} {error_type:?} by {by}", old.protocol);
                    let length = length + if family == Family::V4 { 20 } else { 40 };
                    let outside = lab.capture_external()?;
                    into_eth0(&lab, &error(by, &within.2, error_type, length)?)?;
                    let came = outside
                        .wait_for(PATIENCE, |it| it.direction == Direction::In && quote(it).is_some())
                        .with_context(what)?;
                    ensure_quotes(&came, &sent.2).with_context(what)?;
                    let ip = came.ip().context("not IP")?;
                    ensure!((ip.source, ip.destination, ip.ttl) == (old.egress, old.remote, 62), "{}: {ip:?}", what());
                    count += 1;
                    ensure_clean(&outside.stop()?, &[])?;
                }
            }
            let now = flow(&lab, &old.protocol, old.inside, old.remote)?;
            ensure!(timeless(&now) == timeless(&old), "{old:?} became {now:?}");
        }
        ensure!(stat(&lab, "counters/icmp_errors")? == before + count, "{count} errors were not counted");
    }
    ensure!(drops(&lab)?.is_empty(), "{:?}", drops(&lab)?);
    Ok(())
}

/// About nothing that is known, and about what cannot be told.
#[test]
fn others_are_dropped_by_name() -> Result<()> {
    if skip(NEEDS) {
        return Ok(());
    }
    let lab = silent_lab()?;
    let _agent = agent(&lab, &[])?;
    let (inside, outside) = (lab.capture_internal()?, lab.capture_external()?);
    for family in Family::BOTH {
        let header_length = if family == Family::V4 { 20 } else { 40 };
        let unreachable = if family == Family::V4 { (3, 3) } else { (1, 4) };
        let (pod, server) = (lab.client("pod1")?.addr(family), silent(family));
        let egress = lab.gateway.addr(family);
        into_eth0(&lab, &crate::wire::udp((pod, 4000), (server, PORT), b"hello"))?;
        outside.wait_for(PATIENCE, |it| holds(it, b"hello") && it.ip().is_some_and(|ip| ip.source == egress))?;
        let flow = flow(&lab, "udp", pod, server)?;
        for way in Way::BOTH {
            // Who complains, and the ends of a flow as they are seen there.
            let (by, from, to) = match way {
                Way::In => (of(ROUTER, family), (flow.egress, flow.egress_port), (server, PORT)),
                Way::Out => (pod, (server, PORT), (pod, 4000)),
            };
            let put = |what: &str, about: &[u8], length: usize| {
                let packet = error(by, about, unreachable, length)?;
                dropped(&lab, "icmp_error", 1, || way.put(&lab, &packet))
                    .with_context(|| format!("{family:?} {way:?} {what}"))
            };
            let plain = |from, to| crate::wire::udp(from, to, b"complained about");
            put("of no flow", &plain((from.0, from.1 ^ 1), (to.0, to.1 ^ 1)), 99)?;
            put(
                "of no flow, TCP",
                &header(from.0, to.0, proto::TCP).packet(&build::tcp(from, to, (1, 1), 0x10, b"")),
                99,
            )?;
            put("7 bytes of UDP", &plain(from, to), header_length + 7)?;
            put("no byte of UDP", &plain(from, to), header_length)?;
            put("half a header", &plain(from, to), header_length / 2)?;
            let later =
                Header { fragment: Some((1304, true)), dont_fragment: false, ..header(from.0, to.0, proto::UDP) };
            put("a later fragment", &later.packet(&[1; 64]), 999)?;
        }
    }
    ensure!(flows(&lab)?.len() == 2, "some made a flow");
    let frames = [inside.stop()?, outside.stop()?].concat();
    let seen: Vec<_> = frames.iter().filter(|it| it.direction == Direction::In && quote(it).is_some()).collect();
    ensure!(seen.is_empty(), "{seen:?}");
    Ok(())
}
