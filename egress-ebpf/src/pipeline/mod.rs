//! The steps that a packet takes, in their order. One file per entry point.

pub(crate) mod expire;
pub(crate) mod express;
pub(crate) mod guard;
pub(crate) mod import;
pub(crate) mod inward;
pub(crate) mod out;

mod answer;
mod carry;
mod errors;
mod fragments;
mod read;
mod reset;
mod restart;
mod steps;

use aya_ebpf::bindings::TC_ACT_OK;
use egress_common::{
    abi::{
        config::{Config, flags as modes},
        family::Address,
        flow::{IN, seen},
        fragment::fate,
        hop::{Hop, flags},
        policy::local,
    },
    answer::Answering,
    conntrack::stray,
    delivery::{Way, facts, way},
    nat::rewrite::{self, End},
    packet::{
        header::{IPV4, IPV6, proto},
        parse::{Kind, Parsed, l4_at},
    },
    reset::Resetting,
    verdict::{Counter, Drop},
};

use crate::{
    alloc::Allocate,
    count,
    ctx::skb::Skb,
    deliver,
    fib::{Ask, Leg, next_hop},
    maps::{Maps, config},
    socket,
    store::Now,
};

/// Everything that a family brings.
pub(crate) trait Stack: Ask + Allocate + Answering + Resetting + restart::Restart {}
impl<F: Ask + Allocate + Answering + Resetting + restart::Restart> Stack for F {}

/// Hands a frame to its family's steps. Frames that are not for this host, and other protocols, are the kernel's.
#[inline(always)]
fn by_family(skb: Skb, v4: impl FnOnce(Skb) -> i32, v6: impl FnOnce(Skb) -> i32) -> i32 {
    if !skb.to_host() {
        return TC_ACT_OK;
    }
    if skb.vlan_tagged() && !skb.untag() {
        return count::drop(Drop::Vlan);
    }
    match skb.ethertype() {
        IPV4 => v4(skb),
        IPV6 => v6(skb),
        _ => TC_ACT_OK,
    }
}

/// A packet with what every step needs.
struct Arrived<P> {
    packet: P,
    config: &'static Config,
    now: Now,
}

/// Reads configuration, headers and clock; the packet stands in `slot` then. `Err` holds the verdict of one that ends here.
///
/// # Safety
/// The slot has room for it, and nobody else uses it until the program ends.
#[inline(always)]
unsafe fn arrive<F: Maps>(skb: Skb, slot: *mut Parsed<F>) -> Result<Arrived<&'static Parsed<F>>, i32> {
    let Some(config) = config() else { return Err(count::drop(Drop::NotConfigured)) };
    match F::parse(&skb) {
        Ok(packet) => {
            // SAFETY: the caller's promise.
            let packet = unsafe {
                slot.write(packet);
                &*slot
            };
            Ok(Arrived { packet, config, now: Now::glance(config) })
        }
        Err(reason) => Err(count::drop(reason)),
    }
}

/// The same in a step behind `read`.
#[inline(always)]
fn resume<F: Maps>() -> Result<Arrived<&'static mut Parsed<F>>, i32> {
    let (Some(config), Some(packet)) = (config(), F::packet()) else { return Err(count::drop(Drop::NotConfigured)) };
    // SAFETY: `read` wrote it, and it belongs to this CPU until the program ends.
    Ok(Arrived { packet: unsafe { &mut *packet }, config, now: Now::glance(config) })
}

/// Whether a packet from a Pod that belongs to no flow is to be passed on: another table, or the kernel's NAT, may know its
/// flow. Nobody can know that of a SYN yet.
#[inline(always)]
fn yields_out<F: Maps>(config: &Config, packet: &Parsed<F>) -> bool {
    let opens = packet.proto == proto::TCP && packet.seen == seen::SYN;
    config.flags & modes::YIELD != 0 && !(opens && config.flags & modes::YIELD_NOT_SYN != 0)
}

