//! Shortcuts past the flow table: nothing is found that is not in it any more, nothing is miscounted, and connections have the
//! states that they have without.

use std::net::IpAddr;

use anyhow::{Context, Result, ensure};
use aya::maps::{Array, Map, MapData};
use egress_common::abi::event::why;
use egress_common::abi::family::{V4, V6};
use egress_common::abi::flow::{FlowKey, OUT};
use egress_common::abi::shortcut::{IDLE, SHORTCUTS, Shortcut, slot};
use egress_tests::packet::proto;
use egress_tests::testrun::{Program, Verdict, XdpVerdict};
use egress_tests::traffic::PATIENCE;
use egress_tests::{Family, Lab, eventually, skip};

use super::handed_on::{Bench, End, egress, tcp, udp, with_bench};
use crate::differential::random::Random;
use crate::rig::{FOLLOW, Flow, NEEDS, change_config, flows, map, order, pins};
use crate::talk::Way;

const FIN: u8 = 1;
const SYN: u8 = 2;
const RST: u8 = 4;
const PSH: u8 = 8;
const ACK: u8 = 16;

/// A packet's way through both programs, as in a gateway; whether XDP sent it, and what was sent.
fn through(bench: &Bench<'_>, way: Way, packet: &[u8]) -> Result<(bool, Vec<u8>)> {
    let sent = way.frame(packet);
    let (verdict, frame) = bench.xdp[way as usize].run(&sent)?;
    if verdict == XdpVerdict::Redirect {
        return Ok((true, frame));
    }
    ensure!(verdict == XdpVerdict::Pass, "{way:?}: {verdict:?}");
    Ok((false, bench.tc(way, packet)?))
}

fn flow_of(lab: &Lab, from: End) -> Result<Flow> {
    let found = flows(lab)?.into_iter().find(|flow| (flow.inside, flow.inside_port) == from);
    found.with_context(|| format!("no flow of {from:?}"))
}

/// Packets that shortcuts hold and the table was not told of.
fn untold(lab: &Lab) -> Result<u64> {
    let open = |name: &str| -> Result<_> { Ok(Map::Array(MapData::from_pin(map(lab, name)?)?)) };
    let v4: Array<_, Shortcut<V4>> = open("SHORTCUTS4")?.try_into()?;
    let v6: Array<_, Shortcut<V6>> = open("SHORTCUTS6")?.try_into()?;
    (0..SHORTCUTS).map(|index| Ok(v4.get(&index, 0)?.packets + v6.get(&index, 0)?.packets)).sum()
}

/// Sends until shortcuts carry packets, which begins anew with each second; the number that XDP and TC sent.
fn until_short(lab: &Lab, mut send: impl FnMut() -> Result<()>) -> Result<u64> {
    let (before, mut sent) = (untold(lab)?, 0);
    eventually("packets go by a shortcut", FOLLOW, || {
        for _ in 0..20 {
            send()?;
            sent += 1;
        }
        Ok(untold(lab)? >= before + 10)
    })?;
    Ok(sent)
}

#[test]
fn what_is_cut_is_not_found() -> Result<()> {
    if skip(NEEDS) {
        return Ok(());
    }
    with_bench(|lab, bench| {
        let expire = Program::open(&lab.gateway.ns, &pins(lab)?.join("progs/expire"), "eth0")?;
        for family in Family::BOTH.repeat(3) {
            let (pod, far) = ((lab.client("pod2")?.addr(family), 4000), (lab.far.addr(family), 443));
            let seen = bench.flow(&udp(pod, far, b"open"), pod.0)?;
            eventually("the way back is known", PATIENCE, || Ok(bench.tc(Way::In, &udp(far, seen, b"back")).is_ok()))?;
            let before = flow_of(lab, pod)?;
            let out = until_short(lab, || through(bench, Way::Out, &udp(pod, far, b"on")).map(drop))?;
            let back = until_short(lab, || through(bench, Way::In, &udp(far, seen, b"back")).map(drop))?;
            let flow = flow_of(lab, pod)?;
            let carried = (flow.packets.out - before.packets.out, flow.packets.inward - before.packets.inward);
            ensure!(carried == (out, back), "{family:?}: {carried:?} of {out} and {back} packets are counted");
            ensure!(flow.bytes.out - before.bytes.out == out * udp(pod, far, b"on").len() as u64, "{flow:?}");
            until_short(lab, || {
                through(bench, Way::Out, &udp(pod, far, b"on"))?;
                through(bench, Way::In, &udp(far, seen, b"back")).map(drop)
            })?;
            let cut = order(why::REVOKED, pod, far, proto::UDP);
            ensure!(expire.here_once(&cut)?.verdict == Verdict::Other(1), "{family:?}: not cut");
            for (way, packet) in [(Way::Out, udp(pod, far, b"on")), (Way::In, udp(far, seen, b"back"))] {
                let (verdict, _) = bench.xdp[way as usize].run(&way.frame(&packet))?;
                ensure!(verdict == XdpVerdict::Pass, "{family:?} {way:?}: carried by a flow that was cut");
            }
            ensure!(untold(lab)? == 0, "{family:?}: the table was not told of {} packets", untold(lab)?);
        }
        Ok(())
    })
}

