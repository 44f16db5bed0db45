//! The last look at what the kernel sends to the external network: nothing leaves from an address that may not. What the
//! programs redirect to the interface's peer does not come by here; they have translated it, or policy lets it out as it is.

use aya_ebpf::bindings::TC_ACT_OK;
use egress_common::{
    abi::{
        family::{Address, V4, V6},
        policy::local,
    },
    packet::{
        Packet,
        header::{ETHERNET, IPV4, IPV6, Short},
        parse::Kind,
        transport::icmp_kind,
    },
    verdict::Drop,
};

use crate::{
    broken, count,
    ctx::{copied::Copied, skb::Skb},
    maps::Maps,
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
    if allowed || broken::GUARD { TC_ACT_OK } else { count::drop(Drop::Guard) }
}

#[inline(always)]
fn ip<F: Maps>(skb: Skb) -> bool {
    let Ok(src) = skb.read::<F::Addr>(ETHERNET + F::SRC) else { return false };
    let Ok(dst) = skb.read::<F::Addr>(ETHERNET + F::DST) else { return false };
    if own::<F>(&src) {
        return !quotes_inside::<F>(skb);
    }
    (F::V6 && src.is_link_local()) || F::no_snat(&src) || F::no_snat(&dst)
}

/// Whether it is an ICMP error about a packet that is not to an own address. The kernel sends one when it cannot forward what
/// was translated already, and quotes it as it is then, with the Pod's address.
#[inline(always)]
fn quotes_inside<F: Maps>(skb: Skb) -> bool {
    let protocol_at = ETHERNET + if F::V6 { 6 } else { 9 };
    let (Ok(first), Ok(protocol)) = (skb.read::<u8>(ETHERNET), skb.read::<u8>(protocol_at)) else { return true };
    if protocol != F::ICMP {
        return false;
    }
    // A later fragment begins with data, whatever that looks like.
    if !F::V6 && skb.read::<[u8; 2]>(ETHERNET + 6).is_ok_and(|it| it[0] & 0x1f != 0 || it[1] != 0) {
        return false;
    }
    let icmp = ETHERNET + if F::V6 { F::HEADER } else { u32::from(first & 0xf) * 4 };
    let Ok(kind) = Copied(skb).read::<u8>(icmp) else { return true };
    if icmp_kind::<F>(kind) != Kind::Error {
        return false;
    }
    let quoted = icmp + size_of::<Short>() as u32;
    let copied = Copied(skb);
    let (Ok(src), Ok(dst)) = (copied.read::<F::Addr>(quoted + F::SRC), copied.read::<F::Addr>(quoted + F::DST)) else {
        return true;
    };
    !own::<F>(&dst) && !F::no_snat(&src) && !F::no_snat(&dst)
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
