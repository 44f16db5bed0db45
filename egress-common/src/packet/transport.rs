//! The protocol's header: ports, identifiers, flags, and where its checksum stands.

use super::{
    L4Sum, Packet,
    header::{ETHERNET, Short, Tcp, proto},
    parse::{Kind, Parsed, malformed},
};
use crate::{
    abi::{family::Family, flow::seen},
    verdict::Drop,
};

/// How a protocol is translated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    /// Ports, and an Internet checksum.
    Ports(L4Sum),
    /// An identifier, and an Internet checksum.
    Id(L4Sum),
    /// Ports, and a CRC32c at this offset that covers no address (RFC 9260 §6.8).
    Crc(u32),
    /// Addresses only.
    Bare,
}

/// How the protocol whose header is at `l4` is translated.
#[inline(always)]
#[must_use]
pub const fn layout<F: Family>(protocol: u8, l4: u32) -> Layout {
    match protocol {
        proto::TCP => Layout::Ports(L4Sum { at: l4 + 16, udp: false, pseudo: true }),
        // RFC 3828 §3.1: as in UDP a computed 0 is sent as 0xffff.
        proto::UDP | proto::UDP_LITE => Layout::Ports(L4Sum { at: l4 + 6, udp: true, pseudo: true }),
        proto::DCCP => Layout::Ports(L4Sum { at: l4 + 6, udp: false, pseudo: true }),
        proto::SCTP => Layout::Crc(l4 + 8),
        _ if protocol == F::ICMP => Layout::Id(L4Sum { at: l4 + 2, udp: false, pseudo: F::V6 }),
        _ => Layout::Bare,
    }
}

/// Whether the addresses of a protocol without ports can change: its checksum or ICV must not cover them.
#[inline(always)]
#[must_use]
pub const fn bare<F: Family>(protocol: u8) -> bool {
    let covered = matches!(protocol, proto::AH | proto::VRRP)
        || protocol == if F::V6 { proto::ICMP } else { proto::ICMPV6 }
        || F::V6
            && matches!(
                protocol,
                proto::NO_NEXT | proto::OSPF | proto::PIM | proto::MOBILITY | proto::HIP | proto::SHIM6
            );
    !covered
}

/// Shortest header of a protocol with ports or identifiers.
#[inline(always)]
#[must_use]
pub const fn least<F: Family>(protocol: u8) -> u32 {
    match protocol {
        proto::TCP => 20,
        proto::SCTP | proto::DCCP => 12,
        _ => 8,
    }
}

/// Reads the header at `parsed.l4`. Of a first fragment too, whose length says nothing about the datagram's.
#[inline(always)]
pub(super) fn transport<F: Family, P: Packet>(packet: &P, parsed: &mut Parsed<F>) -> Result<(), Drop> {
    let (at, room, fragment) = (parsed.l4, parsed.l4_len(), parsed.piece.is_fragment());
    if parsed.proto == proto::TCP {
        let tcp: Tcp = packet.read(at).map_err(malformed)?;
        let header = u32::from(tcp.offset >> 4) * 4;
        if header < 20 || header > room {
            return Err(Drop::Malformed);
        }
        parsed.sport = u16::from_be_bytes(tcp.sport);
        parsed.dport = u16::from_be_bytes(tcp.dport);
        parsed.seen = tcp_seen(tcp.flags);
        parsed.kind = Kind::Ports;
        segment_len(packet, parsed, header);
    } else if parsed.proto == proto::UDP {
        let udp: Short = packet.read(at).map_err(malformed)?;
        let said = u32::from(u16::from_be_bytes(udp.third));
        // A super-packet may be longer than the field can say.
        if room < 8 || (packet.gso_size() == 0 && (said < 8 || (said > room && !fragment))) {
            return Err(Drop::Malformed);
        }
        ports(parsed, &udp);
        segment_len(packet, parsed, 8);
    } else if parsed.proto == F::ICMP {
        let icmp: Short = packet.read(at).map_err(malformed)?;
        if room < 8 {
            return Err(Drop::Malformed);
        }
        let id = u16::from_be_bytes(icmp.third);
        parsed.kind = icmp_kind::<F>(icmp.first[0]);
        match parsed.kind {
            Kind::Query => (parsed.sport, parsed.dport) = (id, query::<F>(icmp.first[0])),
            Kind::Answer => (parsed.sport, parsed.dport) = (query::<F>(icmp.first[0]), id),
            _ => {}
        }
    }
    Ok(())
}

/// Ports of the protocols that only [`super::deep`] reads; their lengths are the receiver's business.
#[inline(always)]
pub(super) fn rare_ports<F: Family, P: Packet>(packet: &P, parsed: &mut Parsed<F>) -> Result<(), Drop> {
    let first: Short = packet.read(parsed.l4).map_err(malformed)?;
    if parsed.l4_len() < least::<F>(parsed.proto) {
        return Err(Drop::Malformed);
    }
    ports(parsed, &first);
    Ok(())
}

#[inline(always)]
fn ports<F: Family>(parsed: &mut Parsed<F>, header: &Short) {
    parsed.sport = u16::from_be_bytes(header.first);
    parsed.dport = u16::from_be_bytes(header.second);
    parsed.kind = Kind::Ports;
}

/// Collected TCP flags, RFC 9293 §3.1 order: FIN 1, SYN 2, RST 4, ACK 16.
#[inline(always)]
const fn tcp_seen(flags: u8) -> u8 {
    (flags >> 1 & seen::SYN) | (flags << 1 & seen::FIN) | (flags & seen::RST) | (flags >> 1 & seen::ACK)
}

/// What an ICMP type asks for: RFC 792, RFC 950, RFC 4443 and RFC 4861 types.
#[inline(always)]
#[must_use]
pub const fn icmp_kind<F: Family>(kind: u8) -> Kind {
    if F::V6 {
        match kind {
            128 => Kind::Query,
            129 => Kind::Answer,
            1..=4 => Kind::Error,
            130..=137 | 143 => Kind::LinkControl,
            _ => Kind::Other(Drop::IcmpType),
        }
    } else {
        match kind {
            8 | 13 | 15 | 17 => Kind::Query,
            0 | 14 | 16 | 18 => Kind::Answer,
            3 | 4 | 5 | 11 | 12 => Kind::Error,
            _ => Kind::Other(Drop::IcmpType),
        }
    }
}

/// What tells queries of one identifier apart: the query's type, 0 for echo. Takes the type of a query or of its answer.
#[inline(always)]
#[must_use]
pub const fn query<F: Family>(kind: u8) -> u16 {
    match kind {
        13 | 14 if !F::V6 => 13,
        15 | 16 if !F::V6 => 15,
        17 | 18 if !F::V6 => 17,
        _ => 0,
    }
}

/// The longest packet that a super-packet is cut into.
#[inline(always)]
pub(super) fn segment_len<F: Family, P: Packet>(packet: &P, parsed: &mut Parsed<F>, l4_header: u32) {
    let gso = packet.gso_size();
    if gso != 0 {
        parsed.wire_len = parsed.l4 - ETHERNET + l4_header + gso;
    }
}

#[cfg(test)]
mod tests;
