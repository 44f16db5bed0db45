//! Translating an ICMP error: the packet that it quotes must look to its sender as that one sent it (RFC 5508 §4).
//!
//! Nobody's state changes: an error proves nothing about the flow that it names (RFC 5508 REQ-7).

use super::rewrite::{End, address, crc, port_at};
use crate::{
    abi::family::{Address, Family},
    packet::{
        Failed, L4Sum, Packet,
        csum::{apply, diff, fold_add},
        parse::Parsed,
        quote::{Quote, sum},
        transport::{Layout, layout},
    },
};

/// Changes an error's own address only: what it quotes is seen outside as it is inside. `ttl` as in
/// [`super::rewrite::Rewrite`]; the caller drops the packet if it fails.
#[inline(always)]
pub fn readdress<F: Family, P: Packet>(
    packet: &mut P,
    error: &Parsed<F>,
    end: End,
    addr: &F::Addr,
    ttl: Option<u8>,
) -> Result<(), Failed> {
    let old = match end {
        End::Source => &error.src,
        End::Destination => &error.dst,
    };
    let change = address::<F, P>(packet, end, old, addr, ttl)?;
    if F::V6 { packet.sum_addr(sum_of(error), change, true) } else { Ok(()) }
}

/// Translates an error. [`End::Source`]: it comes from inside, its source and the quoted destination become `addr`, the quoted
/// destination port `port`. [`End::Destination`]: it comes from outside, its destination and the quoted source do.
#[inline(always)]
pub fn relay<F: Family, P: Packet>(
    packet: &mut P,
    error: &Parsed<F>,
    quote: &Quote<F>,
    end: End,
    to: (&F::Addr, u16),
    ttl: Option<u8>,
) -> Result<(), Failed> {
    let change = requote(packet, quote, end, to.0, to.1)?;
    packet.sum_covered(sum_of(error).at, change)?;
    readdress(packet, error, end, to.0, ttl)
}

const fn sum_of<F: Family>(error: &Parsed<F>) -> L4Sum {
    L4Sum { at: error.l4 + 2, udp: false, pseudo: F::V6 }
}

/// Changes the quoted packet; how a sum over it changes.
#[inline(always)]
fn requote<F: Family, P: Packet>(
    packet: &mut P,
    quote: &Quote<F>,
    end: End,
    addr: &F::Addr,
    port: u16,
) -> Result<u32, Failed> {
    // What the error's destination sent came from there; what its source received went there.
    let (quoted, old_addr, old_port, addr_at) = match end {
        End::Source => (End::Destination, &quote.dst, quote.dport, quote.at + F::DST),
        End::Destination => (End::Source, &quote.src, quote.sport, quote.at + F::SRC),
    };
    let of_addr = old_addr.csum_diff(addr);
    packet.write(addr_at, *addr)?;
    let mut change = of_addr;
    if !F::V6 {
        change = fold_add(change, mend(packet, quote.at + 10, of_addr, false)?);
    }
    let mut of_port = 0;
    if let Some(at) = port_at(layout::<F>(quote.proto, quote.l4), quote.l4, quoted) {
        packet.write(at, port.to_be())?;
        of_port = diff(u32::from(old_port.to_be()), u32::from(port.to_be()));
        change = fold_add(change, of_port);
    }
    let of_sum = match sum(quote) {
        Some(Layout::Ports(sum) | Layout::Id(sum)) => {
            let covered = if sum.pseudo { fold_add(of_addr, of_port) } else { of_port };
            mend(packet, sum.at, covered, sum.udp)?
        }
        Some(Layout::Crc(at)) if old_port != port => crc(packet, at, quoted, quote.l4_len, old_port, port)?,
        _ => 0,
    };
    Ok(fold_add(change, of_sum))
}

/// Takes `change` into the checksum field at `at`; how a sum over the field changes.
#[inline(always)]
fn mend<P: Packet>(packet: &mut P, at: u32, change: u32, udp: bool) -> Result<u32, Failed> {
    let old: u16 = packet.read(at)?;
    if udp && old == 0 {
        return Ok(0);
    }
    let new = match apply(old, change) {
        0 if udp => u16::MAX,
        new => new,
    };
    packet.write(at, new)?;
    Ok(diff(u32::from(old), u32::from(new)))
}

#[cfg(test)]
mod tests;
