//! Which part of a datagram a packet is, and which parts nobody should send.

use std::vec;

use super::super::*;
use crate::{
    abi::flow::seen,
    packet::{parse::Piece, slice::Frame},
    testing::{
        frame::{Ip, icmp, tcp, udp},
        headers::{Dress, chained, fragment, padding},
        protocols::{dccp, sctp, udp_lite},
    },
};

/// The fragment with this part of a datagram.
fn torn<F: Deep + Dress>(number: u8, at: u16, more: bool, data: &[u8]) -> Result<Parsed<F>, Drop> {
    let mut frame = F::torn(Ip::any(number), 0x1234, at, more).frame(data);
    F::deep(&Frame::new(&mut frame))
}

fn offsets<F: Deep + Dress>(number: u8) {
    for at in (0..=65528).step_by(8) {
        for more in [false, true] {
            let packet = torn::<F>(number, at, more, &[0x50; 7]);
            if at != 0 {
                let packet = packet.unwrap();
                assert_eq!(packet.kind, Kind::Tail, "{at}");
                assert_eq!((packet.piece.at, packet.piece.more, packet.piece.id), (at.into(), more, 0x1234));
                assert!(packet.piece.is_fragment() && !packet.piece.is_first());
                assert_eq!((packet.sport, packet.dport, packet.seen, packet.proto), (0, 0, 0, number));
                assert_eq!(packet.l4_len(), 7);
            } else if more {
                assert_eq!(packet.unwrap().kind, Kind::Other(Drop::Fragment));
            } else {
                assert_eq!(packet.err(), Some(Drop::Malformed));
            }
        }
    }
}

/// All of them, in eighths of bytes: no byte order makes one look like another (offset 1280 as a number of eight bytes is 160,
/// 256 is 32).
#[test]
fn every_offset() {
    offsets::<V4>(proto::UDP);
    offsets::<V6>(proto::UDP);
}

/// DF and the reserved bit do not make a fragment, and beside one they change nothing.
#[test]
fn flags_of_ipv4() {
    for field in 0..=u16::MAX {
        let mut frame = Ip { frag: field, ..Ip::<V4>::any(47) }.frame(&[0; 4]);
        let packet = V4::deep(&Frame::new(&mut frame)).unwrap();
        let (at, more) = (u32::from(field % 0x2000) * 8, field / 0x2000 % 2 == 1);
        let id = if at != 0 || more { 0x1234 } else { 0 };
        assert_eq!((packet.piece.at, packet.piece.more, packet.piece.id), (at, more, id), "{field:#x}");
        assert_eq!(packet.kind, if at == 0 { Kind::Bare } else { Kind::Tail });
        assert_eq!(packet.may_fragment, field / 0x4000 % 2 == 0);
    }
}

fn end<F: Deep + Dress>() {
    for (at, len, fits) in [
        (65528, 7, true),
        (65528, 8, false),
        (65520, 15, true),
        (65520, 16, false),
        (64000, 1536, false),
        (64000, 1535, true),
    ] {
        for more in [false, true] {
            let got = torn::<F>(proto::UDP, at, more, &vec![0; len]).map(|packet| packet.kind);
            assert_eq!(got, if fits { Ok(Kind::Tail) } else { Err(Drop::Malformed) }, "{at} + {len}");
        }
    }
}

/// RFC 791 §3.2: no datagram is longer (the "ping of death" is).
#[test]
fn beyond_the_longest_datagram() {
    end::<V4>();
    end::<V6>();
}

fn firsts<F: Deep + Dress>() {
    let echo = icmp(if F::V6 { 128 } else { 8 }, 1, &[0; 32]);
    for (number, payload, least, kind) in [
        (proto::TCP, tcp(1, 2, 2, &[0; 20]), 20, Kind::Ports),
        (proto::UDP, udp(1, 2, &[0; 4000])[..40].to_vec(), 8, Kind::Ports),
        (proto::UDP_LITE, udp_lite(1, 2, &[0; 32]), 8, Kind::Ports),
        (proto::DCCP, dccp(1, 2, &[0; 28]), 12, Kind::Ports),
        (proto::SCTP, sctp(1, 2, &[0; 28]), 12, Kind::Ports),
        (F::ICMP, echo, 8, Kind::Query),
        (47, vec![0; 40], 0, Kind::Bare),
    ] {
        for len in 0..=payload.len() {
            let packet = torn::<F>(number, 0, true, &payload[..len]).unwrap();
            let want = if len < least { Kind::Other(Drop::Fragment) } else { kind };
            assert_eq!(packet.kind, want, "protocol {number}, {len} bytes");
            assert!(packet.piece.is_first() && packet.piece.is_fragment());
        }
    }
}

