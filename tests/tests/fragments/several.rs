//! Fragments of several datagrams at once, and identifications that are used again.

use anyhow::{Context, Result, ensure};
use egress_tests::lab::RealChecksums;
use egress_tests::traffic::udp;
use egress_tests::{Family, Lab, LabConfig, skip};

use super::{Order, cut, held_and_released};
use crate::rig::{NEEDS, PORT};
use crate::talk::{Talk, Way, message};
use crate::wire::{agent, drops, ensure_clean};

/// Three flows of two Pods, two datagrams each, all fragments mixed up.
#[test]
fn interleaved_datagrams_are_kept_apart() -> Result<()> {
    if skip(NEEDS) {
        return Ok(());
    }
    let lab = Lab::build(LabConfig::default().checksums(RealChecksums::AT_RECEIVERS))?;
    let _agent = agent(&lab, &[])?;
    let outside = lab.capture_external()?;
    for family in Family::BOTH {
        let talks = [("pod1", 4000, PORT), ("pod1", 4001, PORT + 1), ("pod2", 4000, PORT + 2)];
        let talks = talks.map(|(name, port, at)| Talk::start(lab.client(name)?, port, &lab.server, at, family));
        let talks = talks.into_iter().collect::<Result<Vec<_>>>()?;
        for (way, order) in Way::BOTH.into_iter().flat_map(|way| Order::ALL.map(|order| (way, order))) {
            let mut pieces = Vec::new();
            let mut texts = Vec::new();
            for (number, talk) in talks.iter().enumerate() {
                let own = [2 * number as u8, 2 * number as u8 + 1].map(|seed| message(6_000, seed));
                for (text, id) in own.iter().zip(1..) {
                    // The server sees one address, so the same identification of two Pods would be mixed up there.
                    pieces.push(cut(talk, way, text, id + 10 * number as u32));
                }
                texts.push(own);
            }
            // One piece of each in turn.
            let longest = pieces.iter().map(Vec::len).max().unwrap_or_default();
            let mut mixed: Vec<_> =
                (0..longest).flat_map(|at| pieces.iter().filter_map(move |it| it.get(at))).collect();
            order.apply(&mut mixed);
            mixed.into_iter().try_for_each(|it| way.put(&lab, it))?;
            for (talk, own) in talks.iter().zip(&texts) {
                let came = [udp::receive(talk.receiver(way)), udp::receive(talk.receiver(way))];
                let mut came = came.map(|it| it.map(|it| it.payload).with_context(|| format!("{family:?} {way:?}")));
                if matches!(&came[0], Ok(first) if *first == own[1]) {
                    came.reverse();
                }
                let [first, second] = came;
                ensure!(first? == own[0] && second? == own[1], "{family:?} {way:?} {order:?}: mixed up");
            }
        }
    }
    ensure!(drops(&lab)?.is_empty(), "{:?}", drops(&lab)?);
    ensure_clean(&outside.stop()?, &[])
}

/// Once all of a datagram has passed, its identification means another one, whoever's it is.
#[test]
fn identifications_are_used_again_at_once() -> Result<()> {
    if skip(NEEDS) {
        return Ok(());
    }
    let lab = Lab::build(LabConfig::default().checksums(RealChecksums::AT_RECEIVERS))?;
    let _agent = agent(&lab, &[])?;
    for family in Family::BOTH {
        let talks = [(4000, PORT), (4001, PORT + 1)]
            .map(|(port, at)| Talk::start(lab.client("pod1")?, port, &lab.server, at, family));
        let talks = talks.into_iter().collect::<Result<Vec<_>>>()?;
        for way in Way::BOTH {
            let before = held_and_released(&lab)?;
            let mut early = 0;
            for round in 0..12_u8 {
                let (talk, order) = (&talks[usize::from(round % 2)], Order::ALL[usize::from(round / 2 % 3)]);
                let text = message(2_000 + 700 * usize::from(round), round);
                let mut pieces = cut(talk, way, &text, 7);
                order.apply(&mut pieces);
                early += if order == Order::Reversed { pieces.len() as u64 - 1 } else { 0 };
                pieces.iter().try_for_each(|it| way.put(&lab, it))?;
                talk.comes(way, &text).with_context(|| format!("{family:?} {way:?} {order:?} {round}"))?;
            }
            let after = held_and_released(&lab)?;
            ensure!(after[0] - before[0] == after[1] - before[1], "{before:?} {after:?}");
            // A memory of the datagram before would have let them pass at once.
            ensure!(after[0] - before[0] >= early, "{} held, {early} came too early", after[0] - before[0]);
        }
    }
    ensure!(drops(&lab)?.is_empty(), "{:?}", drops(&lab)?);
    Ok(())
}
