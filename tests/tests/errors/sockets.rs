//! What sockets at both ends hear of each other's absence.

use std::net::IpAddr;

use anyhow::{Context, Result, bail, ensure};
use egress_tests::capture::{Capture, Captured, Direction};
use egress_tests::lab::RealChecksums;
use egress_tests::lab::addresses::ROUTER;
use egress_tests::packet::proto;
use egress_tests::traffic::{Call, PATIENCE, icmp, tcp, udp};
use egress_tests::{Family, Host, Lab, LabConfig, skip};
use nix::errno::Errno;

use super::flow;
use crate::gateways::{self, Kind};
use crate::quotes::{TIME_EXCEEDED, UNREACHABLE, ensure_quotes, error_about, is_about};
use crate::rig::{NEEDS, PORT};
use crate::talk::{Talk, ensure_refused};
use crate::wire::{agent, drops, ensure_clean, of, talkative};

/// The error that came to `host` quotes the datagram that it sent; returns from whom it came.
fn ensure_quoted(tap: Capture, host: &Host, to: IpAddr) -> Result<IpAddr> {
    let is_error =
        |it: &Captured| it.direction == Direction::In && is_about(it, UNREACHABLE, (host.addr(Family::of(to)), to));
    let frame = tap.wait_for(PATIENCE, is_error)?;
    // One of those, not always the first.
    let frames = tap.stop()?;
    let is_sent = |it: &&Captured| {
        let udp = it.ip().is_some_and(|ip| ip.protocol == proto::UDP && ip.destination == to);
        it.direction == Direction::Out && udp
    };
    let mut verdicts = frames.iter().filter(is_sent).map(|it| ensure_quotes(&frame, it.packet()));
    let first = verdicts.next().context("nothing was sent")?;
    if first.is_err() && !verdicts.any(|it| it.is_ok()) {
        first?;
    }
    let ip = frame.ip().context("not IP")?;
    ensure!(ip.destination == host.addr(ip.family()), "it came to {}", ip.destination);
    Ok(ip.source)
}

#[test]
fn a_closed_port_is_told_to_the_socket_at_the_other_end() -> Result<()> {
    if skip(gateways::NEEDS) {
        return Ok(());
    }
    for kind in Kind::BOTH {
        let lab = Lab::build(LabConfig::default().checksums(RealChecksums::EVERYWHERE))?;
        talkative(&lab)?;
        let _gateway = kind.start(&lab)?;
        let outside = lab.capture_external()?;
        for family in Family::BOTH {
            for server in [&lab.server, &lab.far] {
                let what = || format!("{kind:?} {family:?} {}", server.addr(family));
                let pod = lab.client("pod1")?;
                let Talk { inner, outer, egress, remote, .. } = Talk::start(pod, 4000, server, PORT, family)?;
                drop(outer);
                let tap = Capture::start(&pod.ns, "eth0")?;
                ensure_refused(&inner).with_context(what)?;
                ensure!(ensure_quoted(tap, pod, remote.ip()).with_context(what)? == remote.ip());

                let pod = lab.client("pod2")?;
                let talk = Talk::start(pod, 4000, server, PORT, family)?;
                drop(talk.inner);
                let tap = Capture::start(&server.ns, "eth0")?;
                ensure_refused(&talk.outer).with_context(what)?;
                ensure!(ensure_quoted(tap, server, egress.ip()).with_context(what)? == egress.ip());
                if kind == Kind::Agent {
                    // Three datagrams of which two were heard, and errors: only datagrams count.
                    let flow = flow(&lab, "udp", pod.addr(family), server.addr(family))?;
                    ensure!(flow.packets.out == 1 && flow.packets.inward >= 2, "{flow:?}");
                }
            }
        }
        ensure_clean(&outside.stop()?, &[])?;
    }
    Ok(())
}

fn connect_error(host: &Host, to: IpAddr) -> Result<Errno> {
    match tcp::connect_in(&host.ns, Call::to(to, PORT)) {
        Ok(_) => bail!("{to} answers"),
        Err(error) => error.root_cause().downcast_ref::<Errno>().copied().with_context(|| format!("{error:#}")),
    }
}

