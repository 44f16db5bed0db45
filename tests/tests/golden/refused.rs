//! Packets that are not translated: dropped by name, or the kernel's to answer.

use std::net::IpAddr;

use anyhow::Result;
use egress_tests::Family;
use egress_tests::packet::proto;

use super::bench::{Mode, TTL, Way};
use super::shape::{Ends, Shape, data, dccp, echo, sctp, syn, tcp, udp, udp_lite, udp_unsummed, udp_with};
use super::talk::Talk;
use super::{every, on_a_bench};

#[test]
fn what_belongs_to_no_flow_is_dropped() -> Result<()> {
    on_a_bench(&[Mode::Peer], |bench, family| {
        let server = (bench.lab.far.addr(family), 443);
        let own = (bench.lab.gateway.addr(family), 40_000);
        let other: IpAddr = if family == Family::V4 { "172.17.0.77".parse()? } else { "fd00:172:17::77".parse()? };
        let shapes = [syn(), data(), tcp("TCP RST", 4, b""), udp()];
        every(&shapes, |shape| {
            bench.ensure_dropped(Way::In, &shape.packet(Ends { from: server, to: own }, TTL), "no_mapping")?;
            bench.ensure_dropped(Way::In, &shape.packet(Ends { from: server, to: (other, 9) }, TTL), "not_ours")
        })?;
        let talk = Talk::new(bench, family, 4500, 443)?;
        talk.dropped(Way::Out, &tcp("TCP RST", 4, b""), "rst_no_flow")?;
        talk.dropped(Way::Out, &tcp("TCP RST ACK", 0x14, b""), "rst_no_flow")
    })
}

#[test]
fn other_protocols_without_a_flow_are_dropped() -> Result<()> {
    on_a_bench(&[Mode::Peer], |bench, family| {
        let ends = Ends { from: (bench.lab.far.addr(family), 443), to: (bench.lab.gateway.addr(family), 40_001) };
        every([sctp(), dccp(0, 0), udp_lite(8), udp_unsummed()], |shape| {
            bench.ensure_dropped(Way::In, &shape.packet(ends, TTL), "no_mapping")
        })
    })
}

/// Its answers come from eth0's address.
#[test]
fn the_kernel_answers_for_what_cannot_leave() -> Result<()> {
    on_a_bench(&[Mode::Peer, Mode::Neigh, Mode::Stack], |bench, family| {
        let mut talk = Talk::new(bench, family, 4501, 443)?;
        for known in [false, true] {
            if known {
                talk.out(&udp())?;
            }
            for ttl in [0, 1] {
                bench.ensure_left(Way::Out, &udp().packet(talk.inside, ttl))?;
            }
        }
        bench.ensure_left(Way::Out, &udp_with(&[0; 1480]).packet(talk.inside, TTL))
    })
}

/// What comes after the IP packet in a frame is not part of it, and stays.
#[test]
fn a_trailer_is_not_summed_up() -> Result<()> {
    on_a_bench(&[Mode::Peer], |bench, family| {
        let mut talk = Talk::begun(bench, family, (4502, 443), &udp())?;
        for way in Way::BOTH {
            let trailed = |packet: Vec<u8>| [&packet[..], b"\x01\x02\x03trailer"].concat();
            let arriving = way.frame(&trailed(talk.arriving(way, &udp(), TTL)?));
            let ran = bench.program(way).run(&arriving)?;
            let after = if way == Way::Out { talk.outside()? } else { talk.inside.back() };
            bench.ensure_sent(way, &ran, |ttl| trailed(udp().packet(after, ttl)))?;
        }
        talk.out(&udp())
    })
}

/// Headers that contradict themselves, both ways, although there is a flow.
#[test]
fn malformed_packets_are_dropped() -> Result<()> {
    on_a_bench(&[Mode::Peer], |bench, family| {
        let v4 = family == Family::V4;
        let begin = |port, shape: &Shape, to| Talk::begun(bench, family, (port, to), shape);
        let by_udp = begin(4503, &udp(), 443)?;
        let by_tcp = begin(4503, &syn(), 443)?;
        let by_echo = begin(4503, &echo(v4).0, 0)?;
        let icmp = if v4 { proto::ICMP } else { proto::ICMPV6 };
        let cut = |shape: Shape, length: usize| {
            shape.named(&format!("{length} bytes of L4")).changed(move |it| it.truncate(length))
        };
        let data_offset = |words: u8| data().named("a TCP data offset").changed(move |it| it[12] = words << 4);
        let udp_length = |length: u16| {
            udp().named("a UDP length").changed(move |it| it[4..6].copy_from_slice(&length.to_be_bytes()))
        };
        let mut rows = vec![];
        rows.extend([0, 1, 7].map(|length| (&by_udp, cut(udp(), length))));
        rows.extend([0, 7].map(|length| (&by_echo, cut(echo(v4).0, length))));
        rows.extend([0, 8, 19].map(|length| (&by_tcp, cut(syn(), length))));
        rows.extend([0, 4, 10, 15].map(|words| (&by_tcp, data_offset(words))));
        rows.extend([0, 7, 24, 0xffff].map(|length| (&by_udp, udp_length(length))));
        every(rows, |(talk, shape)| {
            talk.dropped(Way::Out, &shape, "malformed")?;
            if shape.header.protocol == icmp { Ok(()) } else { talk.dropped(Way::In, &shape, "malformed") }
        })
    })
}
