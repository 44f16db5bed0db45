//! Answers: packets of established flows from outside.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::thread;
use std::time::Duration;

use anyhow::{Result, ensure};

use super::book::Book;
use super::packets::{SMALL, flows, load, turn_to};
use super::peers::{Bed, End, Peer, Sink, gateways};
use super::series::{Goal, Measure, State, Unit};
use crate::Family;
use crate::generator::{Cpu, Generator, Load};
use crate::lab::addresses::mac;
use crate::packet::{build, proto};

const FLOWS: u32 = 1000;
const PORT: u16 = 6800;
/// Few enough that a capture has room for all.
const LOT: u32 = 100;

const NAME: &str = "answers of established flows, IPv4, 64 B, 1000 flows";

/// Cost per packet, from net1 to the far end of eth0's cable.
pub(super) fn answers(book: &mut Book<'_>, beds: &[Bed<'_>]) {
    book.take(&[NAME], FLOWS.into(), |plan| {
        let goal = Goal { against: Some(Peer::Iptables), must: 0.60, aim: 0.50, at_most: true };
        let mut measure = Measure::new(NAME, Unit::NsPerPacket, Some(goal)).state(State::Warm);
        let beds = gateways(beds);
        let loads = beds.iter().map(|bed| answered(bed)).collect::<Result<Vec<_>>>()?;
        for _ in 0..plan.rounds {
            for (bed, (load, _)) in beds.iter().zip(&loads) {
                measure.add(bed.peer, turn_to(bed, load, plan.turn, Cpu::LAST, End::Inside)?);
            }
        }
        Ok([measure])
    });
}

/// Opens flows, sees where they come out, and makes answers to there; they end at eth0's far end.
fn answered<'lab>(bed: &Bed<'lab>) -> Result<(Load<'lab>, Sink<'lab>)> {
    let outside = Sink::at(bed, End::Outside)?;
    let frames = answers_to(bed, &seen(bed)?);
    drop(outside);
    let inside = Sink::at(bed, End::Inside)?;
    let load = Generator::replay(&frames)?.into_load(&bed.lab.gateway.ns, "net1")?;
    turn_to(bed, &load, FLOWS, Cpu::LAST, End::Inside)?;
    Ok((load, inside))
}

/// Opens flows by a packet each; who they are outside.
fn seen(bed: &Bed<'_>) -> Result<BTreeSet<(IpAddr, u16)>> {
    let opening = load(bed, &flows(bed, Family::V4, FLOWS, PORT, SMALL)?)?;
    let capture = bed.lab.capture_external()?;
    for _ in 0..FLOWS / LOT {
        opening.send(LOT, Cpu::LAST)?;
        thread::sleep(Duration::from_millis(5));
    }
    let (frames, mut seen) = (capture.stop()?, BTreeSet::new());
    for ip in frames.iter().filter_map(|frame| frame.ip()) {
        if let Some((from, PORT)) = ip.ports() {
            seen.insert((ip.source, from));
        }
    }
    let label = bed.peer.label();
    ensure!(seen.len() == FLOWS as usize, "{label}: {} of {FLOWS} flows were seen outside", seen.len());
    Ok(seen)
}

fn answers_to(bed: &Bed<'_>, seen: &BTreeSet<(IpAddr, u16)>) -> Vec<Vec<u8>> {
    let server = bed.lab.server.addr(Family::V4);
    let answer = |(address, port): &(IpAddr, u16)| {
        let datagram = build::udp((server, PORT), (*address, *port), &[0; SMALL]);
        let header = build::Header::new(server, *address, proto::UDP);
        build::ethernet(mac::GATEWAY_OUTSIDE, mac::SERVER, &header.packet(&datagram))
    };
    seen.iter().map(answer).collect()
}
