//! Cuts packets into fragments, and puts fragments together again.

use std::collections::BTreeMap;

use egress_tests::packet::checksum::sum;
use egress_tests::packet::{Fragment, Ip, parse_ip, proto};

use super::program::Cut;
use super::rename::word;

const MORE_V4: u16 = 0x2000;
const DF: u16 = 0x4000;

/// Where an IPv6 packet's header of this number would stand: the place of the number that leads to it, and its own place.
fn place_v6(packet: &[u8], stop: impl Fn(u8) -> bool) -> (usize, usize) {
    let (mut number, mut at) = (6, 40);
    while let (false, 0 | 43 | 60 | proto::FRAGMENT) = (stop(packet[number]), packet[number]) {
        let length = if packet[number] == proto::FRAGMENT { 8 } else { (usize::from(packet[at + 1]) + 1) * 8 };
        (number, at) = (at, at + length);
    }
    (number, at)
}

fn finish_v4(packet: &mut [u8], flags: u16, id: Option<u32>) {
    let header = usize::from(packet[0] & 0xf) * 4;
    let length = packet.len() as u16;
    packet[2..4].copy_from_slice(&length.to_be_bytes());
    if let Some(id) = id {
        packet[4..6].copy_from_slice(&(id as u16).to_be_bytes());
    }
    packet[6..8].copy_from_slice(&flags.to_be_bytes());
    packet[10..12].fill(0);
    let checksum = !sum(&packet[..header]);
    packet[10..12].copy_from_slice(&checksum.to_be_bytes());
}

fn finish_v6(packet: &mut [u8]) {
    let length = (packet.len() - 40) as u16;
    packet[4..6].copy_from_slice(&length.to_be_bytes());
}

/// The fragments of a whole packet in the order of sending; a cut without sizes makes an atomic one.
pub(super) fn cut(packet: &[u8], cut: &Cut) -> Vec<Vec<u8>> {
    let v4 = packet[0] >> 4 == 4;
    let (number, at) =
        if v4 { (0, usize::from(packet[0] & 0xf) * 4) } else { place_v6(packet, |it| cut.early && it == 60) };
    let (head, mut body) = packet.split_at(at);
    let mut pieces = Vec::new();
    let mut offset = 0_u16;
    for size in cut.sizes.iter().copied().chain([usize::MAX]) {
        let (now, rest) = body.split_at(size.min(body.len()));
        let more = !rest.is_empty();
        let mut piece = head.to_vec();
        if v4 {
            piece.extend(now);
            let flags = (word(head, 6).unwrap_or_default() & DF) | (offset / 8) | if more { MORE_V4 } else { 0 };
            finish_v4(&mut piece, flags, Some(cut.id));
        } else {
            piece.extend([head[number], 0]);
            piece[number] = proto::FRAGMENT;
            piece.extend((offset | u16::from(more)).to_be_bytes());
            piece.extend(cut.id.to_be_bytes());
            piece.extend(now);
            finish_v6(&mut piece);
        }
        pieces.push(piece);
        offset += now.len() as u16;
        body = rest;
        if !more {
            break;
        }
    }
    cut.order.iter().filter_map(|it| pieces.get(*it).cloned()).collect()
}

/// A packet, with the identification of the fragments that it came in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Whole {
    pub(super) packet: Vec<u8>,
    pub(super) id: Option<u32>,
}

/// The part of a fragment that is of the datagram.
fn body(ip: &Ip, packet: &[u8]) -> Vec<u8> {
    let at = match ip.family() {
        egress_tests::Family::V4 => ip.l4_offset,
        egress_tests::Family::V6 => place_v6(packet, |it| it == proto::FRAGMENT).1 + 8,
    };
    packet[at..ip.length].to_vec()
}

/// Puts together what is complete, in the place of the first piece; what is not stays as it is.
pub(super) fn reassemble(packets: Vec<Vec<u8>>) -> Vec<Whole> {
    let mut groups: BTreeMap<_, Vec<(Fragment, usize)>> = BTreeMap::new();
    for (index, packet) in packets.iter().enumerate() {
        if let Some((ip, fragment)) = parse_ip(packet).and_then(|ip| Some((ip.clone(), ip.fragment?))) {
            groups.entry((ip.source, ip.destination, fragment.id)).or_default().push((fragment, index));
        }
    }
    let mut wholes: Vec<Option<Whole>> =
        packets.iter().map(|it| Some(Whole { packet: it.clone(), id: None })).collect();
    for mut pieces in groups.into_values() {
        let places: Vec<usize> = pieces.iter().map(|it| it.1).collect();
        pieces.sort_by_key(|it| it.0.offset);
        if let Some(packet) = join(&pieces, &packets) {
            places.iter().for_each(|it| wholes[*it] = None);
            wholes[places[0]] = Some(Whole { packet, id: Some(pieces[0].0.id) });
        }
    }
    wholes.into_iter().flatten().collect()
}

fn join(pieces: &[(Fragment, usize)], packets: &[Vec<u8>]) -> Option<Vec<u8>> {
    let (first, ..) = pieces.first().filter(|it| it.0.offset == 0)?;
    pieces.last().filter(|it| !it.0.more)?;
    let mut data = Vec::new();
    for (fragment, index) in pieces {
        let ip = parse_ip(&packets[*index])?;
        if usize::from(fragment.offset) != data.len() {
            return None;
        }
        data.extend(body(&ip, &packets[*index]));
    }
    let head = &packets[pieces[0].1];
    if head[0] >> 4 == 4 {
        let mut whole = [&head[..usize::from(head[0] & 0xf) * 4], &data].concat();
        finish_v4(&mut whole, word(head, 6)? & DF, Some(first.id));
        return Some(whole);
    }
    let (number, at) = place_v6(head, |it| it == proto::FRAGMENT);
    let mut whole = [&head[..at], &data].concat();
    whole[number] = head[at];
    finish_v6(&mut whole);
    Some(whole)
}
