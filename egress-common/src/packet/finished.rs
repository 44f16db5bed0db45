//! Whether a packet's checksum stands in it yet, for who sees bytes only (XDP).
//!
//! A socket of this machine leaves the sum over its data to the interface, and a veth passes the packet on as it is: the field
//! holds the sum over the pseudo header alone. The kernel remembers that beside the packet; in an XDP frame nothing does.

use super::{
    Packet,
    csum::is_zero,
    header::proto,
    parse::Parsed,
    transport::{Layout, layout},
};
use crate::abi::family::{Address, Family};

/// Ports of tunnels whose inner packets may be unfinished: their outer sum is left out, or made as if the inner one stood
/// (local checksum offload of the kernel's VXLAN, VXLAN-GPE, GUE, Geneve and MPLS-over-UDP).
const TUNNELS: [u16; 6] = [4789, 4790, 6080, 6081, 6635, 8472];

/// Whether the checksum of a plain packet is whole, as far as its bytes say. A whole sum that looks like an unfinished one (one
/// in 65,535) counts as unfinished, and so does UDP that may hold an unfinished packet.
#[inline(always)]
#[must_use]
pub fn finished<F: Family, P: Packet>(packet: &P, parsed: &Parsed<F>) -> bool {
    let udp = parsed.proto == proto::UDP;
    if !udp && parsed.proto != proto::TCP {
        return true;
    }
    let Layout::Ports(sum) = layout::<F>(parsed.proto, parsed.l4) else { return true };
    let Ok(field) = packet.read::<u16>(sum.at) else { return false };
    if udp && (field == 0 || TUNNELS.contains(&parsed.dport)) {
        return false;
    }
    let of = |addr: &F::Addr| u64::from(F::Addr::ZERO.csum_diff(addr));
    let length = u64::from(parsed.l4_len().to_be());
    // The pseudo header (RFC 9293 §3.1, RFC 768, RFC 8200 §8.1).
    let pseudo = of(&parsed.src) + of(&parsed.dst) + length + u64::from(u32::from(parsed.proto).to_be());
    // The same number as the field's, be it the other zero.
    !is_zero(pseudo + u64::from(!field))
}

#[cfg(test)]
mod tests;
