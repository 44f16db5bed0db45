//! Errors that the gateway makes itself, for packets of a flow that cannot go on to the Pod.

use std::cell::Cell;

use anyhow::{Context, Result, ensure};
use egress_tests::Family;
use egress_tests::lab::addresses::mac;
use egress_tests::packet::checksum::check;
use egress_tests::packet::{Transport, parse_ethernet};
use egress_tests::testrun::{Ran, Verdict};

use super::bench::{Bench, Mode, TTL, Way, hex};
use super::errors::Error;
use super::shape::{Shape, data, echo, syn, tcp, udp, udp_with};
use super::talk::Talk;
use super::{every, on_a_bench};
use crate::wire::{counted, dropped};

/// MTU of the way to the Pods.
const MTU: u16 = 1400;

/// The longest message (RFC 1812 §4.3.2.3, RFC 4443 §2.4).
const fn longest(family: Family) -> usize {
    match family {
        Family::V4 => 576,
        Family::V6 => 1280,
    }
}

/// The family's "time exceeded" and "too big": type, code and the four bytes behind.
const fn expired(family: Family) -> (u8, u8, [u8; 4]) {
    match family {
        Family::V4 => (11, 0, [0; 4]),
        Family::V6 => (3, 0, [0; 4]),
    }
}

const fn too_big(family: Family) -> (u8, u8, [u8; 4]) {
    let [high, low] = MTU.to_be_bytes();
    let rest = [0, 0, high, low];
    match family {
        Family::V4 => (3, 4, rest),
        Family::V6 => (2, 0, rest),
    }
}

/// The run answered `packet`, which came from outside, with this error; and everything about the answer is right.
fn ensure_answer(ran: &Ran, packet: &[u8], (kind, code, rest): (u8, u8, [u8; 4])) -> Result<()> {
    ensure!(ran.verdict == Verdict::Redirect, "{:?}, not an answer", ran.verdict);
    let frame = parse_ethernet(&ran.frame).context("no frame")?;
    ensure!((frame.to, frame.from) == (mac::ROUTER, mac::GATEWAY_OUTSIDE), "wrong MACs: {}", hex(&ran.frame));
    let ip = frame.ip().with_context(|| hex(&ran.frame))?;
    let came = egress_tests::packet::parse_ip(packet).context("what came is not IP")?;
    ensure!((ip.source, ip.destination) == (came.destination, came.source), "{ip:?}");
    ensure!(ip.ttl >= 64 && ip.fragment.is_none(), "{ip:?}");
    let found = ip.transport.as_ref();
    let right_kind = matches!(found, Some(Transport::Icmp { kind: a, code: b, .. }) if (*a, *b) == (kind, code));
    ensure!(right_kind, "{found:?} instead of {kind}/{code}");
    let message = &ran.frame[14..];
    ensure!(message.len() == ip.length && message.len() <= longest(ip.family()), "{} bytes", message.len());
    ensure!(check(ip, message, false).are_real(), "checksums: {}", check(ip, message, false));
    ensure!(message[ip.l4_offset + 4..ip.l4_offset + 8] == rest, "rest: {}", hex(&ran.frame));
    let quote = &message[ip.l4_offset + 8..];
    let room = longest(ip.family()) - ip.l4_offset - 8;
    ensure!(quote == &packet[..packet.len().min(room)], "the quote is not what came: {}", hex(&ran.frame));
    Ok(())
}

/// The packet is counted as dropped, and answered.
fn answered(bench: &Bench<'_>, packet: &[u8], reason: &str, error: (u8, u8, [u8; 4]), gso: u32) -> Result<()> {
    let before = counted(bench.lab, "icmp_answers")?;
    dropped(bench.lab, reason, 1, || {
        let frame = Way::In.frame(packet);
        ensure_answer(&bench.program(Way::In).run_super_packet(&frame, 2 * gso.min(1), gso)?, packet, error)
    })?;
    ensure!(counted(bench.lab, "icmp_answers")? == before + 1, "not counted");
    Ok(())
}

#[test]
fn the_end_of_the_time_to_live_is_told() -> Result<()> {
    on_a_bench(&[Mode::Peer, Mode::Stack], |bench, family| {
        let mut echoes = Talk::new(bench, family, 5400, 0)?;
        let (request, reply) = echo(family == Family::V4);
        echoes.out(&request)?;
        let by_tcp = Talk::begun(bench, family, (5400, 443), &syn())?;
        let by_udp = Talk::begun(bench, family, (5400, 443), &udp())?;
        let rows: [(&Talk<'_, '_>, Shape); 5] = [
            (&by_tcp, data()),
            (&by_udp, udp()),
            (&by_udp, udp_with(&[7; 600])),
            (&by_udp, udp_with(&[7; 1301])),
            (&echoes, reply),
        ];
        every(rows.iter().flat_map(|row| [0, 1].map(|ttl| (row, ttl))), |((talk, shape), ttl)| {
            let packet = talk.arriving(Way::In, shape, ttl)?;
            answered(bench, &packet, "ttl_inbound", expired(family), 0).with_context(|| format!("{} {ttl}", shape.name))
        })
    })
}

