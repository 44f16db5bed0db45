//! Every rewrite is held against the same packet built from scratch with the new address and port.

use std::vec::Vec;

use proptest::prelude::*;

use super::super::*;
use crate::nat::prepared::{Sums, translate};
use crate::{
    abi::family::{V4, V6},
    packet::{header::proto, slice::Frame},
    testing::{
        frame::Ip,
        headers::Dress,
        protocols::{GRE, QUERY, each, number, payload},
    },
};

/// A packet's own end and what the rest of it is.
#[derive(Clone, Debug)]
pub(super) struct Case {
    pub(super) end: End,
    pub(super) proto: u8,
    pub(super) own: ([u8; 16], u16),
    pub(super) new: ([u8; 16], u16),
    pub(super) other: ([u8; 16], u16),
    pub(super) ttl: u8,
    pub(super) data: Vec<u8>,
    /// Seeds of options or extension headers.
    pub(super) dress: Vec<u8>,
    /// UDP without a checksum.
    pub(super) unsummed: bool,
    /// How much SCTP's CRC is off.
    pub(super) wrong: u8,
}

impl Case {
    pub(super) fn build<F: Dress>(&self, own: ([u8; 16], u16), ttl: u8) -> Vec<u8> {
        let (src, dst) = match self.end {
            End::Source => (own, self.other),
            End::Destination => (self.other, own),
        };
        let (mut payload, at) = self.payload::<F>(src.1, dst.1);
        if self.proto == proto::SCTP {
            payload[9] ^= self.wrong;
        }
        let ip = F::dressed(Ip::new(F::addr(src.0), F::addr(dst.0), number::<F>(self.proto)), &self.dress);
        Ip { ttl, ..ip }.sealed(payload, at)
    }

    fn payload<F: Dress>(&self, sport: u16, dport: u16) -> (Vec<u8>, Option<usize>) {
        let asks = self.end == End::Source;
        let (payload, at) = payload::<F>(self.proto, (sport, dport), asks, &self.data);
        (payload, at.filter(|_| self.proto != proto::UDP || !self.unsummed))
    }

    pub(super) fn to<F: Dress>(&self, from: ([u8; 16], u16), to: ([u8; 16], u16), ttl: Option<u8>) -> Rewrite<F> {
        let ip = F::dressed(Ip::any(number::<F>(self.proto)), &self.dress);
        let port = |port| if self.proto == GRE { 0 } else { port };
        Rewrite {
            end: self.end,
            proto: ip.upper,
            l4: ip.l4() as u32,
            l4_len: self.payload::<F>(0, 0).0.len() as u32,
            headless: false,
            old_addr: F::addr(from.0),
            new_addr: F::addr(to.0),
            old_port: port(from.1),
            new_port: port(to.1),
            ttl,
        }
    }

    fn check<F: Dress>(&self) {
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
        if matches!(self.proto, proto::TCP | proto::UDP) && self.dress.is_empty() {
            let [from, to] = [self.own, self.new].map(|(addr, port)| (F::addr(addr), port));
            let mut bytes = original.clone();
            let sums = Sums::of::<F>(from, to);
            translate::<F, _>(&mut Frame::new(&mut bytes), self.proto, self.end, to, self.ttl, sums).unwrap();
            assert_eq!(bytes, self.build::<F>(self.new, self.ttl - 1), "{self:?}, prepared");
        }
        let mut forwarded = original;
        forward::<F, _>(&mut Frame::new(&mut forwarded), self.ttl).unwrap();
        assert_eq!(forwarded, self.build::<F>(self.own, self.ttl - 1));
    }
}

pub(super) fn case() -> impl Strategy<Value = Case> {
    let end = || (any::<[u8; 16]>(), prop_oneof![any::<u16>(), Just(0), Just(u16::MAX)]);
    let bytes = |most| proptest::collection::vec(any::<u8>(), 0..most);
    (
        (any::<bool>(), each(), end(), end(), end(), 1_u8..=255),
        (bytes(40), prop_oneof![Just(Vec::new()), bytes(8)]),
        (any::<bool>(), prop_oneof![Just(0), any::<u8>()]),
    )
        .prop_map(|((source, proto, own, new, other, ttl), (data, dress), (unsummed, wrong))| {
            let end = if source { End::Source } else { End::Destination };
            Case { end, proto, own, new, other, ttl, data, dress, unsummed, wrong }
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
        let mut cut = frame[..29].to_vec();
        prop_assert_eq!(rewrite(&mut Frame::new(&mut cut), &case.to::<V4>(case.own, case.new, None)), Err(Failed));
        if case.proto != GRE {
            let mut cut = frame[..case.to::<V4>(case.own, case.new, None).l4 as usize + 1].to_vec();
            let before = cut.clone();
            prop_assert_eq!(rewrite(&mut Frame::new(&mut cut), &case.to::<V4>(case.own, case.new, None)), Err(Failed));
            prop_assert_eq!(cut, before, "fails before the first change");
        }
    }
}

/// Each protocol for sure, in both directions, with ports that stay and ports that change.
#[test]
fn each_protocol() {
    for proto in crate::testing::protocols::EACH {
        for end in [End::Source, End::Destination] {
            for port in [1025, 40000] {
                let case = Case {
                    end,
                    proto,
                    own: ([10, 16, 0, 9, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12], 40000),
                    new: ([172, 17, 0, 11, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1], port),
                    other: ([8; 16], if proto == QUERY { 0 } else { 443 }),
                    ttl: 64,
                    data: (0..50).collect(),
                    dress: std::vec![0, 1, 2],
                    unsummed: false,
                    wrong: 0,
                };
                case.check::<V4>();
                case.check::<V6>();
            }
        }
    }
}
