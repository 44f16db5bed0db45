//! Every kind of packet is told from every other.

use std::{vec, vec::Vec};

use proptest::prelude::*;

use crate::{
    abi::{
        family::{V4, V6},
        flow::{IN, OUT, seen},
    },
    packet::{
        header::proto,
        parse::{Kind, Parse, Parsed},
        slice::Frame,
    },
    testing::frame::{Build, Ip, icmp, tcp, udp},
    verdict::Drop,
};

fn parse<F: Parse>(mut frame: Vec<u8>) -> Result<Parsed<F>, Drop> {
    F::parse(&Frame::new(&mut frame))
}

fn kind<F: Parse>(frame: Vec<u8>) -> Kind {
    parse::<F>(frame).unwrap().kind
}

#[test]
fn icmp_types_of_ipv4() {
    for number in 0..=255 {
        let want = match number {
            // Echo, timestamp, information, address mask.
            8 | 13 | 15 | 17 => Kind::Query,
            0 | 14 | 16 | 18 => Kind::Answer,
            // Unreachable, source quench, redirect, time exceeded, parameter problem (RFC 792).
            3 | 4 | 5 | 11 | 12 => Kind::Error,
            _ => Kind::Other(Drop::IcmpType),
        };
        let packet = parse::<V4>(Ip::<V4>::any(1).frame(&icmp(number, 99, b"quoted"))).unwrap();
        assert_eq!(packet.kind, want, "{number}");
        let asked = match number {
            0 | 8 => 0,
            answer if want == Kind::Answer => u16::from(answer) - 1,
            query => u16::from(query),
        };
        assert_eq!((packet.sport, packet.dport), ports_of_query(want, 99, asked));
    }
}

#[test]
fn icmp_types_of_ipv6() {
    for number in 0..=255 {
        let want = match number {
            128 => Kind::Query,
            129 => Kind::Answer,
            // RFC 4443 §3: unreachable, too big, time exceeded, parameter problem.
            1..=4 => Kind::Error,
            // RFC 2710 and RFC 3810 (130..=132, 143), RFC 4861 (133..=137).
            130..=137 | 143 => Kind::LinkControl,
            _ => Kind::Other(Drop::IcmpType),
        };
        let packet = parse::<V6>(Ip::<V6>::any(58).frame(&icmp(number, 99, b"quoted"))).unwrap();
        assert_eq!(packet.kind, want, "{number}");
        assert_eq!((packet.sport, packet.dport), ports_of_query(want, 99, 0));
    }
}

/// The identifier is the own side's port in either direction; the other one tells what was asked.
fn ports_of_query(kind: Kind, id: u16, asked: u16) -> (u16, u16) {
    match kind {
        Kind::Query => (id, asked),
        Kind::Answer => (asked, id),
        _ => (0, 0),
    }
}

#[test]
fn request_and_reply_have_matching_keys() {
    let out = parse::<V4>(Ip::<V4>::new([10, 0, 0, 1], [1, 1, 1, 1], 1).frame(&icmp(8, 7, b""))).unwrap().key(OUT);
    let back = parse::<V4>(Ip::<V4>::new([1, 1, 1, 1], [9, 9, 9, 9], 1).frame(&icmp(0, 3, b""))).unwrap().key(IN);
    assert_eq!(out.reply([9, 9, 9, 9], 3), back);
    assert_eq!(back.original([10, 0, 0, 1], 7), out);
}

/// The other family's ICMP is a protocol like any other, and all those are for the other parser.
#[test]
fn other_protocols() {
    for number in 0..=255 {
        if ![proto::TCP, proto::UDP, proto::ICMP].contains(&number) {
            let packet = parse::<V4>(Ip::<V4>::any(number).frame(&[0; 40])).unwrap();
            assert_eq!((packet.kind, packet.proto), (Kind::Deep, number));
        }
        if ![proto::TCP, proto::UDP, proto::ICMPV6].contains(&number) {
            assert_eq!(kind::<V6>(Ip::<V6>::any(number).frame(&[0; 40])), Kind::Deep, "{number}");
        }
    }
}

