//! Packets that stand for several (GSO): the length that counts is that of one.

use anyhow::Result;
use egress_tests::packet::proto;

use super::bench::{Bench, Mode, TTL, Way};
use super::shape::{Shape, bare, syn, tcp, udp, udp_with};
use super::talk::Talk;
use super::{every, on_a_bench};
use egress_tests::Family;

fn passes(bench: &Bench<'_>, talk: &Talk<'_, '_>, way: Way, shape: &Shape, size: u32) -> Result<()> {
    let frame = way.frame(&talk.arriving(way, shape, TTL)?);
    let ran = bench.program(way).run_super_packet(&frame, 2, size)?;
    let after = if way == Way::Out { talk.outside()? } else { talk.inside.back() };
    bench.ensure_sent(way, &ran, |ttl| shape.packet(after, ttl))
}

#[test]
fn super_packets_of_tcp_and_udp_pass_whole() -> Result<()> {
    on_a_bench(&[Mode::Peer, Mode::Neigh, Mode::Stack], |bench, family| {
        let by_tcp = Talk::begun(bench, family, (4600, 443), &syn())?;
        let by_udp = Talk::begun(bench, family, (4600, 443), &udp())?;
        let headers = if family == Family::V4 { 20 } else { 40 };
        for (way, mtu) in [(Way::Out, 1500), (Way::In, 1400)] {
            let (segment, datagram) = (mtu - headers - 20, mtu - headers - 8);
            let tcp = tcp("TCP super-packet", 0x18, &vec![0x5a; 2 * segment]);
            passes(bench, &by_tcp, way, &tcp, segment as u32)?;
            passes(bench, &by_udp, way, &udp_with(&vec![0x5a; 2 * datagram]), datagram as u32)?;
        }
        Ok(())
    })
}

/// A tunnel's super-packet: nobody says how long the inner headers are, but two bytes are less than any MTU.
#[test]
fn super_packets_of_tunnels_pass() -> Result<()> {
    on_a_bench(&[Mode::Peer], |bench, family| {
        let gre = bare(proto::GRE).changed(|it| it.resize(1300, 3));
        let talk = Talk::begun(bench, family, (0, 0), &gre)?;
        every(Way::BOTH, |way| passes(bench, &talk, way, &gre, 600))
    })
}
