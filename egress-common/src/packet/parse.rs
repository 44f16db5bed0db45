//! What a packet is, as far as the gateway needs to know.

use super::{
    Failed, L4Sum, Packet,
    header::{ETHERNET, Ipv4, Ipv6, Short, Tcp, proto},
};
use crate::{
    abi::{
        family::{Family, V4, V6},
        flow::{FlowKey, seen},
    },
    verdict::Drop,
};

/// What the packet asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// TCP segment or UDP datagram.
    Ports,
    /// ICMP echo request; its identifier stands in `sport`.
    EchoRequest,
    /// ICMP echo reply; its identifier stands in `dport`.
    EchoReply,
    /// Neighbour or router discovery, multicast listener reports: the kernel's alone (RFC 4861, RFC 2710, RFC 3810).
    LinkControl,
    /// Cannot be translated for this reason.
    Other(Drop),
}

/// A parsed packet of one family.
#[derive(Clone, Copy, Debug)]
pub struct Parsed<F: Family> {
    /// Source address.
    pub src: F::Addr,
    /// Destination address.
    pub dst: F::Addr,
    /// What it is.
    pub kind: Kind,
    /// IANA protocol number.
    pub proto: u8,
    /// Source port (host-endian) or echo identifier, see [`Kind`].
    pub sport: u16,
    /// Destination port.
    pub dport: u16,
    /// Bits of [`seen`].
    pub seen: u8,
    /// TTL or hop limit.
    pub ttl: u8,
    /// IPv4 without DF: routers may fragment it (RFC 791).
    pub may_fragment: bool,
    /// Length of the IP packet; of a super-packet, of the whole.
    pub len: u32,
    /// Length of the longest packet on the wire: differs from `len` for super-packets.
    pub wire_len: u32,
}

impl<F: Family> Parsed<F> {
    /// Key of the flow half that this packet belongs to; `dir` is one of [`crate::abi::flow`]'s directions.
    #[inline(always)]
    pub const fn key(&self, dir: u8) -> FlowKey<F::Addr> {
        FlowKey {
            saddr: self.src,
            daddr: self.dst,
            sport: self.sport,
            dport: self.dport,
            proto: self.proto,
            dir,
            zone: 0,
        }
    }
}

/// Offset of the L4 header: no options or extension headers are translated yet.
#[inline(always)]
#[must_use]
pub const fn l4_at<F: Family>() -> u32 {
    ETHERNET + F::HEADER
}

/// Where the L4 checksum of a protocol is, if it has one that we keep.
#[inline(always)]
#[must_use]
pub const fn l4_sum<F: Family>(protocol: u8) -> L4Sum {
    let l4 = l4_at::<F>();
    match protocol {
        proto::TCP => L4Sum { at: l4 + 16, udp: false, pseudo: true },
        proto::UDP => L4Sum { at: l4 + 6, udp: true, pseudo: true },
        _ => L4Sum { at: l4 + 2, udp: false, pseudo: F::V6 },
    }
}

/// A family whose packets can be parsed.
pub trait Parse: Family {
    /// Reads the headers of a frame whose EtherType said so.
    fn parse<P: Packet>(packet: &P) -> Result<Parsed<Self>, Drop>
    where
        Self: Sized;
}

const MORE_FRAGMENTS: u16 = 0x2000;
const DONT_FRAGMENT: u16 = 0x4000;
const OFFSET: u16 = 0x1fff;

impl Parse for V4 {
    #[inline(always)]
    fn parse<P: Packet>(packet: &P) -> Result<Parsed<Self>, Drop> {
        let ip: Ipv4 = packet.read(ETHERNET).map_err(malformed)?;
        if ip.version_ihl >> 4 != 4 || ip.version_ihl & 0xf < 5 {
            return Err(Drop::Malformed);
        }
        let frag = u16::from_be_bytes(ip.frag);
        let mut parsed = Parsed {
            src: ip.src,
            dst: ip.dst,
            kind: Kind::Other(Drop::Protocol),
            proto: ip.proto,
            sport: 0,
            dport: 0,
            seen: seen::ACK,
            ttl: ip.ttl,
            may_fragment: frag & DONT_FRAGMENT == 0,
            len: u32::from(u16::from_be_bytes(ip.total_len)),
            wire_len: 0,
        };
        check_len(packet, &mut parsed, u32::from(ip.version_ihl & 0xf) * 4)?;
        if frag & (MORE_FRAGMENTS | OFFSET) != 0 {
            parsed.kind = Kind::Other(Drop::Fragment);
        } else if ip.version_ihl != 0x45 {
            parsed.kind = Kind::Other(Drop::Options);
        } else {
            transport(packet, &mut parsed)?;
        }
        Ok(parsed)
    }
}

