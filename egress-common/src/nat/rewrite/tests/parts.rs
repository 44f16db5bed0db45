//! Translated fragments are fragments of the translated datagram.

use std::vec::Vec;

use proptest::prelude::*;

use super::{
    super::*,
    whole::{Case, case},
};
use crate::{
    abi::family::{V4, V6},
    packet::{deep::Deep, header::proto, parse::Kind, slice::Frame},
    testing::{
        frame::Ip,
        headers::Dress,
        protocols::{GRE, number},
    },
};

impl Case {
    /// The datagram in fragments of so many bytes.
    fn torn<F: Dress>(&self, own: ([u8; 16], u16), ttl: u8, size: usize) -> Vec<Vec<u8>> {
        let whole = self.build::<F>(own, 1);
        let data = &whole[14 + F::HEADER as usize..];
        let (src, dst) = if self.end == End::Source { (own, self.other) } else { (self.other, own) };
        let ip = Ip { ttl, ..Ip::new(F::addr(src.0), F::addr(dst.0), number::<F>(self.proto)) };
        data.chunks(size)
            .enumerate()
            .map(|(i, part)| {
                let at = i * size;
                F::torn(ip.clone(), 3, at as u16, at + part.len() < data.len()).frame(part)
            })
            .collect()
    }

    fn fragments<F: Deep + Dress>(&self, size: usize) {
        let parts = self.torn::<F>(self.own, self.ttl, size);
        let want = self.torn::<F>(self.new, self.ttl - 1, size);
        for (mut part, want) in parts.into_iter().zip(want) {
            let packet = F::deep(&Frame::new(&mut part)).unwrap();
            let headless = packet.kind == Kind::Tail;
            assert_eq!(headless, packet.piece.at != 0);
            let to = Rewrite::<F> {
                l4: packet.l4,
                l4_len: packet.l4_len(),
                headless,
                ..self.to::<F>(self.own, self.new, Some(self.ttl))
            };
            rewrite(&mut Frame::new(&mut part), &to).unwrap();
            assert_eq!(part, want, "{self:?}, {packet:?}");
        }
    }
}

proptest! {
    #[test]
    fn fragments_of_the_translated_datagram(case in case(), size in 3_usize..6) {
        let mut case = Case { dress: Vec::new(), ..case };
        // What becomes of SCTP's fragments where the port changes: they are dropped.
        if case.proto == proto::SCTP {
            case.new.1 = case.own.1;
        }
        case.fragments::<V4>(size * 8);
        case.fragments::<V6>(size * 8);
    }

    /// Whatever the protocol, a later fragment's data is nobody's header.
    #[test]
    fn data_stays(case in case(), number: u8, data in proptest::collection::vec(any::<u8>(), 0..40)) {
        fn check<F: Dress>(case: &Case, number: u8, data: &[u8]) {
            let part = |own: [u8; 16]| {
                let (src, dst) = if case.end == End::Source { (own, [9; 16]) } else { ([9; 16], own) };
                F::torn(Ip::new(F::addr(src), F::addr(dst), number), 3, 8, true).frame(data)
            };
            let mut bytes = part(case.own.0);
            let to = Rewrite::<F> { proto: number, headless: true, ..case.to::<F>(case.own, case.new, None) };
            rewrite(&mut Frame::new(&mut bytes), &to).unwrap();
            assert_eq!(bytes, part(case.new.0));
        }
        check::<V4>(&case, number, &data);
        check::<V6>(&case, number, &data);
    }

    /// Protocols without ports: the payload is left alone, even by what looks like ports.
    #[test]
    fn bare_payload_stays(case in case(), port: u16) {
        let case = Case { proto: GRE, ..case };
        let mut bytes = case.build::<V4>(case.own, case.ttl);
        let to = Rewrite::<V4> { old_port: 1, new_port: port, ..case.to::<V4>(case.own, case.new, None) };
        rewrite(&mut Frame::new(&mut bytes), &to).unwrap();
        prop_assert_eq!(bytes, case.build::<V4>(case.new, case.ttl));
    }
}
