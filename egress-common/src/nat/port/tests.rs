use std::{collections::HashSet, vec::Vec};

use proptest::prelude::*;

use super::*;
use crate::{abi::flow::OUT, testing::table::config};

fn key(sport: u16, proto: u8) -> FlowKey<[u8; 4]> {
    FlowKey { saddr: [10, 16, 0, 9], daddr: [1, 1, 1, 1], sport, dport: 443, proto, dir: OUT, zone: 0 }
}

fn candidates(config: &Config, key: &FlowKey<[u8; 4]>, now: u32) -> Vec<u16> {
    let ports = Ports::new(config, key, now);
    (0..TRIES).map(|i| ports.nth(i)).collect()
}

fn distinct(ports: &[u16]) -> usize {
    ports.iter().collect::<HashSet<_>>().len()
}

/// In range, and no candidate twice as long as the range has others.
fn walk_is_right(config: &Config, key: &FlowKey<[u8; 4]>, now: u32) {
    let icmp = key.proto == proto::ICMP;
    let range = if icmp { 0..=config.icmp_max } else { config.port_min..=config.port_max };
    let ports = candidates(config, key, now);
    assert!(ports.iter().all(|port| range.contains(port)), "{range:?}: {ports:?}");
    let kept = config.flags & flags::PRESERVE_PORT != 0 && range.contains(&key.sport);
    if kept {
        assert_eq!(ports[0], key.sport);
    }
    // A kept port may come again where the walk passes it.
    let walk = &ports[usize::from(kept)..];
    assert_eq!(distinct(walk), walk.len().min(range.len()), "{range:?}: {ports:?}");
}

proptest! {
    #[test]
    fn any_range(
        ends: (u16, u16),
        narrow in prop_oneof![Just(None), (0_u16..200).prop_map(Some)],
        sport: u16,
        icmp: bool,
        preserve: bool,
        secret: [u64; 2],
        now: u32,
    ) {
        let min = ends.0.min(ends.1);
        let max = narrow.map_or_else(|| ends.0.max(ends.1), |span| min.saturating_add(span));
        let flags = if preserve { flags::PRESERVE_PORT } else { 0 };
        let config = Config { port_min: min, port_max: max, icmp_max: max, port_key: secret, flags, ..config(&[]) };
        walk_is_right(&config, &key(sport, if icmp { proto::ICMP } else { proto::TCP }), now);
    }
}

/// The product's range, whole ranges, and spans with many small divisors, where steps could meet themselves early.
#[test]
fn spans_where_a_careless_step_repeats() {
    for (min, max) in [(1024, 57343), (0, u16::MAX), (1, u16::MAX), (1024, 1123), (5000, 5000), (10, 73), (10, 74)] {
        for now in 0..2000 {
            let config = Config { port_min: min, port_max: max, ..config(&[]) };
            walk_is_right(&config, &key(1, proto::UDP), now);
        }
    }
}

/// An empty range cannot be configured; if it were, one port would be used, not any.
#[test]
fn empty_range() {
    let config = Config { port_min: 4000, port_max: 3000, ..config(&[]) };
    assert!(candidates(&config, &key(1, proto::TCP), 0).iter().all(|port| *port == 4000));
}

#[test]
fn secret_second_and_key_matter() {
    let base = config(&[]);
    let first = candidates(&base, &key(1000, proto::TCP), 7);
    assert_eq!(first, candidates(&base, &key(1000, proto::TCP), 7));
    let other_secret = Config { port_key: [1, 3], ..base };
    for other in [
        candidates(&other_secret, &key(1000, proto::TCP), 7),
        candidates(&base, &key(1000, proto::TCP), 8),
        candidates(&base, &key(1001, proto::TCP), 7),
        candidates(&base, &key(1000, proto::UDP), 7),
        candidates(&base, &FlowKey { dport: 80, ..key(1000, proto::TCP) }, 7),
        candidates(&base, &FlowKey { daddr: [1, 1, 1, 2], ..key(1000, proto::TCP) }, 7),
        candidates(&base, &FlowKey { saddr: [10, 16, 0, 8], ..key(1000, proto::TCP) }, 7),
    ] {
        let known: HashSet<_> = first.iter().collect();
        assert!(other.iter().filter(|port| known.contains(port)).count() < 8, "two walks have too much in common");
    }
}

