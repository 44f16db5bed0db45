//! Every translated error is held against the one that would have come had there been no gateway: about the packet as its
//! sender made it, built anew.

use std::vec::Vec;

use proptest::prelude::*;

use super::super::*;
use crate::{
    abi::family::{V4, V6},
    packet::{deep::Deep, header::proto, quote::Quoted, slice::Frame},
    testing::{
        frame::{Ip, icmp},
        headers::Dress,
        protocols::{GRE, QUERY, each, number, payload},
    },
};

type Place = ([u8; 16], u16);

#[derive(Clone, Debug)]
struct Case {
    end: End,
    each: u8,
    /// The own side before and after.
    old: Place,
    new: Place,
    other: Place,
    /// Who sends the error, if not the other side.
    router: [u8; 16],
    ttl: u8,
    data: Vec<u8>,
    quoted: Vec<u8>,
    outer: Vec<u8>,
    kind: usize,
    /// UDP without a checksum.
    unsummed: bool,
    /// How much the quoted packet's checksum is off.
    wrong: u16,
}

fn case() -> impl Strategy<Value = Case> {
    let bytes = |most| proptest::collection::vec(any::<u8>(), 0..most);
    let place = || (any::<[u8; 16]>(), prop_oneof![3 => any::<u16>(), 1 => Just(0), 1 => Just(u16::MAX)]);
    (
        (any::<bool>(), each(), place(), place(), place(), any::<[u8; 16]>()),
        (1_u8..=255, bytes(14), bytes(6), bytes(6), 0_usize..4),
        (any::<bool>(), prop_oneof![Just(0), any::<u16>()]),
    )
        .prop_map(
            |((source, each, old, new, other, router), (ttl, data, quoted, outer, kind), (unsummed, wrong))| {
                let end = if source { End::Source } else { End::Destination };
                Case { end, each, old, new, other, router, ttl, data, quoted, outer, kind, unsummed, wrong }
            },
        )
}

/// A checksum field that is off by `by`.
fn spoil(field: &mut [u8], by: u16, udp: bool) {
    let sum = u32::from(!u16::from_be_bytes([field[0], field[1]])) + u32::from(by);
    let new = match !((sum & 0xffff) + (sum >> 16)) as u16 {
        0 if udp => u16::MAX,
        new => new,
    };
    field.copy_from_slice(&new.to_be_bytes());
}

impl Case {
    /// The quoted packet from its IP header on, and where its payload begins.
    fn quoted<F: Dress>(&self, own: Place) -> (Vec<u8>, usize) {
        // What the error's destination sent came from there, what its source got went there.
        let (src, dst) = if self.end == End::Source { (self.other, own) } else { (own, self.other) };
        let ip = F::dressed(Ip::new(F::addr(src.0), F::addr(dst.0), number::<F>(self.each)), &self.quoted);
        let (mut payload, at) = payload::<F>(self.each, (src.1, dst.1), self.end == End::Destination, &self.data);
        let at = at.filter(|_| !(self.unsummed && self.each == proto::UDP));
        let l4 = ip.l4();
        let mut frame = match self.each {
            proto::SCTP => {
                payload[8] ^= self.wrong as u8;
                payload[11] ^= (self.wrong >> 8) as u8;
                ip.frame(&payload)
            }
            _ => ip.sealed(payload, at),
        };
        if let Some(at) = at {
            let udp = matches!(self.each, proto::UDP | proto::UDP_LITE);
            spoil(&mut frame[l4 + at..l4 + at + 2], self.wrong, udp);
        }
        if !F::V6 {
            spoil(&mut frame[24..26], self.wrong, false);
        }
        (frame[14..].to_vec(), l4 - 14)
    }

