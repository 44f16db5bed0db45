//! An error finds the flow of the packet that it quotes.

use proptest::prelude::*;

use super::super::*;
use crate::{
    abi::flow::{IN, OUT},
    nat::rewrite::{End, Rewrite, rewrite},
    packet::{deep::Deep, slice::Frame},
    testing::{
        frame::{Ip, icmp},
        headers::Dress,
        protocols::{GRE, QUERY, each, number, payload},
    },
};

/// A flow, and how its packets look.
#[derive(Clone, Debug)]
struct Case {
    each: u8,
    pod: ([u8; 16], u16),
    egress: ([u8; 16], u16),
    remote: ([u8; 16], u16),
    router: [u8; 16],
    seeds: std::vec::Vec<u8>,
    data: std::vec::Vec<u8>,
    /// Bytes of the protocol's header that are quoted beyond the least.
    more: usize,
}

fn case() -> impl Strategy<Value = Case> {
    let bytes = |most| proptest::collection::vec(any::<u8>(), 0..most);
    (each(), any::<[([u8; 16], u16); 3]>(), any::<[u8; 16]>(), bytes(8), bytes(30), 0_usize..50).prop_map(
        |(each, [pod, egress, remote], router, seeds, data, more)| {
            // What has no ports has none to change; of a query the other end's says what is asked.
            let remote = if matches!(each, QUERY | GRE) { (remote.0, 0) } else { remote };
            let (pod, egress) = if each == GRE { ((pod.0, 0), (egress.0, 0)) } else { (pod, egress) };
            Case { each, pod, egress, remote, router, seeds, data, more }
        },
    )
}

impl Case {
    /// A packet between two ends; a query if `asks`, else its answer.
    fn build<F: Dress>(&self, src: ([u8; 16], u16), dst: ([u8; 16], u16), asks: bool) -> std::vec::Vec<u8> {
        let ip = F::dressed(Ip::new(F::addr(src.0), F::addr(dst.0), number::<F>(self.each)), &self.seeds);
        let (payload, at) = payload::<F>(self.each, (src.1, dst.1), asks, &self.data);
        ip.sealed(payload, at)
    }

    /// What the gateway makes of it, and the flow key of what it was.
    fn translated<F: Deep + Dress>(
        &self,
        mut frame: std::vec::Vec<u8>,
        end: End,
        new: ([u8; 16], u16),
        dir: u8,
    ) -> (FlowKey<F::Addr>, std::vec::Vec<u8>) {
        let packet = F::deep(&Frame::new(&mut frame)).unwrap();
        let (old_addr, old_port) =
            if end == End::Source { (packet.src, packet.sport) } else { (packet.dst, packet.dport) };
        let to = Rewrite::<F> {
            end,
            proto: packet.proto,
            l4: packet.l4,
            l4_len: packet.l4_len(),
            headless: false,
            old_addr,
            new_addr: F::addr(new.0),
            old_port,
            new_port: new.1,
            ttl: Some(64),
        };
        rewrite(&mut Frame::new(&mut frame), &to).unwrap();
        (packet.key(dir), frame)
    }

    /// What the error of a router about this packet quotes.
    fn about<F: Quoted + Deep + Dress>(&self, packet: &[u8], to: [u8; 16]) -> Quote<F> {
        let head = packet.len() - payload::<F>(self.each, (0, 0), true, &self.data).0.len();
        let end = packet.len().min(head + 8 + self.more);
        let ip = F::dressed(Ip::new(F::addr(self.router), F::addr(to), F::ICMP), &self.seeds);
        let mut error = ip.sealed(icmp(if F::V6 { 3 } else { 11 }, 0, &packet[14..end]), Some(2));
        let frame = Frame::new(&mut error);
        F::quote(&frame, &F::deep(&frame).unwrap()).unwrap()
    }

    fn check<F: Quoted + Deep + Dress>(&self) {
        // Out through the gateway, then lost outside.
        let (key, sent) =
            self.translated::<F>(self.build::<F>(self.pod, self.remote, true), End::Source, self.egress, OUT);
        let reply = key.reply(F::addr(self.egress.0), self.egress.1);
        assert_eq!(self.about::<F>(&sent, self.egress.0).key(IN), reply, "{self:?}");
        assert_eq!(reply.original(F::addr(self.pod.0), self.pod.1), key);
        // The reply, in through the gateway, then lost inside.
        let (back, got) =
            self.translated::<F>(self.build::<F>(self.remote, self.egress, false), End::Destination, self.pod, IN);
        assert_eq!(back, reply);
        assert_eq!(self.about::<F>(&got, self.remote.0).key(OUT), key, "{self:?}");
    }
}

proptest! {
    #[test]
    fn found_by_either_side(case in case()) {
        case.check::<V4>();
        case.check::<V6>();
    }
}
