//! Changing a packet's own address and port, and every checksum that covers them.

use crate::{
    abi::family::{Address, Family},
    packet::{
        Failed, Packet,
        csum::{diff, fold_add},
        header::ETHERNET,
        transport::{Layout, layout},
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
    /// IANA protocol number.
    pub proto: u8,
    /// Offset of the protocol's header.
    pub l4: u32,
    /// Bytes from there to the end of the packet.
    pub l4_len: u32,
    /// A later fragment: it has no such header.
    pub headless: bool,
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

/// Where a header has the port or identifier of an end; none if it has neither.
#[inline(always)]
pub(super) const fn port_at(layout: Layout, l4: u32, end: End) -> Option<u32> {
    match (layout, end) {
        (Layout::Bare, _) => None,
        (Layout::Id(_), _) => Some(l4 + 4),
        (_, End::Source) => Some(l4),
        (_, End::Destination) => Some(l4 + 2),
    }
}

/// Applies a translation. If it fails (the packet is shorter than its headers), something may have changed: the caller drops it.
#[inline(always)]
pub fn rewrite<F: Family, P: Packet>(packet: &mut P, to: &Rewrite<F>) -> Result<(), Failed> {
    let layout = if to.headless { Layout::Bare } else { layout::<F>(to.proto, to.l4) };
    if let Some(at) = port_at(layout, to.l4, to.end) {
        packet.write(at, to.new_port.to_be())?;
    }
    let addr_diff = address::<F, P>(packet, to.end, &to.old_addr, &to.new_addr, to.ttl)?;
    match layout {
        Layout::Ports(sum) | Layout::Id(sum) => {
            let (old, new) = (to.old_port.to_be(), to.new_port.to_be());
            if sum.pseudo { packet.sum_end(sum, addr_diff, F::V6, old, new) } else { packet.sum_port(sum, old, new) }
        }
        Layout::Crc(at) => {
            uncovered::<F, P>(packet, addr_diff);
            if to.old_port == to.new_port {
                return Ok(());
            }
            let of_crc = crc(packet, at, to.end, to.l4_len, to.old_port, to.new_port)?;
            let of_port = diff(u32::from(to.old_port.to_be()), u32::from(to.new_port.to_be()));
            packet.sum_uncovered(fold_add(of_port, of_crc));
            Ok(())
        }
        Layout::Bare => {
            uncovered::<F, P>(packet, addr_diff);
            Ok(())
        }
    }
}

/// Writes an address of the IP header, lowers TTL or hop limit, and mends IPv4's header checksum; how a sum over the address
/// changes. Sums over IPv6's are the caller's.
#[inline(always)]
pub(super) fn address<F: Family, P: Packet>(
    packet: &mut P,
    end: End,
    old: &F::Addr,
    new: &F::Addr,
    ttl: Option<u8>,
) -> Result<u32, Failed> {
    let at = match end {
        End::Source => ETHERNET + F::SRC,
        End::Destination => ETHERNET + F::DST,
    };
    let addr_diff = old.csum_diff(new);
    packet.write(at, new.words())?;
    let ttl_diff = match ttl {
        Some(ttl) => lower_ttl::<F, P>(packet, ttl)?,
        None => 0,
    };
    if !F::V6 {
        packet.sum_ip(ETHERNET + 10, fold_add(addr_diff, ttl_diff))?;
    } else if ttl_diff != 0 {
        packet.sum_uncovered(ttl_diff);
    }
    Ok(addr_diff)
}

/// IPv4's header checksum takes a changed address out of a sum over the packet again; in IPv6 nothing does where the
/// protocol's checksum does not cover it.
#[inline(always)]
fn uncovered<F: Family, P: Packet>(packet: &mut P, addr_diff: u32) {
    if F::V6 {
        packet.sum_uncovered(addr_diff);
    }
}

/// Takes a changed port into the CRC32c at `at`, of a header whose packet has `l4_len` bytes; how a sum over the field changes.
#[inline(always)]
pub(super) fn crc<P: Packet>(
    packet: &mut P,
    at: u32,
    end: End,
    l4_len: u32,
    old_port: u16,
    new_port: u16,
) -> Result<u32, Failed> {
    let ports = match end {
        End::Source => 2,
        End::Destination => 4,
    };
    let old: [u8; 4] = packet.read(at)?;
    // RFC 9653: 0 says that both ends agreed to do without.
    if old == [0; 4] {
        return Ok(0);
    }
    let behind = l4_len.saturating_sub(ports) & 0xffff;
    let change = packet.crc_diff(old_port.to_be_bytes(), new_port.to_be_bytes(), behind);
    let new = (u32::from_le_bytes(old) ^ change).to_le_bytes();
    packet.write(at, new)?;
    Ok(diff(u32::from_ne_bytes(old), u32::from_ne_bytes(new)))
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
pub(super) fn lower_ttl<F: Family, P: Packet>(packet: &mut P, ttl: u8) -> Result<u32, Failed> {
    let new = ttl.wrapping_sub(1);
    let at = ETHERNET + if F::V6 { 7 } else { 8 };
    packet.write(at, new)?;
    let word = |ttl: u8| u32::from(if F::V6 { u16::from_ne_bytes([0, ttl]) } else { u16::from_ne_bytes([ttl, 0]) });
    Ok(diff(word(ttl), word(new)))
}

#[cfg(test)]
mod tests;
