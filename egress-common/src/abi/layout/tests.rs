//! What reads the maps without this code (`bpftool`, scripts) relies on these places.

use core::mem::offset_of;

use std::{collections::HashSet, vec::Vec};

use super::*;
use crate::{
    abi::{
        config::{MAX_EGRESS, Timeouts},
        event::{VERSION, kind, why},
        family::Family,
        flow::{FlowKey, Word, seen, state},
        order::Head,
    },
    verdict::{Counter, Counters, Drop, Drops},
};

#[test]
fn keys() {
    assert_eq!((size_of::<FlowKey4>(), size_of::<FlowKey6>()), (16, 40));
    macro_rules! places {
        ($key:ty) => {
            [
                offset_of!($key, saddr),
                offset_of!($key, daddr),
                offset_of!($key, sport),
                offset_of!($key, dport),
                offset_of!($key, proto),
                offset_of!($key, dir),
                offset_of!($key, zone),
            ]
        };
    }
    assert_eq!(places!(FlowKey4), [0, 4, 8, 10, 12, 13, 14]);
    assert_eq!(places!(FlowKey6), [0, 16, 32, 34, 36, 37, 38]);
}

/// A key in words is the key.
#[test]
fn wide_keys() {
    use crate::abi::{family::Addr6, flow::WideKey};
    let v4 =
        FlowKey { saddr: [1, 2, 3, 4], daddr: [5, 6, 7, 8], sport: 0x1234, dport: 443, proto: 6, dir: 1, zone: 0x0908 };
    assert_eq!(*WideKey::new(&v4), v4);
    let [saddr, daddr] = [0, 16].map(|from| Addr6::new(core::array::from_fn(|at| from + at as u8)));
    let v6 = FlowKey { saddr, daddr, sport: 0x1234, dport: 443, proto: 17, dir: 0, zone: 0x0908 };
    assert_eq!(*WideKey::new(&v6), v6);
}

#[test]
fn values() {
    assert_eq!((size_of::<FlowValue<V4>>(), size_of::<FlowValue<V6>>()), (32, 48));
    assert_eq!((align_of::<FlowValue<V4>>(), align_of::<FlowValue<V6>>()), (8, 8));
    macro_rules! places {
        ($family:ty) => {
            [
                offset_of!(FlowValue<$family>, nat_addr),
                offset_of!(FlowValue<$family>, word),
                offset_of!(FlowValue<$family>, last_seen),
                offset_of!(FlowValue<$family>, created),
                offset_of!(FlowValue<$family>, packets),
                offset_of!(FlowValue<$family>, bytes),
            ]
        };
    }
    assert_eq!(places!(V4), [0, 4, 8, 12, 16, 24]);
    assert_eq!(places!(V6), [0, 16, 20, 24, 32, 40]);
}

/// No byte of a key or value is padding: the fields fill it.
#[test]
fn no_padding() {
    fn fields<F: Family>() -> (usize, usize) {
        let key = 2 * size_of::<F::Addr>() + 2 + 2 + 1 + 1 + 2;
        (key, size_of::<F::Addr>() + size_of::<Word>() + 4 + 4 + size_of::<F::Pad>() + 8 + 8)
    }
    assert_eq!(fields::<V4>(), (size_of::<FlowKey4>(), size_of::<FlowValue<V4>>()));
    assert_eq!(fields::<V6>(), (size_of::<FlowKey6>(), size_of::<FlowValue<V6>>()));
}

/// The word in memory is the number that is compared and swapped.
#[test]
fn word() {
    assert_eq!(
        (offset_of!(Word, port), offset_of!(Word, seen), offset_of!(Word, state), size_of::<Word>()),
        (0, 2, 3, 4)
    );
    let word = Word { port: 0x1234, seen: 0x56, state: 0x78 };
    assert_eq!((word.raw(), Word::from_raw(word.raw())), (0x7856_1234, word));
    assert_eq!((seen::SYN, seen::FIN, seen::RST, seen::ACK), (1, 2, 4, 8));
    assert_eq!((state::DYING, state::REPLY, state::SINCE), (0x80, 0x40, 0x3f));
    assert!(
        Word { state: state::DYING | state::REPLY, ..word }.dying() && !Word { state: state::REPLY, ..word }.dying()
    );
}

/// A half carries packets of its own direction only, and none once its removal began.
#[test]
fn carries() {
    for raw in 0..=u8::MAX {
        let word = Word { state: raw, ..Word::default() };
        assert_eq!(word.carries(crate::abi::flow::OUT), raw == 0);
        assert_eq!(word.carries(crate::abi::flow::IN), raw == state::REPLY);
    }
}

