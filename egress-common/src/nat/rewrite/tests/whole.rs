//! Every rewrite is held against the same packet built from scratch with the new address and port.

use std::vec::Vec;

use proptest::prelude::*;

use super::*;
use crate::{
    abi::family::{V4, V6},
    packet::{Plain, csum, header::proto, slice::Frame},
    testing::frame::{Build, Ip, icmp, tcp, udp},
};

/// A packet's own end and what the rest of it is.
#[derive(Clone, Debug)]
struct Case {
    end: End,
    proto: u8,
    own: ([u8; 16], u16),
    new: ([u8; 16], u16),
    other: ([u8; 16], u16),
    ttl: u8,
    data: Vec<u8>,
    /// UDP without a checksum.
    unsummed: bool,
}

impl Case {
    fn build<F: Build>(&self, own: ([u8; 16], u16), ttl: u8) -> Vec<u8> {
        let (src, dst) = match self.end {
            End::Source => (own, self.other),
            End::Destination => (self.other, own),
        };
        let (payload, at) = match self.proto {
            proto::TCP => (tcp(src.1, dst.1, 0x10, &self.data), Some(16)),
            proto::UDP => (udp(src.1, dst.1, &self.data), (!self.unsummed).then_some(6)),
            _ => (icmp(if F::V6 { 128 } else { 8 }, own.1, &self.data), Some(2)),
        };
        let proto = self.proto::<F>();
        Ip { ttl, ..Ip::<F>::new(F::addr(src.0), F::addr(dst.0), proto) }.sealed(payload, at)
    }

    fn proto<F: Build>(&self) -> u8 {
        if matches!(self.proto, proto::TCP | proto::UDP) { self.proto } else { F::ICMP }
    }

    fn to<F: Build>(&self, from: ([u8; 16], u16), to: ([u8; 16], u16), ttl: Option<u8>) -> Rewrite<F> {
        Rewrite {
            end: self.end,
            proto: self.proto::<F>(),
            l4: 14 + F::HEADER,
            l4_len: 0,
            headless: false,
            old_addr: F::addr(from.0),
            new_addr: F::addr(to.0),
            old_port: from.1,
            new_port: to.1,
            ttl,
        }
    }

    fn check<F: Build<Addr: Plain>>(&self) {
        let original = self.build::<F>(self.own, self.ttl);
        for lower in [false, true] {
            let mut bytes = original.clone();
            let ttl = lower.then_some(self.ttl);
            rewrite(&mut Frame::new(&mut bytes), &self.to::<F>(self.own, self.new, ttl)).unwrap();
            assert_eq!(bytes, self.build::<F>(self.new, self.ttl - u8::from(lower)), "{self:?}");
            if !lower {
                rewrite(&mut Frame::new(&mut bytes), &self.to::<F>(self.new, self.own, None)).unwrap();
                assert_eq!(bytes, original, "there and back");
            }
        }
        let mut forwarded = original;
        forward::<F, _>(&mut Frame::new(&mut forwarded), self.ttl).unwrap();
        assert_eq!(forwarded, self.build::<F>(self.own, self.ttl - 1));
    }
}

fn case() -> impl Strategy<Value = Case> {
    let end = || (any::<[u8; 16]>(), prop_oneof![any::<u16>(), Just(0), Just(u16::MAX)]);
    (
        any::<bool>(),
        prop_oneof![Just(proto::TCP), Just(proto::UDP), Just(proto::ICMP)],
        (end(), end(), end()),
        1_u8..=255,
        proptest::collection::vec(any::<u8>(), 0..40),
        any::<bool>(),
    )
        .prop_map(|(source, proto, (own, new, other), ttl, data, unsummed)| {
            let end = if source { End::Source } else { End::Destination };
            Case { end, proto, own, new, other, ttl, data, unsummed }
        })
}

proptest! {
    #[test]
    fn equals_a_packet_built_anew(case in case()) {
        case.check::<V4>();
        case.check::<V6>();
    }

    /// Nothing that is not the packet's: what was behind it stays, and a cut packet is refused.
    #[test]
    fn stays_within(case in case(), behind in proptest::collection::vec(any::<u8>(), 1..20)) {
        let frame = case.build::<V4>(case.own, case.ttl);
        let mut longer = [&frame[..], &behind].concat();
        rewrite(&mut Frame::new(&mut longer), &case.to::<V4>(case.own, case.new, None)).unwrap();
        prop_assert_eq!(&longer[frame.len()..], &behind[..]);
        let mut cut = frame[..35].to_vec();
        prop_assert_eq!(rewrite(&mut Frame::new(&mut cut), &case.to::<V4>(case.own, case.new, None)), Err(Failed));
    }
}

/// UDP: for every port that the packet may get the sum is right and never 0, which would say "no checksum". Among 65536 ports
/// one makes the sum 0, so both zeros are met.
#[test]
fn udp_sum_for_every_port() {
    let base = Case {
        end: End::Source,
        proto: proto::UDP,
        own: ([10; 16], 4000),
        new: ([172, 17, 0, 11, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1], 0),
        other: ([8; 16], 53),
        ttl: 64,
        data: b"question".to_vec(),
        unsummed: false,
    };
    let original = base.build::<V6>(base.own, 64);
    let mut zeros = 0;
    for port in 0..=u16::MAX {
        let new = (base.new.0, port);
        let mut bytes = original.clone();
        rewrite(&mut Frame::new(&mut bytes), &base.to::<V6>(base.own, new, None)).unwrap();
        assert_eq!(bytes, base.build::<V6>(new, 64), "{port}");
        let sum = u16::from_be_bytes([bytes[60], bytes[61]]);
        assert_ne!(sum, 0, "{port}");
        zeros += u32::from(sum == u16::MAX);
    }
    assert_eq!(zeros, 1);
}

/// Every value of a checksum against differences of all magnitudes: 0 becomes 0xffff, 0 on the wire is left alone, and the way
/// back leads to where it began.
#[test]
fn udp_sum_of_every_value() {
    let differences = [0, 1, 2, 0x00ff, 0x0100, 0x7fff, 0x8000, 0xfffe, 0xffff, 0x1_0000, 0xffff_0000, u32::MAX];
    for diff in differences {
        for field in 0..=u16::MAX {
            let mut bytes = field.to_ne_bytes();
            let sum = crate::packet::L4Sum { at: 0, udp: true, pseudo: true };
            Frame::new(&mut bytes).sum_addr(sum, diff, false).unwrap();
            let new = u16::from_ne_bytes(bytes);
            if field == 0 {
                assert_eq!(new, 0);
                continue;
            }
            assert_ne!(new, 0, "{field:#x} {diff:#x}");
            assert!(new == csum::apply(field, diff) || new == u16::MAX && csum::apply(field, diff) == 0);
            Frame::new(&mut bytes).sum_addr(sum, !diff, false).unwrap();
            assert_eq!(u16::from_ne_bytes(bytes), field, "{diff:#x} and back");
        }
    }
}
