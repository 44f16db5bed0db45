//! An ICMP error about a packet of any fields, as much of it as one quotes; translated as the datapath does it.

use arbitrary::Arbitrary;
use egress_common::{
    abi::family::{V4, V6},
    nat::{relay::relay, rewrite::End},
    packet::{deep::Deep, parse::Kind, quote::Quoted, slice::Frame},
};

use crate::{
    body::{Body, Endpoint},
    frame::{Build, Ip, Piece, covered, frame},
    l4::Field,
    sum,
};

/// An error and what becomes of it.
#[derive(Arbitrary, Debug)]
pub struct Case {
    v6: bool,
    inbound: bool,
    own: Endpoint,
    new: Endpoint,
    /// Instead of `new`'s port one that makes the quoted sum 0.
    new_sum_zero: bool,
    /// Who says the error; from inside its address is not the Pod's.
    router: [u8; 16],
    kind: u8,
    code: u8,
    /// Pointer, MTU.
    value: [u8; 4],
    extra: u8,
    ttl: u8,
    /// Bytes quoted behind the eight that must be.
    more: u8,
    padding: [u8; 3],
    body: Body,
}

impl Case {
    /// Translates it, and holds it against the error about the packet built anew.
    pub fn check(mut self) {
        if self.body.piece == Piece::Tail {
            self.body.piece = Piece::Whole;
        }
        if self.v6 { self.family::<V6>() } else { self.family::<V4>() }
    }

    /// The error's own end, and the quoted packet's: it went the other way.
    const fn ends(&self) -> (End, End) {
        if self.inbound { (End::Destination, End::Source) } else { (End::Source, End::Destination) }
    }

    fn family<F: Build + Deep + Quoted>(&self) {
        let ttl = self.ttl.max(1);
        let (end, quoted) = self.ends();
        let mut new = self.new;
        if self.new_sum_zero {
            new.port = self.body.port_for_zero::<F>(quoted, new);
        }
        let outer = if self.inbound { self.own.addr } else { self.router };
        let original = self.build::<F>(outer, self.own, ttl);
        let mut bytes = original.clone();
        let error = match F::deep(&Frame::new(&mut bytes)) {
            Ok(error) => error,
            Err(why) => panic!("refused as {why:?}"),
        };
        assert_eq!(error.kind, Kind::Error);
        let quote = match F::quote(&Frame::new(&mut bytes), &error) {
            Ok(quote) => quote,
            Err(why) => panic!("quote refused as {why:?}"),
        };
        let port = if matches!(self.body.l4.field(), Field::None) { 0 } else { new.port };
        let (packet, to) = (&mut Frame::new(&mut bytes), (&F::addr(new.addr), port));
        assert_eq!(relay::<F, _>(packet, &error, &quote, end, to, Some(ttl)), Ok(()));
        let mut expected = self.build::<F>(new.addr, new, ttl - 1);
        let (at, end) = (quote.at as usize, bytes.len() - self.padding.len());
        self.body.even::<F>(&mut bytes[at..end], &mut expected[at..end], &original[at..end]);
        assert_eq!(bytes, expected);
    }

    /// The error with `outer` as the address of its own end, about the packet whose own end is `own`.
    fn build<F: Build>(&self, outer: [u8; 16], own: Endpoint, ttl: u8) -> Vec<u8> {
        let (end, quoted) = self.ends();
        let kind = if F::V6 { 1 + self.kind % 4 } else { [3, 4, 11, 12][usize::from(self.kind) % 4] };
        let mut message = [&[kind, self.code, 0, 0][..], &self.value].concat();
        message.extend(self.quoted::<F>(quoted, own));
        let (src, dst) = if matches!(end, End::Source) { (outer, self.body.peer()) } else { (self.router, outer) };
        let (extra, piece) = (self.extra, Piece::Whole);
        let ip = Ip { src, dst, proto: F::ICMP, ttl, class: 0, sum_off: 0, extra, piece };
        let right = !sum::sum(&covered::<F>(&ip, &message));
        message[2..4].copy_from_slice(&right.to_be_bytes());
        frame::<F>(&F::packet(&ip, &message), &self.padding)
    }

    fn quoted<F: Build>(&self, end: End, own: Endpoint) -> Vec<u8> {
        let mut packet = self.body.packet::<F>(end, own, 1);
        let len = self.body.header_len::<F>() + 8 + usize::from(self.more);
        // A checksum of which half is quoted stays as it is; we do not build that.
        let cut = match self.body.field::<F>() {
            Field::Sum(at) if len == at + 1 => at,
            Field::Crc(at) if len > at && len < at + 4 => at,
            _ => len,
        };
        packet.truncate(cut);
        packet
    }
}
