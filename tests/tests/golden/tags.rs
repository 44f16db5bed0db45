//! VLAN tags. The kernel takes a tag off before the program sees the frame, so these go by the wire.

use anyhow::{Context, Result};
use egress_tests::capture::Direction;
use egress_tests::traffic::PATIENCE;

use super::bench::{Mode, TTL, Way, ensure_same, leaving};
use super::shape::{udp, udp_with};
use super::talk::Talk;
use super::{every, on_a_bench};
use crate::wire::{dropped, holds};

fn tagged(way: Way, packet: &[u8], tag: [u16; 2]) -> Vec<u8> {
    let frame = way.frame(packet);
    [&frame[..12], tag.map(u16::to_be_bytes).as_flattened(), &frame[12..]].concat()
}

/// IEEE 802.1Q: VID 0 is no VLAN, only a priority.
#[test]
fn a_priority_tag_is_as_none() -> Result<()> {
    on_a_bench(&[Mode::Peer], |bench, family| {
        let mark = b"a priority of its own";
        let shape = udp_with(mark);
        let talk = Talk::begun(bench, family, (4400, 443), &udp())?;
        for way in Way::BOTH {
            let capture = if way == Way::Out { bench.lab.capture_external()? } else { bench.lab.capture_internal()? };
            way.put_frame(bench.lab, &tagged(way, &talk.arriving(way, &shape, TTL)?, [0x8100, 0xe000]))?;
            let seen = capture.wait_for(PATIENCE, |it| it.direction == Direction::In && holds(it, mark))?;
            let ends = if way == Way::Out { talk.outside()? } else { talk.inside.back() };
            ensure_same(&seen.bytes, &leaving(way, &shape.packet(ends, TTL - 1)))
                .with_context(|| format!("{way:?}"))?;
        }
        Ok(())
    })
}

#[test]
fn a_vlan_is_dropped() -> Result<()> {
    on_a_bench(&[Mode::Peer], |bench, family| {
        let talk = Talk::begun(bench, family, (4401, 443), &udp())?;
        let rows =
            Way::BOTH.into_iter().flat_map(|way| [[0x8100, 1], [0x8100, 0x2fff], [0x88a8, 7]].map(|tag| (way, tag)));
        every(rows, |(way, tag)| {
            let frame = tagged(way, &talk.arriving(way, &udp(), TTL)?, tag);
            dropped(bench.lab, "vlan", 1, || way.put_frame(bench.lab, &frame))
                .with_context(|| format!("{way:?} {tag:x?}"))
        })
    })
}
