//! What can be read of a quote.

use super::{super::*, bytes, inner, quoted, unreachable};
use crate::{
    packet::{L4Sum, deep::Deep, header::proto},
    testing::{
        frame::{icmp, tcp, udp},
        headers::Dress,
        protocols::{EACH, dccp, number, payload, sctp, udp_lite},
    },
};

fn types<F: Quoted + Deep + Dress>(kinds: &[u8]) {
    for kind in kinds {
        let quote = quoted::<F>(*kind, &bytes(&inner::<F>(proto::UDP), &udp(7, 9, b"data"))).unwrap();
        assert_eq!((quote.src, quote.dst), (F::addr([7; 16]), F::addr([9; 16])));
        assert_eq!((quote.proto, quote.sport, quote.dport), (proto::UDP, 7, 9));
        let at = 14 + F::HEADER + 8;
        assert_eq!((quote.at, quote.l4, quote.l4_len), (at, at + F::HEADER, 12));
        assert_eq!(quote.end, at + F::HEADER + 12);
        let key = quote.key(1);
        assert_eq!((key.saddr, key.daddr, key.sport, key.dport), (quote.dst, quote.src, 9, 7), "turned around");
        assert_eq!((key.proto, key.dir, key.zone), (proto::UDP, 1, 0));
    }
}

/// RFC 792, RFC 4443 §3.
#[test]
fn every_type_of_error() {
    types::<V4>(&[3, 4, 11, 12]);
    types::<V6>(&[1, 2, 3, 4]);
    let redirect = quoted::<V4>(5, &bytes(&inner::<V4>(proto::UDP), &udp(7, 9, b"data")));
    assert_eq!(redirect.err(), Some(Drop::IcmpError), "it names a router on its sender's side");
}

fn lengths<F: Quoted + Deep + Dress>() {
    for each in EACH {
        for seeds in [&[][..], &[1], &[0, 2, 1], &[5, 4, 3]] {
            let ip = F::dressed(inner(number::<F>(each)), seeds);
            let (payload, _) = payload::<F>(each, (0x1111, 0x2222), true, &[3; 40]);
            let whole = bytes(&ip, &payload);
            let head = whole.len() - payload.len();
            for len in 0..=whole.len() {
                let quote = unreachable::<F>(&whole[..len]);
                // What has no ports is known by its IP header.
                let least = if each == crate::testing::protocols::GRE { head } else { head + 8 };
                if len < least {
                    assert_eq!(quote.err(), Some(Drop::IcmpError), "{each}: {len} of {head}");
                    continue;
                }
                let quote = quote.unwrap();
                let ports = match each {
                    crate::testing::protocols::QUERY => (0x1111, 0),
                    crate::testing::protocols::GRE => (0, 0),
                    _ => (0x1111, 0x2222),
                };
                assert_eq!((quote.sport, quote.dport, quote.proto), (ports.0, ports.1, ip.upper), "{each}");
                assert_eq!(quote.l4_len, payload.len() as u32, "as it was sent");
                assert_eq!((quote.l4 - quote.at) as usize, head);
                assert_eq!((quote.end - quote.at) as usize, len);
            }
        }
    }
}

/// RFC 792: eight bytes behind the IP header are enough, one less is not; whatever the header has in it.
#[test]
fn eight_bytes() {
    lengths::<V4>();
    lengths::<V6>();
}

fn sums<F: Quoted + Deep + Dress>() {
    let internet = |at, udp| Layout::Ports(L4Sum { at, udp, pseudo: true });
    let l4 = 14 + F::HEADER + 8 + F::HEADER;
    for (number, payload, want, end) in [
        (proto::TCP, tcp(1, 2, 2, b""), internet(l4 + 16, false), 18),
        (proto::UDP, udp(1, 2, &[0; 9]), internet(l4 + 6, true), 8),
        (proto::UDP_LITE, udp_lite(1, 2, &[0; 9]), internet(l4 + 6, true), 8),
        (proto::DCCP, dccp(1, 2, &[0; 9]), internet(l4 + 6, false), 8),
        (proto::SCTP, sctp(1, 2, &[0; 9]), Layout::Crc(l4 + 8), 12),
        (
            F::ICMP,
            icmp(if F::V6 { 128 } else { 8 }, 1, &[0; 9]),
            Layout::Id(L4Sum { at: l4 + 2, udp: false, pseudo: F::V6 }),
            4,
        ),
    ] {
        let whole = bytes(&inner::<F>(number), &payload);
        for len in 8..=payload.len() {
            let quote = unreachable::<F>(&whole[..F::HEADER as usize + len]).unwrap();
            assert_eq!(sum(&quote), (len >= end).then_some(want), "protocol {number}, {len} bytes");
        }
    }
    let gre = unreachable::<F>(&bytes(&inner::<F>(47), &[0; 40])).unwrap();
    assert_eq!(sum(&gre), None);
}

/// Whether the checksum is in the quote.
#[test]
fn where_the_sum_is() {
    sums::<V4>();
    sums::<V6>();
}

/// Its sender may have told less than the truth about its length (RFC 1812 asks for the packet as it came).
#[test]
fn lying_lengths() {
    for said in [0_u16, 19, 20, 27, 28, 1500, u16::MAX] {
        let mut quote = bytes(&inner::<V4>(proto::UDP), &udp(7, 9, b""));
        quote[2..4].copy_from_slice(&said.to_be_bytes());
        let quote = unreachable::<V4>(&quote).unwrap();
        assert_eq!((quote.sport, quote.l4_len), (7, u32::from(said.saturating_sub(20))));
    }
}
