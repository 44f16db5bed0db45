//! SCTP: ports are kept where they are free, and the CRC32c is right at the receiver.

use std::net::IpAddr;

use anyhow::{Context, Result, ensure};
use egress_tests::capture::{Capture, Captured, Direction};
use egress_tests::lab::RealChecksums;
use egress_tests::packet::build::{self, Header};
use egress_tests::packet::transport::{self, sctp_checksum};
use egress_tests::packet::{fragments, proto};
use egress_tests::traffic::{PATIENCE, inject};
use egress_tests::{Family, Host, Lab, LabConfig, skip};

use crate::rig::{NEEDS, stat};
use crate::talk::{Way, message};
use crate::wire::{agent, drops, ensure_clean, header, holds};

const OWN: u16 = 5000;
const REMOTE: u16 = 9;
/// Only a header, an INIT's length, an odd one, long ones.
const LENGTHS: [usize; 5] = [0, 20, 33, 1_000, 1_300];

/// Source and destination port of an SCTP packet, its CRC, and what its CRC should be.
fn read(frame: &Captured) -> Result<((u16, u16), [u32; 2])> {
    let ip = frame.ip().context("not IP")?;
    let packet = frame.packet().get(ip.l4_offset..ip.length).context("cut short")?;
    let right = sctp_checksum(packet).context("no SCTP header")?;
    let port = |at: usize| u16::from_be_bytes([packet[at], packet[at + 1]]);
    let found = u32::from_le_bytes([packet[8], packet[9], packet[10], packet[11]]);
    Ok(((port(0), port(2)), [found, right]))
}

/// A packet from `from` to `to` whose CRC is wrong by `wrong`, and what came of it at `tap`.
fn through(
    lab: &Lab,
    way: Way,
    (from, to): ((IpAddr, u16), (IpAddr, u16)),
    (length, wrong): (usize, u32),
    tap: &Host,
) -> Result<((u16, u16), IpAddr)> {
    static NUMBER: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(1);
    let tag = NUMBER.fetch_add(1, std::sync::atomic::Ordering::Relaxed) | 0x5c00_0000;
    let mut packet = transport::sctp((from.1, to.1), tag, &message(length, tag as u8));
    packet[8..12].iter_mut().zip(wrong.to_le_bytes()).for_each(|(byte, wrong)| *byte ^= wrong);
    let at = Capture::start(&tap.ns, "eth0")?;
    way.put(lab, &header(from.0, to.0, proto::SCTP).packet(&packet))?;
    let ours = |it: &Captured| {
        let sctp = it.ip().is_some_and(|ip| ip.protocol == proto::SCTP);
        sctp && it.direction == Direction::In && holds(it, &tag.to_be_bytes())
    };
    let frame = at.wait_for(PATIENCE, ours).with_context(|| format!("{way:?} {length} bytes"))?;
    let (ports, [found, right]) = read(&frame)?;
    ensure!(
        found ^ right == wrong,
        "{way:?} {length} bytes: CRC {found:08x}, {right:08x} is right, wrong by {wrong:x}"
    );
    let ip = frame.ip().context("not IP")?;
    Ok((ports, if way == Way::Out { ip.source } else { ip.destination }))
}

#[test]
fn two_pods_from_the_same_port_to_the_same_server() -> Result<()> {
    if skip(NEEDS) {
        return Ok(());
    }
    let lab = Lab::build(LabConfig::default().checksums(RealChecksums::AT_RECEIVERS))?;
    for mode in ["peer", "stack"] {
        let _agent = agent(&lab, &[("--forward", mode)])?;
        let outside = lab.capture_external()?;
        for family in Family::BOTH {
            let server = (lab.server.addr(family), REMOTE);
            for (name, kept) in [("pod1", true), ("pod2", false)] {
                let pod = lab.client(name)?;
                let own = (pod.addr(family), OWN);
                for (length, wrong) in LENGTHS.into_iter().flat_map(|it| [(it, 0), (it, 1), (it, 0x8000_0100)]) {
                    let what = || format!("{mode} {family:?} {name}");
                    let ((port, to), egress) =
                        through(&lab, Way::Out, (own, server), (length, wrong), &lab.server).with_context(what)?;
                    ensure!(to == REMOTE && egress == lab.gateway.addr(family), "{}: {egress} {to}", what());
                    ensure!((port == OWN) == kept, "{}: from port {port}", what());
                    let (ports, inside) =
                        through(&lab, Way::In, (server, (egress, port)), (length, wrong), pod).with_context(what)?;
                    ensure!((ports, inside) == ((REMOTE, OWN), own.0), "{}: {ports:?} {inside}", what());
                }
            }
        }
        ensure!(drops(&lab)?.is_empty() && stat(&lab, "table/flows")? == 4, "{:?}", drops(&lab)?);
        let mut frames = outside.stop()?;
        // Those that were wrong before are meant to be.
        frames.retain(|it| read(it).is_ok_and(|(_, [found, right])| found == right));
        ensure_clean(&frames, &[])?;
    }
    Ok(())
}

