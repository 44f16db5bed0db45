use std::{vec, vec::Vec};

use proptest::prelude::*;

use super::*;
use crate::{
    abi::{
        family::{V4, V6},
        flow::{IN, OUT},
        fragment::fate,
    },
    packet::{deep::Deep, header::proto, parse::Kind, slice::Frame},
    testing::{
        frame::{Ip, udp},
        headers::{Dress, chained, fragment, padding},
    },
};

/// The fragment of a datagram with these bytes of it.
fn piece<F: Deep + Dress>(id: u16, at: usize, more: bool, data: &[u8]) -> Parsed<F> {
    let ip = F::torn(Ip::any(proto::UDP), id, at as u16, more);
    F::deep(&Frame::new(&mut ip.frame(data))).unwrap()
}

/// In IPv4 the protocol is part of the name (RFC 791 §3.2), in IPv6 it is not (RFC 8200 §4.5); the direction is in both.
#[test]
fn keys() {
    let four = |number, dir| {
        let mut frame = V4::torn(Ip::any(number), 0, 8, true).frame(&[0; 8]);
        key(&V4::deep(&Frame::new(&mut frame)).unwrap(), dir)
    };
    let six = |headers: &[_], number, dir| {
        let (proto, extra) = chained(headers, number);
        let mut frame = Ip { proto, extra, ..Ip::<V6>::any(number) }.frame(&udp(1, 2, &[0; 24]));
        key(&V6::deep(&Frame::new(&mut frame)).unwrap(), dir)
    };
    let one = four(17, OUT);
    assert_eq!((one.saddr, one.daddr, one.id, one.proto), ([10, 16, 0, 9], [1; 4], 0x1234, 17));
    assert_eq!((one.dir, one.index), (OUT, 0));
    assert_ne!(one, four(6, OUT));
    assert_ne!(one, four(17, IN));
    let first = six(&[fragment(0xdead_beef, 0, true), padding(proto::DESTINATION, 1)], 17, IN);
    assert_eq!((first.id, first.proto, first.dir), (0xdead_beef, 0, IN));
    let later = [padding(proto::HOP_BY_HOP, 1), fragment(0xdead_beef, 800, false)];
    assert_eq!(first, six(&later, proto::DESTINATION, IN), "it names the header that followed, not the protocol");
    assert_ne!(first, six(&[fragment(0xdead_bee0, 800, false)], 17, IN));
}

/// RFC 6146 §4: at least two seconds; round the end of the clock too, and on a CPU whose second began later.
#[test]
fn lifetime() {
    for since in [0, 1, 100, u32::MAX / 2, u32::MAX - 2, u32::MAX - 1, u32::MAX] {
        for age in 0..=2 {
            assert!(alive(since, since.wrapping_add(age)), "{since} + {age}");
        }
        for age in [3, 4, 60, 100_000, u32::MAX / 2] {
            assert!(!alive(since, since.wrapping_add(age)), "{since} + {age}");
        }
        for ahead in [1, 2, 100] {
            assert!(alive(since, since.wrapping_sub(ahead)), "{since} - {ahead}");
        }
    }
}

#[test]
fn what_is_remembered() {
    let first = piece::<V4>(9, 0, true, &udp(7, 9, &[0; 24]));
    let datagram = remembered(&first, fate::OWN, 55);
    let Datagram { since, sport, dport, proto, fate, pad, total, bytes } = datagram;
    assert_eq!((since, sport, dport, proto, fate, pad, total, bytes), (55, 7, 9, 17, fate::OWN, 0, 0, 32));
}

/// RFC 1858 §4: the same ports, or one of them lies. Where the fragments were cut is not told.
#[test]
fn agreement() {
    let datagram = remembered(&piece::<V6>(9, 0, true, &udp(7, 9, &[0; 24])), fate::FLOW, 0);
    for (first, want) in [
        (udp(7, 9, &[0; 24]), true),
        (udp(7, 9, &[1; 64]), true),
        (udp(8, 9, &[0; 24]), false),
        (udp(7, 8, &[0; 24]), false),
        (udp(9, 7, &[0; 24]), false),
    ] {
        assert_eq!(agrees(&datagram, &piece::<V6>(9, 0, true, &first)), want);
    }
    let mut other = piece::<V6>(9, 0, true, &udp(7, 9, &[0; 24]));
    other.proto = proto::UDP_LITE;
    assert!(!agrees(&datagram, &other));
}

#[test]
fn table() {
    let known = |bytes, total| Datagram { total, bytes, ..remembered(&piece::<V4>(9, 0, true, &udp(1, 2, b"")), 0, 0) };
    let later = |at, len, more| piece::<V4>(9, at, more, &vec![0; len]);
    for (bytes, total, (at, len, more), want) in [
        (16, 0, (16, 16, true), (Progress::Open, 0)),
        (16, 0, (16, 16, false), (Progress::Whole, 32)),
        (16, 0, (32, 16, false), (Progress::Open, 48)),
        (32, 48, (16, 16, true), (Progress::Whole, 48)),
        (24, 48, (16, 16, true), (Progress::Open, 48)),
        (32, 48, (16, 24, true), (Progress::Whole, 48)),
        (65528, 0, (65528, 7, false), (Progress::Whole, 65535)),
        (65528, 0, (8, 8, true), (Progress::Excess, 0)),
        (65535, 0, (8, 1, true), (Progress::Excess, 0)),
        (65534, 0, (8, 1, true), (Progress::Open, 0)),
        (u64::MAX / 2, 48, (16, 16, true), (Progress::Excess, 48)),
    ] {
        assert_eq!(
            progress(&known(bytes, total), &later(at, len, more)),
            want,
            "{bytes} of {total}, then {at} + {len}"
        );
    }
}

