//! ICMP queries other than echo (RFC 792, RFC 950): their identifiers are translated, each type for itself.

use std::collections::BTreeSet;

use anyhow::{Context, Result, ensure};
use egress_tests::capture::{Captured, Direction};
use egress_tests::lab::RealChecksums;
use egress_tests::packet::{Transport, build, proto};
use egress_tests::traffic::PATIENCE;
use egress_tests::{Family, Lab, LabConfig, skip};

use crate::rig::{NEEDS, flows};
use crate::wire::{agent, ensure_clean, header, holds, into_eth0, into_net1};

/// Requests and their replies: echo, timestamp, information, address mask.
const QUERIES: [(u8, u8); 4] = [(8, 0), (13, 14), (15, 16), (17, 18)];
const ID: u16 = 0x0bad;

/// The identifier of an ICMP message of this type between these two.
fn id_of(frame: &Captured, kind: u8, body: &[u8]) -> Option<u16> {
    let ip = frame.ip().filter(|ip| frame.direction == Direction::In && ip.is_icmp(kind))?;
    match ip.transport {
        Some(Transport::Icmp { id, .. }) if frame.packet().get(28..ip.length)? == body => Some(id),
        _ => None,
    }
}

#[test]
fn two_pods_ask_with_the_same_identifier() -> Result<()> {
    if skip(NEEDS) {
        return Ok(());
    }
    let lab = Lab::build(LabConfig::default().checksums(RealChecksums::AT_RECEIVERS))?;
    for mode in ["peer", "stack"] {
        let _agent = agent(&lab, &[("--forward", mode)])?;
        // Far from any kernel that would answer by itself.
        let (server, egress) = ("198.51.100.7".parse()?, lab.gateway.addr(Family::V4));
        let (inside, outside) = (lab.capture_internal()?, lab.capture_external()?);
        for (request, reply) in QUERIES {
            let mut ids = BTreeSet::new();
            for name in ["pod1", "pod2"] {
                let what = || format!("{mode} type {request} of {name}");
                let pod = lab.client(name)?.addr(Family::V4);
                let body = [&[request; 11][..], name.as_bytes()].concat();
                let rest = [&ID.to_be_bytes()[..], &[0, 1]].concat();
                let rest: [u8; 4] = rest.try_into().ok().context("four bytes")?;
                let ask = build::icmp(pod, server, request, 0, rest, &body);
                into_eth0(&lab, &header(pod, server, proto::ICMP).packet(&ask))?;
                let out = outside.wait_for(PATIENCE, |it| id_of(it, request, &body).is_some()).with_context(what)?;
                let ip = out.ip().context("not IP")?;
                ensure!((ip.source, ip.destination, ip.ttl) == (egress, server, 62), "{}: {ip:?}", what());
                let id = id_of(&out, request, &body).context("no identifier")?;
                ensure!(ids.insert(id), "{}: identifier {id} is used twice", what());
                let rest = [id.to_be_bytes(), [0, 1]].concat().try_into().ok().context("four bytes")?;
                // A reply of another type is no reply of this flow.
                let wrong = build::icmp(server, egress, if reply == 18 { 16 } else { 18 }, 0, rest, b"of another type");
                into_net1(&lab, &header(server, egress, proto::ICMP).packet(&wrong))?;
                let answer =
                    header(server, egress, proto::ICMP).packet(&build::icmp(server, egress, reply, 0, rest, &body));
                into_net1(&lab, &answer)?;
                let back = inside.wait_for(PATIENCE, |it| id_of(it, reply, &body).is_some()).with_context(what)?;
                let ip = back.ip().context("not IP")?;
                ensure!((ip.source, ip.destination, ip.ttl) == (server, pod, 62), "{}: {ip:?}", what());
                ensure!(id_of(&back, reply, &body) == Some(ID), "{}: {ip:?}", what());
                for frame in [&out, &back] {
                    ensure!(frame.checksums().is_some_and(|it| it.are_real()), "{}: {frame:?}", what());
                }
            }
        }
        ensure!(flows(&lab)?.len() == 2 * QUERIES.len(), "{:?}", flows(&lab)?);
        let strays =
            inside.stop()?.iter().filter(|it| it.direction == Direction::In && holds(it, b"another type")).count();
        ensure!(strays == 0, "{strays} replies of another type came in");
        ensure_clean(&outside.stop()?, &[])?;
    }
    Ok(())
}