/// Likewise, from outside. What is translated comes to an own address: to any other the kernel would only forward it.
#[inline(always)]
fn yields_in<F: Maps>(config: &Config, packet: &Parsed<F>) -> bool {
    config.flags & (modes::YIELD | modes::YIELD_NOT_SYN) != 0 && F::local(&packet.dst).is_some()
}

/// Whether a packet stays on its link: multicast, link-local, sources that no packet may have. The kernel's alone. Discovery
/// to an own address is for [`own`]; to any other unicast address it is nobody's: the kernel would forward it.
#[inline(always)]
fn link_only<F: Maps>(packet: &Parsed<F>) -> bool {
    packet.dst.is_special() || packet.src.is_special() || packet.dst.is_link_local() || packet.src.is_link_local()
}

/// A packet to one of the gateway's own addresses that belongs to no flow. The kernel must not answer RST or "port
/// unreachable" for what may be a flow of ours, so it sees only what it has a socket for. Echo replies go to it as well: an
/// operator's ping from the gateway. What comes from outside in the midst of a connection that is gone may be answered by us.
#[inline(always)]
fn own<F: Stack>(skb: Skb, packet: &Parsed<F>, config: &Config, dir: u8, now: Now) -> i32 {
    match packet.kind {
        Kind::Query if packet.dport == 0 => {}
        Kind::Answer if packet.sport == 0 => {}
        Kind::Query | Kind::Answer => return count::drop(Drop::IcmpType),
        Kind::LinkControl => {}
        Kind::Ports if socket::listens::<F>(skb, &packet.key(dir)) => {}
        Kind::Tail => return steps::EARLY,
        Kind::Error => return count::drop(Drop::IcmpError),
        Kind::Other(reason) => return count::drop(reason),
        Kind::Ports
            if dir == IN
                && packet.proto == proto::TCP
                && stray::resets_outside(packet.seen, config.flags)
                && F::local(&packet.dst).is_some_and(|flags| flags & local::EXTERNAL != 0) =>
        {
            return steps::RESET;
        }
        _ => return count::drop(Drop::NoMapping),
    }
    if packet.piece.is_first() {
        match fragments::remember(packet, dir, fate::OWN, now) {
            Ok(false) => {}
            Ok(true) => return steps::RELEASE,
            Err(()) => return count::drop(Drop::Fragment),
        }
    }
    count::to_stack()
}

/// Sends a packet on as it is (`snat: false`). What needs more than a lower TTL (options that routers act on), the kernel
/// forwards.
#[inline(always)]
fn untranslated<F: Stack>(mut skb: Skb, packet: &Parsed<F>, config: &Config, end: End, now: Now) -> i32 {
    count::add(Counter::Untranslated, 1);
    if matches!(packet.kind, Kind::Other(_)) || (packet.l4 != l4_at::<F>() && !packet.piece.is_fragment()) {
        return deliver::stack();
    }
    let leg = Leg::of::<F>(config, end);
    let Ok(hop) = next_hop::<F>(skb, &packet.src, &packet.dst, &leg, now) else { return deliver::stack() };
    // SAFETY: the slot belongs to this CPU.
    let hop = unsafe { &mut *hop };
    let way = way(packet, end, &facts(hop, now.ns), leg.mode);
    if !matches!(way, Way::Peer | Way::Neigh) || hop.flags & flags::BACK != 0 {
        return deliver::stack();
    }
    if rewrite::forward::<F, _>(&mut skb, packet.ttl).is_err() {
        return count::drop(Drop::Rewrite);
    }
    send::<F>(skb, hop, &leg, way, now)
}

#[inline(always)]
fn send<F: Stack>(mut skb: Skb, hop: &mut Hop<F::Addr>, leg: &Leg<F::Addr>, way: Way, now: Now) -> i32 {
    match way {
        Way::Peer => deliver::peer(&mut skb, hop, leg.oif).unwrap_or_else(|_| count::drop(Drop::Rewrite)),
        Way::Neigh => deliver::neigh::<F>(hop, leg.oif, now),
        _ => TC_ACT_OK,
    }
}
