//! A number that changes when the layout of a map does, as far as its size or one of the offsets below shows it. It is part of
//! the pin path: a new layout never reads old maps.

use super::{
    config::Config,
    event::Event,
    family::{V4, V6},
    flow::{FlowKey4, FlowKey6, FlowValue},
    fragment::{Datagram, DatagramKey, Held},
    hop::Hop,
};

/// Raised by hand when a field changes its meaning but not its place.
const REVISION: u64 = 3;

const fn mix(hash: u64, value: usize) -> u64 {
    (hash ^ value as u64).wrapping_mul(0x0000_0100_0000_01b3)
}

/// FNV-1a over these facts.
#[must_use]
pub const fn hash() -> u64 {
    let facts = [
        size_of::<FlowKey4>(),
        size_of::<FlowKey6>(),
        core::mem::offset_of!(FlowKey4, sport),
        core::mem::offset_of!(FlowKey4, proto),
        size_of::<FlowValue<V4>>(),
        size_of::<FlowValue<V6>>(),
        core::mem::offset_of!(FlowValue<V4>, word),
        core::mem::offset_of!(FlowValue<V4>, last_seen),
        core::mem::offset_of!(FlowValue<V4>, packets),
        size_of::<Config>(),
        core::mem::offset_of!(Config, timeouts),
        core::mem::offset_of!(Config, egress4),
        size_of::<Hop<[u8; 4]>>(),
        size_of::<Hop<[u8; 16]>>(),
        super::hop::HOPS as usize,
        super::policy::MAX_PREFIXES,
        super::policy::MAX_PODS,
        super::policy::MAX_LOCAL,
        size_of::<Event>(),
        size_of::<DatagramKey<[u8; 4]>>(),
        size_of::<Datagram>(),
        size_of::<Held>(),
        super::fragment::DATAGRAMS,
        super::fragment::WAITING,
        super::fragment::HELD,
        super::usage::CELLS,
        size_of::<super::usage::Cell>(),
        size_of::<super::usage::Pace>(),
        crate::verdict::DROPS,
        crate::verdict::COUNTERS,
    ];
    let mut hash = mix(0xcbf2_9ce4_8422_2325, REVISION as usize);
    let mut i = 0;
    while i < facts.len() {
        hash = mix(hash, facts[i]);
        i += 1;
    }
    hash
}

#[cfg(test)]
mod tests;