/// A CRC over fragments cannot be corrected by one of them, so they pass where nothing of theirs changes.
#[test]
fn fragments_pass_where_the_port_is_kept() -> Result<()> {
    if skip(NEEDS) {
        return Ok(());
    }
    let lab = Lab::build(LabConfig::default().checksums(RealChecksums::AT_RECEIVERS))?;
    let _agent = agent(&lab, &[])?;
    for family in Family::BOTH {
        let server = lab.server.addr(family);
        for (number, (name, kept)) in [("pod1", true), ("pod2", false)].into_iter().enumerate() {
            let own = lab.client(name)?.addr(family);
            through(&lab, Way::Out, ((own, OWN), (server, REMOTE)), (20, 0), &lab.server)?;
            let text = message(3_000, number as u8);
            let packet = transport::sctp((OWN, REMOTE), 7, &text);
            let head = Header { id: 55 + number as u32, ..header(own, server, proto::SCTP) };
            let mut pieces = fragments(&head, &packet, 1304);
            pieces.reverse();
            let outside = lab.capture_external()?;
            let before = drops(&lab)?.get("fragment").copied().unwrap_or_default();
            pieces.iter().try_for_each(|it| Way::Out.put(&lab, it))?;
            let sentinel = crate::wire::udp((own, 4000), (server, 9), b"the last one");
            Way::Out.put(&lab, &sentinel)?;
            outside.wait_for(PATIENCE, |it| it.direction == Direction::In && holds(it, b"the last one"))?;
            let frames = outside.stop()?;
            let came = |piece: &[u8]| frames.iter().any(|it| it.direction == Direction::In && holds(it, piece));
            let count = packet.chunks(1304).filter(|piece| came(piece)).count();
            let lost = drops(&lab)?.get("fragment").copied().unwrap_or_default() - before;
            ensure!(count == if kept { 3 } else { 0 }, "{family:?} {name}: {count} came");
            ensure!((lost > 0) != kept, "{family:?} {name}: {lost} dropped");
        }
    }
    Ok(())
}

/// As a socket would begin: the server's side sees an INIT from where it shall answer.
#[test]
fn an_init_opens_a_flow_at_its_own_port() -> Result<()> {
    if skip(NEEDS) {
        return Ok(());
    }
    let lab = Lab::build(LabConfig::default().checksums(RealChecksums::EVERYWHERE))?;
    let _agent = agent(&lab, &[])?;
    for family in Family::BOTH {
        let (pod, server) = (lab.client("pod1")?, lab.server.addr(family));
        let own = pod.addr(family);
        let init = [&[1, 0, 0, 20, 0, 0, 0, 9][..], &[0, 1, 0, 0, 0, 10, 0, 10, 0, 0, 0, 1]].concat();
        let packet = Header::new(own, server, proto::SCTP).packet(&transport::sctp((36_412, 36_412), 0, &init));
        let at_server = Capture::start(&lab.server.ns, "eth0")?;
        let frame = build::ethernet(egress_tests::lab::addresses::mac::OVERLAY, [2, 0, 0, 0, 0x77, 3], &packet);
        inject(&pod.ns, "eth0", &frame)?;
        let is_init = |it: &Captured| it.ip().is_some_and(|ip| ip.protocol == proto::SCTP) && holds(it, &init);
        let frame = at_server.wait_for(PATIENCE, is_init)?;
        let (ports, [found, right]) = read(&frame)?;
        ensure!(ports == (36_412, 36_412) && found == right, "{ports:?} {found:x} {right:x}");
        ensure!(frame.ip().is_some_and(|ip| ip.source == lab.gateway.addr(family)), "{:?}", frame.ip());
    }
    Ok(())
}
