//! Next hops: the kernel's routing table, asked once a second per destination and CPU.

use aya_ebpf::{
    bindings::{__sk_buff, bpf_fib_lookup as FibLookup},
    helpers::bpf_fib_lookup,
};
use egress_common::{
    abi::{
        config::Config,
        family::{Addr6, Address, Family, V4, V6},
        hop::{Hop, flags},
    },
    nat::rewrite::End,
    verdict::{Counter, Drop},
};

use crate::{broken, count, ctx::skb::Skb, maps::Maps, store::Now};

/// Answers of `bpf_fib_lookup` (linux/bpf.h).
mod answer {
    pub(super) const SUCCESS: i64 = 0;
    pub(super) const BLACKHOLE: i64 = 1;
    pub(super) const PROHIBIT: i64 = 3;
    pub(super) const FORWARDING_OFF: i64 = 5;
    pub(super) const NO_NEIGHBOUR: i64 = 7;
}

/// The interfaces and gateway that one direction uses.
#[derive(Clone, Copy)]
pub(crate) struct Leg<A> {
    /// Interface that the packet came in by.
    pub(crate) iif: u32,
    /// Interface that it shall leave by.
    pub(crate) oif: u32,
    /// Gateway of the Subnet on that side; zero if there is none.
    pub(crate) gateway: A,
    /// MTU of `oif`.
    pub(crate) mtu: u32,
    /// One of `egress_common::abi::config::forward`.
    pub(crate) mode: u32,
}

impl<A: Address> Leg<A> {
    /// The leg of a direction.
    #[inline(always)]
    pub(crate) fn of<F: Maps<Addr = A>>(config: &Config, end: End) -> Self {
        let (inside, outside) = F::gateways(config);
        match end {
            End::Source => Self {
                iif: config.internal_ifindex,
                oif: config.external_ifindex,
                gateway: *outside,
                mtu: config.external_mtu,
                mode: config.forward_out,
            },
            End::Destination => Self {
                iif: config.external_ifindex,
                oif: config.internal_ifindex,
                gateway: *inside,
                mtu: config.internal_mtu,
                mode: config.forward_in,
            },
        }
    }
}

/// The next hop for `dst`, from the cache or from the kernel.
#[inline(always)]
pub(crate) fn next_hop<F: Ask>(
    skb: Skb,
    src: &F::Addr,
    dst: &F::Addr,
    leg: &Leg<F::Addr>,
    now: Now,
) -> Result<*mut Hop<F::Addr>, Drop> {
    let Some(hop) = F::hop(dst) else { return Err(Drop::NoRoute) };
    // SAFETY: the slot belongs to this CPU, and programs on one CPU do not interrupt each other here.
    let slot = unsafe { &mut *hop };
    let same = slot.dst == *dst && slot.iif == leg.iif;
    if same && slot.believed(now.ns) {
        return Ok(hop);
    }
    if !same {
        slot.probed_ns = 0;
    }
    count::add(Counter::HopLookups, 1);
    slot.dst = *dst;
    slot.iif = leg.iif;
    slot.mtu = leg.mtu;
    slot.via = leg.gateway;
    slot.asked_ns = 0;
    let failed = F::ask(skb.raw(), hop, core::ptr::from_ref(src).cast_mut(), leg.oif);
    if failed != 0 {
        return Err(drop_of(failed));
    }
    if slot.via == leg.gateway {
        slot.flags |= flags::MANAGED;
    }
    if slot.flags & flags::PENDING == 0 {
        slot.asked_ns = now.ns;
    }
    Ok(hop)
}

/// The next hop for `dst` if this CPU's cache has it and it is still believed.
#[inline(always)]
pub(crate) fn known<F: Maps>(dst: &F::Addr, iif: u32, now: Now) -> Option<&'static Hop<F::Addr>> {
    // SAFETY: the slot belongs to this CPU, and programs on one CPU do not interrupt each other here.
    let slot = unsafe { &*F::hop(dst)? };
    (slot.dst.lanes() == dst.lanes() && slot.iif == iif && slot.believed(now.ns)).then_some(slot)
}

#[inline(always)]
fn drop_of(number: u32) -> Drop {
    if number == Drop::Blackhole as u32 {
        Drop::Blackhole
    } else if number == Drop::ForwardingOff as u32 {
        Drop::ForwardingOff
    } else {
        Drop::NoRoute
    }
}

