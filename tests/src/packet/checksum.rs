//! Whether the checksums of a captured packet are right (RFC 1071, RFC 768, RFC 8200 §8.1, RFC 4443 §2.3).

use std::fmt;
use std::net::IpAddr;

use super::transport::sctp_checksum;
use super::{Ip, Transport, be16, proto};

/// The ones' complement sum of big-endian words, not inverted.
pub fn sum(bytes: &[u8]) -> u16 {
    let (words, rest) = bytes.as_chunks::<2>();
    let mut total: u64 = words.iter().map(|word| u64::from(u16::from_be_bytes(*word))).sum();
    if let [last] = rest {
        total += u64::from(*last) << 8;
    }
    fold(total)
}

pub(super) const fn fold(mut total: u64) -> u16 {
    while total > 0xffff {
        total = (total & 0xffff) + (total >> 16);
    }
    total as u16
}

/// The sum over the pseudo-header.
pub fn pseudo_header(source: IpAddr, destination: IpAddr, protocol: u8, length: usize) -> u16 {
    let of = |address: IpAddr| match address {
        IpAddr::V4(address) => u64::from(sum(&address.octets())),
        IpAddr::V6(address) => u64::from(sum(&address.octets())),
    };
    fold(of(source) + of(destination) + u64::from(protocol) + length as u64)
}

/// How a checksum in a packet is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Right.
    Right,
    /// Left for the hardware to finish (`CHECKSUM_PARTIAL`), and the part that is there, the pseudo-header's, is right.
    Unfinished,
    /// Wrong: what is there, and what should be there.
    Wrong {
        /// As found.
        found: u16,
        /// As it should be.
        right: u16,
    },
    /// There is none: IPv6 has no header checksum, IPv4 UDP may go without.
    Absent,
    /// Cannot be told: a fragment, a cut packet, a protocol without a checksum known here.
    Unknown,
}

/// The checksums of one IP packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Checksums {
    /// The IPv4 header's.
    pub header: Verdict,
    /// TCP, UDP, ICMP, ICMPv6 or SCTP.
    pub transport: Verdict,
}

impl Checksums {
    /// Whether nothing is wrong; unfinished counts as not wrong.
    pub const fn are_right(&self) -> bool {
        !matches!(self.header, Verdict::Wrong { .. }) && !matches!(self.transport, Verdict::Wrong { .. })
    }

    /// Whether the transport checksum is there, finished and right.
    pub const fn are_real(&self) -> bool {
        self.are_right() && matches!(self.transport, Verdict::Right)
    }
}

impl fmt::Display for Checksums {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "header {:x?}, transport {:x?}", self.header, self.transport)
    }
}

/// Checks a packet. `unfinished` says that the kernel left the transport checksum to the hardware.
pub fn check(ip: &Ip, packet: &[u8], unfinished: bool) -> Checksums {
    Checksums { header: header(ip, packet), transport: transport(ip, packet, unfinished) }
}

fn header(ip: &Ip, packet: &[u8]) -> Verdict {
    if ip.source.is_ipv6() {
        return Verdict::Absent;
    }
    let header_length = usize::from(packet.first().map_or(0, |byte| byte & 0xf)) * 4;
    packet.get(..header_length).map_or(Verdict::Unknown, |header| compare(header, 10, 0))
}

fn transport(ip: &Ip, packet: &[u8], unfinished: bool) -> Verdict {
    let Some(l4) = packet.get(ip.l4_offset..ip.length) else { return Verdict::Unknown };
    let field = match ip.protocol {
        _ if ip.fragment.is_some() => return Verdict::Unknown,
        proto::TCP => 16,
        proto::UDP => 6,
        proto::ICMP | proto::ICMPV6 => 2,
        proto::SCTP if !unfinished => return sctp(l4),
        _ => return Verdict::Unknown,
    };
    let pseudo =
        if ip.protocol == proto::ICMP { 0 } else { pseudo_header(ip.source, ip.destination, ip.protocol, l4.len()) };
    let Some(found) = be16(l4, field) else { return Verdict::Unknown };
    if unfinished {
        return if found == pseudo { Verdict::Unfinished } else { Verdict::Wrong { found, right: pseudo } };
    }
    match ip.transport {
        Some(Transport::Udp { .. }) if found == 0 && ip.source.is_ipv4() => Verdict::Absent,
        _ => compare(l4, field, pseudo),
    }
}

/// SCTP's CRC32c covers no pseudo-header. Of 32 bits that differ, the lower ones are told.
fn sctp(l4: &[u8]) -> Verdict {
    let Some(right) = sctp_checksum(l4).map(u32::to_le_bytes) else { return Verdict::Unknown };
    let found = &l4[8..12];
    if found == right {
        return Verdict::Right;
    }
    let low = |bytes: &[u8]| u16::from_le_bytes([bytes[0], bytes[1]]);
    Verdict::Wrong { found: low(found), right: low(&right) }
}

/// Compares the field at `at` with what it should be. A UDP checksum of zero is sent as all ones.
fn compare(bytes: &[u8], at: usize, pseudo: u16) -> Verdict {
    let Some(found) = be16(bytes, at) else { return Verdict::Unknown };
    let rest = fold(u64::from(sum(&bytes[..at])) + u64::from(sum(&bytes[at + 2..])) + u64::from(pseudo));
    if fold(u64::from(rest) + u64::from(found)) == 0xffff && (found != 0 || at != 6) {
        Verdict::Right
    } else {
        Verdict::Wrong { found, right: !rest }
    }
}
