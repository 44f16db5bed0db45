//! ICMP errors from outside about what a Pod sent: the Pod gets them as if there were no gateway.

use std::net::IpAddr;

use anyhow::Result;
use egress_tests::Family;
use egress_tests::packet::proto;

use super::bench::{Mode, TTL, Way};
use super::errors::{Error, kinds};
use super::shape::{Ends, Shape, bare, data, dccp, echo, query, sctp, syn, udp, udp_lite, udp_unsummed};
use super::talk::Talk;
use super::{every, on_a_bench};

const MODES: &[Mode] = &[Mode::Peer, Mode::Neigh, Mode::Stack];
const PADDING: [u8; 8] = [0, 0, 1, 4, 0, 0, 0, 0];

/// A router somewhere behind the first.
pub(super) fn on_the_way(family: Family) -> Result<IpAddr> {
    Ok(if family == Family::V4 { "198.51.100.9" } else { "2001:db8:51::9" }.parse()?)
}

/// What a Pod may send, and how much of it may be quoted: bytes of L4.
pub(super) fn quotable(v4: bool) -> Vec<(Shape, Vec<Option<usize>>)> {
    // TCP: ports and sequence, up to the checksum, with it, the header; a quote may also end at an odd byte.
    let tcp = [8, 9, 16, 18, 20, 21].map(Some);
    let udp = [8, 9, 12].map(Some);
    let mut rows = vec![
        (data(), [&tcp[..], &[None]].concat()),
        (super::shape::udp(), [&udp[..], &[None]].concat()),
        (udp_unsummed(), vec![Some(8), None]),
        (echo(v4).0, vec![Some(8), Some(11), None]),
        (sctp(), vec![Some(8), Some(12), None]),
        (udp_lite(8), vec![Some(8), None]),
        (dccp(2, 0), vec![Some(8), Some(12), None]),
        (bare(proto::GRE), vec![Some(8), None]),
        (bare(proto::ESP), vec![Some(8), Some(15)]),
        (syn().headed(|it| it.tos = 0xff), vec![None]),
    ];
    if v4 {
        rows.push((query(13, false, &[0; 12]), vec![Some(8), None]));
        rows.push((data().named("TCP with options").options(&[148, 4, 0, 0]), vec![Some(8), None]));
        rows.push((super::shape::udp().named("UDP with 40 bytes of options").options(&[1; 40]), vec![Some(8), None]));
    } else {
        let padding = |number| (number, PADDING.to_vec());
        rows.push((data().named("TCP behind options").extensions(&[padding(60)]), vec![Some(8), None]));
        let chain = [padding(0), padding(60), (43, vec![0, 0, 4, 0, 0, 0, 0, 0])];
        rows.push((super::shape::udp().named("UDP behind a chain").extensions(&chain), vec![Some(8), None]));
        let atomic = super::shape::udp().headed(|it| (it.fragment, it.id) = (Some((0, false)), 7));
        rows.push((atomic.named("an atomic fragment"), vec![Some(8), None]));
    }
    rows
}

#[test]
fn every_type_and_code_reaches_the_pod() -> Result<()> {
    on_a_bench(MODES, |bench, family| {
        let talk = Talk::begun(bench, family, (5000, 443), &data())?;
        let router = on_the_way(family)?;
        every(kinds(family == Family::V4), |(kind, code)| {
            talk.error(Way::In, router, &Error::new(kind, code, &data()).rest([0, 0, 5, 0x14]).cut(8))
        })
    })
}

#[test]
fn quotes_of_every_protocol_and_length_are_translated() -> Result<()> {
    on_a_bench(MODES, |bench, family| {
        let v4 = family == Family::V4;
        let reporters = [bench.lab.far.addr(family), bench.lab.router.addr(family), on_the_way(family)?];
        every(quotable(v4).into_iter().zip(5001..), |((shape, cuts), port)| {
            let talk = Talk::begun_with(bench, family, port, &shape)?;
            every(cuts, |cut| {
                let error = Error::unreachable(v4, &shape);
                let error = cut.map_or_else(|| error.clone(), |it| error.clone().cut(it));
                every(reporters, |reporter| talk.error(Way::In, reporter, &error))
            })
        })
    })
}

