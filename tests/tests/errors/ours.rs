//! Errors that the gateway makes itself, for packets from outside that end there.

use std::net::IpAddr;

use anyhow::{Context, Result, ensure};
use egress_tests::capture::{Captured, Direction};
use egress_tests::lab::RealChecksums;
use egress_tests::packet::build::{self, Header};
use egress_tests::packet::proto;
use egress_tests::{Family, Lab, LabConfig, skip};

use crate::quotes::{TIME_EXCEEDED, TOO_BIG, error_about, quote};
use crate::rig::{NEEDS, PORT, change_config, flows, stat};
use crate::talk::{Talk, Way};
use crate::wire::{agent, dropped, drops, ensure_clean, header, holds, icmp, into_net1};

/// The longest answer (RFC 1812 §4.3.2.3, RFC 4443 §2.4).
const fn longest(family: Family) -> usize {
    if matches!(family, Family::V4) { 576 } else { 1280 }
}

#[test]
fn the_end_of_a_ttl_and_of_the_mtu_are_answered() -> Result<()> {
    if skip(NEEDS) {
        return Ok(());
    }
    let lab = Lab::build(LabConfig::default().checksums(RealChecksums::AT_RECEIVERS))?;
    for mode in ["peer", "stack"] {
        let _agent = agent(&lab, &[("--forward", mode)])?;
        for family in Family::BOTH {
            let talk = Talk::start(lab.client("pod1")?, 4000, &lab.server, PORT, family)?;
            let before = (flows(&lab)?, stat(&lab, "counters/icmp_answers")?);
            // The server's interface is the far end: the answer goes to the MAC that the packet came from, the router's.
            let (inside, outside) = (lab.capture_internal()?, lab.capture_external()?);
            let [from, to] = talk.ends(Way::In);
            let packet = |ttl, length: usize, options: &[u8]| {
                let head = Header { ttl, tos: 0xb8, options: options.to_vec(), ..header(from.0, to.0, proto::UDP) };
                head.packet(&build::udp(from, to, &vec![b'x'; length]))
            };
            let options: &[u8] = if family == Family::V4 { &[148, 4, 0, 0] } else { &[] };
            let cases = [
                ("ttl_inbound", TIME_EXCEEDED, packet(1, 8, &[])),
                ("ttl_inbound", TIME_EXCEEDED, packet(0, 9, &[])),
                ("ttl_inbound", TIME_EXCEEDED, packet(1, 1_300, &[])),
                ("ttl_inbound", TIME_EXCEEDED, packet(1, 10, options)),
                ("too_big_inbound", TOO_BIG, packet(64, 1_400, &[])),
                ("too_big_inbound", TOO_BIG, packet(2, 1_401, options)),
            ];
            for (reason, types, sent) in &cases {
                let what = || format!("{mode} {family:?} {reason} of {} bytes", sent.len());
                dropped(&lab, reason, 1, || into_net1(&lab, sent)).with_context(what)?;
                let (by, answer) = error_about(&outside, *types, sent).with_context(what)?;
                let ip = answer.ip().context("not IP")?;
                ensure!(by == to.0 && ip.destination == from.0 && ip.ttl >= 63, "{}: {ip:?}", what());
                let router = egress_tests::lab::addresses::mac::ROUTER;
                ensure!(answer.frame.as_ref().is_some_and(|it| it.to == router), "{}: {:?}", what(), answer.frame);
                ensure!(ip.length <= longest(family), "{}: {} bytes", what(), ip.length);
                let quoted = quote(&answer).context("no quote")?.len();
                ensure!(quoted == sent.len() || ip.length + 8 > longest(family), "{}: {quoted} quoted", what());
                let word = &answer.packet()[ip.l4_offset + 1..ip.l4_offset + 8];
                let mtu = if *types == TOO_BIG { 1_400_u16.to_be_bytes() } else { [0; 2] };
                let code = u8::from(family == Family::V4 && *types == TOO_BIG) * 4;
                ensure!(word[0] == code && word[3..5] == [0; 2] && word[5..] == mtu, "{}: {word:?}", what());
            }
            let counted = stat(&lab, "counters/icmp_answers")? - before.1;
            ensure!(counted == cases.len() as u64, "{counted} answers");
            // They count for no flow.
            let now = flows(&lab)?;
            ensure!(now.iter().zip(&before.0).all(|(now, old)| now.packets == old.packets), "{now:?} {:?}", before.0);
            // The server's kernel has told its socket.
            let _ = talk.outer.take_error()?;
            talk.pass(Way::In, b"and the flow lives on")?;
            let came = inside.stop()?;
            let came = came.iter().filter(|it| it.direction == Direction::In && holds(it, b"xxxxxxxx")).count();
            ensure!(came == 0, "{came} came inside");
            ensure_clean(&outside.stop()?, &[])?;
        }
    }
    Ok(())
}

