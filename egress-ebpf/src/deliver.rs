//! Carrying out a way that `egress_common::delivery` chose.

use aya_ebpf::{
    bindings::{TC_ACT_OK, bpf_redir_neigh},
    helpers::{bpf_redirect_neigh, bpf_redirect_peer},
};
use egress_common::{
    abi::{family::Family, hop::Hop},
    packet::{Failed, Packet, Plain},
};

use crate::{ctx::skb::Skb, store::Now};

/// Both addresses of an Ethernet header.
#[repr(C, align(2))]
#[derive(Clone, Copy)]
pub(crate) struct Macs {
    pub(crate) to: [u8; 6],
    pub(crate) from: [u8; 6],
}

// SAFETY: bytes only.
unsafe impl Plain for Macs {}

/// Writes both addresses of the Ethernet header for a next hop, as three words.
#[inline(always)]
pub(crate) fn macs<P: Packet, A>(packet: &mut P, hop: &Hop<A>) -> Result<(), Failed> {
    // SAFETY: they stand one behind the other, aligned to words, as is asserted where `Hop` is.
    let [a, b, c] = unsafe { *(&raw const hop.dmac).cast::<[u32; 3]>() };
    packet.write(0, a)?;
    packet.write(4, b)?;
    packet.write(8, c)
}

/// Into the namespace of the interface's peer.
#[inline(always)]
pub(crate) fn peer<A>(skb: &mut Skb, hop: &Hop<A>, oif: u32) -> Result<i32, Failed> {
    macs(skb, hop)?;
    // SAFETY: the helper only notes the target.
    Ok(unsafe { bpf_redirect_peer(oif, 0) } as i32)
}

/// Through the kernel's neighbour code, with an explicit next hop: without one it would do an output lookup, which ignores
/// `iif` rules.
#[inline(always)]
pub(crate) fn neigh<F: Family>(hop: &mut Hop<F::Addr>, oif: u32, now: Now) -> i32 {
    hop.probed_ns = now.ns;
    // SAFETY: all zero is a valid value of the C struct.
    let mut to: bpf_redir_neigh = unsafe { core::mem::zeroed() };
    to.nh_family = u32::from(F::AF);
    // SAFETY: the union has room for an address of either family.
    unsafe { (&raw mut to.__bindgen_anon_1).cast::<F::Addr>().write_unaligned(hop.via) };
    // SAFETY: `to` is valid for the call, the size is its own.
    unsafe { bpf_redirect_neigh(oif, &raw mut to, size_of::<bpf_redir_neigh>() as i32, 0) as i32 }
}

/// To the kernel's routing.
#[inline(always)]
pub(crate) const fn stack() -> i32 {
    TC_ACT_OK
}
