//! From the Pods to the external network.

use aya_ebpf::bindings::{__sk_buff, TC_ACT_OK};
use egress_common::{
    abi::{
        family::{Family, V4, V6},
        flow::{FlowKey, OUT, seen},
        hop::flags,
    },
    conntrack::removal,
    nat::{claim, rewrite::End},
    packet::{header::proto, parse::Kind},
    policy,
    verdict::{Counter, Drop},
};

use super::{Arrived, Stack, arrive, by_family, link_only, own, translated, untranslated};
use crate::{
    count,
    ctx::skb::Skb,
    events,
    fib::{Leg, next_hop},
    store::{Entry, Now, Policy, Table},
};

/// Beside TC's verdicts: the packet belongs to no flow.
const NO_FLOW: i32 = 0x100;
/// Beside TC's verdicts: policy wants one opened.
const TRANSLATE: i32 = 0x101;
/// Beside TC's verdicts: now it has one.
const OPENED: i32 = 0x102;

/// `egw_out`.
#[inline(always)]
pub(crate) fn run(skb: Skb) -> i32 {
    by_family(skb, packet::<V4>, packet::<V6>)
}

#[inline(always)]
fn packet<F: Outbound>(skb: Skb) -> i32 {
    let mut verdict = F::established(skb);
    if verdict == NO_FLOW {
        verdict = F::policy(skb);
        if verdict == TRANSLATE {
            verdict = F::open(skb);
        }
        if verdict == OPENED {
            verdict = F::established(skb);
        }
    }
    if verdict >= NO_FLOW { count::drop(Drop::FlowBusy) } else { verdict }
}

/// A family with the out-of-line steps of an outbound packet: global functions, so that each has a stack of its own and is
/// verified once.
trait Outbound: Stack {
    /// Translates a packet of a flow, else [`NO_FLOW`].
    fn established(skb: Skb) -> i32;
    /// Decides about a packet without a flow; [`TRANSLATE`] if it shall have one.
    fn policy(skb: Skb) -> i32;
    /// Opens the packet's flow: [`OPENED`], or a drop.
    fn open(skb: Skb) -> i32;
    /// See [`removal::restart`].
    fn restart(key: *mut FlowKey<Self::Addr>);
}

macro_rules! family {
    ($family:ty, $established:ident, $policy:ident, $open:ident, $restart:ident) => {
        impl Outbound for $family {
            #[inline(always)]
            fn established(skb: Skb) -> i32 {
                $established(skb.raw())
            }

            #[inline(always)]
            fn policy(skb: Skb) -> i32 {
                $policy(skb.raw())
            }

            #[inline(always)]
            fn open(skb: Skb) -> i32 {
                $open(skb.raw())
            }

            #[inline(always)]
            fn restart(key: *mut FlowKey<Self::Addr>) {
                $restart(key);
            }
        }

        /// See [`Outbound::established`].
        #[unsafe(no_mangle)]
        #[inline(never)]
        extern "C" fn $established(skb: *mut __sk_buff) -> i32 {
            established::<$family>(Skb::new(skb))
        }

        /// See [`Outbound::policy`].
        #[unsafe(no_mangle)]
        #[inline(never)]
        extern "C" fn $policy(skb: *mut __sk_buff) -> i32 {
            decide::<$family>(Skb::new(skb))
        }

        /// See [`Outbound::open`].
        #[unsafe(no_mangle)]
        #[inline(never)]
        extern "C" fn $open(skb: *mut __sk_buff) -> i32 {
            open::<$family>(Skb::new(skb))
        }

        /// See [`Outbound::restart`].
        #[unsafe(no_mangle)]
        #[inline(never)]
        extern "C" fn $restart(key: *mut FlowKey<<$family as Family>::Addr>) -> u32 {
            // SAFETY: the verifier holds callers of a global function to a valid pointer or null.
            if let Some(key) = unsafe { key.as_ref() } {
                removal::restart::<$family, _>(&mut Table::<$family>::new(Now { ns: 0, s: 0 }), key);
            }
            0
        }
    };
}

family!(V4, out_established4, out_policy4, out_open4, restart4);
family!(V6, out_established6, out_policy6, out_open6, restart6);

#[inline(always)]
fn established<F: Outbound>(skb: Skb) -> i32 {
    let Arrived { packet, config, now } = match arrive::<F>(skb) {
        Ok(arrived) => arrived,
        Err(verdict) => return verdict,
    };
    if !matches!(packet.kind, Kind::Ports | Kind::EchoRequest) {
        return NO_FLOW;
    }
    let mut key = packet.key(OUT);
    let Some(entry) = Entry::<F>::touch(&key, packet.seen, now.s) else { return NO_FLOW };
    if packet.proto == proto::TCP && packet.seen == seen::SYN && !entry.fresh() {
        F::restart(&raw mut key);
    }
    let leg = Leg::of::<F>(config, End::Source);
    let hop = match next_hop::<F>(skb, &packet.src, &packet.dst, &leg, now) {
        Ok(hop) => hop,
        Err(reason) => return count::drop(reason),
    };
    // SAFETY: the slot belongs to this CPU.
    translated(skb, &packet, unsafe { &mut *hop }, &leg, End::Source, &entry, now)
}

#[inline(always)]
fn decide<F: Outbound>(skb: Skb) -> i32 {
    let Arrived { packet, config, now } = match arrive::<F>(skb) {
        Ok(arrived) => arrived,
        Err(verdict) => return verdict,
    };
    if link_only(&packet) {
        return count::to_stack();
    }
    if F::local(&packet.dst).is_some() {
        return own(skb, &packet);
    }
    if !policy::translates::<F>(&Policy, &packet.src, &packet.dst) {
        return untranslated(skb, &packet, config, End::Source, now);
    }
    let leg = Leg::of::<F>(config, End::Source);
    match next_hop::<F>(skb, &packet.src, &packet.dst, &leg, now) {
        // SAFETY: the slot belongs to this CPU.
        Ok(hop) if unsafe { (*hop).flags } & flags::BACK != 0 => {
            count::add(Counter::Untranslated, 1);
            return TC_ACT_OK;
        }
        Ok(_) => {}
        Err(reason) => return count::drop(reason),
    }
    match packet.kind {
        Kind::Ports if packet.proto == proto::TCP && packet.seen & seen::RST != 0 => count::drop(Drop::RstNoFlow),
        Kind::Ports | Kind::EchoRequest if packet.ttl <= 1 => count::to_stack(),
        Kind::Ports | Kind::EchoRequest => TRANSLATE,
        Kind::Other(reason) => count::drop(reason),
        Kind::EchoReply | Kind::LinkControl => count::drop(Drop::IcmpType),
    }
}

#[inline(always)]
fn open<F: Outbound>(skb: Skb) -> i32 {
    let Arrived { packet, config, now } = match arrive::<F>(skb) {
        Ok(arrived) => arrived,
        Err(verdict) => return verdict,
    };
    let key = packet.key(OUT);
    match claim::open(&mut Table::<F>::new(now), config, &key, packet.seen, now.s) {
        Ok(flow) => {
            count::add(Counter::PortTries, u64::from(flow.tries));
            count::add(Counter::FlowsCreated, u64::from(!flow.adopted));
            OPENED
        }
        Err(refused) => {
            count::add(Counter::PortTries, u64::from(refused.tries));
            if refused.reason == Drop::PortsExhausted && refused.tries != 0 {
                events::exhausted::<F>(&key, now.s);
            }
            count::drop(refused.reason)
        }
    }
}
