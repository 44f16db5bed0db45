//! UDP-Lite (RFC 3828) and DCCP (RFC 4340): ports are translated, and checksums that cover only a part stay right.

use std::net::IpAddr;

use anyhow::{Context, Result, ensure};
use egress_tests::capture::{Capture, Captured, Direction};
use egress_tests::lab::RealChecksums;
use egress_tests::packet::checksum::{pseudo_header, sum};
use egress_tests::packet::{proto, transport};
use egress_tests::traffic::PATIENCE;
use egress_tests::{Family, Lab, LabConfig, skip};

use crate::rig::{NEEDS, flows};
use crate::talk::{Way, message};
use crate::wire::{agent, drops, header, holds};

const LITE: u8 = proto::UDP_LITE;
const DCCP: u8 = proto::DCCP;
/// The DCCP packet that opens a connection.
const REQUEST: u8 = 0;
type End = (IpAddr, u16);

/// How many bytes the checksum of a packet covers.
fn covered(protocol: u8, packet: &[u8]) -> Option<usize> {
    if protocol == LITE {
        let coverage = usize::from(u16::from_be_bytes([*packet.get(4)?, *packet.get(5)?]));
        return Some(if coverage == 0 { packet.len() } else { coverage });
    }
    // CsCov: all, or the header and so many words of data less one.
    let (head, coverage) = (usize::from(*packet.get(4)?) * 4, usize::from(packet.get(5)? & 0xf));
    Some(if coverage == 0 { packet.len() } else { head + (coverage - 1) * 4 })
}

/// Ones' complement sum of what is covered, with the checksum in it; all ones if that is right.
fn total(from: IpAddr, to: IpAddr, protocol: u8, packet: &[u8]) -> Option<u16> {
    let length = covered(protocol, packet)?;
    let total = u32::from(sum(packet.get(..length)?)) + u32::from(pseudo_header(from, to, protocol, packet.len()));
    Some(((total & 0xffff) + (total >> 16)) as u16)
}

/// A packet whose checksum covers all, or only some of what follows the header.
fn packet(protocol: u8, from: End, to: End, part: bool, data: &[u8]) -> Vec<u8> {
    match protocol {
        LITE => transport::udp_lite(from, to, if part { 8 } else { 0 }, data),
        _ => transport::dccp(from, to, REQUEST, if part { 2 } else { 0 }, data),
    }
}

fn through(lab: &Lab, way: Way, protocol: u8, from: End, to: End, (part, length): (bool, usize)) -> Result<[End; 2]> {
    static NUMBER: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
    let number = NUMBER.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    let mark = format!("packet {number:08}").into_bytes();
    let sent = packet(protocol, from, to, part, &[&mark[..], &message(length, number as u8)].concat());
    let tap: Capture = if way == Way::Out { lab.capture_external()? } else { lab.capture_internal()? };
    way.put(lab, &header(from.0, to.0, protocol).packet(&sent))?;
    let ours = |it: &Captured| {
        it.direction == Direction::In && holds(it, &mark) && it.ip().is_some_and(|ip| ip.quoted.is_none())
    };
    let frame = tap.wait_for(PATIENCE, ours)?;
    let ip = frame.ip().context("not IP")?;
    let came = frame.packet().get(ip.l4_offset..ip.length).context("cut short")?;
    ensure!(total(ip.source, ip.destination, protocol, came) == Some(0xffff), "a wrong checksum: {came:02x?}");
    ensure!(came[4..6] == sent[4..6] && came[8..] == sent[8..], "{came:02x?} was {sent:02x?}");
    let port = |at: usize| u16::from_be_bytes([came[at], came[at + 1]]);
    Ok([(ip.source, port(0)), (ip.destination, port(2))])
}

#[test]
fn two_pods_from_the_same_port() -> Result<()> {
    if skip(NEEDS) {
        return Ok(());
    }
    let lab = Lab::build(LabConfig::default().checksums(RealChecksums::AT_RECEIVERS))?;
    for mode in ["peer", "stack"] {
        let _agent = agent(&lab, &[("--forward", mode)])?;
        for (family, protocol) in Family::BOTH.into_iter().flat_map(|it| [(it, LITE), (it, DCCP)]) {
            let server = (lab.server.addr(family), 5004);
            let mut seen = Vec::new();
            for name in ["pod1", "pod2"] {
                let own = (lab.client(name)?.addr(family), 5004);
                for shape in [(false, 0), (true, 0), (false, 33), (true, 33), (true, 1_200), (false, 1_200)] {
                    let what = || format!("{mode} {family:?} protocol {protocol} of {name} {shape:?}");
                    let [egress, to] = through(&lab, Way::Out, protocol, own, server, shape).with_context(what)?;
                    ensure!(to == server && egress.0 == lab.gateway.addr(family), "{}: {egress:?}", what());
                    let [from, inside] = through(&lab, Way::In, protocol, server, egress, shape).with_context(what)?;
                    ensure!(from == server && inside == own, "{}: {inside:?}", what());
                    seen.push(egress);
                }
            }
            seen.dedup();
            ensure!(seen.len() == 2, "{mode} {family:?} protocol {protocol}: {seen:?}");
        }
        ensure!(flows(&lab)?.len() == 8 && drops(&lab)?.is_empty(), "{:?}", drops(&lab)?);
    }
    Ok(())
}
