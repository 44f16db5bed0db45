//! Frames into eth0 that no Pod's kernel would send.

use std::net::IpAddr;

use anyhow::{Context, Result, ensure};
use egress_tests::capture::{Capture, Captured, Direction};
use egress_tests::lab::addresses::{GATEWAY_INSIDE, mac};
use egress_tests::packet::{Payload, build};
use egress_tests::traffic::PATIENCE;
use egress_tests::{Family, Lab, LabConfig, skip};

use super::odd;
use crate::rig::{NEEDS, flows, stat};
use crate::wire::{agent, dropped, drops, ensure_clean, frame_into_eth0, holds, into_eth0, udp};

/// A proper datagram afterwards: what was sent before it has been through.
fn sentinel(lab: &Lab, outside: &Capture, family: Family) -> Result<()> {
    let (own, server) = (lab.client("pod2")?.addr(family), lab.server.addr(family));
    into_eth0(lab, &udp((own, 9), (server, 9), b"the sentinel"))?;
    outside.wait_for(PATIENCE, |it| holds(it, b"the sentinel") && it.ip().is_some_and(|ip| ip.family() == family))?;
    Ok(())
}

/// The gateway sent nothing but sentinels and what it needs to find its neighbours.
fn ensure_nothing_else(frames: &[Captured]) -> Result<()> {
    let harmless = |it: &Captured| match it.frame.as_ref().map(|frame| &frame.payload) {
        Some(Payload::Arp { .. }) => true,
        Some(Payload::Ip(ip)) => {
            holds(it, b"the sentinel") || (133..=137).any(|kind| ip.is_icmp(kind)) || ip.is_icmp(143)
        }
        _ => false,
    };
    let others: Vec<_> = frames.iter().filter(|it| it.direction == Direction::In && !harmless(it)).collect();
    ensure!(others.is_empty(), "{others:?}");
    ensure_clean(frames, &[])
}

#[test]
fn every_odd_packet_has_its_drop() -> Result<()> {
    if skip(NEEDS) {
        return Ok(());
    }
    let lab = Lab::build(LabConfig::default())?;
    for mode in ["peer", "stack"] {
        let _agent = agent(&lab, &[("--forward", mode)])?;
        let outside = lab.capture_external()?;
        for family in Family::BOTH {
            let (own, server) = (lab.client("pod1")?.addr(family), lab.server.addr(family));
            for (name, packet, drop) in odd::packets(own, server)? {
                let mut frame = build::ethernet(mac::GATEWAY_INSIDE, mac::OVERLAY, &packet);
                let ethertype: u16 = if family == Family::V4 { 0x0800 } else { 0x86dd };
                frame[12..14].copy_from_slice(&ethertype.to_be_bytes());
                match drop {
                    Some(reason) => dropped(&lab, reason, 1, || frame_into_eth0(&lab, &frame)),
                    None => frame_into_eth0(&lab, &frame),
                }
                .with_context(|| format!("{mode} {family:?} {name}"))?;
            }
            sentinel(&lab, &outside, family)?;
        }
        ensure!(flows(&lab)?.len() == 2, "some made a flow: {:?}", flows(&lab)?);
        for (reason, count) in drops(&lab)? {
            ensure!(stat(&lab, &format!("drops/{reason}"))? == count, "stats and the map differ about {reason}");
        }
        ensure_nothing_else(&outside.stop()?)?;
    }
    Ok(())
}

/// Frames that are not the gateway's, or not for its datapath.
fn strange_frames(lab: &Lab, packet: &[u8]) -> Vec<(&'static str, Vec<u8>)> {
    let tagged = |tags: &[u16]| {
        let plain = build::ethernet(mac::GATEWAY_INSIDE, mac::OVERLAY, packet);
        let tags: Vec<u8> = tags.iter().flat_map(|it| it.to_be_bytes()).collect();
        [&plain[..12], &tags, &plain[12..]].concat()
    };
    let ethertype = |number: u16| {
        let mut frame = build::ethernet(mac::GATEWAY_INSIDE, mac::OVERLAY, packet);
        frame[12..14].copy_from_slice(&number.to_be_bytes());
        frame
    };
    let to = |mac| build::ethernet(mac, mac::OVERLAY, packet);
    let sender = lab.config.clients[0].v4;
    let arp = |operation: u8, target: std::net::Ipv4Addr| {
        let head = [0, 1, 8, 0, 6, 4, 0, operation];
        let body = [&head[..], &mac::OVERLAY, &sender.octets(), &[0; 6], &target.octets()].concat();
        [&[0xff; 6][..], &mac::OVERLAY, &[8, 6], &body].concat()
    };
    vec![
        ("a VLAN tag", tagged(&[0x8100, 5])),
        ("a service tag", tagged(&[0x88a8, 7])),
        ("two tags", tagged(&[0x88a8, 7, 0x8100, 5])),
        ("a tag behind a priority tag", tagged(&[0x8100, 0, 0x8100, 5])),
        ("for another MAC", to([2, 0, 0, 0, 0x10, 0x99])),
        ("broadcast", to([0xff; 6])),
        ("multicast", to([1, 0, 0x5e, 0, 0, 1])),
        ("an experimental EtherType", ethertype(0x88b5)),
        ("LLDP", ethertype(0x88cc)),
        ("MPLS", ethertype(0x8847)),
        ("PPPoE", ethertype(0x8864)),
        ("802.3 with a length", ethertype(100)),
        ("ARP for the server", arp(1, lab.config.clients[1].v4)),
        ("ARP for the gateway", arp(1, GATEWAY_INSIDE.0)),
        ("ARP reply", arp(2, GATEWAY_INSIDE.0)),
        ("a bare Ethernet header", ethertype(0x0800)[..14].to_vec()),
    ]
}

#[test]
fn frames_for_others_and_of_other_kinds_stay_inside() -> Result<()> {
    if skip(NEEDS) {
        return Ok(());
    }
    let lab = Lab::build(LabConfig::default())?;
    for mode in ["peer", "neigh", "stack"] {
        let _agent = agent(&lab, &[("--forward", mode)])?;
        let outside = lab.capture_external()?;
        for family in Family::BOTH {
            let pod = lab.client("pod1")?.addr(family);
            let server: IpAddr = lab.server.addr(family);
            // Once without a flow, and once with one.
            for _ in 0..2 {
                let packet = udp((pod, 4000), (server, 53), b"a strange frame");
                for (name, frame) in strange_frames(&lab, &packet) {
                    frame_into_eth0(&lab, &frame).context(name)?;
                }
                sentinel(&lab, &outside, family)?;
                into_eth0(&lab, &udp((pod, 4000), (server, 53), b"the sentinel of a flow"))?;
            }
        }
        let seen = flows(&lab)?;
        ensure!(seen.len() == 4 && seen.iter().all(|it| it.packets.out == 2), "{mode}: {seen:?}");
        ensure_nothing_else(&outside.stop()?).context(mode)?;
    }
    Ok(())
}
