//! A packet built from any fields, parsed, translated as the datapath does it, and translated back.

use arbitrary::Arbitrary;
use egress_common::{
    abi::family::{V4, V6},
    nat::rewrite::{End, Rewrite, forward, rewrite},
    packet::{deep::Deep, parse::Kind, slice::Frame},
};

use crate::{
    body::{Body, Endpoint},
    frame::{Build, IP, Piece, frame},
    l4::L4,
};

/// A packet and what becomes of it.
#[derive(Arbitrary, Clone, Debug)]
pub struct Case {
    v6: bool,
    inbound: bool,
    own: Endpoint,
    new: Endpoint,
    /// Instead of `new`'s port one that makes the sum 0.
    new_sum_zero: bool,
    ttl: u8,
    padding: [u8; 3],
    body: Body,
}

impl Case {
    /// Checks both ways of forwarding: translated (and back), and only the TTL lowered.
    pub fn check(&self) {
        if self.v6 { self.family::<V6>() } else { self.family::<V4>() }
    }

    const fn end(&self) -> End {
        if self.inbound { End::Destination } else { End::Source }
    }

    fn family<F: Build + Deep>(&self) {
        // With TTL 0 nothing is forwarded.
        let ttl = self.ttl.max(1);
        let mut new = self.new;
        if self.new_sum_zero {
            new.port = self.body.port_for_zero::<F>(self.end(), new);
        }
        let original = self.build::<F>(self.own, ttl);
        for lowered in [0, 1] {
            let mut bytes = original.clone();
            self.translate::<F>(&mut bytes, new, (lowered == 1).then_some(ttl));
            self.same::<F>(&bytes, self.build::<F>(new, ttl - lowered), &original);
            self.translate::<F>(&mut bytes, self.own, None);
            self.same::<F>(&bytes, self.build::<F>(self.own, ttl - lowered), &original);
        }
        let mut bytes = original.clone();
        assert_eq!(forward::<F, _>(&mut Frame::new(&mut bytes), ttl), Ok(()));
        self.same::<F>(&bytes, self.build::<F>(self.own, ttl - 1), &original);
    }

    fn build<F: Build>(&self, own: Endpoint, ttl: u8) -> Vec<u8> {
        frame::<F>(&self.body.packet::<F>(self.end(), own, ttl), &self.padding)
    }

    /// As in the datapath: what the packet is now, the parser says.
    fn translate<F: Build + Deep>(&self, bytes: &mut [u8], to: Endpoint, ttl: Option<u8>) {
        let now = match F::deep(&Frame::new(bytes)) {
            Ok(parsed) => parsed,
            Err(why) => panic!("refused as {why:?}"),
        };
        let kind = match self.body.l4 {
            _ if self.body.piece == Piece::Tail => Kind::Tail,
            L4::Icmp { .. } if self.inbound => Kind::Answer,
            L4::Icmp { .. } => Kind::Query,
            L4::Bare { .. } => Kind::Bare,
            _ => Kind::Ports,
        };
        assert_eq!(
            (now.kind, now.len as usize, now.l4 as usize),
            (kind, bytes.len() - IP - self.padding.len(), IP + self.body.header_len::<F>())
        );
        let (old_addr, old_port) = if self.inbound { (now.dst, now.dport) } else { (now.src, now.sport) };
        let to = Rewrite {
            end: self.end(),
            proto: now.proto,
            l4: now.l4,
            l4_len: now.l4_len(),
            headless: kind == Kind::Tail,
            old_addr,
            new_addr: F::addr(to.addr),
            old_port,
            new_port: to.port,
            ttl,
        };
        assert_eq!(rewrite::<F, _>(&mut Frame::new(bytes), &to), Ok(()));
    }

    fn same<F: Build>(&self, bytes: &[u8], mut expected: Vec<u8>, original: &[u8]) {
        let mut bytes = bytes.to_vec();
        self.body.even::<F>(&mut bytes[IP..], &mut expected[IP..], &original[IP..]);
        assert_eq!(bytes, expected);
    }
}
