//! A number that changes when the layout of a map does, as far as its size or one of the offsets below shows it. It is part of
//! the pin path: a new layout never reads old maps.

use super::{
    config::Config,
    event::Event,
    family::{Addr6, V4, V6},
    flow::{FlowKey4, FlowKey6, FlowValue},
    fragment::{Datagram, DatagramKey, Held},
    hop::Hop,
    shortcut::{SHORTCUTS, Shortcut},
};

/// Raised by hand when a field changes its meaning but not its place.
const REVISION: u64 = 4;

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
        size_of::<Hop<Addr6>>(),
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
        SHORTCUTS as usize,
        size_of::<Shortcut<V4>>(),
        size_of::<Shortcut<V6>>(),
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

/// A field of a record, by its name in this code and in BTF.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Field {
    /// Name; `word.port` lies in a struct of its own.
    pub name: &'static str,
    /// Bytes before it.
    pub offset: usize,
    /// Its bytes.
    pub size: usize,
}

/// A key or value of a map.
#[derive(Clone, Copy, Debug)]
pub struct Record {
    /// `FLOWS4 key`.
    pub name: &'static str,
    /// Its bytes.
    pub size: usize,
    /// What a build with another layout may read of it.
    pub fields: &'static [Field],
}

const fn size_of_field<T, F>(_: fn(&T) -> &F) -> usize {
    size_of::<F>()
}

macro_rules! record {
    ($name:literal, $type:ty, [$($($field:ident).+),+ $(,)?]) => {
        Record {
            name: $name,
            size: size_of::<$type>(),
            fields: &[$(Field {
                name: stringify!($($field).+),
                offset: core::mem::offset_of!($type, $($field).+),
                size: size_of_field(|record: &$type| &record.$($field).+),
            }),+],
        }
    };
}

/// What lies where in the maps that the next build reads: it is pinned beside them as text (`LAYOUT`), one line a field.
pub const RECORDS: [Record; 7] = [
    record!("FLOWS4 key", FlowKey4, [saddr, daddr, sport, dport, proto, dir, zone]),
    record!(
        "FLOWS4 value",
        FlowValue<V4>,
        [nat_addr, word.port, word.seen, word.state, last_seen, created, packets, bytes]
    ),
    record!("FLOWS6 key", FlowKey6, [saddr, daddr, sport, dport, proto, dir, zone]),
    record!(
        "FLOWS6 value",
        FlowValue<V6>,
        [nat_addr, word.port, word.seen, word.state, last_seen, created, packets, bytes]
    ),
    record!("SHORTCUTS4 value", Shortcut<V4>, [key, packets, bytes]),
    record!("SHORTCUTS6 value", Shortcut<V6>, [key, packets, bytes]),
    record!(
        "CONFIG value",
        Config,
        [clock_offset_ns, netns_cookie, port_key, flags, external_ifindex, port_min, port_max]
    ),
];

#[cfg(test)]
mod tests;