    /// The error that quotes this.
    fn error<F: Dress>(&self, own: Place, ttl: u8, quote: &[u8]) -> Vec<u8> {
        let (src, dst) = if self.end == End::Source { (own.0, self.other.0) } else { (self.router, own.0) };
        let ip = F::dressed(Ip { ttl, ..Ip::new(F::addr(src), F::addr(dst), F::ICMP) }, &self.outer);
        let kinds = if F::V6 { [1, 2, 3, 4] } else { [3, 4, 11, 12] };
        ip.sealed(icmp(kinds[self.kind], 1400, quote), Some(2))
    }

    /// Port to be, if the protocol has any.
    fn port(&self, own: Place) -> u16 {
        if self.each == GRE { 0 } else { own.1 }
    }

    /// Translates the error about the first `len` bytes, compares, and translates it back.
    fn check<F: Quoted + Deep + Dress>(&self, len: usize, lower: bool) {
        let (before, l4) = self.quoted::<F>(self.old);
        let (mut after, _) = self.quoted::<F>(self.new);
        // A checksum that the quote cuts in two cannot be mended.
        let sum = match self.each {
            proto::TCP => l4 + 16..l4 + 18,
            proto::SCTP => l4 + 8..l4 + 12,
            _ => 0..0,
        };
        if sum.contains(&len) {
            after[sum.start..len].copy_from_slice(&before[sum.start..len]);
        }
        let original = self.error::<F>(self.old, self.ttl, &before[..len]);
        let want = self.error::<F>(self.new, self.ttl - u8::from(lower), &after[..len]);
        let mut bytes = original.clone();
        self.relay::<F>(&mut bytes, self.new, lower.then_some(self.ttl));
        assert_eq!(bytes, want, "{len} bytes of {self:?}");
        if !lower {
            self.relay::<F>(&mut bytes, self.old, None);
            assert_eq!(bytes, original, "there and back");
        }
    }

    fn relay<F: Quoted + Deep + Dress>(&self, bytes: &mut [u8], to: Place, ttl: Option<u8>) {
        let mut frame = Frame::new(bytes);
        let error = F::deep(&frame).unwrap();
        let quote = F::quote(&frame, &error).unwrap();
        relay(&mut frame, &error, &quote, self.end, (&F::addr(to.0), self.port(to)), ttl).unwrap();
    }

    fn every_length<F: Quoted + Deep + Dress>(&self) {
        let (whole, l4) = self.quoted::<F>(self.old);
        for len in l4 + 8..=whole.len() {
            self.check::<F>(len, len % 2 == 0);
        }
        self.check::<F>(whole.len(), false);
    }

    fn readdress<F: Quoted + Deep + Dress>(&self, lower: bool) {
        let (quote, _) = self.quoted::<F>(self.old);
        let mut bytes = self.error::<F>(self.old, self.ttl, &quote);
        let mut frame = Frame::new(&mut bytes);
        let error = F::deep(&frame).unwrap();
        readdress(&mut frame, &error, self.end, &F::addr(self.new.0), lower.then_some(self.ttl)).unwrap();
        assert_eq!(bytes, self.error::<F>(self.new, self.ttl - u8::from(lower), &quote));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn equals_an_error_built_anew(case in case()) {
        case.every_length::<V4>();
        case.every_length::<V6>();
    }

    /// The address alone, and not a byte of the quote.
    #[test]
    fn another_address(case in case(), lower: bool) {
        case.readdress::<V4>(lower);
        case.readdress::<V6>(lower);
    }
}

/// Each protocol and direction for sure, with right sums and all of the packet.
#[test]
fn each_protocol() {
    for each in crate::testing::protocols::EACH {
        for end in [End::Source, End::Destination] {
            let case = Case {
                end,
                each,
                old: ([10, 16, 0, 9, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12], 40000),
                new: ([172, 17, 0, 11, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1], 1025),
                other: ([8; 16], if each == QUERY { 0 } else { 443 }),
                router: [192; 16],
                ttl: 3,
                data: (0..50).collect(),
                quoted: Vec::new(),
                outer: Vec::new(),
                kind: 0,
                unsummed: false,
                wrong: 0,
            };
            case.every_length::<V4>();
            case.every_length::<V6>();
        }
    }
}
