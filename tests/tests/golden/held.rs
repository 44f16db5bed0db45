//! Fragments that come before their first: they wait for it, then go through the interface again.

use anyhow::{Context, Result, ensure};
use egress_tests::Family;
use egress_tests::capture::{Captured, Direction};
use egress_tests::testrun::Verdict;
use egress_tests::traffic::PATIENCE;

use super::bench::{Bench, Mode, TTL, Way, leaving};
use super::fragments::{cut, pattern};
use super::on_a_bench;
use super::shape::{Shape, udp, udp_with};
use super::talk::Talk;
use crate::wire::counted;

/// Holds all but the first of `pieces`, in this order, and sees them leave behind it.
fn held(bench: &Bench<'_>, talk: &mut Talk<'_, '_>, way: Way, pieces: &[Shape]) -> Result<()> {
    let [held, released] = ["fragments_held", "fragments_released"].map(|it| counted(bench.lab, it));
    let (held, released) = (held?, released?);
    let (first, later) = pieces.split_first().ok_or_else(|| anyhow::anyhow!("no pieces"))?;
    for piece in later {
        let ran = bench.run(way, &talk.arriving(way, piece, TTL)?)?;
        ensure!(ran.verdict == Verdict::Shot, "{:?} for {}", ran.verdict, piece.name);
    }
    ensure!(counted(bench.lab, "fragments_held")? == held + later.len() as u64, "not all are held");
    let capture = if way == Way::Out { bench.lab.capture_external()? } else { bench.lab.capture_internal()? };
    // The first one goes ahead of them, through the interface again as they do.
    let ran = bench.run(way, &talk.arriving(way, first, TTL)?)?;
    ensure!(ran.verdict == Verdict::Shot, "{:?} for {}", ran.verdict, first.name);
    if way == Way::Out {
        let is_first = |it: &Captured| it.ip().is_some_and(|it| it.fragment.is_some_and(|it| it.offset == 0));
        let seen = capture.wait_for(PATIENCE, |it| it.direction == Direction::In && is_first(it))?;
        talk.learn(first, seen.bytes)?;
    }
    for piece in pieces {
        let ends = if way == Way::Out { talk.outside()? } else { talk.inside.back() };
        let frame = leaving(way, &piece.packet(ends, TTL - 1));
        let seen = capture.wait_for(PATIENCE, |it| it.direction == Direction::In && it.bytes == frame);
        seen.with_context(|| format!("{way:?} {}", piece.name))?;
    }
    ensure!(counted(bench.lab, "fragments_released")? == released + later.len() as u64, "not all are released");
    Ok(())
}

#[test]
fn early_fragments_wait_for_the_first() -> Result<()> {
    on_a_bench(&[Mode::Peer], |bench, family| {
        let mut talk = Talk::new(bench, family, 6500, 443)?;
        let shape = udp_with(&pattern(4000));
        let mut backwards = cut(&shape, 31, 4008, &[1344, 2688]);
        backwards[1..].reverse();
        // Without a flow the first one opens it.
        held(bench, &mut talk, Way::Out, &backwards)?;
        held(bench, &mut talk, Way::Out, &backwards)?;
        held(bench, &mut talk, Way::In, &backwards)
    })
}

/// As many as a datagram may have waiting, and all lengths.
#[test]
fn many_and_of_every_length_wait() -> Result<()> {
    on_a_bench(&[Mode::Peer], |bench, family| {
        let mut talk = Talk::begun(bench, family, (6501, 443), &udp())?;
        let header = if family == Family::V4 { 20 } else { 48 };
        // The longest piece that an MTU of 1400 lets in again.
        let longest = (1400 - header) / 8 * 8;
        let shape = udp_with(&pattern(longest * 4));
        held(bench, &mut talk, Way::Out, &cut(&shape, 32, longest * 4 + 8, &[1, 2, 3, 4].map(|it| it * longest)))?;
        let many: Vec<_> = (1..=48).map(|it| it * 16).collect();
        held(bench, &mut talk, Way::Out, &cut(&udp_with(&pattern(777)), 33, 785, &many))?;
        held(bench, &mut talk, Way::In, &cut(&udp_with(&pattern(777)), 34, 785, &many))
    })
}

/// A fragment of one whose first never comes is only held.
#[test]
fn held_fragments_are_not_sent_alone() -> Result<()> {
    on_a_bench(&[Mode::Peer], |bench, family| {
        let talk = Talk::begun(bench, family, (6502, 443), &udp())?;
        let capture = bench.lab.capture_external()?;
        let lonely = &cut(&udp_with(&pattern(92)), 35, 100, &[48])[1];
        bench.run(Way::Out, &talk.arriving(Way::Out, lonely, TTL)?)?;
        let mut other = Talk::new(bench, family, 6503, 443)?;
        held(bench, &mut other, Way::Out, &cut(&udp_with(&pattern(92)), 36, 100, &[48]))?;
        let frames = capture.stop()?;
        let fragments = frames.iter().filter(|it| it.ip().is_some_and(|ip| ip.fragment.is_some_and(|it| it.id == 35)));
        ensure!(fragments.count() == 0, "a fragment left alone");
        Ok(())
    })
}
