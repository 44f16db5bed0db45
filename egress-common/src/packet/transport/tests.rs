use proptest::prelude::*;

use super::*;
use crate::{
    abi::family::{V4, V6},
    packet::slice::Frame,
    testing::{
        frame::{Build, Ip},
        protocols::{EACH, number, payload},
    },
};

/// Which protocols have ports, and a checksum where.
#[test]
fn layouts() {
    let ports = |at: u32, udp| Layout::Ports(L4Sum { at: 100 + at, udp, pseudo: true });
    for number in 0..=255 {
        let (four, six) = match number {
            6 => (ports(16, false), ports(16, false)),
            17 | 136 => (ports(6, true), ports(6, true)),
            33 => (ports(6, false), ports(6, false)),
            132 => (Layout::Crc(108), Layout::Crc(108)),
            1 => (Layout::Id(L4Sum { at: 102, udp: false, pseudo: false }), Layout::Bare),
            58 => (Layout::Bare, Layout::Id(L4Sum { at: 102, udp: false, pseudo: true })),
            _ => (Layout::Bare, Layout::Bare),
        };
        assert_eq!((layout::<V4>(number, 100), layout::<V6>(number, 100)), (four, six), "{number}");
    }
}

/// The checksum stands where the layout says: a packet built by other code sums up to zero without that field.
#[test]
fn layouts_find_the_checksum() {
    fn check<F: Build>(each: u8) {
        let ip = Ip::<F>::any(number::<F>(each));
        let (payload, open) = payload::<F>(each, (1000, 2000), true, b"data");
        let frame = ip.sealed(payload, open);
        let (Layout::Ports(sum) | Layout::Id(sum)) = layout::<F>(ip.proto, ip.l4() as u32) else { return };
        assert_eq!(Some(sum.at as usize - ip.l4()), open, "{each}");
        assert_ne!(frame[sum.at as usize..][..2], [0; 2]);
    }
    for each in EACH {
        check::<V4>(each);
        check::<V6>(each);
    }
}

/// AH and VRRP (RFC 4302, RFC 9568); the other family's ICMP; over IPv6 no next header, OSPF, PIM, mobility, HIP, Shim6.
#[test]
fn bare_protocols() {
    for number in 0..=255 {
        assert_eq!(bare::<V4>(number), ![51, 112, 58].contains(&number), "{number}");
        assert_eq!(bare::<V6>(number), ![51, 112, 1, 59, 89, 103, 135, 139, 140].contains(&number), "{number}");
    }
}

/// RFC 9293 §3.1, RFC 768, RFC 3828, RFC 4340 §5.1, RFC 9260 §3.1, RFC 792.
#[test]
fn shortest_headers() {
    for (number, want) in [(6, 20), (17, 8), (136, 8), (33, 12), (132, 12), (1, 8)] {
        assert_eq!(least::<V4>(number), want, "{number}");
    }
}

/// A query and its answer have one name, and no two kinds of query do.
#[test]
fn queries() {
    for (ask, answer, name) in [(8, 0, 0), (13, 14, 13), (15, 16, 15), (17, 18, 17)] {
        assert_eq!((icmp_kind::<V4>(ask), icmp_kind::<V4>(answer)), (Kind::Query, Kind::Answer));
        assert_eq!((query::<V4>(ask), query::<V4>(answer)), (name, name));
    }
    assert_eq!((icmp_kind::<V6>(128), icmp_kind::<V6>(129)), (Kind::Query, Kind::Answer));
    assert!((0..=255).all(|kind| query::<V6>(kind) == 0));
}

/// Protocols that only the deep parser reads: too short is malformed, whatever the frame has behind the packet.
#[test]
fn rare_protocols_need_their_header() {
    for (proto, least) in [(136, 8), (33, 12), (132, 12)] {
        for len in 0..20 {
            let mut frame = [0; 60];
            frame[34..38].copy_from_slice(&[0x12, 0x34, 0x56, 0x78]);
            let mut parsed = Parsed::<V4> {
                src: [1; 4],
                dst: [2; 4],
                kind: Kind::Deep,
                proto,
                sport: 0,
                dport: 0,
                seen: seen::ACK,
                ttl: 64,
                may_fragment: false,
                len: 20 + len,
                wire_len: 20 + len,
                l4: 34,
                piece: crate::packet::parse::Piece::default(),
            };
            let read = rare_ports(&Frame::new(&mut frame), &mut parsed);
            assert_eq!(read, if len < least { Err(Drop::Malformed) } else { Ok(()) }, "{proto} with {len}");
            if read.is_ok() {
                assert_eq!((parsed.kind, parsed.sport, parsed.dport), (Kind::Ports, 0x1234, 0x5678));
            }
        }
    }
}

proptest! {
    /// A super-packet's segments have the headers of the whole and `gso` bytes of data each.
    #[test]
    fn segments(extra in 0_u32..5, offset in 5_u8..=15, gso in 1_u32..2000) {
        let l4 = 34 + extra * 8;
        let mut frame = std::vec![0; 3000];
        frame[l4 as usize + 12] = offset << 4;
        let mut parsed = Parsed::<V4> {
            src: [1; 4],
            dst: [2; 4],
            kind: Kind::Deep,
            proto: proto::TCP,
            sport: 0,
            dport: 0,
            seen: 0,
            ttl: 64,
            may_fragment: false,
            len: 2986,
            wire_len: 2986,
            l4,
            piece: crate::packet::parse::Piece::default(),
        };
        transport(&Frame { bytes: &mut frame, gso_size: gso }, &mut parsed).unwrap();
        prop_assert_eq!((parsed.len, parsed.wire_len), (2986, l4 - 14 + u32::from(offset) * 4 + gso));
    }
}