impl Parse for V6 {
    #[inline(always)]
    fn parse<P: Packet>(packet: &P) -> Result<Parsed<Self>, Drop> {
        let ip: Ipv6 = packet.read(ETHERNET).map_err(malformed)?;
        if ip.version[0] >> 4 != 6 {
            return Err(Drop::Malformed);
        }
        let mut parsed = Parsed {
            src: ip.src,
            dst: ip.dst,
            kind: Kind::Other(Drop::Protocol),
            proto: ip.next,
            sport: 0,
            dport: 0,
            seen: seen::ACK,
            ttl: ip.hop_limit,
            may_fragment: false,
            len: u32::from(u16::from_be_bytes(ip.payload_len)) + Self::HEADER,
            wire_len: 0,
        };
        check_len(packet, &mut parsed, Self::HEADER)?;
        match ip.next {
            proto::FRAGMENT => parsed.kind = Kind::Other(Drop::Fragment),
            proto::HOP_BY_HOP => parsed.kind = hop_by_hop(packet, parsed.len),
            proto::ROUTING | proto::DESTINATION => parsed.kind = Kind::Other(Drop::Options),
            _ => transport(packet, &mut parsed)?,
        }
        Ok(parsed)
    }
}

/// Multicast listener messages carry a router-alert option before their ICMPv6 header (RFC 2710 §3).
#[inline(always)]
fn hop_by_hop<P: Packet>(packet: &P, len: u32) -> Kind {
    let at = l4_at::<V6>();
    match (packet.read::<Short>(at), packet.read::<Short>(at + 8)) {
        (Ok(options), Ok(icmp))
            if options.first == [proto::ICMPV6, 0]
                && matches!(icmp.first[0], 130..=132 | 143)
                && len >= V6::HEADER + 16 =>
        {
            Kind::LinkControl
        }
        _ => Kind::Other(Drop::Options),
    }
}

/// The IP length must fit the frame, or rewriting would touch bytes that are not the packet's. A super-packet may be longer
/// than its length field can say: then the frame's length counts.
#[inline(always)]
fn check_len<F: Family, P: Packet>(packet: &P, parsed: &mut Parsed<F>, header: u32) -> Result<(), Drop> {
    let room = packet.frame_len().wrapping_sub(ETHERNET);
    if packet.gso_size() != 0 {
        parsed.len = room;
    }
    if parsed.len > room || parsed.len < header {
        return Err(Drop::Malformed);
    }
    parsed.wire_len = parsed.len;
    Ok(())
}

#[inline(always)]
fn transport<F: Family, P: Packet>(packet: &P, parsed: &mut Parsed<F>) -> Result<(), Drop> {
    let at = l4_at::<F>();
    let room = parsed.len - F::HEADER;
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
        if room < 8 || (packet.gso_size() == 0 && (said < 8 || said > room)) {
            return Err(Drop::Malformed);
        }
        parsed.sport = u16::from_be_bytes(udp.first);
        parsed.dport = u16::from_be_bytes(udp.second);
        parsed.kind = Kind::Ports;
        segment_len(packet, parsed, 8);
    } else if parsed.proto == F::ICMP {
        let icmp: Short = packet.read(at).map_err(malformed)?;
        if room < 8 {
            return Err(Drop::Malformed);
        }
        parsed.kind = icmp_kind::<F>(icmp.first[0]);
        let id = u16::from_be_bytes(icmp.third);
        match parsed.kind {
            Kind::EchoRequest => parsed.sport = id,
            Kind::EchoReply => parsed.dport = id,
            _ => {}
        }
    }
    Ok(())
}

/// Collected TCP flags, RFC 9293 §3.1 order: FIN 1, SYN 2, RST 4, ACK 16.
#[inline(always)]
const fn tcp_seen(flags: u8) -> u8 {
    (flags >> 1 & seen::SYN) | (flags << 1 & seen::FIN) | (flags & seen::RST) | (flags >> 1 & seen::ACK)
}

/// What an ICMP type asks for: RFC 792 types, RFC 4443 and RFC 4861 types.
#[inline(always)]
#[must_use]
pub const fn icmp_kind<F: Family>(kind: u8) -> Kind {
    if F::V6 {
        match kind {
            128 => Kind::EchoRequest,
            129 => Kind::EchoReply,
            1..=4 => Kind::Other(Drop::IcmpError),
            130..=137 | 143 => Kind::LinkControl,
            _ => Kind::Other(Drop::IcmpType),
        }
    } else {
        match kind {
            8 => Kind::EchoRequest,
            0 => Kind::EchoReply,
            3 | 4 | 5 | 11 | 12 => Kind::Other(Drop::IcmpError),
            _ => Kind::Other(Drop::IcmpType),
        }
    }
}

#[inline(always)]
fn segment_len<F: Family, P: Packet>(packet: &P, parsed: &mut Parsed<F>, l4_header: u32) {
    let gso = packet.gso_size();
    if gso != 0 {
        parsed.wire_len = F::HEADER + l4_header + gso;
    }
}

#[inline(always)]
fn malformed(_: Failed) -> Drop {
    Drop::Malformed
}

#[cfg(test)]
mod tests;