#[test]
fn fragments() {
    // First, middle, last; DF and the reserved bit beside them change nothing.
    for frag in [0x2000, 0x2001, 0x0001, 0x1fff, 0x6000, 0xa000] {
        let ip = Ip { frag, ..Ip::<V4>::any(proto::UDP) };
        assert_eq!(kind::<V4>(ip.frame(&udp(1, 2, b"data"))), Kind::Deep, "{frag:#x}");
        assert_eq!(kind::<V4>(ip.frame(b"x")), Kind::Deep, "no L4 header needs to be there");
    }
    for (frag, may) in [(0, true), (0x4000, false), (0x8000, true)] {
        let packet = parse::<V4>(Ip { frag, ..Ip::<V4>::any(proto::UDP) }.frame(&udp(1, 2, b""))).unwrap();
        assert_eq!((packet.kind, packet.may_fragment), (Kind::Ports, may));
    }
    // RFC 6946: even an atomic fragment has its ports behind another header.
    let atomic = [&[proto::UDP, 0, 0, 0, 0, 0, 0, 1], &udp(1, 2, b"")[..]].concat();
    assert_eq!(kind::<V6>(Ip::<V6>::any(proto::FRAGMENT).frame(&atomic)), Kind::Deep);
}

#[test]
fn options() {
    for words in 1..=10 {
        let ip = Ip { extra: vec![1; words * 4], ..Ip::<V4>::any(proto::UDP) };
        assert_eq!(kind::<V4>(ip.frame(&udp(1, 2, b""))), Kind::Deep);
    }
    let ip = Ip { extra: vec![1; 4], frag: 0x2000, ..Ip::<V4>::any(proto::UDP) };
    assert_eq!(kind::<V4>(ip.frame(&udp(1, 2, b""))), Kind::Deep);
}

#[test]
fn tcp_flags() {
    for flags in 0..=255 {
        let want = [(0x02, seen::SYN), (0x01, seen::FIN), (0x04, seen::RST), (0x10, seen::ACK)]
            .iter()
            .filter(|(flag, _)| flags & flag != 0)
            .fold(0, |all, (_, bit)| all | bit);
        assert_eq!(parse::<V6>(Ip::<V6>::any(6).frame(&tcp(1, 2, flags, b""))).unwrap().seen, want, "{flags:#x}");
    }
}

fn comes_back<F: Parse + Build>(src: [u8; 16], dst: [u8; 16], ttl: u8, ports: (u16, u16), data: &[u8]) {
    let ip = |proto| Ip { ttl, ..Ip::<F>::new(F::addr(src), F::addr(dst), proto) };
    for (number, payload, kind) in [
        (proto::TCP, tcp(ports.0, ports.1, 0x18, data), Kind::Ports),
        (proto::UDP, udp(ports.0, ports.1, data), Kind::Ports),
        (F::ICMP, icmp(if F::V6 { 128 } else { 8 }, ports.0, data), Kind::Query),
        (F::ICMP, icmp(if F::V6 { 129 } else { 0 }, ports.1, data), Kind::Answer),
    ] {
        let frame = ip(number).frame(&payload);
        let len = frame.len() as u32 - 14;
        let packet = parse::<F>(frame).unwrap();
        assert!(packet.src == F::addr(src) && packet.dst == F::addr(dst));
        assert_eq!((packet.kind, packet.proto, packet.ttl), (kind, number, ttl));
        let (sport, dport) =
            if number == F::ICMP { ports_of_query(kind, packet.sport | packet.dport, 0) } else { ports };
        assert_eq!((packet.sport, packet.dport), (sport, dport));
        assert_eq!(packet.seen, seen::ACK);
        assert_eq!((packet.len, packet.wire_len), (len, len));
    }
}

proptest! {
    #[test]
    fn valid_packets_come_back(
        src: [u8; 16],
        dst: [u8; 16],
        ttl: u8,
        ports: (u16, u16),
        data in proptest::collection::vec(any::<u8>(), 0..64),
    ) {
        comes_back::<V4>(src, dst, ttl, ports, &data);
        comes_back::<V6>(src, dst, ttl, ports, &data);
    }
}
