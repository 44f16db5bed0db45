//! TCP segments that neither begin a connection nor belong to one, in each of the three ways to treat them.

use std::cell::Cell;
use std::net::IpAddr;

use anyhow::{Context, Result, ensure};
use egress_common::abi::config::flags;
use egress_tests::Family;
use egress_tests::lab::addresses::{GATEWAY_INSIDE, mac};
use egress_tests::packet::{build, proto};
use egress_tests::testrun::Verdict;

use super::bench::{Bench, Mode, TTL, Way, ensure_same};
use super::shape::{Ends, Shape, data, syn, tcp};
use super::talk::Talk;
use super::{every, on_a_bench};
use crate::rig::change_config;
use crate::wire::{counted, dropped};

const FIN: u8 = 1;
const SYN: u8 = 2;
const RST: u8 = 4;
const PSH: u8 = 8;
const ACK: u8 = 16;

/// What [`tcp`] says: sequence and acknowledgement number.
const NUMBERS: (u32, u32) = (0x1000, 0x2000);

/// Sets how segments without a flow are treated.
fn treat(bench: &Bench<'_>, how: u32) -> Result<()> {
    let all = flags::MIDFLOW_RESET | flags::MIDFLOW_DROP;
    change_config(bench.lab, |config| config.flags = config.flags & !all | how)
}

/// The RST from one end to the other, as RFC 9293 §3.5.2 and §3.10.7.1 want it.
fn reset(ends: Ends, (sequence, acknowledged): (u32, u32), flags: u8) -> Vec<u8> {
    let mut segment = build::tcp(ends.from, ends.to, (sequence, acknowledged), flags, b"");
    // No window.
    segment[14..18].fill(0);
    build::fill_checksum(&mut segment, 16, 20, ends.from.0, ends.to.0, proto::TCP);
    build::Header::new(ends.from.0, ends.to.0, proto::TCP).packet(&segment)
}

/// Sequence and acknowledgement number and flags of the answer to a segment with these flags and so much data.
const fn wanted(flags: u8, length: u32) -> ((u32, u32), u8) {
    if flags & ACK != 0 {
        return ((NUMBERS.1, 0), RST);
    }
    let counted = (flags & SYN != 0) as u32 + (flags & FIN != 0) as u32;
    ((0, NUMBERS.0 + length + counted), RST | ACK)
}

/// The packet is dropped under this name and becomes this RST, which goes back to where it came from.
fn answered(bench: &Bench<'_>, way: Way, packet: &[u8], reason: &str, rst: &[u8], gso: u32) -> Result<()> {
    let before = counted(bench.lab, "resets_sent")?;
    dropped(bench.lab, reason, 1, || {
        let ran = bench.program(way).run_super_packet(&way.frame(packet), 2 * gso.min(1), gso)?;
        let (to, from) = match way {
            Way::Out => (mac::OVERLAY, mac::GATEWAY_INSIDE),
            Way::In => (mac::ROUTER, mac::GATEWAY_OUTSIDE),
        };
        ensure_same(&ran.frame, &build::ethernet(to, from, rst))?;
        ensure!(ran.verdict == Verdict::Redirect, "{:?}", ran.verdict);
        Ok(())
    })?;
    ensure!(counted(bench.lab, "resets_sent")? == before + 1, "not counted");
    Ok(())
}

/// With options, hop-by-hop and destination headers, or a TCP option.
fn dressed(v4: bool) -> Vec<Shape> {
    let plain = || tcp("TCP ACK", ACK, b"sixteen bytes ..");
    let header = if v4 {
        plain().options(&[148, 4, 0, 0]).named("router alert")
    } else {
        plain().extensions(&[(0, vec![0, 0, 1, 4, 0, 0, 0, 0]), (60, vec![0, 0, 1, 4, 0, 0, 0, 0])]).named("extensions")
    };
    let option = Shape::new("TCP option", proto::TCP, |it| {
        let mut segment = build::tcp(it.from, it.to, NUMBERS, ACK, &[1, 1, 1, 0, b'x']);
        segment[12] = 0x60;
        build::fill_checksum(&mut segment, 16, 25, it.from.0, it.to.0, proto::TCP);
        segment
    });
    vec![header, option]
}

