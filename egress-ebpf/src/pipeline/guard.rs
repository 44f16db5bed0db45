//! The last look at what the kernel sends to the external network: nothing leaves from an address that may not. What the
//! programs redirect to the interface's peer does not come by here; it is translated by construction.

use aya_ebpf::bindings::TC_ACT_OK;
use egress_common::{
    abi::{
        family::{Address, V4, V6},
        policy::local,
    },
    packet::{
        Packet,
        header::{ETHERNET, IPV4, IPV6},
    },
    verdict::Drop,
};

use crate::{
    count,
    ctx::skb::Skb,
    maps::{Maps, Wire},
};

/// EtherType of ARP, as a native number read from the wire.
const ARP: u16 = 0x0806_u16.to_be();

/// Offset of the sender's protocol address in an ARP packet (RFC 826).
const ARP_SENDER: u32 = 14;

/// `egw_guard`. Only IPv4, IPv6 and ARP without VLAN tags pass at all.
#[inline(always)]
pub(crate) fn run(skb: Skb) -> i32 {
    let allowed = match skb.ethertype() {
        _ if skb.vlan_tagged() => false,
        IPV4 => ip::<V4>(skb),
        IPV6 => ip::<V6>(skb),
        ARP => arp(skb),
        _ => false,
    };
    if allowed { TC_ACT_OK } else { count::drop(Drop::Guard) }
}

#[inline(always)]
fn ip<F: Maps + Wire>(skb: Skb) -> bool {
    let Ok(src) = skb.read::<F::Addr>(ETHERNET + F::SRC) else { return false };
    let Ok(dst) = skb.read::<F::Addr>(ETHERNET + F::DST) else { return false };
    own::<F>(&src) || (F::V6 && src.is_link_local()) || F::no_snat(&src) || F::no_snat(&dst)
}

/// The kernel may ask for a neighbour in the name of any address it has: only external ones may be heard outside.
#[inline(always)]
fn arp(skb: Skb) -> bool {
    skb.read::<[u8; 4]>(ETHERNET + ARP_SENDER).is_ok_and(|sender| own::<V4>(&sender))
}

/// An address of the external interface, or none yet (DHCP, duplicate address detection).
#[inline(always)]
fn own<F: Maps>(src: &F::Addr) -> bool {
    *src == F::Addr::ZERO || F::local(src).is_some_and(|flags| flags & local::EXTERNAL != 0)
}