/// The pieces of a datagram of `len` bytes, cut at these places.
fn cut(len: usize, cuts: &[usize]) -> Vec<(usize, usize)> {
    let mut at: Vec<usize> = cuts.iter().map(|cut| cut * 8).filter(|cut| (8..len).contains(cut)).collect();
    at.extend([0, len]);
    at.sort_unstable();
    at.dedup();
    at.windows(2).map(|pair| (pair[0], pair[1])).collect()
}

/// How a datagram stands after each of its later pieces, when they come in this order.
fn course<F: Deep + Dress>(datagram: &[u8], pieces: &[(usize, usize)], behind: u8) -> Vec<Progress> {
    let read = |(at, end): (usize, usize)| {
        let (id, more) = (u32::from(behind), end != datagram.len());
        if !F::V6 || behind == 0 {
            return piece::<F>(1, at, more, &datagram[at..end]);
        }
        // Headers behind the fragment header: the first piece is longer by them, the others come later by as much.
        let options = padding(proto::DESTINATION, behind);
        let shift = if at == 0 { 0 } else { options.1.len() };
        let fragment = fragment(id, (at + shift) as u16, more);
        let (number, extra) =
            if at == 0 { chained(&[fragment, options], proto::UDP) } else { chained(&[fragment], proto::DESTINATION) };
        F::deep(&Frame::new(&mut Ip { proto: number, extra, ..Ip::<F>::any(proto::UDP) }.frame(&datagram[at..end])))
            .unwrap()
    };
    let (first, rest) = pieces.split_first().unwrap();
    let first = read(*first);
    assert_eq!(first.kind, Kind::Ports);
    let mut known = remembered(&first, fate::FLOW, 0);
    let name = key(&first, OUT);
    rest.iter()
        .map(|part| {
            let packet = read(*part);
            assert_eq!((packet.kind, key(&packet, OUT) == name), (Kind::Tail, true));
            let (progress, total) = progress(&known, &packet);
            known.bytes += u64::from(packet.piece.len);
            known.total = total;
            progress
        })
        .collect()
}

fn ends_with_the_last<F: Deep + Dress>(datagram: &[u8], pieces: &[(usize, usize)], behind: u8) {
    let course = course::<F>(datagram, pieces, behind);
    let (last, before) = course.split_last().unwrap();
    assert_eq!(*last, Progress::Whole, "{pieces:?}");
    assert!(before.iter().all(|it| *it == Progress::Open), "{pieces:?}: {course:?}");
}

proptest! {
    /// The first comes first (the others wait for it), then any order: it is whole when all came, and not before.
    #[test]
    fn whole_when_all_came(
        len in prop_oneof![17_usize..400, Just(65507 + 8), Just(65000), 17_usize..65515],
        cuts in proptest::collection::vec(prop_oneof![1_usize..50, 1_usize..8190], 1..20),
        order in proptest::collection::vec(any::<u32>(), 22),
        behind in 0_u8..3,
    ) {
        let datagram = udp(7, 9, &vec![0; len - 8]);
        let mut pieces = cut(len, &cuts);
        if pieces.len() == 1 {
            pieces = cut(len, &[1]);
        }
        let mut keyed: Vec<_> = pieces[1..].iter().zip(&order).collect();
        keyed.sort_by_key(|(_, order)| **order);
        let shuffled: Vec<_> = pieces[..1].iter().copied().chain(keyed.iter().map(|(piece, _)| **piece)).collect();
        ends_with_the_last::<V4>(&datagram, &shuffled, 0);
        let behind = if len + usize::from(behind) * 8 > 65535 { 0 } else { behind };
        ends_with_the_last::<V6>(&datagram, &shuffled, behind);
    }

    /// Less than all is never whole, and whatever repeats ends in excess, not in a count that starts anew.
    #[test]
    fn repeated_for_ever(at in 1_usize..8000, len in 1_usize..180) {
        let data = vec![0; len * 8];
        let later = piece::<V4>(1, at * 8, true, &data[..data.len().min(65528 - at * 8)]);
        let mut known = remembered(&piece::<V4>(1, 0, true, &udp(7, 9, b"")), fate::FLOW, 0);
        let mut passed = known.bytes;
        loop {
            let (state, total) = progress(&known, &later);
            passed += u64::from(later.piece.len);
            prop_assert_eq!(total, 0);
            prop_assert_eq!(state, if passed > 65535 { Progress::Excess } else { Progress::Open });
            if state == Progress::Excess {
                break;
            }
            known.bytes = passed;
        }
    }
}
