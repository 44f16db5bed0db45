//! From the Pods to the external network.

use aya_ebpf::bindings::TC_ACT_OK;
use egress_common::{
    abi::{
        family::{V4, V6},
        flow::OUT,
        hop::flags,
    },
    conntrack::stray::{self, Stray},
    delivery::{Way, facts, way},
    nat::{claim, rewrite::End},
    packet::{header::proto, parse::Kind},
    policy,
    verdict::{Counter, Drop},
};

use super::{
    Arrived, Stack, by_family, link_only, own, resume,
    steps::{DEEP, EARLY, ERROR, NO_FLOW, OPENED, READ, RELEASE, RESET, Steps, TRANSLATE},
    untranslated, yields_out,
};
use crate::{
    count,
    ctx::skb::Skb,
    events,
    fib::{Leg, next_hop},
    store::{Policy, Table},
};

/// `egw_out`.
#[inline(always)]
pub(crate) fn run(skb: Skb) -> i32 {
    by_family(skb, packet::<V4>, packet::<V6>)
}

#[inline(always)]
fn packet<F: Steps>(skb: Skb) -> i32 {
    let mut verdict = F::out_established(skb);
    if verdict != NO_FLOW && verdict != DEEP {
        return verdict;
    }
    let deep = verdict == DEEP;
    verdict = F::read(skb);
    if verdict == ERROR {
        return F::out_error(skb);
    }
    if verdict == READ {
        verdict = if deep { F::out_carry(skb) } else { NO_FLOW };
    }
    if verdict == NO_FLOW || verdict == EARLY {
        verdict = F::out_policy(skb);
    }
    if verdict == RESET {
        return F::reset(skb, u32::from(OUT));
    }
    if verdict == TRANSLATE {
        verdict = F::open(skb);
    }
    if verdict == EARLY {
        verdict = F::hold(skb, u32::from(OUT));
    }
    if verdict == OPENED || verdict == READ {
        verdict = F::out_carry(skb);
    }
    if verdict == RELEASE {
        return F::release(skb, u32::from(OUT));
    }
    if verdict >= NO_FLOW { count::drop(Drop::FlowBusy) } else { verdict }
}

/// `Steps::out_policy`.
#[inline(always)]
pub(crate) fn policy<F: Stack>(skb: Skb) -> i32 {
    let Arrived { packet, config, now } = match resume::<F>() {
        Ok(arrived) => arrived,
        Err(verdict) => return verdict,
    };
    if link_only(packet) {
        return count::to_stack();
    }
    if yields_out(config, packet) {
        return count::pass_on();
    }
    if F::local(&packet.dst).is_some() {
        return own(skb, packet, config, OUT, now);
    }
    if !policy::translates::<F>(&Policy, &packet.src, &packet.dst) {
        return untranslated(skb, packet, config, End::Source, now);
    }
    if matches!(packet.kind, Kind::Error) {
        return count::drop(Drop::IcmpError);
    }
    let leg = Leg::of::<F>(config, End::Source);
    let hop = match next_hop::<F>(skb, &packet.src, &packet.dst, &leg, now) {
        // SAFETY: the slot belongs to this CPU.
        Ok(hop) => unsafe { &*hop },
        Err(reason) => return count::drop(reason),
    };
    if hop.flags & flags::BACK != 0 {
        count::add(Counter::Untranslated, 1);
        return TC_ACT_OK;
    }
    if matches!(packet.kind, Kind::Ports) && packet.proto == proto::TCP {
        match stray::from_inside(packet.seen, config.flags) {
            Stray::Opens => {}
            Stray::Reset => return RESET,
            Stray::Dropped(reason) => return count::drop(reason),
        }
    }
    match packet.kind {
        // What will not leave opens no flow.
        Kind::Ports | Kind::Query | Kind::Bare
            if way(packet, End::Source, &facts(hop, now.ns), leg.mode) == Way::Untouched =>
        {
            count::to_stack()
        }
        Kind::Ports | Kind::Query | Kind::Bare => TRANSLATE,
        Kind::Tail => EARLY,
        Kind::Other(reason) => count::drop(reason),
        _ => count::drop(Drop::IcmpType),
    }
}

/// `Steps::open`.
#[inline(always)]
pub(crate) fn open<F: Stack>(_skb: Skb) -> i32 {
    let Arrived { packet, config, now } = match resume::<F>() {
        Ok(arrived) => arrived,
        Err(verdict) => return verdict,
    };
    let key = packet.key(OUT);
    match claim::open(&mut Table::<F>::opening(now), config, &key, packet.seen, now.s) {
        Ok(flow) => {
            count::add(Counter::PortTries, u64::from(flow.tries));
            OPENED
        }
        Err(refused) => {
            count::add(Counter::PortTries, u64::from(refused.tries));
            if refused.reason == Drop::PortsExhausted && refused.spent {
                events::exhausted::<F>(&key);
            }
            count::drop(refused.reason)
        }
    }
}