/// A family with its out-of-line question to the routing table.
pub(crate) trait Ask: Maps {
    /// Fills `hop`, whose `dst`, `iif`, and defaults for `mtu` and `via` are set. 0, or the number of a [`Drop`].
    fn ask(skb: *mut __sk_buff, hop: *mut Hop<Self::Addr>, src: *mut Self::Addr, oif: u32) -> u32;
}

impl Ask for V4 {
    #[inline(always)]
    fn ask(skb: *mut __sk_buff, hop: *mut Hop<[u8; 4]>, src: *mut [u8; 4], oif: u32) -> u32 {
        ask4(skb, hop, src, oif)
    }
}

impl Ask for V6 {
    #[inline(always)]
    fn ask(skb: *mut __sk_buff, hop: *mut Hop<Addr6>, src: *mut Addr6, oif: u32) -> u32 {
        ask6(skb, hop, src, oif)
    }
}

/// See [`Ask`].
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn ask4(skb: *mut __sk_buff, hop: *mut Hop<[u8; 4]>, src: *mut [u8; 4], oif: u32) -> u32 {
    ask::<V4>(skb, hop, src, oif)
}

/// See [`Ask`].
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn ask6(skb: *mut __sk_buff, hop: *mut Hop<Addr6>, src: *mut Addr6, oif: u32) -> u32 {
    ask::<V6>(skb, hop, src, oif)
}

/// No interface has such a number. The argument must be used all the same: callers would leave its register empty.
const BROKEN: u32 = (broken::HOP as u32) << 31;

/// An ingress lookup with flags 0: it obeys `iif` rules. A route that leaves by another interface than `oif` counts as none,
/// then the Subnet's gateway is the next hop.
#[inline(always)]
fn ask<F: Family>(skb: *mut __sk_buff, hop: *mut Hop<F::Addr>, src: *mut F::Addr, oif: u32) -> u32 {
    // SAFETY: the verifier holds callers of a global function to valid pointers or null.
    let (Some(hop), Some(src)) = (unsafe { hop.as_mut() }, unsafe { src.as_ref() }) else {
        return Drop::NoRoute as u32;
    };
    // SAFETY: all zero is a valid value of the C struct.
    let mut question: FibLookup = unsafe { core::mem::zeroed() };
    question.family = F::AF;
    question.ifindex = hop.iif;
    // A length of 1 asks for the route's MTU and exceeds none.
    question.__bindgen_anon_1.tot_len = 1;
    // SAFETY: both unions have room for an address of either family at their start.
    unsafe {
        (&raw mut question.__bindgen_anon_3).cast::<F::Addr>().write_unaligned(*src);
        (&raw mut question.__bindgen_anon_4).cast::<F::Addr>().write_unaligned(hop.dst);
    }
    let size = size_of::<FibLookup>() as i32;
    // SAFETY: the context is valid, `size` is the size of what the pointer points to.
    let answer = unsafe { bpf_fib_lookup(skb.cast(), &raw mut question, size, 0) };
    let no_gateway = hop.via == F::Addr::ZERO;
    hop.flags = 0;
    match answer {
        answer::BLACKHOLE..=answer::PROHIBIT => return Drop::Blackhole as u32,
        answer::FORWARDING_OFF => return Drop::ForwardingOff as u32,
        answer::SUCCESS | answer::NO_NEIGHBOUR if question.ifindex == oif | BROKEN => {
            // SAFETY: the kernel wrote the next hop's address there.
            hop.via = unsafe { (&raw const question.__bindgen_anon_4).cast::<F::Addr>().read_unaligned() };
            if answer == answer::SUCCESS {
                hop.flags = flags::RESOLVED;
                hop.dmac = question.dmac;
                hop.smac = question.smac;
                // SAFETY: on success the kernel wrote the MTU there.
                let mtu = u32::from(unsafe { question.__bindgen_anon_1.mtu_result });
                if mtu > 1 {
                    hop.mtu = mtu;
                }
            } else {
                hop.flags = flags::PENDING;
            }
        }
        answer::SUCCESS | answer::NO_NEIGHBOUR if question.ifindex == hop.iif | BROKEN => hop.flags = flags::BACK,
        _ if no_gateway => return Drop::NoRoute as u32,
        _ => {}
    }
    0
}
