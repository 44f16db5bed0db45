//! A packet of a flow: translate it and send it on.

use core::mem::MaybeUninit;

use egress_common::{
    abi::{
        config::Config,
        flow::{IN, OUT, WideKey, seen},
        fragment::fate,
        hop::Hop,
    },
    delivery::{Way, facts, way},
    nat::rewrite::{End, Rewrite, rewrite},
    packet::{
        Packet,
        header::proto,
        parse::{Kind, Parsed, l4_at},
    },
    verdict::Drop,
};

use super::{
    Arrived, Stack, arrive,
    fragments::{self, Recall},
    resume, send,
    steps::{DEEP, EARLY, NO_FLOW, RELEASE, answer_of},
};
use crate::{
    count,
    ctx::{copied::Copied, skb::Skb},
    fib::{Leg, next_hop},
    store::{Entry, Now},
};

/// `Steps::out_established` and `in_established`.
#[inline(always)]
pub(crate) fn plain<F: Stack>(skb: Skb, end: End) -> i32 {
    // IPv4's stays in registers; IPv6's is more than they and the stack can hold.
    let mut here = MaybeUninit::uninit();
    let slot = if F::V6 { F::packet() } else { Some(here.as_mut_ptr()) };
    let Some(slot) = slot else { return count::drop(Drop::NotConfigured) };
    // SAFETY: the slot is this function's own or this CPU's, and has room for it.
    let Arrived { packet, config, now } = match unsafe { arrive::<F>(skb, slot) } {
        Ok(arrived) => arrived,
        Err(verdict) => return verdict,
    };
    if matches!(packet.kind, Kind::Deep) {
        return DEEP;
    }
    if !F::intact(&skb, true) {
        return count::drop(Drop::Malformed);
    }
    // What the compiler needs to be told again where the packet is in a map: the rest of `rewrite` is not for here.
    if packet.proto != proto::TCP && packet.proto != proto::UDP && packet.proto != F::ICMP {
        return DEEP;
    }
    let header = Header { l4: l4_at::<F>(), headless: false };
    match entry(packet, end, now) {
        Some(entry) => carry(skb, skb, packet, header, config, end, &entry, now),
        None => NO_FLOW,
    }
}

/// `Steps::out_carry` and `in_carry`.
#[inline(always)]
pub(crate) fn any<F: Stack>(skb: Skb, end: End) -> i32 {
    let Arrived { packet, config, now } = match resume::<F>() {
        Ok(arrived) => arrived,
        Err(verdict) => return verdict,
    };
    let tail = matches!(packet.kind, Kind::Tail);
    if tail {
        match fragments::recall(packet, dir(end), now) {
            Recall::Flow => {}
            Recall::Own => return count::to_stack(),
            Recall::Unknown => return EARLY,
            Recall::Excess => return count::drop(Drop::Fragment),
        }
    }
    let Some(entry) = entry(packet, end, now) else {
        return if tail { count::drop(Drop::NoMapping) } else { NO_FLOW };
    };
    if packet.piece.is_first() {
        // A CRC over the whole datagram cannot be mended in one part of it.
        let crc = packet.proto == proto::SCTP && entry.nat.1 != own_port(packet, end);
        match fragments::remember(packet, dir(end), fate::FLOW, now) {
            Ok(false) if !crc => {}
            Ok(true) if !crc => return RELEASE,
            _ => return count::drop(Drop::Fragment),
        }
    }
    let header = Header { l4: packet.l4, headless: tail };
    carry(skb, Copied(skb), packet, header, config, end, &entry, now)
}

#[inline(always)]
pub(super) const fn dir(end: End) -> u8 {
    match end {
        End::Source => OUT,
        End::Destination => IN,
    }
}

#[inline(always)]
const fn own_port<F: Stack>(packet: &Parsed<F>, end: End) -> u16 {
    match end {
        End::Source => packet.sport,
        End::Destination => packet.dport,
    }
}

/// The packet's half of a flow.
#[inline(always)]
pub(super) fn entry<F: Stack>(packet: &Parsed<F>, end: End, now: Now) -> Option<Entry<F>> {
    let has_flow = match packet.kind {
        Kind::Ports | Kind::Bare | Kind::Tail => true,
        Kind::Query => matches!(end, End::Source),
        Kind::Answer => matches!(end, End::Destination),
        _ => false,
    };
    if has_flow { Entry::<F>::touch(&WideKey::new(&packet.key(dir(end))), packet.seen, now.s) } else { None }
}

/// Where the protocol's header is, if the packet has it.
#[derive(Clone, Copy)]
struct Header {
    l4: u32,
    headless: bool,
}

#[expect(clippy::too_many_arguments, reason = "inlined; a struct of them would not fit the stack")]
#[inline(always)]
fn carry<F: Stack, P: Packet>(
    skb: Skb,
    packet: P,
    parsed: &Parsed<F>,
    header: Header,
    config: &Config,
    end: End,
    entry: &Entry<F>,
    now: Now,
) -> i32 {
    let outbound = matches!(end, End::Source);
    if outbound && parsed.proto == proto::TCP && parsed.seen == seen::SYN && !entry.fresh() {
        let mut key = parsed.key(OUT);
        F::restart(&raw mut key);
    }
    let leg = Leg::of::<F>(config, end);
    let dst = if outbound { &parsed.dst } else { &entry.nat.0 };
    match next_hop::<F>(skb, &parsed.src, dst, &leg, now) {
        // SAFETY: the slot belongs to this CPU.
        Ok(hop) => translated(skb, packet, parsed, header, unsafe { &mut *hop }, &leg, end, entry, now),
        Err(reason) => count::drop(reason),
    }
}

/// Translates a packet and sends it; only what is sent is counted.
#[expect(clippy::too_many_arguments, reason = "inlined; a struct of them would not fit the stack")]
#[inline(always)]
fn translated<F: Stack, P: Packet>(
    skb: Skb,
    mut packet: P,
    parsed: &Parsed<F>,
    header: Header,
    hop: &mut Hop<F::Addr>,
    leg: &Leg<F::Addr>,
    end: End,
    entry: &Entry<F>,
    now: Now,
) -> i32 {
    let way = way(parsed, end, &facts(hop, now.ns), leg.mode);
    match way {
        Way::Untouched => return count::to_stack(),
        Way::Answer(_) => return answer_of(way),
        Way::Peer | Way::Neigh | Way::Stack => {}
    }
    let to = translation(parsed, header, end, entry, way != Way::Stack);
    if rewrite(&mut packet, &to).is_err() {
        return count::drop(Drop::Rewrite);
    }
    entry.count(parsed.len);
    count::translated(end, parsed.len, false);
    send::<F>(skb, hop, leg, way, now)
}

/// What changes of a packet of a flow.
#[inline(always)]
fn translation<F: Stack>(
    parsed: &Parsed<F>,
    header: Header,
    end: End,
    entry: &Entry<F>,
    lower_ttl: bool,
) -> Rewrite<F> {
    let old_addr = match end {
        End::Source => parsed.src,
        End::Destination => parsed.dst,
    };
    Rewrite {
        end,
        proto: parsed.proto,
        l4: header.l4,
        l4_len: parsed.l4_len(),
        headless: header.headless,
        old_addr,
        new_addr: entry.nat.0,
        old_port: own_port(parsed, end),
        new_port: entry.nat.1,
        ttl: lower_ttl.then_some(parsed.ttl),
    }
}