/// A router that finds nobody, and one that forbids; at once, not after a minute of SYNs.
#[test]
fn a_connect_ends_when_a_router_says_so() -> Result<()> {
    if skip(gateways::NEEDS) {
        return Ok(());
    }
    for kind in Kind::BOTH {
        let lab = Lab::build(LabConfig::default().checksums(RealChecksums::EVERYWHERE))?;
        talkative(&lab)?;
        for family in ["ipv4", "ipv6"] {
            lab.router.ns.sysctl(&[(&format!("net/{family}/neigh/far0/retrans_time_ms"), "10")])?;
        }
        lab.router.ns.sh("ip route add prohibit 198.51.100.0/24")?;
        lab.router.ns.sh("ip -6 route add prohibit 2001:db8:51::/64")?;
        let _gateway = kind.start(&lab)?;
        let outside = lab.capture_external()?;
        let pod = lab.client("pod1")?;
        for (family, nobody, forbidden, word) in [
            (Family::V4, "203.0.113.99", "198.51.100.7", Errno::EHOSTUNREACH),
            (Family::V6, "2001:db8:113::99", "2001:db8:51::7", Errno::EACCES),
        ] {
            let what = || format!("{kind:?} {family:?}");
            let tap = Capture::start(&pod.ns, "eth0")?;
            // This one first: the kernel's bucket for it is empty after any other error.
            ensure!(connect_error(pod, forbidden.parse()?).with_context(what)? == word, "{}", what());
            ensure!(connect_error(pod, nobody.parse()?).with_context(what)? == Errno::EHOSTUNREACH, "{}", what());
            for to in [nobody, forbidden] {
                let to: IpAddr = to.parse()?;
                let is_syn =
                    |it: &Captured| it.direction == Direction::Out && it.ip().is_some_and(|ip| ip.destination == to);
                let syn = tap.wait_for(PATIENCE, is_syn)?;
                let (from, _) = error_about(&tap, UNREACHABLE, syn.packet()).with_context(what)?;
                ensure!(from == of(ROUTER, family), "{}: {from} answered", what());
                if kind == Kind::Agent {
                    let flow = flow(&lab, "tcp", pod.addr(family), to)?;
                    ensure!(flow.state == "opening" && flow.packets.inward == 0, "{flow:?}");
                }
            }
        }
        ensure_clean(&outside.stop()?, &[])?;
    }
    Ok(())
}

/// The gateway's own sockets hear of closed ports and of what routers say, too.
#[test]
fn errors_for_the_gateway_itself_reach_it() -> Result<()> {
    if skip(NEEDS) {
        return Ok(());
    }
    let lab = Lab::build(LabConfig::default())?;
    talkative(&lab)?;
    lab.router.ns.sh("ip route add prohibit 198.51.100.0/24")?;
    lab.router.ns.sh("ip -6 route add prohibit 2001:db8:51::/64")?;
    let _agent = agent(&lab, &[])?;
    for (family, forbidden, word) in
        [(Family::V4, "198.51.100.7", Errno::EHOSTUNREACH), (Family::V6, "2001:db8:51::7", Errno::EACCES)]
    {
        let heard = connect_error(&lab.gateway, forbidden.parse()?)?;
        ensure!(heard == word, "{forbidden}: {heard}");
        for host in [&lab.server, &lab.far, lab.client("pod1")?] {
            let closed = Call::to(host.addr(family), PORT + 9);
            ensure_refused(&udp::connect_in(&lab.gateway.ns, closed)?).with_context(|| format!("{closed:?}"))?;
        }
        // An operator's traceroute.
        let outside = lab.capture_external()?;
        icmp::Pinger::new(&lab.gateway.ns, family)?.ttl(1)?.send(lab.far.addr(family), 60_000, 1, b"who is there?")?;
        let about = (lab.gateway.addr(family), lab.far.addr(family));
        outside.wait_for(PATIENCE, |it| it.direction == Direction::Out && is_about(it, TIME_EXCEEDED, about))?;
        icmp::once(&lab.gateway.ns, lab.far.addr(family), 60_001)?;
    }
    ensure!(drops(&lab)?.is_empty(), "{:?}", drops(&lab)?);
    Ok(())
}
