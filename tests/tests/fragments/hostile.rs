//! Fragments that nobody honest sends, and that they harm nobody else.

use anyhow::{Context, Result, ensure};
use egress_tests::capture::{Captured, Direction};
use egress_tests::lab::RealChecksums;
use egress_tests::packet::build::{self, Header};
use egress_tests::packet::proto;
use egress_tests::traffic::{Injector, udp};
use egress_tests::{Family, Lab, LabConfig, oracle, skip};

use super::{Order, cut, held_and_released};
use crate::rig::{NEEDS, PORT};
use crate::talk::{Talk, Way, message};
use crate::wire::{agent, dropped, ensure_clean, header, holds, icmp};

/// Later fragments whose first never comes.
const FLOOD: u32 = 5_000;

#[test]
fn a_flood_without_first_fragments_hurts_nobody() -> Result<()> {
    if skip(NEEDS) {
        return Ok(());
    }
    let lab = Lab::build(LabConfig::default().mtu(1400, 1400).checksums(RealChecksums::AT_RECEIVERS))?;
    let _agent = agent(&lab, &[])?;
    let outside = lab.capture_external()?;
    for family in Family::BOTH {
        let talk = Talk::start(lab.client("pod1")?, 4000, &lab.server, PORT, family)?;
        for way in Way::BOTH {
            let flooder = Injector::open(&lab.node, way.port())?;
            let before = held_and_released(&lab)?;
            // Of somebody else: a forged one with the identification of a real one spoils that anywhere.
            let other = if way == Way::Out { lab.client("pod2")? } else { &lab.router };
            let head = Header { source: other.addr(family), ..talk.parts(way, b"").0 };
            for id in 0..FLOOD {
                let fragment = Some((8 * (1 + id as u16 % 100), id % 2 == 0));
                let head = Header { id: 10_000 + id, fragment, dont_fragment: false, ..head.clone() };
                flooder.send(&way.frame(&head.packet(&[b'f'; 1200])))?;
                if id % 500 == 0 {
                    // Plain, and in order, in the midst of it.
                    let what = || format!("{family:?} {way:?} after {id}");
                    talk.pass(way, &message(600, id as u8)).with_context(what)?;
                    talk.pass(way, &message(4_000, id as u8)).with_context(what)?;
                }
            }
            let held = held_and_released(&lab)?;
            ensure!(held[0] > before[0] && held[1] == before[1], "{family:?} {way:?}: {before:?} {held:?}");
            // What comes backwards afterwards finds room: the oldest go.
            let text = message(9_000, 9);
            let mut pieces = cut(&talk, way, &text, 5);
            Order::Reversed.apply(&mut pieces);
            pieces.iter().try_for_each(|it| way.put(&lab, it))?;
            talk.comes(way, &text).with_context(|| format!("{family:?} {way:?} backwards"))?;
        }
    }
    let frames = outside.stop()?;
    let escaped = frames.iter().filter(|it| it.direction == Direction::In && holds(it, &[b'f'; 64])).count();
    ensure!(escaped == 0, "{escaped} of the flood came out");
    ensure_clean(&frames, &[])
}

