//! Packets made by hand, for what no socket sends.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::checksum::{fold, pseudo_header, sum};
use super::{ETH_IPV4, ETH_IPV6, proto};

/// An Ethernet frame around an IP packet.
pub fn ethernet(to: [u8; 6], from: [u8; 6], packet: &[u8]) -> Vec<u8> {
    let ethertype = if packet.first().is_some_and(|byte| byte >> 4 == 6) { ETH_IPV6 } else { ETH_IPV4 };
    [&to[..], &from, &ethertype.to_be_bytes(), packet].concat()
}

/// Fields of an IP header that a test may want to be odd; `Header::new` makes a plain one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Header {
    /// Source address.
    pub source: IpAddr,
    /// Destination address, of the same family.
    pub destination: IpAddr,
    /// Protocol (next header) of the payload.
    pub protocol: u8,
    /// TTL or hop limit.
    pub ttl: u8,
    /// TOS or traffic class.
    pub tos: u8,
    /// Identification.
    pub id: u32,
    /// IPv4: Don't Fragment.
    pub dont_fragment: bool,
    /// Fragment offset in bytes and "more fragments".
    pub fragment: Option<(u16, bool)>,
    /// IPv4 options; a multiple of 4 bytes.
    pub options: Vec<u8>,
    /// IPv6 extension headers by their numbers; the first byte of each is filled in with the next header's number.
    pub extensions: Vec<(u8, Vec<u8>)>,
}

impl Header {
    /// A plain header, TTL 64, Don't Fragment.
    pub fn new(source: IpAddr, destination: IpAddr, protocol: u8) -> Self {
        Self {
            source,
            destination,
            protocol,
            ttl: 64,
            tos: 0,
            id: 0,
            dont_fragment: true,
            fragment: None,
            options: Vec::new(),
            extensions: Vec::new(),
        }
    }

    /// The packet: this header, then `payload`.
    ///
    /// # Panics
    /// If the two addresses are of different families: a mistake in the test.
    pub fn packet(&self, payload: &[u8]) -> Vec<u8> {
        match (self.source, self.destination) {
            (IpAddr::V4(source), IpAddr::V4(destination)) => self.v4(source, destination, payload),
            (IpAddr::V6(source), IpAddr::V6(destination)) => self.v6(source, destination, payload),
            _ => panic!("{} and {} are of different families", self.source, self.destination),
        }
    }

    fn v4(&self, source: Ipv4Addr, destination: Ipv4Addr, payload: &[u8]) -> Vec<u8> {
        let header_length = 20 + self.options.len();
        let (offset, more) = self.fragment.unwrap_or_default();
        let flags = (offset / 8) | (u16::from(more) << 13) | (u16::from(self.dont_fragment) << 14);
        let mut packet = vec![0x40 | (header_length / 4) as u8, self.tos];
        packet.extend(((header_length + payload.len()) as u16).to_be_bytes());
        packet.extend((self.id as u16).to_be_bytes());
        packet.extend(flags.to_be_bytes());
        packet.extend([self.ttl, self.protocol, 0, 0]);
        packet.extend(source.octets());
        packet.extend(destination.octets());
        packet.extend(&self.options);
        let checksum = !sum(&packet);
        packet[10..12].copy_from_slice(&checksum.to_be_bytes());
        packet.extend(payload);
        packet
    }

    fn v6(&self, source: Ipv6Addr, destination: Ipv6Addr, payload: &[u8]) -> Vec<u8> {
        let mut chain = self.extensions.clone();
        if let Some((offset, more)) = self.fragment {
            let field = (offset | u16::from(more)).to_be_bytes();
            chain.push((proto::FRAGMENT, [&[0, 0], &field[..], &self.id.to_be_bytes()].concat()));
        }
        let numbers: Vec<u8> = chain.iter().map(|(number, _)| *number).chain([self.protocol]).collect();
        for ((_, bytes), next) in chain.iter_mut().zip(&numbers[1..]) {
            bytes[0] = *next;
        }
        let extensions: Vec<u8> = chain.into_iter().flat_map(|(_, bytes)| bytes).collect();
        let mut packet = vec![0x60 | (self.tos >> 4), self.tos << 4, 0, 0];
        packet.extend(((extensions.len() + payload.len()) as u16).to_be_bytes());
        packet.extend([numbers[0], self.ttl]);
        packet.extend(source.octets());
        packet.extend(destination.octets());
        packet.extend(extensions);
        packet.extend(payload);
        packet
    }
}

/// A UDP datagram with its checksum.
pub fn udp(source: (IpAddr, u16), destination: (IpAddr, u16), payload: &[u8]) -> Vec<u8> {
    let length = (8 + payload.len()) as u16;
    let words = [source.1, destination.1, length, 0].map(u16::to_be_bytes);
    let mut datagram = [words.as_flattened(), payload].concat();
    let length = datagram.len();
    fill_checksum(&mut datagram, 6, length, source.0, destination.0, proto::UDP);
    datagram
}

/// A TCP segment with its checksum, window 65535 and no options.
pub fn tcp(
    source: (IpAddr, u16),
    destination: (IpAddr, u16),
    numbers: (u32, u32),
    flags: u8,
    payload: &[u8],
) -> Vec<u8> {
    let mut segment = [source.1.to_be_bytes(), destination.1.to_be_bytes()].concat();
    segment.extend(numbers.0.to_be_bytes());
    segment.extend(numbers.1.to_be_bytes());
    segment.extend([0x50, flags, 0xff, 0xff, 0, 0, 0, 0]);
    segment.extend(payload);
    let length = segment.len();
    fill_checksum(&mut segment, 16, length, source.0, destination.0, proto::TCP);
    segment
}

/// An ICMP or ICMPv6 message with its checksum: type, code, the four bytes behind the checksum, and what follows.
pub fn icmp(source: IpAddr, destination: IpAddr, kind: u8, code: u8, rest: [u8; 4], payload: &[u8]) -> Vec<u8> {
    let mut message = [&[kind, code, 0, 0], &rest[..], payload].concat();
    let protocol = if source.is_ipv4() { proto::ICMP } else { proto::ICMPV6 };
    let length = message.len();
    fill_checksum(&mut message, 2, length, source, destination, protocol);
    message
}

/// An echo request of the family's kind.
pub fn echo_request(source: IpAddr, destination: IpAddr, id: u16, sequence: u16, payload: &[u8]) -> Vec<u8> {
    let rest = ((u32::from(id) << 16) | u32::from(sequence)).to_be_bytes();
    icmp(source, destination, if source.is_ipv4() { 8 } else { 128 }, 0, rest, payload)
}

/// Sums up the first `covered` bytes and the pseudo-header into the field at `at`.
pub fn fill_checksum(bytes: &mut [u8], at: usize, covered: usize, source: IpAddr, destination: IpAddr, protocol: u8) {
    let pseudo = if protocol == proto::ICMP { 0 } else { pseudo_header(source, destination, protocol, bytes.len()) };
    let checksum = match !fold(u64::from(sum(&bytes[..covered])) + u64::from(pseudo)) {
        0 if matches!(protocol, proto::UDP | proto::UDP_LITE) => 0xffff,
        checksum => checksum,
    };
    bytes[at..at + 2].copy_from_slice(&checksum.to_be_bytes());
}
