//! Protocols with ports: address, port, TTL and checksum, both ways.

use anyhow::{Result, ensure};
use egress_tests::packet::{build, proto, transport};

use super::bench::{Bench, Mode, Way};
use super::shape::{Shape, data, dccp, echo, sctp, syn, tcp, udp, udp_lite, udp_unsummed, udp_with};
use super::talk::Talk;
use super::{every, on_a_bench};

const MODES: &[Mode] = &[Mode::Peer, Mode::Neigh, Mode::Stack];

/// Opens a conversation by each shape and answers in kind.
fn both_ways(bench: &Bench<'_>, family: egress_tests::Family, shapes: Vec<Shape>) -> Result<()> {
    every(shapes.into_iter().zip(4000..), |(shape, port)| {
        let mut talk = Talk::new(bench, family, port, 443)?;
        talk.out(&shape)?;
        talk.back(&shape)?;
        talk.out(&shape)
    })
}

#[test]
fn tcp_and_udp_are_translated() -> Result<()> {
    on_a_bench(MODES, |bench, family| {
        let other_headers = udp().named("UDP with TOS and id").headed(|it| (it.tos, it.id) = (0xb9, 0xfffe));
        let fragmentable = udp().named("UDP without DF").headed(|it| it.dont_fragment = false);
        let plain = [syn(), data(), udp(), udp_with(b""), udp_with(&[0xff; 1300]), other_headers, fragmentable];
        both_ways(bench, family, plain.to_vec())?;
        if bench.pod(family)?.is_ipv4() {
            both_ways(bench, family, vec![udp_unsummed()])?;
        }
        let mut talk = Talk::new(bench, family, 77, 0)?;
        let (request, reply) = echo(bench.pod(family)?.is_ipv4());
        talk.out(&request)?;
        talk.back(&reply)?;
        talk.out(&request)
    })
}

/// Segments of every kind pass once there is a flow, with options and urgent data as they were.
#[test]
fn tcp_is_translated_whatever_its_flags() -> Result<()> {
    on_a_bench(&[Mode::Peer], |bench, family| {
        let mut talk = Talk::begun(bench, family, (4100, 443), &syn())?;
        let with_options = Shape::new("TCP with options", proto::TCP, |it| {
            let mut segment = [it.from.1.to_be_bytes(), it.to.1.to_be_bytes()].concat();
            segment.extend([0, 0, 0, 1, 0, 0, 0, 2, 0xa0, 0x12, 0xff, 0xff, 0, 0, 0, 9]);
            segment.extend([2, 4, 5, 0xb4, 4, 2, 8, 10, 1, 2, 3, 4, 5, 6, 7, 8, 1, 3, 3, 7]);
            build::fill_checksum(&mut segment, 16, 40, it.from.0, it.to.0, proto::TCP);
            segment
        });
        for flags in [0x12, 0x10, 0x38, 0x52, 0xc2, 0x11, 0x14, 0, 0xff] {
            let shape = tcp(&format!("TCP flags {flags:#x}"), flags, b"");
            talk.go(Way::In, &shape)?;
            talk.go(Way::Out, &shape)?;
        }
        talk.back(&with_options)?;
        talk.out(&with_options)
    })
}

/// IPv6 forbids it, but whoever sends one had it that way (RFC 6935), and 0 means nothing was summed.
#[test]
fn no_checksum_stays_none_in_ipv6() -> Result<()> {
    on_a_bench(MODES, |bench, family| both_ways(bench, family, vec![udp_unsummed()]))
}

#[test]
fn other_protocols_with_ports_are_translated() -> Result<()> {
    on_a_bench(MODES, |bench, family| {
        let lite = [0, 8, 9, 12, 20].map(udp_lite);
        let dccp = [(0, 0), (2, 0), (4, 1), (4, 3)].map(|(kind, coverage)| dccp(kind, coverage));
        both_ways(bench, family, [&lite[..], &dccp, &[sctp()]].concat())
    })
}

/// A port of SCTP is kept where it is free: its checksum is the only one that cannot be corrected without the packet's length.
#[test]
fn sctp_keeps_its_port_until_it_is_taken() -> Result<()> {
    on_a_bench(MODES, |bench, family| {
        let server = (bench.lab.far.addr(family), 38412);
        let first = Talk::between(bench, (bench.pod(family)?, 5000), server);
        let second = Talk::between(bench, (bench.pod2(family)?, 5000), server);
        let [mut first, mut second] = [first, second];
        first.out(&sctp())?;
        first.ensure_port_kept()?;
        second.out(&sctp())?;
        ensure!(second.outside()?.from.1 != 5000, "one port for two");
        for talk in [&mut first, &mut second] {
            talk.back(&sctp())?;
            talk.out(&sctp())?;
        }
        // Lengths of every remainder by four, and more than one lookup of a byte-wise correction is long.
        for length in (0..20).chain([255, 256, 257, 1000, 1300]) {
            let payload = transport::sctp_data(&vec![0xa5; length]);
            let shape = Shape::new(&format!("SCTP with {length} bytes"), proto::SCTP, move |it| {
                transport::sctp((it.from.1, it.to.1), 0xffff_ffff, &payload)
            });
            let odd = Shape::new(&format!("SCTP with {length} bytes unpadded"), proto::SCTP, move |it| {
                transport::sctp((it.from.1, it.to.1), 1, &vec![0x77; length])
            });
            for shape in [shape, odd] {
                second.out(&shape)?;
                second.back(&shape)?;
            }
        }
        Ok(())
    })
}

/// What was wrong stays wrong: the receiver must still notice.
#[test]
fn a_wrong_sctp_checksum_is_not_mended() -> Result<()> {
    on_a_bench(&[Mode::Peer], |bench, family| {
        let server = (bench.lab.far.addr(family), 38413);
        let mut first = Talk::between(bench, (bench.pod(family)?, 5000), server);
        let mut second = Talk::between(bench, (bench.pod2(family)?, 5000), server);
        first.out(&sctp())?;
        second.out(&sctp())?;
        // A flipped bit of the checksum is the same bit afterwards.
        let wrong = sctp().named("SCTP with a wrong checksum").changed(|it| it[9] ^= 0x10);
        for talk in [&mut first, &mut second] {
            talk.out(&wrong)?;
            talk.back(&wrong)?;
        }
        Ok(())
    })
}
