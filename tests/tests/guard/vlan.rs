//! VLAN tags: a priority tag is none, any other is not ours.

use std::net::SocketAddr;

use anyhow::{Context, Result, ensure};
use egress_tests::capture::{Captured, Direction};
use egress_tests::traffic::PATIENCE;
use egress_tests::{Family, Lab, LabConfig, skip};

use crate::rig::{NEEDS, PORT, flows};
use crate::talk::{Talk, Way};
use crate::wire::{agent, dropped, drops, ensure_clean, holds};

/// A frame to the gateway on that side, with these words between the MACs and the EtherType.
fn put_tagged(lab: &Lab, way: Way, packet: &[u8], tags: &[u16]) -> Result<()> {
    let plain = way.frame(packet);
    let tags: Vec<u8> = tags.iter().flat_map(|it| it.to_be_bytes()).collect();
    way.put_frame(lab, &[&plain[..12], &tags, &plain[12..]].concat())
}

#[test]
fn priority_tags_are_taken_off_and_others_dropped() -> Result<()> {
    if skip(NEEDS) {
        return Ok(());
    }
    let lab = Lab::build(LabConfig::default())?;
    for mode in ["peer", "neigh", "stack"] {
        let _agent = agent(&lab, &[("--forward", mode)])?;
        let (inside, outside) = (lab.capture_internal()?, lab.capture_external()?);
        for family in Family::BOTH {
            // Once as the packet that opens the flow.
            let (pod, server) = (lab.client("pod2")?.addr(family), SocketAddr::new(lab.server.addr(family), PORT));
            let first = crate::wire::udp((pod, 4001), (server.ip(), server.port()), b"tagged, the first");
            put_tagged(&lab, Way::Out, &first, &[0x8100, 0xe000])?;
            outside.wait_for(PATIENCE, |it| {
                holds(it, b"tagged, the first") && it.ip().is_some_and(|ip| ip.family() == family)
            })?;
            let talk = Talk::start(lab.client("pod1")?, 4000, &lab.server, PORT, family)?;
            for (way, priority) in Way::BOTH.into_iter().flat_map(|way| [(way, 0), (way, 0x2000), (way, 0xe000)]) {
                let what = || format!("{mode} {family:?} {way:?} {priority:x}");
                let text = what().into_bytes();
                put_tagged(&lab, way, &talk.packet(way, &text), &[0x8100, priority])?;
                talk.comes(way, &text).with_context(what)?;
                let tap = if way == Way::Out { &outside } else { &inside };
                let is_out = |it: &Captured| it.direction == Direction::In && holds(it, &text);
                let frame = tap.wait_for(PATIENCE, is_out).with_context(what)?;
                let ethertype = if family == Family::V4 { [8, 0] } else { [0x86, 0xdd] };
                ensure!(frame.bytes[12..14] == ethertype, "{}: the tag is on: {:02x?}", what(), &frame.bytes[..20]);
            }
            let made = flows(&lab)?.len();
            for way in Way::BOTH {
                let packet = talk.packet(way, b"of another network");
                for tags in
                    [&[0x8100, 5][..], &[0x8100, 0xe001], &[0x8100, 0x0fff], &[0x88a8, 7], &[0x88a8, 7, 0x8100, 5]]
                {
                    dropped(&lab, "vlan", 1, || put_tagged(&lab, way, &packet, tags))
                        .with_context(|| format!("{mode} {family:?} {way:?} {tags:x?}"))?;
                }
                // The kernel's, which does not forward it.
                put_tagged(&lab, way, &packet, &[0x8100, 0, 0x8100, 5])?;
                talk.pass(way, b"the last one")?;
            }
            ensure!(flows(&lab)?.len() == made, "some made a flow");
        }
        ensure!(drops(&lab)?.keys().eq(["vlan"].iter()), "{:?}", drops(&lab)?);
        let outside = outside.stop()?;
        let passed = |it: &&Captured| it.direction == Direction::In && holds(it, b"of another network");
        let frames = [inside.stop()?, outside.clone()].concat();
        ensure!(!frames.iter().any(|it| passed(&it)), "{:?}", frames.iter().find(passed));
        ensure_clean(&outside, &[])?;
    }
    Ok(())
}