/// No error about an error, about a later fragment, or about what belongs to nobody.
#[test]
fn some_are_not_answered() -> Result<()> {
    if skip(NEEDS) {
        return Ok(());
    }
    let lab = Lab::build(LabConfig::default())?;
    let _agent = agent(&lab, &[])?;
    for family in Family::BOTH {
        let talk = Talk::start(lab.client("pod1")?, 4000, &lab.server, PORT, family)?;
        let outside = lab.capture_external()?;
        let [from, to]: [(IpAddr, u16); 2] = talk.ends(Way::In);
        let ending = Header { ttl: 1, ..header(from.0, to.0, proto::UDP) };
        let about = header(to.0, from.0, proto::UDP).packet(&build::udp(to, from, b"about this"));
        let kind = if family == Family::V4 { 3 } else { 1 };
        let error = build::icmp(from.0, to.0, kind, 3, [0; 4], &about);
        let error = Header { ttl: 1, ..header(from.0, to.0, icmp(family)) }.packet(&error);
        dropped(&lab, "ttl_inbound", 1, || into_net1(&lab, &error))?;
        let nobody = ending.packet(&build::udp(from, (to.0, to.1 ^ 1), b"for nobody"));
        dropped(&lab, "no_mapping", 1, || into_net1(&lab, &nobody))?;
        if family == Family::V4 {
            let cut =
                |offset, more| Header { fragment: Some((offset, more)), dont_fragment: false, id: 3, ..ending.clone() };
            // The first lets the later one be known.
            let first = Header { ttl: 64, ..cut(0, true) }.packet(&build::udp(from, to, &[b'x'; 640])[..328]);
            into_net1(&lab, &first)?;
            dropped(&lab, "ttl_inbound", 1, || into_net1(&lab, &cut(328, false).packet(&[b'x'; 320])))?;
        }
        talk.pass(Way::In, b"the last one")?;
        let frames = outside.stop()?;
        let answers: Vec<_> = frames.iter().filter(|it| it.direction == Direction::In && quote(it).is_some()).collect();
        ensure!(answers.is_empty(), "{answers:?}");
    }
    Ok(())
}

/// Two thousand at once: some are answered, all are counted, and the flow goes on.
#[test]
fn a_flood_is_answered_sparingly() -> Result<()> {
    if skip(NEEDS) {
        return Ok(());
    }
    const FLOOD: u64 = 2_000;
    let lab = Lab::build(LabConfig::default())?;
    let _agent = agent(&lab, &[])?;
    for family in Family::BOTH {
        let talk = Talk::start(lab.client("pod1")?, 4000, &lab.server, PORT, family)?;
        // The other family may have used up what both share.
        change_config(&lab, |config| config.clock_offset_ns += 1_000_000_000)?;
        let counters = || -> Result<[u64; 2]> {
            Ok([stat(&lab, "counters/icmp_answers")?, stat(&lab, "counters/icmp_unanswered")?])
        };
        let (before, outside) = (counters()?, lab.capture_external()?);
        let (head, datagram) = talk.parts(Way::In, b"at its end");
        let packet = Header { ttl: 1, ..head }.packet(&datagram);
        let lane = egress_tests::traffic::Injector::open(&lab.node, egress_tests::lab::names::EXTERNAL_PORT)?;
        let mac = egress_tests::lab::addresses::mac::GATEWAY_OUTSIDE;
        let frame = build::ethernet(mac, egress_tests::lab::addresses::mac::ROUTER, &packet);
        let start = std::time::Instant::now();
        dropped(&lab, "ttl_inbound", FLOOD, || (0..FLOOD).try_for_each(|_| lane.send(&frame)))?;
        let (took, after) = (start.elapsed().as_millis() as u64, counters()?);
        talk.pass(Way::In, b"the last one")?;
        let [answered, silent] = [after[0] - before[0], after[1] - before[1]];
        ensure!(answered + silent == FLOOD, "{answered} answered, {silent} not");
        // On each of at most two CPUs a hundred, and one each millisecond.
        let most = 2 * (100 + took + 10);
        ensure!(answered >= 100 && (answered <= most || most > FLOOD), "{answered} answered in {took} ms");
        let is_answer = |it: &&Captured| it.direction == Direction::In && quote(it).is_some();
        let seen = outside.stop()?.iter().filter(is_answer).count() as u64;
        ensure!(seen == answered, "{seen} answers were seen, {answered} counted");
    }
    ensure!(drops(&lab)?.len() == 1, "{:?}", drops(&lab)?);
    Ok(())
}
