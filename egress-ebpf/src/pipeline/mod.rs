//! The steps that a packet takes, in their order. One file per entry point.

pub(crate) mod expire;
pub(crate) mod guard;
pub(crate) mod inward;
pub(crate) mod out;

use aya_ebpf::bindings::TC_ACT_OK;
use egress_common::{
    abi::{
        config::Config,
        family::{Address, Family},
        hop::Hop,
    },
    delivery::{Way, way},
    nat::rewrite::{self, End, Rewrite, rewrite},
    packet::{
        header::{IPV4, IPV6},
        parse::{Kind, Parsed},
    },
    verdict::{Counter, Drop},
};

use crate::{
    alloc::Allocate,
    count,
    ctx::skb::Skb,
    deliver,
    fib::{self, Ask, Leg, next_hop},
    maps::{Maps, Wire, config},
    socket,
    store::{Entry, Now},
};

/// Everything that a family brings.
pub(crate) trait Stack: Ask + Allocate + Wire {}
impl<F: Ask + Allocate + Wire> Stack for F {}

/// Hands a frame to its family's steps. Frames that are not for this host or not for this interface (VLAN), and other
/// protocols, are the kernel's.
#[inline(always)]
fn by_family(skb: Skb, v4: impl FnOnce(Skb) -> i32, v6: impl FnOnce(Skb) -> i32) -> i32 {
    if !skb.to_host() || skb.vlan_tagged() {
        return TC_ACT_OK;
    }
    match skb.ethertype() {
        IPV4 => v4(skb),
        IPV6 => v6(skb),
        _ => TC_ACT_OK,
    }
}

/// A packet with what every step needs.
struct Arrived<F: Family> {
    packet: Parsed<F>,
    config: &'static Config,
    now: Now,
}

/// Reads configuration, headers and clock. `Err` holds the verdict of a packet that ends here.
#[inline(always)]
fn arrive<F: Maps>(skb: Skb) -> Result<Arrived<F>, i32> {
    let Some(config) = config() else { return Err(count::drop(Drop::NotConfigured)) };
    match F::parse(&skb) {
        Ok(packet) => Ok(Arrived { packet, config, now: Now::read(config) }),
        Err(reason) => Err(count::drop(reason)),
    }
}

/// Whether a packet stays on its link: multicast, link-local, sources that no packet may have. The kernel's alone. Discovery
/// to an own address is for [`own`]; to any other unicast address it is nobody's: the kernel would forward it.
#[inline(always)]
fn link_only<F: Maps>(packet: &Parsed<F>) -> bool {
    packet.dst.is_special() || packet.src.is_special() || packet.dst.is_link_local() || packet.src.is_link_local()
}

/// A packet to one of the gateway's own addresses that belongs to no flow. The kernel must not answer RST or "port
/// unreachable" for what may be a flow of ours, so it sees only what it has a socket for. Echo replies go to it as well: an
/// operator's ping from the gateway.
#[inline(always)]
fn own<F: Maps>(skb: Skb, packet: &Parsed<F>) -> i32 {
    match packet.kind {
        Kind::EchoRequest | Kind::EchoReply | Kind::LinkControl => count::to_stack(),
        Kind::Ports if socket::listens(skb, packet) => count::to_stack(),
        Kind::Ports => count::drop(Drop::NoMapping),
        Kind::Other(reason) => count::drop(reason),
    }
}

/// Sends a packet on as it is (`snat: false`). What needs more than a lower TTL, the kernel forwards.
#[inline(always)]
fn untranslated<F: Stack>(mut skb: Skb, packet: &Parsed<F>, config: &Config, end: End, now: Now) -> i32 {
    count::add(Counter::Untranslated, 1);
    if matches!(packet.kind, Kind::Other(_)) {
        return deliver::stack();
    }
    let leg = Leg::of::<F>(config, end);
    let Ok(hop) = next_hop::<F>(skb, &packet.src, &packet.dst, &leg, now) else { return deliver::stack() };
    // SAFETY: the slot belongs to this CPU.
    let hop = unsafe { &mut *hop };
    let way = way(packet, end, &fib::facts(hop, now), leg.mode);
    if !matches!(way, Way::Peer | Way::Neigh) || hop.flags & egress_common::abi::hop::flags::BACK != 0 {
        return deliver::stack();
    }
    if rewrite::forward::<F, _>(&mut skb, packet.ttl).is_err() {
        return count::drop(Drop::Rewrite);
    }
    send::<F>(skb, hop, &leg, way, now)
}

/// Translates a packet of a flow and sends it; only what is sent is counted.
#[inline(always)]
fn translated<F: Stack>(
    mut skb: Skb,
    packet: &Parsed<F>,
    hop: &mut Hop<F::Addr>,
    leg: &Leg<F::Addr>,
    end: End,
    entry: &Entry<F>,
    now: Now,
) -> i32 {
    let way = way(packet, end, &fib::facts(hop, now), leg.mode);
    match way {
        Way::Untouched => return count::to_stack(),
        Way::Drop(reason) => return count::drop(reason),
        Way::Peer | Way::Neigh | Way::Stack => {}
    }
    let (old_addr, old_port) = match end {
        End::Source => (packet.src, packet.sport),
        End::Destination => (packet.dst, packet.dport),
    };
    let to = Rewrite::<F> {
        end,
        proto: packet.proto,
        old_addr,
        new_addr: entry.nat.0,
        old_port,
        new_port: entry.nat.1,
        ttl: (way != Way::Stack).then_some(packet.ttl),
    };
    if rewrite(&mut skb, &to).is_err() {
        return count::drop(Drop::Rewrite);
    }
    let (packets, bytes) = match end {
        End::Source => (Counter::OutPackets, Counter::OutBytes),
        End::Destination => (Counter::InPackets, Counter::InBytes),
    };
    entry.count(packet.len);
    count::add(packets, 1);
    count::add(bytes, u64::from(packet.len));
    send::<F>(skb, hop, leg, way, now)
}

#[inline(always)]
fn send<F: Stack>(mut skb: Skb, hop: &mut Hop<F::Addr>, leg: &Leg<F::Addr>, way: Way, now: Now) -> i32 {
    match way {
        Way::Peer => deliver::peer(&mut skb, hop, leg.oif).unwrap_or_else(|_| count::drop(Drop::Rewrite)),
        Way::Neigh => deliver::neigh::<F>(hop, leg.oif, now),
        _ => TC_ACT_OK,
    }
}