/// Flags of a segment, and its way.
type Segment = (Way, u8);

/// A connection after its handshake: data and acknowledgements, and now and then what ends or begins it.
fn connection(random: &mut Random) -> Vec<Segment> {
    (0..random.between(4, 24))
        .map(|_| {
            let flags = match random.below(20) {
                0 => RST,
                1 => RST | ACK,
                2 | 3 => FIN | ACK,
                4 => SYN,
                5 => SYN | ACK,
                6..12 => PSH | ACK,
                _ => ACK,
            };
            (if random.chance(50) { Way::Out } else { Way::In }, flags)
        })
        .collect()
}

/// The same segments by XDP, where it takes them, and by TC alone end in the same state, with the same numbers.
#[test]
fn connections_have_the_states_that_they_have_by_tc() -> Result<()> {
    if skip(NEEDS) {
        return Ok(());
    }
    with_bench(|lab, bench| {
        let (mut by_xdp, mut all) = (0, 0);
        for (seed, family) in (0..60).zip(Family::BOTH.into_iter().cycle()) {
            let far = (lab.far.addr(family), 443);
            let segments = connection(&mut Random::new(seed));
            let mut ends = Vec::new();
            for (port, xdp) in [(2000 + seed as u16, true), (3000 + seed as u16, false)] {
                let pod = (lab.client("pod2")?.addr(family), port);
                let seen = bench.flow(&tcp(pod, far, SYN, b""), pod.0)?;
                let answer = tcp(far, seen, SYN | ACK, b"");
                eventually("the way back is known", PATIENCE, || Ok(bench.tc(Way::In, &answer).is_ok()))?;
                for (way, flags) in [(Way::Out, ACK)].iter().chain(&segments) {
                    let (from, to) = if matches!(way, Way::Out) { (pod, far) } else { (far, seen) };
                    let packet = tcp(from, to, *flags, if flags & PSH != 0 { b"data" } else { b"" });
                    if xdp {
                        by_xdp += u32::from(through(bench, *way, &packet)?.0);
                        all += 1;
                    } else {
                        bench.tc(*way, &packet)?;
                    }
                }
                let flow = flow_of(lab, pod)?;
                // How often the opening ones were repeated is chance.
                ends.push(flow.state);
            }
            ensure!(ends[0] == ends[1], "seed {seed}: {} by XDP, {} by TC, after {segments:?}", ends[0], ends[1]);
        }
        println!("{by_xdp} of {all} segments by XDP");
        ensure!(by_xdp * 2 > all, "only {by_xdp} of {all} segments went by XDP");
        Ok(())
    })
}

/// Two ports of a Pod whose flows to this server share a slot.
fn sharing(pod: IpAddr, far: End) -> Result<[u16; 2]> {
    let (IpAddr::V4(saddr), IpAddr::V4(daddr)) = (pod, far.0) else { anyhow::bail!("IPv4 is asked for") };
    let key = |sport| FlowKey {
        saddr: saddr.octets(),
        daddr: daddr.octets(),
        sport,
        dport: far.1,
        proto: proto::UDP,
        dir: OUT,
        zone: 0,
    };
    let pairs = (5000..9000).flat_map(|one| (one + 1..9000).map(move |other| [one, other]));
    pairs.into_iter().find(|[one, other]| slot(&key(*one)) == slot(&key(*other))).context("no two ports share a slot")
}

/// Each keeps its mapping and its numbers, whoever has the slot.
#[test]
fn two_flows_share_a_slot() -> Result<()> {
    if skip(NEEDS) {
        return Ok(());
    }
    with_bench(|lab, bench| {
        let (pod, far) = (lab.client("pod2")?.addr(Family::V4), (lab.far.addr(Family::V4), 443));
        let ports = sharing(pod, far)?;
        let mut both = Vec::new();
        for port in ports {
            let from = (pod, port);
            both.push((from, bench.flow(&udp(from, far, b"open"), pod)?, flow_of(lab, from)?.packets.out));
        }
        for round in 0..4 {
            let first = both[round % 2].0;
            let mut sent = 0;
            let send = |(from, seen, count): &mut (End, End, u64)| -> Result<()> {
                let (_, frame) = through(bench, Way::Out, &udp(*from, far, b"on"))?;
                *count += 1;
                ensure!(egress(&frame)? == *seen, "{from:?} left as {:?} instead of {seen:?}", egress(&frame)?);
                Ok(())
            };
            until_short(lab, || {
                sent += 1;
                both.iter_mut().filter(|it| sent > 1 || it.0 == first).try_for_each(send)
            })?;
            for (from, _, count) in &both {
                let flow = flow_of(lab, *from)?;
                ensure!(flow.packets.out == *count, "round {round}: {} of {count}, {flow:?}", flow.packets.out);
            }
            // The slot is free for the other one.
            change_config(lab, |config| config.clock_offset_ns += u64::from(IDLE.unsigned_abs()) * 1_000_000_000)?;
        }
        Ok(())
    })
}
