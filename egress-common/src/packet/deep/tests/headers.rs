//! Options and extension headers: which packet they make an unwanted one. The lists themselves are tested where they are read.

use std::{vec, vec::Vec};

use super::super::*;
use crate::{
    packet::slice::Frame,
    testing::{
        frame::{Ip, tcp, udp},
        headers::{chained, fragment, padding, routing},
    },
};

fn with_options(extra: Vec<u8>, frag: u16, number: u8, payload: &[u8]) -> Result<Kind, Drop> {
    let mut frame = Ip { extra, frag, ..Ip::<V4>::any(number) }.frame(payload);
    V4::deep(&Frame::new(&mut frame)).map(|packet| packet.kind)
}

fn with_headers(
    headers: &[crate::testing::headers::Extension],
    number: u8,
    payload: &[u8],
) -> Result<Parsed<V6>, Drop> {
    let (proto, extra) = chained(headers, number);
    let mut frame = Ip { proto, extra, ..Ip::<V6>::any(number) }.frame(payload);
    V6::deep(&Frame::new(&mut frame))
}

/// Whatever the packet is otherwise, and whichever part of a datagram.
#[test]
fn steering_options() {
    for kind in [7, 68, 131, 137] {
        for (frag, number, payload) in [
            (0, proto::TCP, tcp(1, 2, 2, b"")),
            (0, proto::UDP, udp(1, 2, b"")),
            (0, 47, b"tunnel".to_vec()),
            (0, proto::AH, vec![0; 12]),
            (0x2000, proto::UDP, udp(1, 2, b"abcdefgh")),
            (0x2001, proto::UDP, b"abcdefgh".to_vec()),
            (0x0003, proto::UDP, b"a".to_vec()),
        ] {
            let options = vec![kind, 3, 4, 0];
            assert_eq!(
                with_options(options, frag, number, &payload),
                Ok(Kind::Other(Drop::Options)),
                "{kind} {frag:#x}"
            );
        }
    }
}

#[test]
fn harmless_options() {
    for words in 1..=10 {
        assert_eq!(with_options(vec![1; words * 4], 0, proto::TCP, &tcp(1, 2, 2, b"")), Ok(Kind::Ports));
        assert_eq!(with_options(vec![0; words * 4], 0, proto::TCP, &tcp(1, 2, 2, b"")), Ok(Kind::Ports));
    }
    let alert = vec![148, 4, 0, 0];
    assert_eq!(with_options(alert.clone(), 0, 47, b""), Ok(Kind::Bare));
    assert_eq!(with_options(alert, 5, proto::UDP, b"x"), Ok(Kind::Tail));
    assert_eq!(with_options(vec![130, 5, 0, 0], 0, proto::UDP, &udp(1, 2, b"")), Err(Drop::Malformed));
}

#[test]
fn options_of_a_cut_packet() {
    for len in 0..20 {
        let mut frame = Ip { extra: vec![1; 12], ..Ip::<V4>::any(proto::TCP) }.frame(&tcp(1, 2, 2, b""));
        frame[16..18].copy_from_slice(&(32 + len as u16).to_be_bytes());
        assert!(matches!(V4::deep(&Frame::new(&mut frame)), Err(Drop::Malformed)), "{len}");
    }
}

#[test]
fn unwanted_chains() {
    let options = |eights| padding(proto::DESTINATION, eights);
    for (headers, wanted) in [
        (vec![options(1); 8], true),
        (vec![options(1); 9], false),
        (vec![options(1); 12], false),
        (vec![padding(0, 1), options(2), routing(4, 0), fragment(9, 0, false), options(1)], true),
        (vec![options(1), padding(0, 1)], false),
        (vec![routing(0, 0)], false),
        (vec![routing(2, 1)], false),
        (vec![routing(4, 3), options(1)], false),
        (vec![fragment(1, 0, false), fragment(2, 0, false)], false),
        (vec![fragment(1, 0, true), fragment(2, 0, true)], false),
    ] {
        let udp = with_headers(&headers, proto::UDP, &udp(1, 2, b"")).unwrap();
        assert_eq!(udp.kind, if wanted { Kind::Ports } else { Kind::Other(Drop::Options) }, "{headers:?}");
        let gre = with_headers(&headers, 47, &[0; 8]).unwrap();
        assert_eq!(gre.kind, if wanted { Kind::Bare } else { Kind::Other(Drop::Options) }, "{headers:?}");
    }
}

/// RFC 8200 §4.7; and what the chain leads to is judged as if it came first.
#[test]
fn behind_the_chain() {
    let way = [padding(0, 1), padding(proto::DESTINATION, 1)];
    for number in [1, 51, 59, 89, 103, 112, 135, 139, 140] {
        assert_eq!(with_headers(&way, number, &[0; 40]).unwrap().kind, Kind::Other(Drop::Protocol), "{number}");
    }
    let udp = with_headers(&way, proto::UDP, &udp(7, 9, b"data")).unwrap();
    assert_eq!((udp.proto, udp.sport, udp.dport, udp.l4, udp.l4_len()), (proto::UDP, 7, 9, 14 + 40 + 16, 12));
}

/// RFC 6946: no fragment, though it has the header.
#[test]
fn atomic_fragments() {
    for (number, payload, kind) in [
        (proto::TCP, tcp(7, 9, 2, b""), Kind::Ports),
        (proto::UDP, udp(7, 9, b"x"), Kind::Ports),
        (47, b"abc".to_vec(), Kind::Bare),
        (proto::ICMPV6, crate::testing::frame::icmp(1, 0, &[0; 48]), Kind::Error),
        (proto::AH, vec![0; 12], Kind::Other(Drop::Protocol)),
    ] {
        let packet = with_headers(&[fragment(0xffff_ffff, 0, false)], number, &payload).unwrap();
        assert_eq!((packet.kind, packet.proto), (kind, number));
        assert!(!packet.piece.is_fragment() && !packet.piece.is_first());
    }
    assert!(matches!(with_headers(&[fragment(1, 0, false)], proto::TCP, &[0; 19]), Err(Drop::Malformed)));
}
