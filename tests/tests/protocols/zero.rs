//! UDP without a checksum (RFC 768, RFC 6936) has none behind the gateway either; and one that computes to zero is sent as
//! all ones, which is not the same.

use std::net::IpAddr;

use anyhow::{Context, Result, ensure};
use egress_tests::capture::{Capture, Captured, Direction};
use egress_tests::lab::RealChecksums;
use egress_tests::packet::checksum::{Verdict, pseudo_header, sum};
use egress_tests::packet::{build, proto};
use egress_tests::traffic::PATIENCE;
use egress_tests::{Family, Lab, LabConfig, oracle, skip};

use crate::rig::{NEEDS, PORT};
use crate::talk::{Talk, Way};
use crate::wire::{agent, ensure_clean, header, holds, into_eth0, into_net1};

/// The UDP checksum of a captured frame.
fn field(frame: &Captured) -> Result<[u8; 2]> {
    let at = frame.ip().context("not IP")?.l4_offset + 6;
    frame.packet().get(at..at + 2).and_then(|it| it.try_into().ok()).context("cut short")
}

fn seen(tap: &Capture, text: &[u8]) -> Result<Captured> {
    tap.wait_for(PATIENCE, |it| it.direction == Direction::In && holds(it, text))
}

#[test]
fn udp_checksum_zero_stays_zero() -> Result<()> {
    if skip(NEEDS) {
        return Ok(());
    }
    let lab = Lab::build(LabConfig::default())?;
    for (mode, family) in ["peer", "neigh", "stack"].into_iter().flat_map(|mode| Family::BOTH.map(|it| (mode, it))) {
        let _agent = agent(&lab, &[("--forward", mode)])?;
        let (inside, outside) = (lab.capture_internal()?, lab.capture_external()?);
        let (pod, server) = (lab.client("pod1")?.addr(family), lab.server.addr(family));
        let bare = |from: (IpAddr, u16), to: (IpAddr, u16), text: &[u8]| {
            let mut datagram = build::udp(from, to, text);
            datagram[6..8].fill(0);
            header(from.0, to.0, proto::UDP).packet(&datagram)
        };
        into_eth0(&lab, &bare((pod, 4000), (server, PORT), b"no sum, out"))?;
        let out = seen(&outside, b"no sum, out")?;
        let (egress, port) = out.ip().and_then(|ip| Some((ip.source, ip.ports()?.0))).context("not UDP")?;
        ensure!(egress == lab.gateway.addr(family) && field(&out)? == [0, 0], "{out:?}");
        into_net1(&lab, &bare((server, PORT), (egress, port), b"no sum, back"))?;
        let back = seen(&inside, b"no sum, back")?;
        let ip = back.ip().context("not IP")?;
        ensure!((ip.destination, ip.ports()) == (pod, Some((PORT, 4000))) && field(&back)? == [0, 0], "{back:?}");
        if family == Family::V4 {
            for frame in [&out, &back] {
                let checksums = frame.checksums().context("not IP")?;
                ensure!(checksums.transport == Verdict::Absent && checksums.header == Verdict::Right, "{checksums}");
            }
        }
        // A second one with a checksum proves that the tap would have noticed.
        into_eth0(&lab, &crate::wire::udp((pod, 4000), (server, PORT), b"with a sum"))?;
        seen(&outside, b"with a sum")?;
        let mut frames = outside.stop()?;
        let leaks = oracle::leaks(&frames, &[]);
        ensure!(leaks.is_empty(), "{leaks:?}");
        // Of IPv6, the capture calls them wrong, and so they are for a socket that did not ask for them.
        frames.retain(|it| !holds(it, b"no sum"));
        ensure_clean(&frames, &[])?;
    }
    Ok(())
}

/// A datagram whose checksum computes to zero between these two.
fn summing_to_zero(from: (IpAddr, u16), to: (IpAddr, u16), text: &[u8; 8]) -> [u8; 10] {
    let mut payload = [0; 10];
    payload[2..].copy_from_slice(text);
    let mut datagram = build::udp(from, to, &payload);
    datagram[6..8].fill(0);
    let total = u32::from(sum(&datagram)) + u32::from(pseudo_header(from.0, to.0, proto::UDP, datagram.len()));
    let folded = (total & 0xffff) + (total >> 16);
    payload[..2].copy_from_slice(&(0xffff - folded as u16).to_be_bytes());
    payload
}

#[test]
fn a_checksum_that_computes_to_zero_is_sent_as_all_ones() -> Result<()> {
    if skip(NEEDS) {
        return Ok(());
    }
    // Finished by hand, by the gateway's helpers, and by the senders' kernels.
    let lab = Lab::build(LabConfig::default().checksums(RealChecksums::EVERYWHERE))?;
    let _agent = agent(&lab, &[])?;
    for family in Family::BOTH {
        let talk = Talk::start(lab.client("pod1")?, 4000, &lab.server, PORT, family)?;
        for (way, host, text) in [(Way::Out, &lab.server, b"zero out"), (Way::In, lab.client("pod1")?, b"zero in!")] {
            let ends = if way == Way::Out { [talk.egress, talk.remote] } else { [talk.remote, talk.inside] };
            let [from, to] = ends.map(|it| (it.ip(), it.port()));
            let payload = summing_to_zero(from, to, text);
            let tap = Capture::start(&host.ns, "eth0")?;
            way.put(&lab, &talk.packet(way, &payload))?;
            talk.comes(way, &payload).with_context(|| format!("{family:?} {way:?}"))?;
            let frame = seen(&tap, text)?;
            ensure!(field(&frame)? == [0xff; 2], "{family:?} {way:?}: {:02x?}", field(&frame)?);
            ensure!(frame.checksums().is_some_and(|it| it.are_real()), "{frame:?}");
            talk.pass(way, &payload).with_context(|| format!("{family:?} {way:?} by a socket"))?;
        }
    }
    Ok(())
}
