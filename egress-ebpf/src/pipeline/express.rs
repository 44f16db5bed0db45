//! The same pipeline on XDP, for what needs nothing but a lookup: a plain packet of a flow, finished, to a next hop that this
//! CPU knows. Everything else goes on to TC untouched: it decides, drops, counts, and keeps the next hops fresh.

use core::mem::MaybeUninit;

use aya_ebpf::{
    bindings::{xdp_action, xdp_md},
    helpers::bpf_redirect,
};
use egress_common::{
    abi::{
        config::{Config, flags as modes, forward},
        family::{V4, V6},
        flow::seen,
        hop::{Hop, flags},
    },
    delivery::{Way, way},
    nat::rewrite::{End, rewrite},
    packet::{
        Packet,
        finished::finished,
        header::{IPV4, IPV6, proto},
        parse::{Kind, l4_at},
    },
    verdict::{Counter, Drop},
};

use super::{
    Stack,
    carry::{Header, counted, entry, translation},
};
use crate::{
    count,
    ctx::xdp::Frame,
    deliver::Macs,
    fib::{self, Leg, known},
    maps::config,
    store::Now,
};

const PASS: u32 = xdp_action::XDP_PASS;

/// `egw_xdp_out`.
#[inline(always)]
pub(crate) fn out(frame: Frame) -> u32 {
    match frame.ethertype() {
        IPV4 => xdp_out4(frame.raw()),
        IPV6 => xdp_out6(frame.raw()),
        _ => PASS,
    }
}

/// `egw_xdp_in`.
#[inline(always)]
pub(crate) fn inward(frame: Frame) -> u32 {
    match frame.ethertype() {
        IPV4 => xdp_in4(frame.raw()),
        IPV6 => xdp_in6(frame.raw()),
        _ => PASS,
    }
}

macro_rules! steps {
    ($($name:ident($family:ty, $end:expr);)+) => {
        $(
            #[unsafe(no_mangle)]
            #[inline(never)]
            extern "C" fn $name(raw: *mut xdp_md) -> u32 {
                plain::<$family>(Frame::new(raw), $end).unwrap_or(PASS)
            }
        )+
    };
}

steps! {
    xdp_out4(V4, End::Source);
    xdp_out6(V6, End::Source);
    xdp_in4(V4, End::Destination);
    xdp_in6(V6, End::Destination);
}

/// Whether frames may leave in this direction, and whom they must come to.
#[inline(always)]
fn side(config: &Config, end: End) -> Option<&[u8; 6]> {
    let (bit, mac) = match end {
        End::Source => (modes::XDP_OUT, &config.internal_mac),
        End::Destination => (modes::XDP_IN, &config.external_mac),
    };
    (config.flags & bit != 0).then_some(mac)
}

/// Translates a packet and sends it on; none: it is TC's, and as it was.
#[inline(always)]
fn plain<F: Stack>(mut frame: Frame, end: End) -> Option<u32> {
    let config = config()?;
    if !frame.is_to(side(config, end)?) {
        return None;
    }
    // As for TC: IPv6's is more than registers and the stack can hold.
    let mut here = MaybeUninit::uninit();
    let slot = if F::V6 { F::packet()? } else { here.as_mut_ptr() };
    // SAFETY: the slot is this function's own or this CPU's, and has room for it.
    let packet = unsafe {
        slot.write(F::parse(&frame).ok()?);
        &*slot
    };
    if matches!(packet.kind, Kind::Deep) || !F::intact(&frame, true) || !finished(&frame, packet) {
        return None;
    }
    // What the compiler needs to be told again, as in TC.
    let tcp = packet.proto == proto::TCP;
    if !tcp && packet.proto != proto::UDP && packet.proto != F::ICMP {
        return None;
    }
    // It may begin a connection anew.
    if tcp && packet.seen == seen::SYN {
        return None;
    }
    let leg = Leg::of::<F>(config, end);
    if leg.mode == forward::STACK {
        return None;
    }
    let now = Now::read(config);
    let entry = entry(packet, end, now)?;
    let dst = if matches!(end, End::Source) { &packet.dst } else { &entry.nat.0 };
    let hop = known::<F>(dst, leg.iif, now)?;
    let facts = fib::facts(hop, now);
    if hop.flags & flags::BACK != 0 || way(packet, end, &facts, forward::PEER) != Way::Peer {
        return None;
    }
    let to = translation(packet, Header { l4: l4_at::<F>(), headless: false }, end, &entry, true);
    if rewrite(&mut frame, &to).is_err() || send(&mut frame, hop).is_err() {
        // Its headers were read: it cannot be.
        count::drop(Drop::Rewrite);
        return Some(xdp_action::XDP_ABORTED);
    }
    counted(packet, end, &entry);
    count::add(Counter::XdpPackets, 1);
    // SAFETY: the helper only notes the target.
    Some(unsafe { bpf_redirect(leg.oif, 0) } as u32)
}

#[inline(always)]
fn send<A>(frame: &mut Frame, hop: &Hop<A>) -> Result<(), egress_common::packet::Failed> {
    frame.write(0, Macs { to: hop.dmac, from: hop.smac })
}