#[test]
fn config_and_order() {
    assert_eq!(offset_of!(Config, clock_offset_ns), 0, "tests move the clock through it");
    assert_eq!((offset_of!(Config, timeouts), size_of::<Timeouts>()), (64, 32));
    assert_eq!(
        (offset_of!(Config, port_min), offset_of!(Config, port_max), offset_of!(Config, icmp_max)),
        (96, 98, 100)
    );
    assert_eq!((offset_of!(Config, egress4), offset_of!(Config, egress6)), (184, 184 + 4 * MAX_EGRESS));
    assert_eq!(offset_of!(Config, internal_mac), 184 + 20 * MAX_EGRESS, "read as one word of eight bytes");
    assert_eq!((size_of::<Head>(), offset_of!(Head, keys)), (16, 2));
}

/// docs/events.md has the same offsets.
#[test]
fn events() {
    let places = [
        offset_of!(Event, version),
        offset_of!(Event, size),
        offset_of!(Event, kind),
        offset_of!(Event, proto),
        offset_of!(Event, af),
        offset_of!(Event, boot_id),
        offset_of!(Event, at_ns),
        offset_of!(Event, inside),
        offset_of!(Event, egress),
        offset_of!(Event, remote),
        offset_of!(Event, inside_port),
        offset_of!(Event, egress_port),
        offset_of!(Event, remote_port),
        offset_of!(Event, why),
        offset_of!(Event, began),
        offset_of!(Event, out_packets),
        offset_of!(Event, out_bytes),
        offset_of!(Event, in_packets),
        offset_of!(Event, in_bytes),
    ];
    assert_eq!(places, [0, 2, 4, 6, 7, 8, 24, 32, 48, 64, 80, 82, 84, 86, 88, 96, 104, 112, 120]);
    assert_eq!((size_of::<Event>(), VERSION), (128, 2));
    assert_eq!((kind::EXHAUSTED, kind::FLOW_START, kind::FLOW_END, kind::LIMITED), (1, 2, 3, 4));
    assert_eq!((why::IDLE, why::RECLAIMED, why::REVOKED), (1, 2, 3));
    let text = include_str!("../../../../docs/events.md");
    let offsets = text.lines().filter_map(|line| line.strip_prefix("| ")?.split(" |").next()?.parse::<usize>().ok());
    assert_eq!(offsets.collect::<Vec<_>>(), places, "docs/events.md");
}

/// Any other version or size is not for this build.
#[test]
fn only_known_records_are_read() {
    let mut bytes = [0_u8; 128];
    bytes[..6].copy_from_slice(&[2, 0, 128, 0, 3, 0]);
    bytes[96..104].copy_from_slice(&0x0102_0304_0506_0708_u64.to_le_bytes());
    let event = Event::read(&bytes).unwrap();
    assert_eq!((event.kind, event.out_packets), (kind::FLOW_END, 0x0102_0304_0506_0708));
    assert_eq!(Event::read(&bytes[..127]), None);
    for (at, value) in [(0, 3), (1, 1), (2, 120)] {
        let mut other = bytes;
        other[at] = value;
        assert_eq!(Event::read(&other), None);
    }
}

/// The programs count by number, `stats` and `bpftool` read by name: both orders are one.
#[test]
fn totals() {
    assert_eq!(size_of::<Drops>(), Drop::ALL.len() * 8);
    assert_eq!(size_of::<Counters>(), Counter::ALL.len() * 8);
    assert!(Drop::ALL.iter().enumerate().all(|(number, reason)| *reason as usize == number));
    assert!(Counter::ALL.iter().enumerate().all(|(number, counter)| *counter as usize == number));
    assert_eq!(offset_of!(Drops, no_mapping), Drop::NoMapping as usize * 8);
    assert_eq!(offset_of!(Counters, events_lost), Counter::EventsLost as usize * 8);
    let names: HashSet<_> = Drop::ALL.iter().map(|reason| reason.name()).collect();
    assert_eq!(names.len(), Drop::ALL.len());
}

#[test]
fn replies_and_originals() {
    let key = FlowKey { saddr: [1; 4], daddr: [2; 4], sport: 3, dport: 4, proto: 6, dir: 0, zone: 7 };
    let reply = key.reply([5; 4], 6);
    assert_eq!(reply, FlowKey { saddr: [2; 4], daddr: [5; 4], sport: 4, dport: 6, proto: 6, dir: 1, zone: 7 });
    assert_eq!(reply.original([1; 4], 3), key);
}
