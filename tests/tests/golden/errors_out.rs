//! ICMP errors from inside about what a server sent: outside nobody learns who is behind the egress address.

use std::net::IpAddr;

use anyhow::{Result, ensure};
use egress_tests::Family;
use egress_tests::lab::addresses::OVERLAY_ROUTER;
use egress_tests::packet::proto;
use egress_tests::testrun::Verdict;

use super::bench::{Mode, TTL, Way, ensure_same};
use super::errors::{Error, kinds};
use super::errors_in::quotable;
use super::shape::{Ends, Shape, bare, data, echo, query, udp};
use super::talk::Talk;
use super::{every, on_a_bench};
use crate::wire::of;

const MODES: &[Mode] = &[Mode::Peer, Mode::Neigh, Mode::Stack];

/// The answer of this kind, which is what an error from inside is about.
fn answer(shape: &Shape, v4: bool) -> Shape {
    match shape.header.protocol {
        proto::ICMP | proto::ICMPV6 if shape.name.ends_with("13") => query(14, true, &[0; 12]),
        proto::ICMP | proto::ICMPV6 => echo(v4).1,
        _ => shape.clone(),
    }
}

#[test]
fn every_type_and_code_leaves_under_the_egress_address() -> Result<()> {
    on_a_bench(MODES, |bench, family| {
        let talk = Talk::begun(bench, family, (5200, 443), &data())?;
        let pod = talk.inside.from.0;
        every(kinds(family == Family::V4), |(kind, code)| {
            talk.error(Way::Out, pod, &Error::new(kind, code, &data()).rest([0, 0, 5, 0x14]).cut(8))
        })
    })
}

#[test]
fn quotes_of_every_protocol_and_length_are_translated() -> Result<()> {
    on_a_bench(MODES, |bench, family| {
        let v4 = family == Family::V4;
        // The Pod, and routers of the overlay before it.
        let subnet: IpAddr = if v4 { "10.17.0.1".parse()? } else { "fd00:10:17::1".parse()? };
        let reporters = [bench.pod(family)?, of(OVERLAY_ROUTER, family), subnet];
        every(quotable(v4).into_iter().zip(5201..), |((shape, cuts), port)| {
            let talk = Talk::begun_with(bench, family, port, &shape)?;
            let answered = answer(&shape, v4);
            every(cuts, |cut| {
                let error = Error::unreachable(v4, &answered);
                let error = cut.map_or_else(|| error.clone(), |it| error.clone().cut(it));
                every(reporters, |reporter| talk.error(Way::Out, reporter, &error))
            })
        })
    })
}

#[test]
fn errors_about_nothing_that_came_are_dropped() -> Result<()> {
    on_a_bench(&[Mode::Peer], |bench, family| {
        let v4 = family == Family::V4;
        let talk = Talk::begun(bench, family, (5300, 443), &data())?;
        let pod = talk.inside.from;
        let error = |shape: &Shape| Error::unreachable(v4, shape);
        every([0, 4, 7], |cut| talk.error_dropped(Way::Out, pod.0, &error(&data()).cut(cut), "icmp_error"))?;
        let came = talk.inside.back();
        let rows = [
            (data(), Ends { to: (pod.0, pod.1 ^ 1), ..came }),
            (data(), Ends { from: (came.from.0, 444), ..came }),
            (data(), talk.inside),
            (data(), talk.outside()?.back()),
            (udp(), came),
            (bare(proto::GRE), came),
        ];
        every(rows, |(shape, quoted)| {
            let packet = error(&shape).packet((pod.0, came.from.0), quoted, TTL);
            bench.ensure_dropped(Way::Out, &packet, "icmp_error")
        })?;
        let cut = error(&data()).headed(|it| (it.fragment, it.dont_fragment) = (Some((0, true)), false));
        talk.error_dropped(Way::Out, pod.0, &cut, "fragment")
    })
}

/// `snat: false`: the quote is right as it is. Who reports is not: a router inside has no address that may leave.
#[test]
fn errors_about_untranslated_packets_pass() -> Result<()> {
    on_a_bench(&[Mode::Peer], |bench, family| {
        let v4 = family == Family::V4;
        let (bystander, server) = (bench.lab.client("bystander")?.addr(family), bench.lab.far.addr(family));
        let quoted = Ends { from: (server, 443), to: (bystander, 4000) };
        let error = Error::unreachable(v4, &data());
        let packet = |from, ttl| error.packet((from, server), quoted, ttl);
        let own = bench.lab.gateway.addr(family);
        for (reporter, leaves_as) in [(bystander, bystander), (of(OVERLAY_ROUTER, family), own)] {
            let ran = bench.run(Way::Out, &packet(reporter, TTL))?;
            // The kernel may forward it, which lowers its TTL later.
            if ran.verdict == Verdict::Ok {
                ensure_same(&ran.frame, &Way::Out.frame(&packet(leaves_as, TTL)))?;
            } else {
                ensure!(ran.verdict == Verdict::Redirect, "{:?} from {reporter}", ran.verdict);
                bench.ensure_sent(Way::Out, &ran, |ttl| packet(leaves_as, ttl))?;
            }
        }
        Ok(())
    })
}