/// The receiver throws such datagrams away (RFC 5722, RFC 1858). What counts is that nobody gets a wrong one.
#[test]
fn overlapping_fragments_deliver_nothing_wrong() -> Result<()> {
    if skip(NEEDS) {
        return Ok(());
    }
    let lab = Lab::build(LabConfig::default().mtu(1400, 1400).checksums(RealChecksums::AT_RECEIVERS))?;
    let _agent = agent(&lab, &[])?;
    let outside = lab.capture_external()?;
    let mut id = 50;
    for family in Family::BOTH {
        let talk = Talk::start(lab.client("pod1")?, 4000, &lab.server, PORT, family)?;
        for way in Way::BOTH {
            for order in Order::ALL {
                id += 1;
                let text = message(4_000, id as u8);
                let (head, datagram) = talk.parts(way, &text);
                let piece = |at: usize, end: usize| {
                    let fragment = Some((at as u16, end < datagram.len()));
                    Header { id, fragment, dont_fragment: false, ..head.clone() }.packet(&datagram[at..end])
                };
                // Twice the same middle, one over the edge of the first, one over the edge of the last.
                let mut pieces = vec![
                    piece(0, 1304),
                    piece(1304, 2608),
                    piece(1304, 2608),
                    piece(1000, 2000),
                    piece(2000, 3000),
                    piece(2608, 3912),
                    piece(3912, datagram.len()),
                ];
                order.apply(&mut pieces);
                pieces.iter().try_for_each(|it| way.put(&lab, it))?;
                let what = || format!("{family:?} {way:?} {order:?}");
                talk.sender(way).send(b"afterwards")?;
                let mut came = udp::receive(talk.receiver(way)).with_context(what)?.payload;
                if came == text {
                    came = udp::receive(talk.receiver(way)).with_context(what)?.payload;
                }
                ensure!(came == b"afterwards", "{}: {} wrong bytes came", what(), came.len());
                talk.pass(way, &message(4_000, 1)).with_context(what)?;
            }
        }
    }
    let leaks = oracle::leaks(&outside.stop()?, &[]);
    ensure!(leaks.is_empty(), "{leaks:?}");
    Ok(())
}

/// Fragments that would hide ports or flags, or say something else than was said before.
#[test]
fn deceiving_fragments_are_dropped_by_name() -> Result<()> {
    if skip(NEEDS) {
        return Ok(());
    }
    let lab = Lab::build(LabConfig::default())?;
    let _agent = agent(&lab, &[])?;
    let outside = lab.capture_external()?;
    let mut id = 1;
    for family in Family::BOTH {
        let talk = Talk::start(lab.client("pod1")?, 4000, &lab.server, PORT, family)?;
        let other = Talk::start(lab.client("pod1")?, 4001, &lab.server, PORT + 1, family)?;
        for way in Way::BOTH {
            let [from, to] = talk.ends(way);
            let mut drop = |what: &str, reason: &str, protocol: u8, pieces: &[(usize, bool, &[u8])]| {
                id += 1;
                let packet = |(offset, more, bytes): &(usize, bool, &[u8])| {
                    let fragment = Some((*offset as u16, *more));
                    Header { id, fragment, dont_fragment: false, ..header(from.0, to.0, protocol) }.packet(bytes)
                };
                let (last, before) = pieces.split_last().context("no fragment")?;
                before.iter().try_for_each(|it| way.put(&lab, &packet(it)))?;
                dropped(&lab, reason, 1, || way.put(&lab, &packet(last)))
                    .with_context(|| format!("{family:?} {way:?} {what}"))
            };
            let segment = build::tcp(from, to, (1, 0), 2, &[0x44; 60]);
            drop("TCP header cut at 8", "fragment", proto::TCP, &[(0, true, &segment[..8])])?;
            drop("TCP header cut at 16", "fragment", proto::TCP, &[(0, true, &segment[..16])])?;
            drop("TCP flags over again", "fragment", proto::TCP, &[(8, true, &segment[8..40])])?;
            let datagram = build::udp(from, to, &[0x55; 3_000]);
            let [other_from, other_to] = other.ends(way);
            let other = build::udp(other_from, other_to, &[0x55; 3_000]);
            drop("other ports", "fragment", proto::UDP, &[(0, true, &datagram[..1304]), (0, true, &other[..1304])])?;
            drop("beyond the end", "malformed", proto::UDP, &[(65_528, false, &[0x66; 64])])?;
            let quoted = header(to.0, from.0, proto::UDP).packet(&build::udp(to, from, &[0x77; 80]));
            let kind = if family == Family::V4 { 3 } else { 1 };
            let error = build::icmp(from.0, to.0, kind, 3, [0; 4], &quoted);
            drop("an error in pieces", "fragment", icmp(family), &[(0, true, &error[..64])])?;
            talk.pass(way, b"as if nothing had been")?;
        }
    }
    let frames = outside.stop()?;
    let strange = |it: &&Captured| it.direction == Direction::In && (holds(it, &[0x44; 8]) || holds(it, &[0x77; 8]));
    ensure!(!frames.iter().any(|it| strange(&it)), "{:?}", frames.iter().find(strange));
    ensure_clean(&frames, &[])
}