/// Where SCTP's port could not be kept, the quote's checksum is corrected by the length that its IP header tells.
#[test]
fn quotes_of_a_moved_sctp_port_are_translated() -> Result<()> {
    on_a_bench(&[Mode::Peer], |bench, family| {
        let server = (bench.lab.far.addr(family), 38414);
        let [mut first, mut second] =
            [bench.pod(family)?, bench.pod2(family)?].map(|pod| Talk::between(bench, (pod, 5000), server));
        first.out(&sctp())?;
        second.out(&sctp())?;
        let error = Error::unreachable(family == Family::V4, &sctp());
        every([error.clone().cut(8), error.clone().cut(12), error.clone().cut(20), error], |it| {
            second.error(Way::In, on_the_way(family)?, &it)?;
            second.error(Way::Out, second.inside.from.0, &it)
        })
    })
}

/// Half a checksum cannot be corrected: it stays as it is.
#[test]
fn quotes_that_end_in_a_checksum_are_translated() -> Result<()> {
    on_a_bench(&[Mode::Peer], |bench, family| {
        let server = (bench.lab.far.addr(family), 38416);
        let [mut first, mut second] =
            [bench.pod(family)?, bench.pod2(family)?].map(|pod| Talk::between(bench, (pod, 5000), server));
        let mut by_tcp = Talk::between(bench, (bench.pod(family)?, 5001), server);
        [&mut first, &mut second].into_iter().try_for_each(|it| it.out(&sctp()))?;
        by_tcp.out(&data())?;
        let half = |shape: Shape, from: usize, cut: usize| (shape.changed(move |it| it[from..cut].fill(0x7e)), cut);
        let rows = [(&second, half(sctp(), 8, 9)), (&second, half(sctp(), 8, 11)), (&by_tcp, half(data(), 16, 17))];
        every(rows, |(talk, (shape, cut))| {
            let error = Error::unreachable(family == Family::V4, &shape).cut(cut);
            talk.error(Way::In, on_the_way(family)?, &error)?;
            talk.error(Way::Out, talk.inside.from.0, &error)
        })
    })
}

/// RFC 4884: what is behind the quote is not touched, and its place is told by a length in the header.
#[test]
fn extended_errors_keep_their_objects() -> Result<()> {
    on_a_bench(&[Mode::Peer], |bench, family| {
        let v4 = family == Family::V4;
        let talk = Talk::begun(bench, family, (5100, 443), &data())?;
        let quote = data().packet(talk.inside, TTL).len();
        let mpls = [0x20, 0, 0, 0, 0, 8, 1, 1, 0, 1, 2, 0xff];
        let extension = [&vec![0; 128 - quote][..], &mpls].concat();
        let error = if v4 {
            Error::new(11, 0, &data()).rest([0, 32, 0, 0])
        } else {
            Error::new(3, 0, &data()).rest([16, 0, 0, 0])
        };
        talk.error(Way::In, on_the_way(family)?, &error.extended(&extension))
    })
}

/// The first fragment of what was sent: its ports are there.
#[test]
fn quoted_first_fragments_are_translated_and_later_ones_not() -> Result<()> {
    on_a_bench(&[Mode::Peer], |bench, family| {
        let talk = Talk::begun(bench, family, (5101, 443), &udp())?;
        let v4 = family == Family::V4;
        let long = super::shape::udp_with(&[0x77; 100]);
        let first = Error::unreachable(v4, &long.piece(9, 0..64, true));
        talk.error(Way::In, on_the_way(family)?, &first)?;
        talk.error(Way::In, on_the_way(family)?, &first.cut(8))?;
        let later = Error::unreachable(v4, &long.piece(9, 64..108, false));
        talk.error_dropped(Way::In, on_the_way(family)?, &later, "icmp_error")
    })
}

