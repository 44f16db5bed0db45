//! The guard's verdict on what the kernel would send; the frames themselves are tested on the wire.

use std::net::IpAddr;

use anyhow::{Context, Result, ensure};
use egress_tests::Family;
use egress_tests::lab::addresses::{GATEWAY_INSIDE, mac};
use egress_tests::testrun::Verdict;

use super::bench::{Bench, Mode, TTL, ensure_same};
use super::errors::Error;
use super::shape::{Ends, Side, echo, udp};
use super::{every, on_a_bench};
use crate::wire::of;

/// Passes unchanged, or is dropped.
fn check(bench: &Bench<'_>, name: &str, packet: &[u8], passes: bool) -> Result<()> {
    let ran = bench.guard(packet)?;
    let wanted = if passes { Verdict::Ok } else { Verdict::Shot };
    ensure!(ran.verdict == wanted, "{name}: {:?} instead of {wanted:?}", ran.verdict);
    ensure_same(&ran.frame[14..], packet).with_context(|| name.to_owned())
}

#[test]
fn sources_that_may_leave_do() -> Result<()> {
    on_a_bench(&[Mode::Peer], |bench, family| {
        let server: Side = (bench.lab.far.addr(family), 53);
        let own = bench.lab.gateway.addr(family);
        let (link_local, stranger): (IpAddr, IpAddr) = match family {
            Family::V4 => ("169.254.1.1".parse()?, "8.8.8.8".parse()?),
            Family::V6 => ("fe80::1".parse()?, "2001:db8::8".parse()?),
        };
        let from = |source| udp().packet(Ends { from: (source, 4000), to: server }, TTL);
        let rows = [
            ("the egress address", own, true),
            ("the address of eth0", of(GATEWAY_INSIDE, family), false),
            ("a Pod", bench.pod(family)?, false),
            ("a Pod that is not translated", bench.lab.client("bystander")?.addr(family), true),
            ("a link-local address", link_local, family == Family::V6),
            ("a stranger", stranger, false),
        ];
        every(rows, |(name, source, passes)| check(bench, name, &from(source), passes))
    })
}

#[test]
fn errors_do_not_tell_inside_addresses() -> Result<()> {
    on_a_bench(&[Mode::Peer], |bench, family| {
        let v4 = family == Family::V4;
        let server: Side = (bench.lab.far.addr(family), 53);
        let own = bench.lab.gateway.addr(family);
        let quoting = |address| {
            let quoted = Ends { from: server, to: (address, 4000) };
            Error::unreachable(v4, &udp()).packet((own, server.0), quoted, TTL)
        };
        every(
            [("its own address", own, true), ("a Pod's address", bench.pod(family)?, false)],
            |(name, it, passes)| check(bench, name, &quoting(it), passes),
        )?;
        let ping = echo(v4).0.packet(Ends { from: (own, 7), to: server }, TTL);
        check(bench, "an echo request", &ping, true)
    })
}

/// ARP is heard by everybody on the link.
#[test]
fn arp_names_external_addresses_only() -> Result<()> {
    on_a_bench(&[Mode::Peer], |bench, family| {
        let IpAddr::V4(own) = bench.lab.gateway.addr(family) else { return Ok(()) };
        every([("net1's", own, Verdict::Ok), ("eth0's", GATEWAY_INSIDE.0, Verdict::Shot)], |(name, sender, wanted)| {
            let head = [0, 1, 8, 0, 6, 4, 0, 1];
            let body = [&head[..], &mac::GATEWAY_OUTSIDE, &sender.octets(), &[0; 6], &[172, 17, 0, 1]].concat();
            let frame = [&[0xff; 6][..], &mac::GATEWAY_OUTSIDE, &[8, 6], &body].concat();
            let ran = bench.guard_frame(&frame)?;
            ensure!(ran.verdict == wanted, "{name}: {:?}", ran.verdict);
            Ok(())
        })
    })
}