/// RFC 1858 §3: the first one has the whole header, or it hides what it is. A UDP length is the datagram's.
#[test]
fn tiny_first_fragments() {
    firsts::<V4>();
    firsts::<V6>();
    let mut long = tcp(1, 2, 2, &[0; 20]);
    long[12] = 0xa0;
    let want = |len| if len < 40 { Kind::Other(Drop::Fragment) } else { Kind::Ports };
    for len in 20..=40 {
        assert_eq!(torn::<V4>(proto::TCP, 0, true, &long[..len]).unwrap().kind, want(len), "options too: {len}");
    }
}

fn overlaps<F: Deep + Dress>() {
    for more in [false, true] {
        let kind = |number, at| torn::<F>(number, at, more, &[0; 24]).unwrap().kind;
        assert_eq!(kind(proto::TCP, 8), Kind::Other(Drop::Fragment));
        assert_eq!(kind(proto::TCP, 16), Kind::Tail);
        assert_eq!(kind(proto::UDP, 8), Kind::Tail);
        assert_eq!(kind(47, 8), Kind::Tail);
    }
}

/// RFC 1858 §4: what begins there would replace TCP's flags.
#[test]
fn tcp_at_eight() {
    overlaps::<V4>();
    overlaps::<V6>();
}

fn errors<F: Deep + Dress>(kinds: &[u8]) {
    for kind in kinds {
        let packet = torn::<F>(F::ICMP, 0, true, &icmp(*kind, 0, &[0; 56])).unwrap();
        assert_eq!(packet.kind, Kind::Other(Drop::Fragment), "{kind}");
    }
    let packet = torn::<F>(F::ICMP, 0, true, &icmp(200, 0, &[0; 56])).unwrap();
    assert_eq!(packet.kind, Kind::Other(Drop::IcmpType));
    for number in [proto::AH, proto::VRRP] {
        assert_eq!(torn::<F>(number, 0, true, &[0; 56]).unwrap().kind, Kind::Other(Drop::Protocol), "{number}");
    }
}

/// An error never is one; nor is discovery (RFC 6980). What could not be translated whole keeps its own reason.
#[test]
fn what_must_not_be_fragmented() {
    errors::<V4>(&[3, 4, 5, 11, 12]);
    errors::<V6>(&[1, 2, 3, 4, 130, 135, 143]);
}

#[test]
fn tcp_flags_of_a_first_fragment() {
    let packet = torn::<V4>(proto::TCP, 0, true, &tcp(7, 9, 2, &[0; 4])).unwrap();
    assert_eq!((packet.sport, packet.dport, packet.seen), (7, 9, seen::SYN));
}

/// Headers before the fragment header belong to each fragment, those behind it to the datagram.
#[test]
fn data_of_ipv6_fragments() {
    let (before, behind) = (padding(proto::HOP_BY_HOP, 2), padding(proto::DESTINATION, 3));
    let read = |headers: &[_], last, data: &[u8]| {
        let (proto, extra) = chained(headers, last);
        let mut frame = Ip { proto, extra, ..Ip::<V6>::any(last) }.frame(data);
        V6::deep(&Frame::new(&mut frame)).unwrap()
    };
    let first = read(&[before.clone(), fragment(5, 0, true), behind.clone()], proto::UDP, &udp(1, 2, &[0; 24]));
    assert_eq!((first.kind, first.l4_len()), (Kind::Ports, 32));
    assert_eq!(first.piece, Piece { id: 5, at: 0, more: true, len: 24 + 32 });
    let tail = read(&[before, fragment(5, 56, false)], proto::DESTINATION, &[0; 11]);
    assert_eq!((tail.kind, tail.proto), (Kind::Tail, proto::DESTINATION));
    assert_eq!(tail.piece, Piece { id: 5, at: 56, more: false, len: 11 });
    let whole = read(&[behind], proto::UDP, &udp(1, 2, b""));
    assert_eq!(whole.piece, Piece::default());
    let four = torn::<V4>(proto::UDP, 0, true, &udp(1, 2, &[0; 24])).unwrap();
    assert_eq!(four.piece, Piece { id: 0x1234, at: 0, more: true, len: 32 });
}
