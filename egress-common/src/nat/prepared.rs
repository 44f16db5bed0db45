//! A translation whose sums were worked out before, for packets that are bytes: nobody keeps a sum over the frame (XDP).

use super::rewrite::{End, lower_ttl, port_at};
use crate::{
    abi::family::{Address, Family},
    packet::{
        Failed, Packet,
        csum::{diff, fold, fold_add},
        header::ETHERNET,
        parse::l4_at,
        transport::{Layout, layout},
    },
};

/// How a translation changes the sums over a packet (RFC 1624). Each folded to 16 bits.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sums {
    /// IPv4's header checksum, which the lower TTL changes too; 0 for IPv6.
    pub header: u16,
    /// TCP's or UDP's.
    pub transport: u16,
}

/// What lowering the TTL does to the word that holds it, whatever that was: it is the upper byte (RFC 791 §3.1).
const TTL: u32 = diff(u16::from_ne_bytes([1, 0]) as u32, 0);

impl Sums {
    /// Those of a translation of one address and port (host-endian) into others.
    #[inline(always)]
    #[must_use]
    pub fn of<F: Family>(from: (F::Addr, u16), to: (F::Addr, u16)) -> Self {
        let addr = from.0.csum_diff(&to.0);
        let port = diff(u32::from(from.1.to_be()), u32::from(to.1.to_be()));
        let header = if F::V6 { 0 } else { fold(fold_add(addr, TTL)) };
        Self { header, transport: fold(fold_add(addr, port)) }
    }
}

/// Gives a plain packet of TCP or UDP the address and port of `to`, and a lower TTL. If it fails (the packet is shorter than its
/// headers), something may have changed: the caller drops it.
#[inline(always)]
pub fn translate<F: Family, P: Packet>(
    packet: &mut P,
    protocol: u8,
    end: End,
    to: (F::Addr, u16),
    ttl: u8,
    sums: Sums,
) -> Result<(), Failed> {
    let layout = layout::<F>(protocol, l4_at::<F>());
    let (Layout::Ports(sum), Some(port)) = (layout, port_at(layout, l4_at::<F>(), end)) else { return Err(Failed) };
    let addr = match end {
        End::Source => F::SRC,
        End::Destination => F::DST,
    };
    packet.write(port, to.1.to_be())?;
    packet.write(ETHERNET + addr, to.0.words())?;
    lower_ttl::<F, P>(packet, ttl)?;
    if !F::V6 {
        packet.sum_ip(ETHERNET + 10, u32::from(sums.header))?;
    }
    packet.sum_addr(sum, u32::from(sums.transport), F::V6)
}