#[test]
fn a_reset_answers_the_pod() -> Result<()> {
    on_a_bench(&[Mode::Peer, Mode::Stack], |bench, family| {
        treat(bench, flags::MIDFLOW_RESET)?;
        let talk = Talk::new(bench, family, 5500, 443)?;
        let plain = [ACK, ACK | PSH, ACK | FIN, ACK | SYN, FIN, SYN | FIN, 0, PSH, 0x20, 0xc0]
            .into_iter()
            .flat_map(|flags| [0, 1, 700].map(|length| (flags, length)));
        every(plain, |(flags, length)| {
            let shape = tcp(&format!("flags {flags:#x}, {length} bytes"), flags, &vec![7; length as usize]);
            let (numbers, kind) = wanted(flags, length);
            let rst = reset(talk.inside.back(), numbers, kind);
            answered(bench, Way::Out, &talk.arriving(Way::Out, &shape, TTL)?, "midflow", &rst, 0)
                .with_context(|| shape.name.clone())
        })?;
        let rst = reset(talk.inside.back(), (NUMBERS.1, 0), RST);
        every(dressed(family == Family::V4), |shape| {
            answered(bench, Way::Out, &talk.arriving(Way::Out, &shape, TTL)?, "midflow", &rst, 0)
                .with_context(|| shape.name.clone())
        })?;
        let big = tcp("a super-packet", ACK | PSH, &[1; 2400]);
        answered(bench, Way::Out, &talk.arriving(Way::Out, &big, TTL)?, "midflow", &rst, 1200)?;
        // Whatever came before: no flow was made.
        talk.dropped(Way::Out, &tcp("RST", RST, b""), "rst_no_flow")
    })
}

/// What speaks to a port where nobody is; never a SYN (RFC 5382 REQ-4) and never a RST.
#[test]
fn a_reset_answers_the_server() -> Result<()> {
    on_a_bench(&[Mode::Peer, Mode::Stack], |bench, family| {
        treat(bench, flags::MIDFLOW_RESET)?;
        let ends = Ends { from: (bench.lab.far.addr(family), 443), to: (bench.lab.gateway.addr(family), 40_000) };
        let rst = reset(ends.back(), (NUMBERS.1, 0), RST);
        every([tcp("ACK", ACK, b""), data(), tcp("FIN", ACK | FIN, b"x")], |shape| {
            answered(bench, Way::In, &shape.packet(ends, TTL), "no_mapping", &rst, 0)
                .with_context(|| shape.name.clone())
        })?;
        every(dressed(family == Family::V4), |shape| {
            answered(bench, Way::In, &shape.packet(ends, TTL), "no_mapping", &rst, 0)
                .with_context(|| shape.name.clone())
        })?;
        let big = tcp("a super-packet", ACK, &[1; 2000]).packet(ends, TTL);
        answered(bench, Way::In, &big, "no_mapping", &rst, 1000)?;
        let silent = [SYN, SYN | ACK, RST, RST | ACK, FIN, 0].map(|flags| tcp(&format!("{flags:#x}"), flags, b""));
        let sent = counted(bench.lab, "resets_sent")?;
        every(silent, |shape| bench.ensure_dropped(Way::In, &shape.packet(ends, TTL), "no_mapping"))?;
        let other: IpAddr = if family == Family::V4 { "172.17.0.77".parse()? } else { "fd00:172:17::77".parse()? };
        bench.ensure_dropped(Way::In, &data().packet(Ends { to: (other, 9), ..ends }, TTL), "not_ours")?;
        // The other interface's address is none from which a flow comes.
        let (v4, v6) = GATEWAY_INSIDE;
        let inner = if family == Family::V4 { IpAddr::V4(v4) } else { IpAddr::V6(v6) };
        bench.ensure_dropped(Way::In, &data().packet(Ends { to: (inner, 40_000), ..ends }, TTL), "no_mapping")?;
        // The Pods reach the external address too, and that is none of a flow's ends.
        let own = Ends { from: (bench.pod(family)?, 4000), to: ends.to };
        bench.ensure_dropped(Way::Out, &data().packet(own, TTL), "no_mapping")?;
        ensure!(counted(bench.lab, "resets_sent")? == sent, "answered");
        Ok(())
    })
}

