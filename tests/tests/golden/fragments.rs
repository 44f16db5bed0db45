//! Fragments that come in order: the first says who it is from, the others follow it.

use std::ops::Range;

use anyhow::Result;
use egress_tests::Family;
use egress_tests::packet::{build, proto};
use egress_tests::testrun::Verdict;

use super::bench::{Bench, Mode, TTL, Way, ensure_same};
use super::shape::{Ends, Shape, bare, data, dccp, query, sctp, syn, tcp, udp, udp_lite, udp_unsummed, udp_with};
use super::talk::Talk;
use super::{every, on_a_bench};

const MODES: &[Mode] = &[Mode::Peer, Mode::Neigh, Mode::Stack];

/// A payload whose bytes tell where they are from.
pub(super) fn pattern(length: usize) -> Vec<u8> {
    (0..length).map(|it| (it / 8 * 7 + it) as u8).collect()
}

/// The fragments of so many bytes of L4, cut at these places.
pub(super) fn cut(shape: &Shape, id: u32, length: usize, places: &[usize]) -> Vec<Shape> {
    let starts = [&[0], places].concat();
    let ends = [places, &[length]].concat();
    let piece = |(start, end): (usize, usize)| shape.piece(id, Range { start, end }, end != length);
    starts.into_iter().zip(ends).map(piece).collect()
}

fn all(talk: &mut Talk<'_, '_>, way: Way, pieces: &[Shape]) -> Result<()> {
    pieces.iter().try_for_each(|piece| talk.go(way, piece))
}

/// Datagrams with the length of their L4.
fn datagrams(family: Family) -> Vec<(Shape, usize)> {
    let text = pattern(92);
    let echo = if family == Family::V4 { 8 } else { 128 };
    vec![
        (udp_with(&text), 100),
        (udp_with(&text).changed(|it| it[6..8].fill(0)).named("UDP without checksum"), 100),
        (tcp("TCP", 0x18, &pattern(80)), 100),
        (query(echo, false, &text), 100),
        (udp_lite(0).changed(|it| it.resize(100, 5)), 100),
        (dccp(2, 1).changed(|it| it.resize(100, 5)), 100),
        (sctp().changed(|it| it.resize(100, 5)), 100),
        (bare(proto::GRE).changed(|it| it.resize(100, 5)), 100),
    ]
}

#[test]
fn datagrams_of_every_protocol_pass_in_pieces() -> Result<()> {
    on_a_bench(MODES, |bench, family| {
        every(datagrams(family).into_iter().zip(6000_u16..), |((shape, length), port)| {
            let mut talk = Talk::of(bench, family, port, &shape)?;
            let pieces = cut(&shape, u32::from(port), length, &[48, 80]);
            all(&mut talk, Way::Out, &pieces)?;
            // Ids may come again at once.
            all(&mut talk, Way::Out, &pieces)?;
            if shape.port_at() == Some(4) {
                let reply = query(if family == Family::V4 { 0 } else { 129 }, true, &pattern(92));
                return all(&mut talk, Way::In, &cut(&reply, 1, length, &[48, 80]));
            }
            all(&mut talk, Way::In, &pieces)?;
            all(&mut talk, Way::In, &pieces)
        })
    })
}

/// 100 bytes of a datagram behind options, with which it is cut.
fn within_options() -> Shape {
    Shape::new("UDP within options", 60, |it| {
        let datagram = build::udp(it.from, it.to, &pattern(84));
        [&[proto::UDP, 0, 1, 4, 0, 0, 0, 0][..], &datagram].concat()
    })
}

/// Options of the fragments themselves, and options that are cut with the datagram: a later fragment then has another number
/// in its header than the datagram's protocol.
#[test]
fn fragments_may_have_options() -> Result<()> {
    on_a_bench(MODES, |bench, family| {
        let shape = udp_with(&pattern(92));
        let mut talk = Talk::begun(bench, family, (6050, 443), &udp())?;
        let pieces = |shape: &Shape, id| cut(shape, id, 100, &[48, 80]);
        let odd: Vec<Vec<Shape>> = if family == Family::V4 {
            let alert = |it: Shape| it.options(&[148, 4, 0, 0]);
            let mixed = pieces(&shape, 52).into_iter().enumerate().map(|(i, it)| if i == 1 { alert(it) } else { it });
            let kept = |it: Shape| it.headed(|it| it.dont_fragment = true);
            vec![
                pieces(&shape, 51).into_iter().map(alert).collect(),
                mixed.collect(),
                pieces(&shape, 53).into_iter().map(kept).collect(),
            ]
        } else {
            let padding = |number| (number, vec![0, 0, 1, 4, 0, 0, 0, 0]);
            let before = |it: Shape| it.extensions(&[padding(0), padding(60)]);
            vec![pieces(&shape, 51).into_iter().map(before).collect(), pieces(&within_options(), 52)]
        };
        every(odd, |pieces| {
            all(&mut talk, Way::Out, &pieces)?;
            all(&mut talk, Way::In, &pieces)
        })
    })
}

/// Offsets whose bytes, swapped, would read as flags or as none.
#[test]
fn every_offset_is_read_right() -> Result<()> {
    on_a_bench(&[Mode::Peer], |bench, family| {
        let (shape, length) = (udp_with(&pattern(8192)), 8200);
        let mut talk = Talk::begun(bench, family, (6100, 443), &udp())?;
        let offsets = [8, 256, 1024, 1280, 2048, 2304, 2560, 3072, 3584, 4096, 5120, 6144, 6400, 7168, 8192];
        every(Way::BOTH, |way| {
            let mut talk = Talk::begun(bench, family, (6101, 443), &udp())?;
            let first = shape.piece(0x0100, 0..8, true);
            talk.go(way, &first)?;
            every(offsets, |offset| {
                talk.go(way, &shape.piece(0x0100, offset..(offset + 8).min(length), offset != 8192))
            })
        })?;
        // In pieces as an MTU makes them, and ids that are one another's swapped bytes.
        for id in [0x0500, 0x0005, 0xffff] {
            all(&mut talk, Way::Out, &cut(&shape, id, length, &[1280, 2560, 3840, 5120, 6400, 7680]))?;
            all(&mut talk, Way::In, &cut(&shape, id, length, &[1280, 2560, 3840, 5120, 6400, 7680]))?;
        }
        Ok(())
    })
}

