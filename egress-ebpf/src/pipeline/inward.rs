//! From the external network to the Pods.

use aya_ebpf::bindings::TC_ACT_OK;
use egress_common::{
    abi::{
        family::{Family, V4, V6},
        flow::{FlowKey, IN},
    },
    nat::rewrite::End,
    packet::{
        header::{IPV4, IPV6},
        parse::{Kind, Parsed},
    },
    verdict::Drop,
};

use super::{Stack, link_only, own, translated, untranslated};
use crate::{
    count,
    ctx::skb::Skb,
    fib::{Leg, next_hop},
    maps::config,
    store::{Entry, Now},
};

/// `egw_in`.
#[inline(always)]
pub(crate) fn run(skb: Skb) -> i32 {
    if !skb.to_host() {
        return TC_ACT_OK;
    }
    match skb.ethertype() {
        IPV4 => packet::<V4>(skb),
        IPV6 => packet::<V6>(skb),
        _ => TC_ACT_OK,
    }
}

#[inline(always)]
fn packet<F: Stack>(skb: Skb) -> i32 {
    let Some(config) = config() else { return count::drop(Drop::NotConfigured) };
    let packet = match F::parse(&skb) {
        Ok(packet) => packet,
        Err(reason) => return count::drop(reason),
    };
    let now = Now::read(config);
    if matches!(packet.kind, Kind::Ports | Kind::EchoReply)
        && let Some(entry) = Entry::<F>::touch(&key(&packet), packet.seen, now.s)
    {
        entry.count(packet.len);
        let nat = entry.nat();
        let leg = Leg::of::<F>(config, End::Destination);
        return match next_hop::<F>(skb, &packet.src, &nat.0, &leg, now) {
            // SAFETY: the slot belongs to this CPU.
            Ok(hop) => translated(skb, &packet, unsafe { &mut *hop }, &leg, End::Destination, nat, now),
            Err(reason) => count::drop(reason),
        };
    }
    if link_only(&packet) {
        return count::to_stack();
    }
    if F::local(&packet.dst).is_some() {
        return own(skb, &packet);
    }
    if F::no_snat(&packet.dst) {
        return untranslated(skb, &packet, config, End::Destination, now);
    }
    count::drop(Drop::NotOurs)
}

#[inline(always)]
fn key<F: Family>(packet: &Parsed<F>) -> FlowKey<F::Addr> {
    FlowKey {
        saddr: packet.src,
        daddr: packet.dst,
        sport: packet.sport,
        dport: packet.dport,
        proto: packet.proto,
        dir: IN,
        zone: 0,
    }
}