#[test]
fn what_is_too_big_is_told() -> Result<()> {
    on_a_bench(&[Mode::Peer, Mode::Stack], |bench, family| {
        let headers = if family == Family::V4 { 20 } else { 40 };
        let mut by_udp = Talk::begun(bench, family, (5401, 443), &udp())?;
        let by_tcp = Talk::begun(bench, family, (5401, 443), &syn())?;
        let fits = 1400 - headers;
        by_udp.back(&udp_with(&vec![1; fits - 8]))?;
        by_udp.out(&udp())?;
        let rows = [
            (&by_udp, udp_with(&vec![1; fits - 7])),
            (&by_udp, udp_with(&vec![1; 1500 - headers - 8])),
            (&by_tcp, tcp("TCP", 0x10, &vec![1; fits - 19])),
        ];
        every(rows, |(talk, shape)| {
            answered(bench, &talk.arriving(Way::In, &shape, TTL)?, "too_big_inbound", too_big(family), 0)
        })
    })
}

/// Of a super-packet, the segments are what is too big; a quote shows what one would look like on the wire, or its start.
#[test]
fn super_packets_are_answered() -> Result<()> {
    on_a_bench(&[Mode::Peer], |bench, family| {
        let headers = if family == Family::V4 { 20 } else { 40 };
        let talk = Talk::begun(bench, family, (5402, 443), &syn())?;
        let segment = 1500 - headers - 20;
        let shape = tcp("TCP", 0x10, &vec![1; 2 * segment]);
        let big = talk.arriving(Way::In, &shape, TTL)?;
        answered(bench, &big, "too_big_inbound", too_big(family), segment as u32)?;
        answered(bench, &talk.arriving(Way::In, &shape, 1)?, "ttl_inbound", expired(family), 1000)
    })
}

/// RFC 1122 §3.2.2: not about errors. The kernel fragments what may be fragmented.
#[test]
fn some_packets_get_no_answer() -> Result<()> {
    on_a_bench(&[Mode::Peer], |bench, family| {
        let v4 = family == Family::V4;
        let talk = Talk::begun(bench, family, (5403, 443), &udp())?;
        let outside = talk.outside()?;
        let answers = counted(bench.lab, "icmp_answers")?;
        let error = Error::unreachable(v4, &udp()).packet((outside.to.0, outside.from.0), outside, 1);
        bench.ensure_dropped(Way::In, &error, "ttl_inbound")?;
        let later = udp_with(&[1; 100]);
        if v4 {
            talk.back(&later.piece(5, 0..64, true))?;
            let packet = talk.arriving(Way::In, &later.piece(5, 64..108, false), 1)?;
            bench.ensure_dropped(Way::In, &packet, "ttl_inbound")?;
            let fragmentable = udp_with(&[1; 1420]).headed(|it| it.dont_fragment = false);
            let ran = bench.run(Way::In, &talk.arriving(Way::In, &fragmentable, TTL)?)?;
            ensure!(ran.verdict == Verdict::Ok, "{:?}", ran.verdict);
        }
        ensure!(counted(bench.lab, "icmp_answers")? == answers, "answered");
        Ok(())
    })
}

/// Nobody makes the gateway a source of packets.
#[test]
fn answers_are_limited() -> Result<()> {
    let unanswered = Cell::new(0);
    on_a_bench(&[Mode::Peer], |bench, family| {
        let talk = Talk::begun(bench, family, (5404, 443), &udp())?;
        let frame = Way::In.frame(&talk.arriving(Way::In, &udp(), 1)?);
        let before = counted(bench.lab, "icmp_answers")?;
        let runs = bench.program(Way::In).run_often(&frame, 3000)?;
        let answers = runs.iter().filter(|it| it.verdict == Verdict::Redirect).count() as u64;
        ensure!(runs.iter().all(|it| matches!(it.verdict, Verdict::Redirect | Verdict::Shot)), "an odd verdict");
        let now = counted(bench.lab, "icmp_unanswered")?;
        ensure!(answers == counted(bench.lab, "icmp_answers")? - before, "{answers} answers");
        ensure!(answers < 1500 && answers + now - unanswered.get() == 3000, "{answers} answers, {now} unanswered");
        unanswered.set(now);
        Ok(())
    })
}
