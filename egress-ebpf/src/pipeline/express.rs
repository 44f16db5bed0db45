//! The same pipeline on XDP, for what needs nothing but a lookup: a plain packet of a flow, finished, to a next hop that this
//! CPU knows. Everything else goes on to TC untouched: it decides, drops, counts, and keeps the next hops fresh.

use aya_ebpf::{bindings::xdp_action, helpers::bpf_redirect};
use egress_common::{
    abi::{
        config::{Config, Mac, flags as modes, forward},
        family::{V4, V6},
        flow::{WideKey, seen},
        target::Target,
    },
    delivery::{Way, way},
    nat::{prepared::translate, rewrite::End},
    packet::{
        Failed, Packet,
        finished::finished,
        header::{ETHERNET, IPV4, IPV6, proto},
        parse::{Kind, Parsed},
    },
    verdict::Drop,
};

use super::{Stack, carry::dir};
use crate::{
    count,
    ctx::xdp::Frame,
    fib::{Leg, known},
    maps::config,
    shortcut::{Found, find},
    store::{Entry, Now},
};

/// `egw_xdp_out` and `egw_xdp_in`.
#[inline(always)]
pub(crate) fn run(frame: Frame, end: End) -> u32 {
    let verdict = match frame.ethertype() {
        IPV4 => plain::<V4>(frame, end),
        IPV6 => plain::<V6>(frame, end),
        _ => None,
    };
    verdict.unwrap_or(xdp_action::XDP_PASS)
}

/// Whom frames of this direction must come to and from whom they leave, if they may.
#[inline(always)]
fn sides(config: &Config, end: End) -> Option<(&Mac, &Mac)> {
    let (inside, outside) = (&config.internal_mac, &config.external_mac);
    let (bit, sides) = match end {
        End::Source => (modes::XDP_OUT, (inside, outside)),
        End::Destination => (modes::XDP_IN, (outside, inside)),
    };
    (config.flags & bit != 0).then_some(sides)
}

/// A frame of TCP or UDP; none: it is TC's, and as it was. Once for each protocol: half of all jumps are about it.
#[inline(always)]
fn plain<F: Stack>(frame: Frame, end: End) -> Option<u32> {
    let config = config()?;
    let (to, from) = sides(config, end)?;
    if !frame.is_to(to) {
        return None;
    }
    match frame.read::<u8>(ETHERNET + if F::V6 { 6 } else { 9 }).ok()? {
        proto::TCP => of::<F, { proto::TCP }>(frame, config, from, end),
        proto::UDP => of::<F, { proto::UDP }>(frame, config, from, end),
        _ => None,
    }
}

/// Writes both addresses of the Ethernet header.
#[inline(always)]
fn macs(frame: &mut Frame, (first, last): (u64, u32)) -> Result<(), Failed> {
    frame.write(0, first)?;
    frame.write(8, last)
}

/// Translates a packet and sends it on.
#[inline(always)]
fn of<F: Stack, const PROTO: u8>(mut frame: Frame, config: &Config, from: &Mac, end: End) -> Option<u32> {
    let parsed = F::parse(&frame).ok()?;
    if !matches!(parsed.kind, Kind::Ports) || parsed.proto != PROTO || !F::intact(&frame, true) {
        return None;
    }
    let packet = &Parsed { kind: Kind::Ports, proto: PROTO, ..parsed };
    if !finished(&frame, packet) {
        return None;
    }
    // It may begin a connection anew.
    if PROTO == proto::TCP && packet.seen == seen::SYN {
        return None;
    }
    let leg = Leg::of::<F>(config, end);
    if leg.mode == forward::STACK {
        return None;
    }
    let now = Now::glance(config);
    let key = WideKey::new(&packet.key(dir(end)));
    let (entry, target) = match find::<F>(&key, packet.seen, now) {
        Found::Half(entry, target) => (entry, target),
        missed => {
            let entry = Entry::touch(&key, packet.seen, now.s)?;
            let dst = if matches!(end, End::Source) { &packet.dst } else { &entry.nat.0 };
            let target = Target::of(key.own(), entry.nat, known::<F>(dst, leg.iif, now)?, from, now.ns)?;
            if matches!(missed, Found::Learn) {
                F::learn(&key, &target, now.s);
            }
            (entry, target)
        }
    };
    if way(packet, end, &target.hop(), forward::PEER) != Way::Peer {
        return None;
    }
    // Nothing can fail from here on. A locked addition waits for all stores before it, so it comes first.
    entry.count(packet.len);
    if translate::<F, _>(&mut frame, PROTO, end, entry.nat, packet.ttl, target.sums).is_err()
        || macs(&mut frame, target.macs(from)).is_err()
    {
        // Its headers were read: it cannot be.
        count::drop(Drop::Rewrite);
        return Some(xdp_action::XDP_ABORTED);
    }
    count::translated(end, packet.len, true);
    // SAFETY: the helper only notes the target.
    Some(unsafe { bpf_redirect(leg.oif, 0) } as u32)
}
