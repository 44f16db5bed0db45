//! Whether the gateway itself listens: probes, BFD, BGP and metrics end here, everything else to an own address does not.

use core::ffi::c_void;

use aya_ebpf::{
    bindings::{BPF_F_CURRENT_NETNS, bpf_sock_tuple},
    helpers::{bpf_sk_lookup_udp, bpf_sk_release, bpf_skc_lookup_tcp},
};
use egress_common::{
    abi::{family::Family, flow::FlowKey},
    packet::header::proto,
};

use crate::ctx::skb::Skb;

/// The kernel's `bpf_sock_tuple` of one family: addresses and ports in network order.
#[repr(C, align(4))]
struct Tuple<A> {
    saddr: A,
    daddr: A,
    sport: u16,
    dport: u16,
}

/// Whether a socket would take a segment or datagram of this key.
#[inline(always)]
pub(crate) fn listens<F: Family>(skb: Skb, packet: &FlowKey<F::Addr>) -> bool {
    if !matches!(packet.proto, proto::TCP | proto::UDP) {
        return false;
    }
    let mut tuple =
        Tuple { saddr: packet.saddr, daddr: packet.daddr, sport: packet.sport.to_be(), dport: packet.dport.to_be() };
    let raw: *mut c_void = skb.raw().cast();
    let key: *mut bpf_sock_tuple = (&raw mut tuple).cast();
    let len = size_of::<Tuple<F::Addr>>() as u32;
    let here = BPF_F_CURRENT_NETNS as i64 as u64;
    // SAFETY: the context is valid and `len` is the size of what `key` points to.
    let socket: *mut c_void = unsafe {
        if packet.proto == proto::TCP {
            bpf_skc_lookup_tcp(raw, key, len, here, 0).cast()
        } else {
            bpf_sk_lookup_udp(raw, key, len, here, 0).cast()
        }
    };
    if socket.is_null() {
        return false;
    }
    // SAFETY: the reference that the lookup took is given back once.
    unsafe { bpf_sk_release(socket) };
    true
}