/// The largest datagram there is.
#[test]
fn sixty_four_kilobytes_pass() -> Result<()> {
    on_a_bench(&[Mode::Peer], |bench, family| {
        let longest = if family == Family::V4 { 65_515 } else { 65_527 };
        let shape = udp_with(&pattern(longest - 8));
        let places: Vec<_> = (1..=longest / 1344).map(|it| it * 1344).collect();
        let mut talk = Talk::begun(bench, family, (6102, 443), &udp())?;
        all(&mut talk, Way::Out, &cut(&shape, 77, longest, &places))?;
        all(&mut talk, Way::In, &cut(&shape, 77, longest, &places))
    })
}

/// Two at a time, with the same id from different hosts and with different ids from one.
#[test]
fn datagrams_do_not_mix() -> Result<()> {
    on_a_bench(&[Mode::Peer], |bench, family| {
        let shape = udp_with(&pattern(92));
        let server = (bench.lab.far.addr(family), 443);
        let sides = [(bench.pod(family)?, 6200), (bench.pod2(family)?, 6201), (bench.pod2(family)?, 6202)];
        let mut talks = sides.map(|side| Talk::between(bench, side, server));
        let ids = [9, 9, 10];
        for way in Way::BOTH {
            // From the server all come from one address: ids must differ.
            let ids = if way == Way::Out { ids } else { [11, 12, 13] };
            for i in 0..3 {
                for (talk, id) in talks.iter_mut().zip(ids) {
                    talk.go(way, &cut(&shape, id, 100, &[40, 72])[i])?;
                }
            }
        }
        Ok(())
    })
}

/// A network may bring a packet twice.
#[test]
fn duplicates_pass() -> Result<()> {
    on_a_bench(&[Mode::Peer], |bench, family| {
        let mut talk = Talk::begun(bench, family, (6210, 443), &udp())?;
        let pieces = cut(&udp_with(&pattern(92)), 14, 100, &[40, 80]);
        for way in Way::BOTH {
            // The last one twice would be one too many: the datagram is over then.
            for i in [0, 0, 2, 1] {
                talk.go(way, &pieces[i])?;
            }
            for i in [0, 1, 0, 2] {
                talk.go(way, &pieces[i])?;
            }
        }
        Ok(())
    })
}

/// Two conversations cut a datagram each under this id, one after the other.
fn reuse(bench: &Bench<'_>, family: Family, id: u32, datagram: &Shape) -> Result<()> {
    [6220, 6221].into_iter().try_for_each(|port| {
        let mut talk = Talk::begun(bench, family, (port, 443), &udp())?;
        all(&mut talk, Way::Out, &cut(datagram, id, 100, &[48]))
    })
}

/// An id may be used for another conversation as soon as all of a datagram has passed.
#[test]
fn ids_come_again() -> Result<()> {
    on_a_bench(&[Mode::Peer], |bench, family| reuse(bench, family, 16, &udp_with(&pattern(92))))
}

/// Options within the fragments are a part of the datagram, too.
#[test]
fn ids_of_datagrams_with_options_come_again() -> Result<()> {
    on_a_bench(&[Mode::Peer], |bench, family| match family {
        Family::V4 => Ok(()),
        Family::V6 => reuse(bench, family, 15, &within_options()),
    })
}

/// RFC 6946: a fragment header alone makes no fragment.
#[test]
fn atomic_fragments_are_whole_packets() -> Result<()> {
    on_a_bench(MODES, |bench, family| {
        if family == Family::V4 {
            return Ok(());
        }
        let shapes = [udp(), udp_unsummed(), syn(), data(), bare(proto::GRE)];
        every(shapes.into_iter().zip(6300..), |(shape, port)| {
            let atomic = shape.clone().headed(|it| (it.fragment, it.id) = (Some((0, false)), 7));
            let mut talk = Talk::of(bench, family, port, &shape)?;
            // One id again and again, and beside a real fragment of it.
            all(&mut talk, Way::Out, &[atomic.clone(), atomic.clone()])?;
            all(&mut talk, Way::In, &[atomic.clone(), atomic.clone()])?;
            talk.out(&shape)?;
            talk.out(&atomic.named("behind options").extensions(&[(60, vec![0, 0, 1, 4, 0, 0, 0, 0])]))
        })
    })
}

#[test]
fn untranslated_fragments_need_no_first() -> Result<()> {
    on_a_bench(&[Mode::Peer], untranslated)
}

fn untranslated(bench: &Bench<'_>, family: Family) -> Result<()> {
    let bystander = (bench.lab.client("bystander")?.addr(family), 4000);
    let ends = Ends { from: bystander, to: (bench.lab.far.addr(family), 443) };
    every(cut(&udp_with(&pattern(92)), 5, 100, &[48]).iter().rev(), |piece| {
        let packet = piece.packet(ends, TTL);
        let ran = bench.run(Way::Out, &packet)?;
        match ran.verdict {
            Verdict::Ok => ensure_same(&ran.frame, &Way::Out.frame(&packet)),
            _ => bench.ensure_sent(Way::Out, &ran, |ttl| piece.packet(ends, ttl)),
        }
    })
}
