//! What every protocol number is.

use std::vec::Vec;

use super::super::*;
use crate::{
    abi::flow::seen,
    packet::slice::Frame,
    testing::{
        frame::{Build, Ip, icmp, tcp, udp},
        headers::{Dress, chained, padding},
        protocols::{dccp, sctp, udp_lite},
    },
};

fn deep<F: Deep>(mut frame: Vec<u8>) -> Result<Parsed<F>, Drop> {
    F::deep(&Frame::new(&mut frame))
}

/// Says of every number but the walked headers' what 40 bytes of data are.
fn numbers<F: Deep + Build>(own: u8, walked: &[u8], want: impl Fn(u8) -> Kind) {
    for number in (0..=255).filter(|number| !walked.contains(number)) {
        let payload = match number {
            6 => tcp(0x1111, 0x2222, 2, &[0; 20]),
            17 => udp(0x1111, 0x2222, &[0; 32]),
            132 => sctp(0x1111, 0x2222, &[0; 28]),
            33 => dccp(0x1111, 0x2222, &[0; 28]),
            136 => udp_lite(0x1111, 0x2222, &[0; 32]),
            _ if number == own => icmp(if F::V6 { 128 } else { 8 }, 0x1111, &[0; 32]),
            _ => std::vec![0x55; 40],
        };
        let packet = deep::<F>(Ip::<F>::any(number).frame(&payload)).unwrap();
        assert_eq!((packet.kind, packet.proto), (want(number), number));
        let ports = match packet.kind {
            Kind::Ports => (0x1111, 0x2222),
            Kind::Query => (0x1111, 0),
            _ => (0, 0),
        };
        assert_eq!((packet.sport, packet.dport), ports, "{number}");
        assert_eq!(packet.seen, if number == 6 { seen::SYN } else { seen::ACK }, "{number}");
        assert_eq!((packet.len, packet.wire_len, packet.l4_len()), (F::HEADER + 40, F::HEADER + 40, 40));
    }
}

#[test]
fn every_number_of_ipv4() {
    numbers::<V4>(1, &[], |number| match number {
        6 | 17 | 33 | 132 | 136 => Kind::Ports,
        1 => Kind::Query,
        51 | 58 | 112 => Kind::Other(Drop::Protocol),
        _ => Kind::Bare,
    });
}

#[test]
fn every_number_of_ipv6() {
    numbers::<V6>(58, &[0, 43, 44, 60], |number| match number {
        6 | 17 | 33 | 132 | 136 => Kind::Ports,
        58 => Kind::Query,
        1 | 51 | 59 | 89 | 103 | 112 | 135 | 139 | 140 => Kind::Other(Drop::Protocol),
        _ => Kind::Bare,
    });
}

/// A protocol without ports may have nothing to say.
#[test]
fn bare_and_empty() {
    for number in [47, 50, 4, 41, 97] {
        assert_eq!(deep::<V4>(Ip::<V4>::any(number).frame(b"")).unwrap().kind, Kind::Bare);
        assert_eq!(deep::<V6>(Ip::<V6>::any(number).frame(b"")).unwrap().kind, Kind::Bare);
    }
}

/// No cut packet is a packet.
#[test]
fn rare_ports_cut_short() {
    for (number, payload, least) in
        [(132, sctp(1, 2, b""), 12), (33, dccp(1, 2, b""), 12), (136, udp_lite(1, 2, b""), 8)]
    {
        for len in 0..=payload.len() {
            let want = if len < least { Err(Drop::Malformed) } else { Ok(Kind::Ports) };
            let four = Ip::<V4>::any(number).frame(&payload[..len]);
            assert_eq!(deep::<V4>(four).map(|it| it.kind), want, "{number} with {len}");
            let six = V6::dressed(Ip::any(number), &[0, 1, 2]).frame(&payload[..len]);
            assert_eq!(deep::<V6>(six).map(|it| it.kind), want, "{number} with {len}");
        }
    }
}

/// RFC 3810 §5: listener reports have a router alert before them; they are the kernel's all the same.
#[test]
fn link_control_behind_a_router_alert() {
    for (kind, want) in [
        (130, Kind::LinkControl),
        (131, Kind::LinkControl),
        (132, Kind::LinkControl),
        (143, Kind::LinkControl),
        (135, Kind::LinkControl),
        (128, Kind::Query),
        (129, Kind::Answer),
        (2, Kind::Error),
        (200, Kind::Other(Drop::IcmpType)),
    ] {
        let mut alert = padding(proto::HOP_BY_HOP, 1);
        alert.1[2..8].copy_from_slice(&[5, 2, 0, 0, 1, 0]);
        let (first, extra) = chained(&[alert], proto::ICMPV6);
        let ip = Ip { proto: first, extra, ..Ip::<V6>::any(proto::ICMPV6) };
        assert_eq!(deep::<V6>(ip.frame(&icmp(kind, 7, &[0; 20]))).unwrap().kind, want, "{kind}");
    }
}
