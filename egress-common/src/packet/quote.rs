//! The packet that an ICMP error quotes (RFC 792, RFC 4443 §2.4): its head, at least eight bytes behind its IP header, often
//! not more.

use super::{
    Packet,
    chain::chain,
    header::{ETHERNET, Ipv4, Ipv6, Short},
    parse::{Kind, Parse, Parsed, frag},
    transport::{Layout, bare, icmp_kind, layout, query},
};
use crate::{
    abi::{
        family::{Family, V4, V6},
        flow::FlowKey,
    },
    verdict::Drop,
};

/// Bytes of an ICMP error before the quote.
pub const ICMP_HEADER: u32 = 8;

/// Names a router on its sender's link (RFC 792): that means nothing on the other side, and tells an inside address there.
const REDIRECT: u8 = 5;

/// A quoted packet.
#[derive(Clone, Copy, Debug)]
pub struct Quote<F: Family> {
    /// Offset of its IP header.
    pub at: u32,
    /// Its source address.
    pub src: F::Addr,
    /// Its destination address.
    pub dst: F::Addr,
    /// Its protocol.
    pub proto: u8,
    /// Source port or identifier, as in [`Parsed`].
    pub sport: u16,
    /// Destination port, likewise.
    pub dport: u16,
    /// Offset of its protocol's header.
    pub l4: u32,
    /// Length behind its IP and extension headers, as it was sent.
    pub l4_len: u32,
    /// Where the quote ends.
    pub end: u32,
}

impl<F: Family> Quote<F> {
    /// Key of the flow half that the quoted packet answers, or that answers it: its own tuple, turned around.
    #[inline(always)]
    pub const fn key(&self, dir: u8) -> FlowKey<F::Addr> {
        FlowKey {
            saddr: self.dst,
            daddr: self.src,
            sport: self.dport,
            dport: self.sport,
            proto: self.proto,
            dir,
            zone: 0,
        }
    }
}

/// The quoted packet's IP header.
struct Head<A> {
    src: A,
    dst: A,
    proto: u8,
    l4: u32,
    l4_len: u32,
}

/// A family whose packets can be quoted.
pub trait Quoted: Parse {
    /// Reads what `error` quotes. `Err` if it is not enough to know its flow by.
    fn quote<P: Packet>(packet: &P, error: &Parsed<Self>) -> Result<Quote<Self>, Drop>
    where
        Self: Sized;
}

impl Quoted for V4 {
    #[inline(always)]
    fn quote<P: Packet>(packet: &P, error: &Parsed<Self>) -> Result<Quote<Self>, Drop> {
        if packet.read::<u8>(error.l4) == Ok(REDIRECT) {
            return Err(Drop::IcmpError);
        }
        let at = error.l4 + ICMP_HEADER;
        let ip: Ipv4 = packet.read(at).map_err(too_short)?;
        let header = u32::from(ip.version_ihl & 0xf) * 4;
        if ip.version_ihl >> 4 != 4 || header < Self::HEADER || u16::from_be_bytes(ip.frag) & frag::OFFSET != 0 {
            return Err(Drop::IcmpError);
        }
        let l4_len = u32::from(u16::from_be_bytes(ip.total_len)).saturating_sub(header);
        let head = Head { src: ip.src, dst: ip.dst, proto: ip.proto, l4: at + header, l4_len };
        transport(packet, error, at, head)
    }
}

impl Quoted for V6 {
    #[inline(always)]
    fn quote<P: Packet>(packet: &P, error: &Parsed<Self>) -> Result<Quote<Self>, Drop> {
        let at = error.l4 + ICMP_HEADER;
        let ip: Ipv6 = packet.read(at).map_err(too_short)?;
        if ip.version[0] >> 4 != 6 {
            return Err(Drop::IcmpError);
        }
        let behind = at + Self::HEADER;
        let way = chain(packet, ip.next, behind, ETHERNET + error.len).map_err(|_| Drop::IcmpError)?;
        if way.piece.at != 0 {
            return Err(Drop::IcmpError);
        }
        let l4_len = u32::from(u16::from_be_bytes(ip.payload_len)).saturating_sub(way.l4 - behind);
        let head = Head { src: ip.src, dst: ip.dst, proto: way.proto, l4: way.l4, l4_len };
        transport(packet, error, at, head)
    }
}

#[inline(always)]
fn transport<F: Family, P: Packet>(
    packet: &P,
    error: &Parsed<F>,
    at: u32,
    head: Head<F::Addr>,
) -> Result<Quote<F>, Drop> {
    let Head { src, dst, proto, l4, l4_len } = head;
    let end = ETHERNET + error.len;
    let mut quote = Quote { at, src, dst, proto, sport: 0, dport: 0, l4, l4_len, end };
    let layout = layout::<F>(proto, l4);
    if matches!(layout, Layout::Bare) {
        return if bare::<F>(proto) && l4 <= end { Ok(quote) } else { Err(Drop::IcmpError) };
    }
    let first: Short = packet.read(l4).map_err(too_short)?;
    if l4 + size_of::<Short>() as u32 > end {
        return Err(Drop::IcmpError);
    }
    if matches!(layout, Layout::Id(_)) {
        let (kind, id) = (first.first[0], u16::from_be_bytes(first.third));
        match icmp_kind::<F>(kind) {
            Kind::Query => (quote.sport, quote.dport) = (id, query::<F>(kind)),
            Kind::Answer => (quote.sport, quote.dport) = (query::<F>(kind), id),
            _ => return Err(Drop::IcmpError),
        }
    } else {
        quote.sport = u16::from_be_bytes(first.first);
        quote.dport = u16::from_be_bytes(first.second);
    }
    Ok(quote)
}

#[inline(always)]
fn too_short(_: super::Failed) -> Drop {
    Drop::IcmpError
}

/// Whether a quoted packet has a checksum of its protocol in the quote, and where: two bytes, or four of a CRC32c.
#[inline(always)]
pub fn sum<F: Family>(quote: &Quote<F>) -> Option<Layout> {
    let whole = layout::<F>(quote.proto, quote.l4);
    let fits = match whole {
        Layout::Ports(sum) | Layout::Id(sum) => sum.at + 2 <= quote.end,
        Layout::Crc(at) => at + 4 <= quote.end,
        Layout::Bare => false,
    };
    fits.then_some(whole)
}

#[cfg(test)]
mod tests;
