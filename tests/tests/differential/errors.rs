//! ICMP errors about what was said.

use std::net::IpAddr;

use egress_tests::Family;
use egress_tests::lab::addresses::{OVERLAY_ROUTER, ROUTER};
use egress_tests::packet::build::{self, Header};

use super::generate::Generator;
use super::program::{Kind, Side};
use super::shape::Shaped;
use crate::wire::{icmp, of};

/// Types with their highest code, in both families.
const TYPES: [&[(u8, usize)]; 2] = [&[(3, 15), (4, 0), (11, 1), (12, 2)], &[(1, 6), (2, 0), (3, 1), (4, 2)]];
const REDIRECT: u8 = 5;

/// A server or a router on the way says that a packet did not arrive.
pub(super) fn from_outside(generator: &mut Generator) {
    let v4 = generator.family == Family::V4;
    let redirect = v4 && generator.random.chance(10);
    error(generator, Side::Outside, if redirect { Kind::Redirect } else { Kind::ErrorFromOutside });
}

/// The Pod or a router on the way says so about an answer.
pub(super) fn from_inside(generator: &mut Generator) {
    error(generator, Side::Inside, Kind::ErrorFromInside);
}

fn error(generator: &mut Generator, side: Side, kind: Kind) {
    let about = usize::from(side == Side::Inside);
    let known: Vec<usize> =
        (0..generator.flows.len()).filter(|it| generator.talks[*it].last[about].is_some()).collect();
    if known.is_empty() {
        return;
    }
    let index = generator.random.pick(&known);
    let Some((header, l4)) = generator.talks[index].last[about].clone() else { return };
    let on_the_way = of(if side == Side::Outside { ROUTER } else { OVERLAY_ROUTER }, generator.family);
    let from = generator.random.pick(&[header.destination, on_the_way]);
    let quote = quote(generator, &header, &l4);
    let (number, code) = message(generator, kind);
    let rest = generator.random.next().to_be_bytes();
    let rest = [0, 0, rest[0], rest[1]];
    let to = header.source;
    let message = build::icmp(from, to, number, code, rest, &quote);
    let mut shaped = plain(generator, from, to, message);
    shaped.kinds.insert(kind);
    let what = format!("error {number}/{code} that quotes {} bytes about {}", quote.len(), generator.flows[index]);
    generator.say_aside(index, side, what, shaped);
}

fn plain(generator: &mut Generator, from: IpAddr, to: IpAddr, message: Vec<u8>) -> Shaped {
    let protocol = icmp(generator.family);
    Shaped::new(&mut generator.random, from, to, protocol, message)
}

fn message(generator: &mut Generator, kind: Kind) -> (u8, u8) {
    if kind == Kind::Redirect {
        return (REDIRECT, generator.random.below(4) as u8);
    }
    let (number, codes) = generator.random.pick(TYPES[usize::from(generator.family == Family::V6)]);
    (number, generator.random.between(0, codes) as u8)
}

/// The packet as it was further on: with a lower TTL, and cut behind 8 or more bytes of its L4 header.
fn quote(generator: &mut Generator, header: &Header, l4: &[u8]) -> Vec<u8> {
    let header = Header { ttl: 1, ..header.clone() };
    let whole = header.packet(l4);
    let begin = whole.len() - l4.len();
    let length = match generator.random.below(6) {
        0 => 8,
        1 => 12,
        2 => 20,
        3 => 28,
        4 => 60,
        _ => 500,
    };
    whole[..(begin + length).min(whole.len())].to_vec()
}
