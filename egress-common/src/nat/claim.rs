//! Opening a flow: choose an egress address and a port, claim them, let both directions find the way.
//!
//! The reply entry is inserted first and only if its key is free: that insert is the claim, two CPUs cannot both win it.
//! Then the forward entry; who loses that race gives its claim back and takes the winner's mapping.

use super::{
    fair::Admission,
    port::{Ports, TRIES},
    store::{FlowStore, Insert},
};
use crate::{
    abi::{
        config::{Config, MAX_EGRESS, flags},
        family::{Addr6, Family, V4, V6},
        flow::{FlowKey, Word, state},
    },
    conntrack::removal::belongs,
    verdict::Drop,
};

/// How long a destination whose ports were all taken is not tried again.
pub const EXHAUSTED_NS: u64 = 100_000_000;

/// Egress addresses tried for one flow: the source's own and the next in its ranking.
pub const ADDRESSES: u32 = 2;

/// A family's part of the configuration.
pub trait Pool: Family {
    /// Egress addresses and how many are used.
    fn egress(config: &Config) -> (&[Self::Addr; MAX_EGRESS], u32);
    /// Next hops of the Subnets: towards the Pods, towards the external network; zero if there is none.
    fn gateways(config: &Config) -> (&Self::Addr, &Self::Addr);
}

impl Pool for V4 {
    #[inline(always)]
    fn egress(config: &Config) -> (&[[u8; 4]; MAX_EGRESS], u32) {
        (&config.egress4, config.egress4_len)
    }

    #[inline(always)]
    fn gateways(config: &Config) -> (&[u8; 4], &[u8; 4]) {
        (&config.internal_gateway4, &config.external_gateway4)
    }
}

impl Pool for V6 {
    #[inline(always)]
    fn egress(config: &Config) -> (&[Addr6; MAX_EGRESS], u32) {
        (&config.egress6, config.egress6_len)
    }

    #[inline(always)]
    fn gateways(config: &Config) -> (&Addr6, &Addr6) {
        (&config.internal_gateway6, &config.external_gateway6)
    }
}

/// A flow that now exists.
#[derive(Clone, Copy, Debug)]
pub struct Opened<F: Family> {
    /// Egress address.
    pub nat_addr: F::Addr,
    /// Egress port or echo identifier.
    pub port: u16,
    /// Ports that were tried.
    pub tries: u32,
    /// Another CPU opened it at the same time.
    pub adopted: bool,
}

/// No flow could be opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refused {
    /// Why.
    pub reason: Drop,
    /// Ports that were tried; none if all were found taken a moment ago.
    pub tries: u32,
    /// Nothing is tried for some time: there is none to be found.
    pub spent: bool,
}

/// Opens the flow of a packet with the outbound `key` that showed `seen`; `now` in seconds of the datapath's clock.
#[inline(always)]
pub fn open<F: Pool, S: FlowStore<F>>(
    store: &mut S,
    config: &Config,
    key: &FlowKey<F::Addr>,
    seen: u8,
    now: u32,
) -> Result<Opened<F>, Refused> {
    let (pool, _) = F::egress(config);
    let mut not = None;
    let mut tries = 0;
    let (mut limited, mut spent) = (false, false);
    for _ in 0..ADDRESSES {
        let Some(index) = store.choose(config, &key.saddr, not) else { break };
        let first = not.is_none();
        not = Some(index);
        let Some(egress) = pool.get(index as usize) else { break };
        let mut reply = key.reply(*egress, 0);
        if store.exhausted(&reply) {
            continue;
        }
        let admission = store.admit(config, &reply, key, first);
        if admission == Admission::Refused {
            store.in_vain(config, &reply, key, admission);
            return Err(Refused { reason: Drop::SourceLimited, tries, spent: false });
        }
        let (found, tried) = store.search(config, &mut reply, key, admission, now);
        tries += tried;
        match found {
            Insert::Done => return forward(store, key, &reply, seen, now, tries),
            Insert::Full => return Err(Refused { reason: Drop::TableFull, tries, spent: false }),
            // Another CPU opens this very flow: without ports there is nothing else to claim for it.
            Insert::Exists if tried == 1 && store.get(&reply).is_some_and(|half| belongs::<F>(&half, key)) => {
                return adopt(store, key, tries);
            }
            Insert::Exists => {}
        }
        limited |= admission == Admission::Closed;
        reply.dport = 0;
        spent |= store.in_vain(config, &reply, key, admission);
    }
    let reason = match not {
        None => Drop::NoEgressAddress,
        Some(_) if limited => Drop::SourceLimited,
        Some(_) => Drop::PortsExhausted,
    };
    Err(Refused { reason, tries, spent })
}

