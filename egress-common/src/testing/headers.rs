//! What may stand between the IP header and the protocol's.

use std::{vec, vec::Vec};

use super::frame::{Build, Ip};
use crate::{
    abi::family::{V4, V6},
    packet::header::proto,
};

/// An IPv6 extension header: its number, and its bytes with the next one's number still open.
pub(crate) type Extension = (u8, Vec<u8>);

/// Options that say nothing (Pad1, RFC 8200 §4.2) of so many times eight bytes.
pub(crate) fn padding(number: u8, eights: u8) -> Extension {
    let mut header = vec![0; usize::from(eights) * 8];
    header[1] = eights - 1;
    (number, header)
}

/// A routing header of 24 bytes (RFC 8200 §4.4).
pub(crate) fn routing(kind: u8, left: u8) -> Extension {
    let mut header = vec![0, 2, kind, left];
    header.resize(24, 0xee);
    (proto::ROUTING, header)
}

/// A fragment header (RFC 8200 §4.5).
pub(crate) fn fragment(id: u32, at: u16, more: bool) -> Extension {
    let field = (at & !7) | u16::from(more);
    (proto::FRAGMENT, [&[0, 0][..], &field.to_be_bytes(), &id.to_be_bytes()].concat())
}

/// Extension headers one behind the other, and the number of the first.
pub(crate) fn chained(headers: &[Extension], last: u8) -> (u8, Vec<u8>) {
    let mut bytes = Vec::new();
    for (i, (_, header)) in headers.iter().enumerate() {
        bytes.push(headers.get(i + 1).map_or(last, |next| next.0));
        bytes.extend(&header[1..]);
    }
    (headers.first().map_or(last, |first| first.0), bytes)
}

/// A family whose packets can have more than a plain header.
pub(crate) trait Dress: Build {
    /// With options or extension headers that the gateway takes along, one for each seed.
    fn dressed(ip: Ip<Self>, seeds: &[u8]) -> Ip<Self>;
    /// As a fragment.
    fn torn(ip: Ip<Self>, id: u16, at: u16, more: bool) -> Ip<Self>;
}

impl Dress for V4 {
    fn dressed(ip: Ip<Self>, seeds: &[u8]) -> Ip<Self> {
        let mut extra = Vec::new();
        for seed in seeds.iter().take(3) {
            match seed % 3 {
                0 => extra.push(1),
                // Router alert (RFC 2113).
                1 => extra.extend([148, 4, 0, 0]),
                _ => {
                    extra.extend([130, 2 + seed % 8]);
                    extra.extend(vec![*seed; usize::from(seed % 8)]);
                }
            }
        }
        extra.resize(extra.len().next_multiple_of(4), 0);
        Ip { extra, ..ip }
    }

    fn torn(ip: Ip<Self>, _: u16, at: u16, more: bool) -> Ip<Self> {
        Ip { frag: (at / 8) | if more { 0x2000 } else { 0 }, ..ip }
    }
}

impl Dress for V6 {
    fn dressed(ip: Ip<Self>, seeds: &[u8]) -> Ip<Self> {
        let mut headers = Vec::new();
        let mut atomic = false;
        for (i, seed) in seeds.iter().enumerate() {
            headers.push(match seed % 4 {
                0 if i == 0 => padding(proto::HOP_BY_HOP, 1 + seed % 3),
                1 if !atomic => {
                    atomic = true;
                    fragment(77, 0, false)
                }
                2 => routing(3, 0),
                _ => padding(proto::DESTINATION, 1 + seed % 3),
            });
        }
        let (proto, extra) = chained(&headers, ip.upper);
        Ip { proto, extra, ..ip }
    }

    fn torn(ip: Ip<Self>, id: u16, at: u16, more: bool) -> Ip<Self> {
        let (proto, extra) = chained(&[fragment(u32::from(id), at, more)], ip.upper);
        Ip { proto, extra, ..ip }
    }
}
