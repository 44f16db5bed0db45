//! ICMP errors: to the Pod that sent the quoted packet, or to the server whose packet reached a Pod.

use egress_common::{
    abi::{
        config::Config,
        flow::{IN, OUT},
    },
    delivery::{Way, facts, way},
    nat::{
        relay::{readdress, relay},
        rewrite::End,
        store::FlowStore,
    },
    packet::{Failed, parse::Parsed, quote::Quote},
    policy::translates,
    verdict::{Counter, Drop},
};

use super::{Arrived, Stack, inward::passing, link_only, resume, send, untranslated, yields_in, yields_out};
use crate::{
    count,
    ctx::{copied::Copied, skb::Skb},
    fib::{Leg, next_hop},
    opaque::volatile,
    socket,
    store::{Now, Policy, Table},
};

/// `Steps::out_error`.
#[inline(always)]
pub(crate) fn outbound<F: Stack>(skb: Skb) -> i32 {
    let (Arrived { packet, config, now }, quote) = match about::<F>() {
        Ok(both) => both,
        Err(verdict) => return verdict,
    };
    if link_only(packet) {
        return count::to_stack();
    }
    let half = Table::<F>::new(now).get(&quote.key(OUT)).filter(|half| half.word.carries(OUT));
    if half.is_none() && yields_out(config, packet) {
        return count::pass_on();
    }
    if F::local(&packet.dst).is_some() {
        return own(skb, config, quote);
    }
    if let Some(half) = half {
        let to = (&half.nat_addr, half.word.port);
        return forward(skb, packet, config, End::Source, &packet.dst, now, |it, ttl| {
            relay(it, packet, quote, End::Source, to, ttl)
        });
    }
    if translates::<F>(&Policy, &quote.dst, &quote.src) {
        return count::drop(Drop::IcmpError);
    }
    // About traffic that goes untranslated. Who says so may be a router whose address nobody outside may see.
    if F::no_snat(&packet.src) || F::no_snat(&packet.dst) {
        return untranslated(skb, packet, config, End::Source, now);
    }
    let (pool, _) = F::egress(config);
    match F::choose_apart(&quote.dst, None).and_then(|index| pool.get(volatile(index) as usize)) {
        Some(egress) => {
            // Read at once: old kernels (6.1) forget the bound of an index that is kept for later.
            // SAFETY: a field of a map value.
            let egress = unsafe { core::ptr::from_ref(egress).read_volatile() };
            forward(skb, packet, config, End::Source, &packet.dst, now, |it, ttl| {
                readdress(it, packet, End::Source, &egress, ttl)
            })
        }
        None => count::drop(Drop::NoEgressAddress),
    }
}

/// `Steps::in_error`.
#[inline(always)]
pub(crate) fn inbound<F: Stack>(skb: Skb) -> i32 {
    let (Arrived { packet, config, now }, quote) = match about::<F>() {
        Ok(both) => both,
        Err(verdict) => return verdict,
    };
    if link_only(packet) {
        return count::to_stack();
    }
    if let Some(half) = Table::<F>::new(now).get(&quote.key(IN)).filter(|half| half.word.carries(IN)) {
        let to = (&half.nat_addr, half.word.port);
        return forward(skb, packet, config, End::Destination, to.0, now, |it, ttl| {
            relay(it, packet, quote, End::Destination, to, ttl)
        });
    }
    if yields_in(config, packet) {
        return count::pass_on();
    }
    if F::local(&packet.dst).is_some() {
        return own(skb, config, quote);
    }
    passing(skb, packet, config, now)
}

/// An error and what it quotes.
type About<F> = (Arrived<&'static mut Parsed<F>>, &'static Quote<F>);

#[inline(always)]
fn about<F: Stack>() -> Result<About<F>, i32> {
    let arrived = resume::<F>()?;
    let Some(quote) = F::quoted() else { return Err(count::drop(Drop::NotConfigured)) };
    // SAFETY: `read` wrote it, and it belongs to this CPU until the program ends.
    Ok((arrived, unsafe { &*quote }))
}

/// To the gateway itself: about a packet of a socket of its own, or of its own ping.
#[inline(always)]
fn own<F: Stack>(skb: Skb, config: &Config, quote: &Quote<F>) -> i32 {
    let ping = quote.proto == F::ICMP && quote.sport > config.icmp_max;
    let mine = ping || socket::listens::<F>(skb, &quote.key(IN));
    if mine { count::to_stack() } else { count::drop(Drop::IcmpError) }
}

/// Sends an error on to `dst` by `change`, which gets the TTL that it is to lower.
#[inline(always)]
fn forward<F: Stack>(
    skb: Skb,
    packet: &Parsed<F>,
    config: &Config,
    end: End,
    dst: &F::Addr,
    now: Now,
    change: impl FnOnce(&mut Copied, Option<u8>) -> Result<(), Failed>,
) -> i32 {
    let leg = Leg::of::<F>(config, end);
    let hop = match next_hop::<F>(skb, &packet.src, dst, &leg, now) {
        // SAFETY: the slot belongs to this CPU.
        Ok(hop) => unsafe { &mut *hop },
        Err(reason) => return count::drop(reason),
    };
    let way = way(packet, end, &facts(hop, now.ns), leg.mode);
    match way {
        Way::Untouched => return count::to_stack(),
        // No error about an error (RFC 1122 §3.2.2).
        Way::Answer(why) => return count::drop(super::answer::reason(why)),
        Way::Peer | Way::Neigh | Way::Stack => {}
    }
    if change(&mut Copied(skb), (way != Way::Stack).then_some(packet.ttl)).is_err() {
        return count::drop(Drop::Rewrite);
    }
    count::add(Counter::IcmpErrors, 1);
    send::<F>(skb, hop, &leg, way, now)
}
