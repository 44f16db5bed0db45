//! Real sockets on both sides: long datagrams, errors, and the path's MTU.

use anyhow::{Context, Result, ensure};
use egress_tests::lab::RealChecksums;
use egress_tests::lab::addresses::no_snat_networks;
use egress_tests::packet::build::Header;
use egress_tests::packet::fragments;
use egress_tests::traffic::{PATIENCE, icmp, path};
use egress_tests::{Family, Lab, eventually, skip};

use super::lab;
use crate::gateways::{self, Kind};
use crate::rig::{PORT, stat};
use crate::talk::{Talk, Way, ensure_refused, message};
use crate::wire::{drops, ensure_clean};

fn ensure_nothing_was_translated(lab: &Lab) -> Result<()> {
    for counter in ["flows_created", "out_packets", "in_packets", "fragments_held", "icmp_errors"] {
        let count = stat(lab, &format!("counters/{counter}"))?;
        ensure!(count == 0, "{counter} is {count}");
    }
    ensure!(drops(lab)?.is_empty(), "{:?}", drops(lab)?);
    Ok(())
}

#[test]
fn fragments_pass_both_ways_in_any_order() -> Result<()> {
    if skip(gateways::NEEDS) {
        return Ok(());
    }
    for kind in Kind::BOTH {
        let lab = lab(1400, 1400, RealChecksums::AT_RECEIVERS)?;
        let _gateway = kind.start(&lab)?;
        let outside = lab.capture_external()?;
        let bystander = lab.client("bystander")?;
        for (family, server) in Family::BOTH.into_iter().flat_map(|it| [(it, &lab.server), (it, &lab.far)]) {
            let talk = Talk::start(bystander, 4000, server, PORT, family)?;
            ensure!(talk.egress == talk.inside, "{} became {}", talk.inside, talk.egress);
            for (way, length) in Way::BOTH.into_iter().flat_map(|way| [(way, 3_000), (way, 20_000)]) {
                let what = || format!("{kind:?} {family:?} {way:?} {length}");
                talk.pass(way, &message(length, 1)).with_context(what)?;
                let (head, datagram) = talk.parts(way, &message(length, 2));
                let mut pieces = fragments(&Header { id: 77, ..head }, &datagram, 1304);
                pieces.reverse();
                pieces.iter().try_for_each(|it| way.put(&lab, it))?;
                talk.comes(way, &message(length, 2)).with_context(what)?;
            }
            let pinger = icmp::Pinger::new(&bystander.ns, family)?;
            let reply = pinger.ping(talk.remote.ip(), 77, 1, &message(3_000, 3), PATIENCE)?;
            ensure!(reply.payload == message(3_000, 3), "another echo");
        }
        if kind == Kind::Agent {
            ensure_nothing_was_translated(&lab)?;
        }
        ensure_clean(&outside.stop()?, &no_snat_networks())?;
    }
    Ok(())
}

#[test]
fn errors_pass_both_ways() -> Result<()> {
    if skip(gateways::NEEDS) {
        return Ok(());
    }
    for kind in Kind::BOTH {
        let lab = lab(1400, 1500, RealChecksums::EVERYWHERE)?;
        let _gateway = kind.start(&lab)?;
        let outside = lab.capture_external()?;
        for (family, server) in Family::BOTH.into_iter().flat_map(|it| [(it, &lab.server), (it, &lab.far)]) {
            let what = || format!("{kind:?} {family:?} {}", server.addr(family));
            let Talk { inner, outer, .. } = Talk::start(lab.client("bystander")?, 4000, server, PORT, family)?;
            drop(outer);
            ensure_refused(&inner).with_context(what)?;
            let Talk { inner, outer, .. } = Talk::start(lab.client("bystander")?, 4001, server, PORT, family)?;
            drop(inner);
            ensure_refused(&outer).with_context(what)?;
        }
        if kind == Kind::Agent {
            ensure_nothing_was_translated(&lab)?;
        }
        ensure_clean(&outside.stop()?, &no_snat_networks())?;
    }
    Ok(())
}

/// Whoever's packet is too big for the gateway's other side hears from its kernel.
#[test]
fn the_mtu_is_told_both_ways() -> Result<()> {
    if skip(gateways::NEEDS) {
        return Ok(());
    }
    for kind in Kind::BOTH {
        for (way, overlay, external, narrow) in [(Way::Out, 1400, 1300, 1300), (Way::In, 1400, 1500, 1400)] {
            let lab = lab(overlay, external, RealChecksums::AT_RECEIVERS)?;
            let _gateway = kind.start(&lab)?;
            let outside = lab.capture_external()?;
            for family in Family::BOTH {
                let talk = Talk::start(lab.client("bystander")?, 4000, &lab.server, PORT, family)?;
                let socket = talk.sender(way);
                path::discover_mtu(socket)?;
                let headers = if family == Family::V4 { 28 } else { 48 };
                let long = message((path::mtu(socket)? - headers) as usize, 1);
                let known = || {
                    // An earlier one's error is told here.
                    let _ = socket.send(&long);
                    Ok(path::mtu(socket)? == narrow)
                };
                eventually("the MTU is known", PATIENCE, known)
                    .with_context(|| format!("{kind:?} {family:?} {way:?}"))?;
                let _ = socket.take_error()?;
                talk.pass(way, &message((narrow - headers) as usize, 2))?;
            }
            ensure_clean(&outside.stop()?, &no_snat_networks())?;
        }
    }
    Ok(())
}
