//! From the external network to the Pods.

use egress_common::{
    abi::{
        config::Config,
        family::{V4, V6},
        flow::IN,
    },
    nat::rewrite::End,
    packet::parse::Parsed,
    verdict::Drop,
};

use super::{
    Arrived, Stack, by_family, link_only, own, resume,
    steps::{ANSWER, DEEP, EARLY, ERROR, NO_FLOW, READ, RELEASE, RESET, Steps},
    untranslated, yields_in,
};
use crate::{count, ctx::skb::Skb, store::Now};

/// `egw_in`.
#[inline(always)]
pub(crate) fn run(skb: Skb) -> i32 {
    by_family(skb, packet::<V4>, packet::<V6>)
}

#[inline(always)]
fn packet<F: Steps>(skb: Skb) -> i32 {
    let mut verdict = F::in_established(skb);
    if verdict < NO_FLOW {
        return verdict;
    }
    let plain = verdict;
    verdict = F::read(skb);
    if verdict == ERROR {
        return F::in_error(skb);
    }
    if verdict == READ {
        verdict = if plain == DEEP { F::in_carry(skb) } else { plain };
    }
    if verdict == NO_FLOW || verdict == EARLY {
        verdict = F::in_policy(skb);
    }
    if verdict == RESET {
        return F::reset(skb, u32::from(IN));
    }
    if verdict == EARLY {
        verdict = F::hold(skb, u32::from(IN));
    }
    if verdict == READ {
        verdict = F::in_carry(skb);
    }
    if verdict == RELEASE {
        return F::release(skb, u32::from(IN));
    }
    if verdict >= ANSWER {
        return F::answer(skb, verdict as u32);
    }
    if verdict >= NO_FLOW { count::drop(Drop::FlowBusy) } else { verdict }
}

/// `Steps::in_policy`.
#[inline(always)]
pub(crate) fn policy<F: Stack>(skb: Skb) -> i32 {
    let Arrived { packet, config, now } = match resume::<F>() {
        Ok(arrived) => arrived,
        Err(verdict) => return verdict,
    };
    if link_only(packet) {
        return count::to_stack();
    }
    if yields_in(config, packet) {
        return count::pass_on();
    }
    if F::local(&packet.dst).is_some() {
        return own(skb, packet, config, IN, now);
    }
    passing(skb, packet, config, now)
}

/// A packet to no own address.
#[inline(always)]
pub(super) fn passing<F: Stack>(skb: Skb, packet: &Parsed<F>, config: &Config, now: Now) -> i32 {
    if F::no_snat(&packet.dst) {
        return untranslated(skb, packet, config, End::Destination, now);
    }
    count::drop(Drop::NotOurs)
}
