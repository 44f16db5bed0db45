//! Puts one endpoint of a flow in the place of another in a packet, in an ICMP error also in what it quotes. Checksums
//! are carried along, so that one that was wrong by some amount still is.

use std::net::IpAddr;

use egress_tests::Family;
use egress_tests::packet::checksum::sum;
use egress_tests::packet::transport::sctp_checksum;
use egress_tests::packet::{Ip, Transport, parse_ip, proto};

use super::program::Endpoint;
use super::sctp;

/// The change.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rename {
    pub(super) protocol: u8,
    pub(super) from: Endpoint,
    pub(super) to: Endpoint,
}

/// Whether it is an ICMP error.
pub(super) fn is_error(ip: &Ip) -> bool {
    match (&ip.transport, ip.protocol, ip.family()) {
        (Some(Transport::Icmp { kind, .. }), proto::ICMP, Family::V4) => matches!(kind, 3 | 4 | 5 | 11 | 12),
        (Some(Transport::Icmp { kind, .. }), proto::ICMPV6, Family::V6) => *kind < 128,
        _ => false,
    }
}

/// Where the ports stand in a packet's L4 header: source, destination; an ICMP identifier is both.
fn port_offsets(protocol: u8) -> [usize; 2] {
    if matches!(protocol, proto::ICMP | proto::ICMPV6) { [4, 4] } else { [0, 2] }
}

/// Where the L4 checksum stands, and whether addresses count in it.
const fn checksum_field(protocol: u8) -> Option<(usize, bool)> {
    match protocol {
        proto::TCP => Some((16, true)),
        proto::UDP | proto::UDP_LITE => Some((6, true)),
        proto::ICMP => Some((2, false)),
        proto::ICMPV6 => Some((2, true)),
        _ => None,
    }
}

pub(super) fn word(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}

/// Carries a checksum along with a change of what it covers from one sum to another (RFC 1624), into the form in which a
/// sender would write it.
pub(super) fn carry(bytes: &mut [u8], at: usize, protocol: u8, old: u16, new: u16) {
    let Some(found) = word(bytes, at) else { return };
    if found == 0 && protocol == proto::UDP {
        return;
    }
    let total = sum(&[!found, !old, new].map(u16::to_be_bytes).concat());
    let carried = match !total {
        0 if matches!(protocol, proto::UDP | proto::UDP_LITE) => 0xffff,
        0xffff if !matches!(protocol, proto::UDP | proto::UDP_LITE) => 0,
        it => it,
    };
    bytes[at..at + 2].copy_from_slice(&carried.to_be_bytes());
}

fn octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(it) => it.octets().to_vec(),
        IpAddr::V6(it) => it.octets().to_vec(),
    }
}

/// Writes an address over the source (0) or destination (1), and carries an IPv4 header's checksum along.
fn put_address(packet: &mut [u8], place: usize, address: IpAddr) {
    let bytes = octets(address);
    let at = if bytes.len() == 4 { 12 } else { 8 } + place * bytes.len();
    let old = sum(&packet[at..at + bytes.len()]);
    packet[at..at + bytes.len()].copy_from_slice(&bytes);
    if bytes.len() == 4 {
        carry(packet, 10, 0, old, sum(&bytes));
    }
}

impl Rename {
    /// The other way.
    pub(super) const fn back(self) -> Self {
        Self { from: self.to, to: self.from, ..self }
    }

    /// Changes the packet, and says whether there was something to change.
    pub(super) fn apply(&self, packet: &mut [u8]) -> bool {
        let Some(ip) = parse_ip(packet) else { return false };
        let end = ip.length.min(packet.len());
        if is_error(&ip) {
            self.apply_to_error(&ip, &mut packet[..end])
        } else if ip.protocol == self.protocol {
            self.apply_to_own(&ip, &mut packet[..end])
        } else {
            false
        }
    }

    fn apply_to_error(&self, ip: &Ip, packet: &mut [u8]) -> bool {
        let quote = ip.l4_offset + 8;
        let Some(old) = packet.get(quote..).map(sum) else { return false };
        let changed = self.apply(&mut packet[quote..]);
        let new = sum(&packet[quote..]);
        carry(packet, ip.l4_offset + 2, ip.protocol, old, new);
        let own = [ip.source, ip.destination].iter().position(|it| *it == self.from.address);
        if let Some(place) = own {
            put_address(packet, place, self.to.address);
            if ip.protocol == proto::ICMPV6 {
                let sums = [self.from, self.to].map(|it| sum(&octets(it.address)));
                carry(packet, ip.l4_offset + 2, ip.protocol, sums[0], sums[1]);
            }
        }
        changed || own.is_some()
    }

    fn apply_to_own(&self, ip: &Ip, packet: &mut [u8]) -> bool {
        let l4 = ip.l4_offset;
        let ports = (self.from.port, self.to.port) != (0, 0) && ip.fragment.is_none_or(|it| it.offset == 0);
        let offsets = port_offsets(ip.protocol).map(|it| l4 + it);
        let matches = |place: usize| {
            [ip.source, ip.destination][place] == self.from.address
                && (!ports || word(packet, offsets[place]) == Some(self.from.port))
        };
        let Some(place) = (0..2).find(|place| matches(*place)) else { return false };
        let before = (ip.protocol == proto::SCTP).then(|| sctp_checksum(&packet[l4..]));
        put_address(packet, place, self.to.address);
        if !ports {
            return true;
        }
        packet[offsets[place]..offsets[place] + 2].copy_from_slice(&self.to.port.to_be_bytes());
        if let Some((field, addresses)) = checksum_field(ip.protocol) {
            let covered = |it: Endpoint| {
                let address = if addresses { octets(it.address) } else { Vec::new() };
                sum(&[address, it.port.to_be_bytes().to_vec()].concat())
            };
            carry(packet, l4 + field, ip.protocol, covered(self.from), covered(self.to));
        }
        if let (Some(before), Some(after)) = (before.flatten(), sctp_checksum(&packet[l4..])) {
            sctp::xor_checksum(&mut packet[l4..], before ^ after);
        }
        true
    }
}