/// SYN, and what belongs to a flow, pass in every mode.
#[test]
fn connections_are_opened_whatever_the_mode() -> Result<()> {
    let port = Cell::new(5510);
    on_a_bench(&[Mode::Peer], |bench, family| {
        every([0, flags::MIDFLOW_RESET, flags::MIDFLOW_DROP], |how| {
            treat(bench, how)?;
            port.set(port.get() + 1);
            let mut talk = Talk::begun(bench, family, (port.get(), 443), &syn())?;
            talk.back(&tcp("TCP SYN ACK", SYN | ACK, b""))?;
            talk.out(&data())?;
            talk.back(&data())?;
            // Until RFC 7857's 4 minutes are over.
            talk.out(&tcp("TCP RST", RST, b""))?;
            talk.back(&data())
        })
    })
}

#[test]
fn without_a_reset_they_are_dropped_or_taken_over() -> Result<()> {
    let port = Cell::new(5520);
    on_a_bench(&[Mode::Peer], |bench, family| {
        let sent = counted(bench.lab, "resets_sent")?;
        for flags in [ACK, ACK | PSH, ACK | FIN, ACK | SYN, FIN, SYN | FIN, 0, PSH] {
            let shape = tcp(&format!("flags {flags:#x}"), flags, b"data");
            port.set(port.get() + 1);
            let mut talk = Talk::new(bench, family, port.get(), 443)?;
            treat(bench, flags::MIDFLOW_DROP)?;
            talk.dropped(Way::Out, &shape, "midflow")?;
            treat(bench, 0)?;
            if flags & ACK != 0 && flags & SYN == 0 {
                talk.out(&shape)?;
                talk.back(&data())?;
            } else {
                talk.dropped(Way::Out, &shape, "midflow")?;
            }
        }
        let ends = Ends { from: (bench.lab.far.addr(family), 443), to: (bench.lab.gateway.addr(family), 40_000) };
        for how in [0, flags::MIDFLOW_DROP] {
            treat(bench, how)?;
            bench.ensure_dropped(Way::In, &data().packet(ends, TTL), "no_mapping")?;
        }
        ensure!(counted(bench.lab, "resets_sent")? == sent, "answered");
        Ok(())
    })
}

/// Nobody makes the gateway a source of packets; ICMP errors have their own account.
#[test]
fn resets_are_limited() -> Result<()> {
    on_a_bench(&[Mode::Peer], |bench, family| {
        treat(bench, flags::MIDFLOW_RESET)?;
        change_config(bench.lab, |config| config.clock_offset_ns += 1_000_000_000)?;
        let ends = Ends { from: (bench.lab.far.addr(family), 443), to: (bench.lab.gateway.addr(family), 40_000) };
        let counters =
            || -> Result<[u64; 2]> { Ok([counted(bench.lab, "resets_sent")?, counted(bench.lab, "resets_withheld")?]) };
        let before = counters()?;
        let runs = bench.program(Way::In).run_often(&Way::In.frame(&data().packet(ends, TTL)), 3000)?;
        let answers = runs.iter().filter(|it| it.verdict == Verdict::Redirect).count() as u64;
        ensure!(runs.iter().all(|it| matches!(it.verdict, Verdict::Redirect | Verdict::Shot)), "an odd verdict");
        let after = counters()?;
        let [sent, withheld] = [after[0] - before[0], after[1] - before[1]];
        ensure!(sent == answers && sent + withheld == 3000, "{answers} answers, {sent} counted, {withheld} withheld");
        ensure!((100..1500).contains(&sent), "{sent} answers");
        Ok(())
    })
}