/// Claims the first free one of the ports that are tried for the flow with the outbound `key`, and leaves it in `reply`; how
/// many were tried.
#[inline(always)]
pub fn search<F: Family, S: FlowStore<F>>(
    store: &mut S,
    config: &Config,
    reply: &mut FlowKey<F::Addr>,
    key: &FlowKey<F::Addr>,
    admission: Admission,
    now: u32,
) -> (Insert, u32) {
    let admission = match admission {
        Admission::Open if config.flags & flags::HOLD_PORTS != 0 => Admission::Unused,
        Admission::Closed if config.flags & flags::HOLD_PORTS != 0 => return (Insert::Exists, 0),
        admission => admission,
    };
    let ports = Ports::new(config, key, now);
    for i in 0..TRIES {
        if i >= ports.count() {
            break;
        }
        reply.dport = ports.nth(i);
        match store.claim(reply, key, admission, now) {
            Insert::Exists => {}
            outcome => return (outcome, i + 1),
        }
    }
    (Insert::Exists, ports.count())
}

/// Claims the port in `reply` for the flow with the outbound `key`, if need be (or at all, see [`Admission::Closed`]) from a
/// flow that is closed.
#[inline(always)]
pub fn claim_port<F: Family, S: FlowStore<F>>(
    store: &mut S,
    reply: &FlowKey<F::Addr>,
    key: &FlowKey<F::Addr>,
    admission: Admission,
    now: u32,
) -> Insert {
    let inside = Word { port: key.sport, seen: 0, state: state::REPLY };
    if admission != Admission::Closed {
        match store.insert_new(reply, key.saddr, inside, now) {
            Insert::Exists => {}
            other => return other,
        }
    }
    if admission == Admission::Unused {
        return Insert::Exists;
    }
    if store.reclaim(reply, now) { store.insert_new(reply, key.saddr, inside, now) } else { Insert::Exists }
}

#[inline(always)]
fn forward<F: Pool, S: FlowStore<F>>(
    store: &mut S,
    key: &FlowKey<F::Addr>,
    reply: &FlowKey<F::Addr>,
    seen: u8,
    now: u32,
    tries: u32,
) -> Result<Opened<F>, Refused> {
    match store.insert_new(key, reply.daddr, Word { port: reply.dport, seen, state: 0 }, now) {
        Insert::Done => {
            store.begun(key, reply);
            Ok(Opened { nat_addr: reply.daddr, port: reply.dport, tries, adopted: false })
        }
        Insert::Full => {
            store.remove(reply);
            Err(Refused { reason: Drop::TableFull, tries, spent: false })
        }
        Insert::Exists => {
            store.remove(reply);
            adopt(store, key, tries)
        }
    }
}

/// The flow that another CPU opened.
#[inline(always)]
fn adopt<F: Family, S: FlowStore<F>>(store: &S, key: &FlowKey<F::Addr>, tries: u32) -> Result<Opened<F>, Refused> {
    match store.get(key) {
        Some(winner) if !winner.word.dying() => {
            Ok(Opened { nat_addr: winner.nat_addr, port: winner.word.port, tries, adopted: true })
        }
        _ => Err(Refused { reason: Drop::FlowBusy, tries, spent: false }),
    }
}

#[cfg(test)]
mod tests;
