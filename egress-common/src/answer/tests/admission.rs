//! How many errors are sent, and about what.

use std::{vec, vec::Vec};

use proptest::prelude::*;

use super::super::*;
use crate::packet::parse::Piece;

const SECOND: u64 = 1_000_000_000;

/// Asks at each of these times; when it was granted.
fn granted(paid: &mut u64, times: impl IntoIterator<Item = u64>) -> Vec<u64> {
    let mut ask = |now| {
        let until = admit(*paid, now)?;
        *paid = until;
        Some(now)
    };
    times.into_iter().filter_map(&mut ask).collect()
}

#[test]
fn numbers() {
    assert_eq!((RATE, BURST), (1000, 100));
}

/// The first after a long silence: all of the burst, then one for each interval.
#[test]
fn burst_then_rate() {
    for start in [0, 1, SECOND, 1 << 60] {
        let mut paid = 0;
        assert_eq!(granted(&mut paid, vec![start; 1000]).len(), 100);
        assert_eq!(granted(&mut paid, vec![start + 999_999; 10]).len(), 0);
        assert_eq!(granted(&mut paid, vec![start + 1_000_000; 10]).len(), 1);
        assert_eq!(granted(&mut paid, vec![start + 11_000_000; 50]).len(), 10);
        assert_eq!(granted(&mut paid, vec![start + 10 * SECOND; 1000]).len(), 100, "no more is saved up");
    }
}

/// Asked all the time: what is granted in ten seconds is the rate and one burst.
#[test]
fn long_run() {
    let count = granted(&mut 0, (0..1_000_000).map(|i| i * 10_000)).len() as u64;
    assert!((10 * RATE..=10 * RATE + BURST).contains(&count), "{count}");
}

/// A slow asker is never refused.
#[test]
fn below_the_rate() {
    assert_eq!(granted(&mut 0, (0..20_000).map(|i| i * 1_000_000)).len(), 20_000);
}

/// By whatever the clock is moved back, it is silent for no longer than the burst takes to pay.
#[test]
fn clock_moved_back() {
    for back in [1, SECOND / 10, SECOND / 5, SECOND, 3600 * SECOND, 1 << 50] {
        let start = 1 << 51;
        let mut paid = 0;
        granted(&mut paid, vec![start; 1000]);
        let now = start - back;
        let first = granted(&mut paid, (0..1000).map(|ms| now + ms * 1_000_000))[0];
        assert!(first - now <= 201_000_000, "{back} back, silent for {}", first - now);
        assert!(granted(&mut paid, vec![now + 10 * SECOND; 1000]).len() == 100);
    }
}

proptest! {
    /// In every window of time: at most the burst and the rate's share, whoever asks when.
    #[test]
    fn any_window(
        start in 0_u64..1 << 60,
        gaps in proptest::collection::vec(prop_oneof![
            4 => Just(0_u64),
            4 => 0_u64..2_000_000,
            1 => 0_u64..200_000_000,
            1 => 0_u64..5 * SECOND,
        ], 1..300),
    ) {
        let times = gaps.iter().scan(start, |now, gap| {
            *now += gap;
            Some(*now)
        });
        let granted = granted(&mut 0, times);
        for (i, from) in granted.iter().enumerate() {
            for (j, to) in granted.iter().enumerate().skip(i) {
                let count = (j - i + 1) as u64;
                prop_assert!((count - 1) * SECOND <= (to - from) * RATE + (BURST - 1) * SECOND, "{count} in {}", to - from);
            }
        }
        prop_assert!(granted.len() >= gaps.len().min(100));
    }
}

fn answered<F: Family>(kind: Kind, at: u32, more: bool) -> bool {
    answerable(&Parsed::<F> {
        src: crate::abi::family::Address::ZERO,
        dst: crate::abi::family::Address::ZERO,
        kind,
        proto: 17,
        sport: 0,
        dport: 0,
        seen: 0,
        ttl: 1,
        may_fragment: true,
        len: 100,
        wire_len: 100,
        l4: 34,
        piece: Piece { id: 1, at, more, len: 8 },
    })
}

/// RFC 1122 §3.2.2: no error about an error, none about a later fragment. RFC 4443 §2.4 e knows only the first rule.
#[test]
fn about_what() {
    for kind in [Kind::Ports, Kind::Query, Kind::Answer, Kind::Bare] {
        assert!(answered::<V4>(kind, 0, false) && answered::<V6>(kind, 0, false));
        assert!(answered::<V4>(kind, 0, true) && answered::<V6>(kind, 0, true), "a first fragment");
    }
    for more in [false, true] {
        assert!(!answered::<V4>(Kind::Tail, 1280, more));
        assert!(answered::<V6>(Kind::Tail, 1280, more));
    }
    assert!(!answered::<V4>(Kind::Error, 0, false) && !answered::<V6>(Kind::Error, 0, false));
}
