//! Quotes that are of no flow's packet.

use std::vec;

use super::{super::*, bytes, inner, unreachable};
use crate::{
    packet::{deep::Deep, header::proto},
    testing::{
        frame::{Ip, icmp, udp},
        headers::{Dress, chained, fragment, padding, routing},
    },
};

fn about_icmp<F: Quoted + Deep + Dress>(queries: &[(u8, u8, u16)], others: &[u8]) {
    let of = |kind| unreachable::<F>(&bytes(&inner::<F>(F::ICMP), &icmp(kind, 99, &[0; 20])));
    for (ask, answer, name) in queries {
        assert_eq!(of(*ask).map(|quote| (quote.sport, quote.dport)), Ok((99, *name)), "{ask}");
        assert_eq!(of(*answer).map(|quote| (quote.sport, quote.dport)), Ok((*name, 99)), "{answer}");
    }
    for kind in others {
        assert_eq!(of(*kind).err(), Some(Drop::IcmpError), "{kind}");
    }
}

/// RFC 1122 §3.2.2, RFC 4443 §2.4 e: no error is about an error.
#[test]
fn queries_answers_and_others() {
    about_icmp::<V4>(&[(8, 0, 0), (13, 14, 13), (15, 16, 15), (17, 18, 17)], &[3, 4, 5, 11, 12, 9, 10, 200]);
    about_icmp::<V6>(&[(128, 129, 0)], &[1, 2, 3, 4, 130, 133, 135, 143, 200]);
}

fn offsets<F: Quoted + Deep + Dress>() {
    for at in (0..=65528).step_by(8) {
        for more in [false, true] {
            let ip = F::torn(inner(proto::UDP), 5, at, more);
            let quote = unreachable::<F>(&bytes(&ip, &udp(7, 9, b"x")));
            if at == 0 {
                assert_eq!(quote.map(|quote| (quote.sport, quote.dport)), Ok((7, 9)), "the first has the ports");
            } else {
                assert_eq!(quote.err(), Some(Drop::IcmpError), "{at}");
            }
        }
    }
}

/// Data of a later fragment would be taken for ports.
#[test]
fn later_fragments() {
    offsets::<V4>();
    offsets::<V6>();
}

/// Protocols that never were translated.
#[test]
fn protocols() {
    for number in 0..=255 {
        let four = unreachable::<V4>(&bytes(&inner::<V4>(number), &[8; 40])).is_ok();
        assert_eq!(four, ![51, 58, 112].contains(&number), "{number}");
        if ![0, 43, 44, 60, 58].contains(&number) {
            let six = unreachable::<V6>(&bytes(&inner::<V6>(number), &[128; 40])).is_ok();
            assert_eq!(six, ![1, 51, 59, 89, 103, 112, 135, 139, 140].contains(&number), "{number}");
        }
    }
}

#[test]
fn no_packet_quoted() {
    let good = bytes(&inner::<V4>(proto::UDP), &udp(1, 2, b""));
    for first in 0..=255 {
        let mut quote = good.clone();
        quote[0] = first;
        quote.resize(80, 0);
        assert_eq!(unreachable::<V4>(&quote).is_ok(), (0x45..=0x4f).contains(&first), "{first:#x}");
    }
    let good = bytes(&inner::<V6>(proto::UDP), &udp(1, 2, b""));
    for first in 0..=255 {
        let mut quote = good.clone();
        quote[0] = first;
        assert_eq!(unreachable::<V6>(&quote).is_ok(), first >> 4 == 6, "{first:#x}");
    }
    assert_eq!(unreachable::<V6>(&[]).err(), Some(Drop::IcmpError));
}

/// A quoted chain is walked as that of the packet was; where it does not end within the quote nothing is known.
#[test]
fn chains() {
    let long = [padding(proto::HOP_BY_HOP, 3), routing(4, 0), fragment(3, 0, true), padding(proto::DESTINATION, 2)];
    let (proto, extra) = chained(&long, proto::UDP);
    let ip = Ip { proto, extra, ..inner::<V6>(proto::UDP) };
    let whole = bytes(&ip, &udp(7, 9, b""));
    let quote = unreachable::<V6>(&whole).unwrap();
    assert_eq!((quote.proto, quote.sport, quote.l4_len), (proto::UDP, 7, 8));
    for len in 40..whole.len() {
        assert_eq!(unreachable::<V6>(&whole[..len]).err(), Some(Drop::IcmpError), "{len}");
    }
    // RFC 4443 §2.4 b: the error about segments left quotes a packet that goes by another's address.
    let (proto, extra) = chained(&vec![padding(proto::DESTINATION, 1); 9], proto::UDP);
    let quote = unreachable::<V6>(&bytes(&Ip { proto, extra, ..inner::<V6>(proto::UDP) }, &udp(7, 9, b"")));
    assert!(quote.map_or(true, |quote| quote.proto != proto::UDP), "more headers than any packet of a flow has");
}
