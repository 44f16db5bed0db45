//! Changing a packet's own address and port, and every checksum that covers them.

use crate::{
    abi::family::{Address, Family},
    packet::{
        Failed, Packet,
        csum::diff,
        header::{ETHERNET, proto},
        parse::{l4_at, l4_sum},
    },
};

/// Which side of the packet changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// Outbound: source address and port.
    Source,
    /// Inbound: destination address and port.
    Destination,
}

/// One translation.
#[derive(Clone, Copy, Debug)]
pub struct Rewrite<F: Family> {
    /// Which end.
    pub end: End,
    /// IANA protocol number: TCP, UDP or the family's ICMP (echo).
    pub proto: u8,
    /// Address now in the packet.
    pub old_addr: F::Addr,
    /// Address to be.
    pub new_addr: F::Addr,
    /// Port or identifier now in the packet, host-endian.
    pub old_port: u16,
    /// Port or identifier to be.
    pub new_port: u16,
    /// TTL or hop limit now in the packet, to be lowered by one; none if the kernel forwards the packet and lowers it.
    pub ttl: Option<u8>,
}

/// Applies a translation. Fails before the first change if the packet is shorter than its headers; the caller drops it.
#[inline(always)]
pub fn rewrite<F: Family, P: Packet>(packet: &mut P, to: &Rewrite<F>) -> Result<(), Failed>
where
    F::Addr: crate::packet::Plain,
{
    let l4 = l4_at::<F>();
    let icmp = to.proto == F::ICMP;
    let (addr_at, port_at) = match to.end {
        End::Source => (ETHERNET + F::SRC, if icmp { l4 + 4 } else { l4 }),
        End::Destination => (ETHERNET + F::DST, if icmp { l4 + 4 } else { l4 + 2 }),
    };
    let addr_diff = to.old_addr.csum_diff(&to.new_addr);
    packet.write(port_at, to.new_port.to_be())?;
    packet.write(addr_at, to.new_addr)?;
    let ttl_diff = match to.ttl {
        Some(ttl) => lower_ttl::<F, P>(packet, ttl)?,
        None => 0,
    };
    if F::V6 {
        if ttl_diff != 0 {
            packet.sum_uncovered(ttl_diff);
        }
    } else {
        packet.sum_ip(ETHERNET + 10, crate::packet::csum::fold_add(addr_diff, ttl_diff))?;
    }
    let sum = l4_sum::<F>(to.proto);
    if sum.pseudo {
        packet.sum_addr(sum, addr_diff, F::V6)?;
    }
    packet.sum_port(sum, to.old_port.to_be(), to.new_port.to_be())
}

/// Lowers TTL or hop limit by one without translating; for packets that are forwarded as they are.
#[inline(always)]
pub fn forward<F: Family, P: Packet>(packet: &mut P, ttl: u8) -> Result<(), Failed> {
    let diff = lower_ttl::<F, P>(packet, ttl)?;
    if F::V6 {
        packet.sum_uncovered(diff);
        Ok(())
    } else {
        packet.sum_ip(ETHERNET + 10, diff)
    }
}

/// Writes the lower value and says how the sum over the 16-bit word that holds it changes. The other byte of the word stays,
/// so the difference does not need it: IPv4 has TTL in the first byte of its word, IPv6 the hop limit in the second.
#[inline(always)]
fn lower_ttl<F: Family, P: Packet>(packet: &mut P, ttl: u8) -> Result<u32, Failed> {
    let new = ttl.wrapping_sub(1);
    let at = ETHERNET + if F::V6 { 7 } else { 8 };
    packet.write(at, new)?;
    let word = |ttl: u8| u32::from(if F::V6 { u16::from_ne_bytes([0, ttl]) } else { u16::from_ne_bytes([ttl, 0]) });
    Ok(diff(word(ttl), word(new)))
}

/// Whether a protocol's packets can be given to [`rewrite`].
#[inline(always)]
#[must_use]
pub const fn rewritable<F: Family>(protocol: u8) -> bool {
    matches!(protocol, proto::TCP | proto::UDP) || protocol == F::ICMP
}

#[cfg(test)]
mod tests;