/// The error's own header may be odd.
#[test]
fn options_of_the_error_itself_are_carried() -> Result<()> {
    on_a_bench(&[Mode::Peer], |bench, family| {
        let v4 = family == Family::V4;
        let talk = Talk::begun(bench, family, (5102, 443), &data())?;
        let error = Error::unreachable(v4, &data());
        let odd = if v4 {
            error.headed(|it| (it.options, it.tos, it.dont_fragment) = (vec![148, 4, 0, 0], 0xc0, false))
        } else {
            error.headed(|it| (it.extensions, it.tos) = (vec![(60, PADDING.to_vec())], 0xc0))
        };
        talk.error(Way::In, on_the_way(family)?, &odd)?;
        talk.error(Way::In, on_the_way(family)?, &odd.cut(8))
    })
}

#[test]
fn errors_about_nothing_that_was_sent_are_dropped() -> Result<()> {
    on_a_bench(&[Mode::Peer], |bench, family| {
        let v4 = family == Family::V4;
        let router = on_the_way(family)?;
        let talk = Talk::begun(bench, family, (5103, 443), &data())?;
        let outside = talk.outside()?;
        let error = |shape: &Shape| Error::unreachable(v4, shape);
        every([0, 4, 7], |cut| talk.error_dropped(Way::In, router, &error(&data()).cut(cut), "icmp_error"))?;
        // Not from here, not to there, another port, another protocol, another address.
        let server = outside.to;
        let (own, port) = outside.from;
        let elsewhere = (router, 443);
        let rows = [
            (data(), Ends { from: (own, port ^ 1), to: server }),
            (data(), Ends { from: (own, port), to: (server.0, 444) }),
            (data(), Ends { from: (own, port), to: elsewhere }),
            (udp(), outside),
            (data(), outside.back()),
            (data(), talk.inside),
            (bare(proto::GRE), outside),
        ];
        every(rows, |(shape, quoted)| {
            let packet = error(&shape).packet((router, own), quoted, TTL);
            bench.ensure_dropped(Way::In, &packet, "icmp_error")
        })?;
        // An error about an error has no port; one within a fragment is not whole.
        let nested = Shape::new("an error", if v4 { 1 } else { 58 }, move |it| {
            [&[if v4 { 3 } else { 1 }, 0, 0, 0][..], &it.from.1.to_be_bytes(), &[0; 30]].concat()
        });
        talk.error_dropped(Way::In, router, &error(&nested), "icmp_error")?;
        let cut = error(&data()).headed(|it| (it.fragment, it.dont_fragment) = (Some((0, true)), false));
        talk.error_dropped(Way::In, router, &cut, "fragment")
    })
}

/// An error's own time is not reported (RFC 1122 §3.2.2).
#[test]
fn errors_do_not_live_forever() -> Result<()> {
    on_a_bench(&[Mode::Peer], |bench, family| {
        let talk = Talk::begun(bench, family, (5104, 443), &data())?;
        let (router, outside) = (on_the_way(family)?, talk.outside()?);
        let error = Error::unreachable(family == Family::V4, &data());
        every([0, 1], |ttl| {
            let packet = error.packet((router, outside.from.0), outside, ttl);
            bench.ensure_dropped(Way::In, &packet, "ttl_inbound")
        })
    })
}

/// What the gateway itself sent is the kernel's.
#[test]
fn errors_about_the_gateways_own_packets_are_the_kernels() -> Result<()> {
    on_a_bench(&[Mode::Peer], |bench, family| {
        let v4 = family == Family::V4;
        let (own, server) = ((bench.lab.gateway.addr(family), 60_000), (bench.lab.far.addr(family), 53));
        let quoted = Ends { from: own, to: server };
        let about =
            |shape: &Shape| Error::unreachable(v4, shape).packet((on_the_way(family).unwrap(), own.0), quoted, TTL);
        bench.ensure_left(Way::In, &about(&echo(v4).0))?;
        bench.ensure_dropped(Way::In, &about(&udp()), "icmp_error")?;
        let _socket = egress_tests::traffic::udp::Server::start(&bench.lab.gateway.ns, own.into())?;
        bench.ensure_left(Way::In, &about(&udp()))?;
        bench.ensure_left(Way::In, &about(&udp().headed(|it| it.tos = 4)))
    })
}
