//! From the external network to the Pods.

use egress_common::{
    abi::{
        family::{V4, V6},
        flow::IN,
    },
    nat::rewrite::End,
    packet::parse::Kind,
    verdict::Drop,
};

use super::{Arrived, Stack, arrive, by_family, link_only, own, translated, untranslated};
use crate::{
    count,
    ctx::skb::Skb,
    fib::{Leg, next_hop},
    store::Entry,
};

/// `egw_in`.
#[inline(always)]
pub(crate) fn run(skb: Skb) -> i32 {
    by_family(skb, packet::<V4>, packet::<V6>)
}

#[inline(always)]
fn packet<F: Stack>(skb: Skb) -> i32 {
    let Arrived { packet, config, now } = match arrive::<F>(skb) {
        Ok(arrived) => arrived,
        Err(verdict) => return verdict,
    };
    if matches!(packet.kind, Kind::Ports | Kind::EchoReply)
        && let Some(entry) = Entry::<F>::touch(&packet.key(IN), packet.seen, now.s)
    {
        let leg = Leg::of::<F>(config, End::Destination);
        return match next_hop::<F>(skb, &packet.src, &entry.nat.0, &leg, now) {
            // SAFETY: the slot belongs to this CPU.
            Ok(hop) => translated(skb, &packet, unsafe { &mut *hop }, &leg, End::Destination, &entry, now),
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
