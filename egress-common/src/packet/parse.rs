//! What a packet is, as far as the gateway needs to know.
//!
//! There are two parsers with one outcome. [`Parse::parse`] reads what nearly every packet is: TCP, UDP or an ICMP query right
//! behind a plain IP header. What it calls [`Kind::Deep`] is for [`super::deep`].

use super::{
    Failed, Packet,
    header::{ETHERNET, Ipv4, proto},
    transport::transport,
};
use crate::{
    abi::{
        family::{Addr6, Family, V4, V6},
        flow::{FlowKey, seen},
    },
    verdict::Drop,
};

/// What the packet asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// It has ports: TCP, UDP, UDP-Lite, DCCP or SCTP.
    Ports,
    /// ICMP query (RFC 5508 §3); its identifier stands in `sport`, its type in `dport` (0 for echo).
    Query,
    /// Answer to an ICMP query; its identifier stands in `dport`, the query's type in `sport`.
    Answer,
    /// A protocol of which only the addresses are translated.
    Bare,
    /// A fragment without its protocol's header: the first one has it.
    Tail,
    /// ICMP error about another packet, see [`super::quote`].
    Error,
    /// Neighbour or router discovery, multicast listener reports: the kernel's alone (RFC 4861, RFC 2710, RFC 3810).
    LinkControl,
    /// Not told apart yet: [`super::deep`] does.
    Deep,
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
    /// IANA protocol number; of IPv6 the one behind the extension headers.
    pub proto: u8,
    /// Source port (host-endian) or identifier, see [`Kind`].
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
    /// Offset of the protocol's header in the frame.
    pub l4: u32,
    /// Which part of a datagram it is.
    pub piece: Piece,
}

/// A fragment's place in its datagram. All zero without a fragment header; an IPv6 one that makes no fragment (RFC 6946) leaves
/// `id` and `len`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Piece {
    /// Identification.
    pub id: u32,
    /// Offset in bytes.
    pub at: u32,
    /// More follow.
    pub more: bool,
    /// Bytes of the datagram that it has. In IPv6 extension headers behind the fragment header are some of them.
    pub len: u32,
}

impl Piece {
    /// Whether it is a part and not the whole (RFC 6946: an IPv6 fragment header alone does not make it one).
    #[inline(always)]
    #[must_use]
    pub const fn is_fragment(self) -> bool {
        self.at != 0 || self.more
    }

    /// Whether it is the part that has the protocol's header.
    #[inline(always)]
    #[must_use]
    pub const fn is_first(self) -> bool {
        self.at == 0 && self.more
    }
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

    /// Bytes from the protocol's header to the end of the packet.
    #[inline(always)]
    pub const fn l4_len(&self) -> u32 {
        (self.len + ETHERNET).saturating_sub(self.l4)
    }
}

/// Offset of the L4 header where nothing stands between it and the IP header.
#[inline(always)]
#[must_use]
pub const fn l4_at<F: Family>() -> u32 {
    ETHERNET + F::HEADER
}

/// A family whose packets can be parsed.
pub trait Parse: Family {
    /// Reads the headers of a frame whose EtherType said so.
    fn parse<P: Packet>(packet: &P) -> Result<Parsed<Self>, Drop>
    where
        Self: Sized;
}

/// IPv4's flags and offset (RFC 791 §3.1).
pub(super) mod frag {
    pub(in crate::packet) const MORE: u16 = 0x2000;
    pub(in crate::packet) const DONT: u16 = 0x4000;
    pub(in crate::packet) const OFFSET: u16 = 0x1fff;
}

impl Parse for V4 {
    #[inline(always)]
    fn parse<P: Packet>(packet: &P) -> Result<Parsed<Self>, Drop> {
        let (mut parsed, way) = header4(packet)?;
        if way.plain && matches!(parsed.proto, proto::TCP | proto::UDP | proto::ICMP) {
            transport(packet, &mut parsed)?;
        }
        Ok(parsed)
    }
}

impl Parse for V6 {
    #[inline(always)]
    fn parse<P: Packet>(packet: &P) -> Result<Parsed<Self>, Drop> {
        let mut parsed = header6(packet)?;
        if matches!(parsed.proto, proto::TCP | proto::UDP | proto::ICMPV6) {
            transport(packet, &mut parsed)?;
        }
        Ok(parsed)
    }
}

/// What an IPv4 header says about the way to the protocol's header.
#[derive(Clone, Copy, Debug)]
pub(super) struct Way {
    /// Nothing stands in between, and it is no fragment.
    pub(super) plain: bool,
    /// Bytes of options.
    pub(super) options: u32,
}

/// Reads an IPv4 header alone; `kind` is [`Kind::Deep`], `l4` where a plain packet has it.
#[inline(always)]
pub(super) fn header4<P: Packet>(packet: &P) -> Result<(Parsed<V4>, Way), Drop> {
    let ip: Ipv4 = packet.read(ETHERNET).map_err(malformed)?;
    if ip.version_ihl >> 4 != 4 || ip.version_ihl & 0xf < 5 {
        return Err(Drop::Malformed);
    }
    let field = u16::from_be_bytes(ip.frag);
    let at = u32::from(field & frag::OFFSET) * 8;
    let options = u32::from(ip.version_ihl & 0xf) * 4 - V4::HEADER;
    let mut parsed = Parsed {
        src: ip.src,
        dst: ip.dst,
        kind: Kind::Deep,
        proto: ip.proto,
        sport: 0,
        dport: 0,
        seen: seen::ACK,
        ttl: ip.ttl,
        may_fragment: field & frag::DONT == 0,
        len: u32::from(u16::from_be_bytes(ip.total_len)),
        wire_len: 0,
        l4: l4_at::<V4>(),
        piece: Piece::default(),
    };
    check_len(packet, &mut parsed, options + V4::HEADER)?;
    let fragment = field & (frag::MORE | frag::OFFSET) != 0;
    if fragment {
        let len = parsed.len - options - V4::HEADER;
        parsed.piece = Piece { id: u32::from(u16::from_be_bytes(ip.id)), at, more: field & frag::MORE != 0, len };
    }
    Ok((parsed, Way { plain: options == 0 && !fragment, options }))
}

/// Likewise an IPv6 header; `proto` is the next header's number, whatever that is.
#[inline(always)]
pub(super) fn header6<P: Packet>(packet: &P) -> Result<Parsed<V6>, Drop> {
    // An `Ipv6` in words, which stay in registers: as a struct of bytes it is copied byte by byte in BPF. The first word is all
    // in front of the addresses; payload length, next header and hop limit are its last four bytes (RFC 8200 §3).
    let ip: [u64; 5] = packet.read(ETHERNET).map_err(malformed)?;
    let head = ip[0].to_ne_bytes();
    if head[0] >> 4 != 6 {
        return Err(Drop::Malformed);
    }
    let mut parsed = Parsed {
        src: Addr6::of((ip[1], ip[2])),
        dst: Addr6::of((ip[3], ip[4])),
        kind: Kind::Deep,
        proto: head[6],
        sport: 0,
        dport: 0,
        seen: seen::ACK,
        ttl: head[7],
        may_fragment: false,
        len: u32::from(u16::from_be_bytes([head[4], head[5]])) + V6::HEADER,
        wire_len: 0,
        l4: l4_at::<V6>(),
        piece: Piece::default(),
    };
    check_len(packet, &mut parsed, V6::HEADER)?;
    Ok(parsed)
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
pub(super) fn malformed(_: Failed) -> Drop {
    Drop::Malformed
}

#[cfg(test)]
mod tests;