/// Chi-square over 64 buckets of the range; 99.999 % of fair draws stay below 127 (63 degrees of freedom).
#[test]
fn spread() {
    let config = config(&[]);
    for i in [0, 1, TRIES - 1] {
        let mut buckets = [0_u32; 64];
        for sport in 0..51_200_u32 {
            let port = Ports::new(&config, &key(sport as u16, proto::TCP), 0).nth(i);
            buckets[(u32::from(port) - 1024) as usize / 880] += 1;
        }
        let chi: f64 = buckets.iter().map(|n| (f64::from(*n) - 800.0).powi(2) / 800.0).sum();
        assert!(chi < 127.0, "candidate {i}: {chi}");
    }
}

/// What "tries 64 candidates" is for: with 90 % of the range taken at random, about one search in a thousand finds none.
#[test]
fn finds_room_at_ninety_percent() {
    let config = config(&[]);
    let taken = |port: u16| !crate::ecmp::hash::mix(u64::from(port)).is_multiple_of(10);
    let searches = 20_000;
    let failed = (0..searches)
        .filter(|i| {
            let ports = Ports::new(&config, &key((i % 65_536) as u16, proto::TCP), i / 65_536);
            (0..TRIES).all(|i| taken(ports.nth(i)))
        })
        .count();
    assert!((5..80).contains(&failed), "{failed} of {searches}");
}

/// SCTP keeps its port wherever it may, without being told to: its CRC then needs no mending.
#[test]
fn sctp_keeps_its_port() {
    let config = config(&[]);
    for sport in 0..=u16::MAX {
        let in_range = (config.port_min..=config.port_max).contains(&sport);
        let ports = Ports::new(&config, &key(sport, proto::SCTP), 0);
        assert_eq!((ports.nth(0) == sport, ports.count()), (in_range, TRIES), "{sport}");
        let others = (1..TRIES).filter(|i| ports.nth(*i) == sport).count();
        assert!(others <= 1, "where it is taken, others are tried");
    }
}

/// Nobody else does unless told.
#[test]
fn others_keep_it_if_told() {
    for protocol in [proto::TCP, proto::UDP, proto::UDP_LITE, proto::DCCP] {
        let kept = |flags| {
            let config = Config { flags, ..config(&[]) };
            (2000..3000).filter(|sport| Ports::new(&config, &key(*sport, protocol), 0).nth(0) == *sport).count()
        };
        assert_eq!(kept(flags::PRESERVE_PORT), 1000, "{protocol}");
        assert!(kept(0) < 5, "{protocol}");
    }
}

/// What has no ports: one candidate, which is 0, whatever the settings.
#[test]
fn bare_protocols_have_one_candidate() {
    let with_ports = [proto::TCP, proto::UDP, proto::UDP_LITE, proto::DCCP, proto::SCTP, proto::ICMP, proto::ICMPV6];
    for number in (0..=255).filter(|number| !with_ports.contains(number)) {
        for flags in [0, flags::PRESERVE_PORT] {
            for now in [0, 1, 77] {
                let config = Config { flags, ..config(&[]) };
                let ports = Ports::new(&config, &FlowKey { dport: 0, ..key(0, number) }, now);
                assert_eq!((ports.count(), ports.nth(0)), (1, 0), "{number}");
            }
        }
    }
}

/// As many tries as there are ports, and no more than the most.
#[test]
fn how_many_candidates() {
    for (min, max, want) in [(5000, 5000, 1), (5000, 5001, 2), (1, 63, 63), (1, 64, 64), (1, 65, 64), (0, u16::MAX, 64)]
    {
        let config = Config { port_min: min, port_max: max, icmp_max: max - min, ..config(&[]) };
        for number in [proto::TCP, proto::UDP, proto::UDP_LITE, proto::DCCP, proto::SCTP, proto::ICMP, proto::ICMPV6] {
            let ports = Ports::new(&config, &key(4000, number), 0);
            assert_eq!(ports.count(), want, "{number}");
            let candidates: Vec<_> = (0..want).map(|i| ports.nth(i)).collect();
            let kept = usize::from(number == proto::SCTP && (min..=max).contains(&4000));
            assert!(distinct(&candidates[kept..]) == candidates.len() - kept, "none twice: {candidates:?}");
        }
    }
}
