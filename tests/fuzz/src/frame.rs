//! IP packets and frames built byte by byte, with headers that say what is there.

use std::fmt::Debug;

use egress_common::{
    abi::family::{Addr6, Family, V4, V6},
    packet::header::proto,
};

use crate::sum::{add, sum};

/// Where the IP header begins.
pub const IP: usize = 14;
/// Offset in a datagram of the fragments that are not its first.
const TAIL_AT: u16 = 1480;

/// A family whose headers can be built.
pub trait Build: Family<Addr: AsRef<[u8]> + Debug> + Debug {
    /// EtherType.
    const TYPE: [u8; 2];
    /// An address out of 16 bytes.
    fn addr(bytes: [u8; 16]) -> Self::Addr;
    /// The packet: IP header, options or extension headers, payload.
    fn packet(ip: &Ip, payload: &[u8]) -> Vec<u8>;
    /// Length of what stands before the payload.
    fn header_len(ip: &Ip) -> usize;
}

/// Fields of an IP header; the addresses' first bytes are IPv4's.
#[derive(Clone, Copy, Debug)]
pub struct Ip {
    /// Source.
    pub src: [u8; 16],
    /// Destination.
    pub dst: [u8; 16],
    /// IANA protocol number.
    pub proto: u8,
    /// TTL or hop limit.
    pub ttl: u8,
    /// TOS or traffic class.
    pub class: u8,
    /// Added to IPv4's right header checksum, in ones-complement.
    pub sum_off: u16,
    /// Words of IPv4 options; destination options headers of IPv6.
    pub extra: u8,
    /// Which part of a datagram it is.
    pub piece: Piece,
}

/// A place in a datagram.
#[derive(arbitrary::Arbitrary, Clone, Copy, Debug, PartialEq)]
pub enum Piece {
    /// No fragment.
    Whole,
    /// The one with the protocol's header.
    First,
    /// One behind it.
    Tail,
}

/// A frame with the packet, and bytes behind it that are not the packet's.
#[must_use]
pub fn frame<F: Build>(packet: &[u8], padding: &[u8]) -> Vec<u8> {
    [&[2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2], &F::TYPE[..], packet, padding].concat()
}

/// What the checksum of a protocol covers: pseudo header (ICMP of IPv4 has none) and payload.
#[must_use]
pub fn covered<F: Build>(ip: &Ip, payload: &[u8]) -> Vec<u8> {
    if ip.proto == V4::ICMP {
        return payload.to_vec();
    }
    let (src, dst) = (F::addr(ip.src), F::addr(ip.dst));
    [src.as_ref(), dst.as_ref(), &be16(payload.len()), &[0, ip.proto], payload].concat()
}

impl Build for V4 {
    const TYPE: [u8; 2] = [0x08, 0x00];

    fn addr(bytes: [u8; 16]) -> [u8; 4] {
        [bytes[0], bytes[1], bytes[2], bytes[3]]
    }

    fn header_len(ip: &Ip) -> usize {
        20 + usize::from(ip.extra % 11) * 4
    }

    fn packet(ip: &Ip, payload: &[u8]) -> Vec<u8> {
        let words = ip.extra % 11;
        let [high, low] = be16(Self::header_len(ip) + payload.len());
        let [frag_high, frag_low] = match ip.piece {
            Piece::Whole => 0x4000,
            Piece::First => 0x2000,
            Piece::Tail => TAIL_AT / 8,
        }
        .to_be_bytes();
        let mut header =
            vec![0x45 + words, ip.class, high, low, 0x12, 0x34, frag_high, frag_low, ip.ttl, ip.proto, 0, 0];
        header.extend(Self::addr(ip.src));
        header.extend(Self::addr(ip.dst));
        // No operation, four at a time.
        header.resize(Self::header_len(ip), 1);
        let sum = add(!sum(&header), ip.sum_off);
        header[10..12].copy_from_slice(&sum.to_be_bytes());
        header.extend(payload);
        header
    }
}

impl Build for V6 {
    const TYPE: [u8; 2] = [0x86, 0xdd];

    fn addr(bytes: [u8; 16]) -> Addr6 {
        Addr6::new(bytes)
    }

    fn header_len(ip: &Ip) -> usize {
        40 + 8 * usize::from(ip.extra % 5) + if ip.piece == Piece::Whole { 0 } else { 8 }
    }

    fn packet(ip: &Ip, payload: &[u8]) -> Vec<u8> {
        let mut kinds = vec![proto::DESTINATION; usize::from(ip.extra % 5)];
        if ip.piece != Piece::Whole {
            kinds.push(proto::FRAGMENT);
        }
        kinds.push(ip.proto);
        let [high, low] = be16((kinds.len() - 1) * 8 + payload.len());
        let mut header = vec![0x60 | ip.class >> 4, ip.class << 4, 0xab, 0xcd, high, low, kinds[0], ip.ttl];
        header.extend(ip.src);
        header.extend(ip.dst);
        for pair in kinds.windows(2) {
            let [high, low] = if ip.piece == Piece::First { 1 } else { TAIL_AT }.to_be_bytes();
            header.extend(match pair[0] {
                proto::FRAGMENT => [pair[1], 0, high, low, 0, 0, 0x12, 0x34],
                _ => [pair[1], 0, 1, 4, 0, 0, 0, 0],
            });
        }
        header.extend(payload);
        header
    }
}

/// A length field.
#[must_use]
pub fn be16(len: usize) -> [u8; 2] {
    u16::try_from(len).unwrap_or(u16::MAX).to_be_bytes()
}

/// A field of 16 bits.
#[must_use]
pub fn read16(bytes: &[u8]) -> u16 {
    u16::from_be_bytes([bytes[0], bytes[1]])
}
