//! Packets made by hand: what comes out is what the kernel's gateway lets out, byte for byte.

use std::net::IpAddr;

use anyhow::{Context, Result, ensure};
use egress_tests::capture::{Capture, Captured, Direction};
use egress_tests::lab::RealChecksums;
use egress_tests::lab::addresses::mac;
use egress_tests::packet::build::{self, Header};
use egress_tests::packet::proto;
use egress_tests::traffic::{PATIENCE, inject};
use egress_tests::{Family, Lab, skip};

use super::lab;
use crate::gateways::{self, Kind};
use crate::rig::stat;
use crate::wire::{drops, header, holds, icmp};

/// A MAC that answers nobody.
const SENDER: [u8; 6] = [2, 0, 0, 0, 0x77, 0x02];
const LAST: &str = "the last packet";

/// What a packet is, itself, and a mark that no other has.
type Marked = (String, Vec<u8>, Vec<u8>);

fn all(from: IpAddr, to: IpAddr) -> Vec<Marked> {
    let v4 = from.is_ipv4();
    let mut all = Vec::new();
    let mut add = |name: String, head: Header, payload: &dyn Fn(&[u8]) -> Vec<u8>| {
        let mark = format!("this is {name}, and nothing else").into_bytes();
        all.push((name, head.packet(&payload(&mark)), mark));
    };
    // IGMP, IPIP, 6in4, GRE, ESP, AH, OSPF, VRRP, SCTP, UDP-Lite, an experiment.
    for protocol in [2, 4, 41, proto::GRE, proto::ESP, 51, 89, 112, proto::SCTP, 136, 253] {
        // Behind the number 51, IPv6 reads a length; 51 bytes of header are there.
        let payload = |mark: &[u8]| [&[59, 4, 0, 0][..], &[7; 20], mark].concat();
        add(format!("protocol {protocol}"), header(from, to, protocol), &payload);
    }
    let datagram = |mark: &[u8]| build::udp((from, 4000), (to, 4001), mark);
    let plain = || header(from, to, proto::UDP);
    if v4 {
        for (name, options) in [
            ("no operation", &[1, 1, 1, 0][..]),
            ("router alert", &[148, 4, 0, 0]),
            ("record route", &[7, 15, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]),
        ] {
            add(name.into(), Header { options: options.to_vec(), ..plain() }, &datagram);
        }
    } else {
        let padding = || vec![0, 0, 1, 4, 0, 0, 0, 0];
        for (name, chain) in [
            ("hop-by-hop options", vec![(0, padding())]),
            ("destination options", vec![(60, padding())]),
            ("a routing header without segments", vec![(43, vec![0, 0, 4, 0, 0, 0, 0, 0])]),
            ("a chain", vec![(0, padding()), (60, padding()), (60, padding())]),
        ] {
            add(name.into(), Header { extensions: chain, ..plain() }, &datagram);
        }
    }
    let queries: &[u8] = if v4 { &[8, 13, 15, 17, 0, 14, 10, 42] } else { &[128, 129, 200] };
    for kind in queries {
        let message = |mark: &[u8]| build::icmp(from, to, *kind, 0, [0, 9, 0, 1], mark);
        add(format!("ICMP type {kind}"), header(from, to, icmp(Family::of(from))), &message);
    }
    let errors: &[u8] = if v4 { &[3, 4, 11, 12] } else { &[1, 3, 4] };
    for kind in errors {
        let error = |mark: &[u8]| {
            let about = header(to, from, proto::UDP).packet(&build::udp((to, 4001), (from, 4000), mark));
            build::icmp(from, to, *kind, 0, [0; 4], &about)
        };
        add(format!("an error of type {kind}"), header(from, to, icmp(Family::of(from))), &error);
    }
    add("a TCP SYN".into(), header(from, to, proto::TCP), &|mark| build::tcp((from, 5), (to, 6), (1, 0), 2, mark));
    add(LAST.into(), plain(), &datagram);
    all
}

/// What of them came out, in order; `None` for each that did not.
fn came(tap: Capture, packets: &[Marked]) -> Result<Vec<Option<Vec<u8>>>> {
    let is_in = |it: &Captured, mark: &[u8]| it.direction == Direction::In && holds(it, mark);
    let last = packets.last().context("no packets")?;
    tap.wait_for(PATIENCE, |it| is_in(it, &last.2)).context("the last one did not come")?;
    let frames = tap.stop()?;
    let find = |it: &Marked| frames.iter().find(|frame| is_in(frame, &it.2)).map(|frame| frame.packet().to_vec());
    Ok(packets.iter().map(find).collect())
}

/// Out and back, both families, in this order.
fn observe(lab: &Lab) -> Result<Vec<(String, Option<Vec<u8>>)>> {
    let mut seen = Vec::new();
    let (pod, server) = (lab.client("bystander")?, &lab.server);
    for family in Family::BOTH {
        let (own, remote) = (pod.addr(family), server.addr(family));
        for (from, to, (ns, hop), receiver) in [
            (own, remote, (&pod.ns, mac::OVERLAY), &server.ns),
            (remote, own, (&server.ns, mac::GATEWAY_OUTSIDE), &pod.ns),
        ] {
            // At the cable's near end, so that what the receiver's kernel answers is not mistaken for it.
            let tap = Capture::start(receiver, "eth0")?;
            let packets = all(from, to);
            for (name, packet, _) in &packets {
                inject(ns, "eth0", &build::ethernet(hop, SENDER, packet)).with_context(|| name.clone())?;
            }
            let came = came(tap, &packets).with_context(|| format!("{from} to {to}"))?;
            seen.extend(packets.into_iter().zip(came).map(|((name, ..), it)| (format!("{from} to {to}: {name}"), it)));
        }
    }
    Ok(seen)
}

#[test]
fn every_kind_comes_out_as_the_kernel_lets_it() -> Result<()> {
    if skip(gateways::NEEDS) {
        return Ok(());
    }
    let mut all = Vec::new();
    for kind in Kind::BOTH {
        let lab = lab(1400, 1500, RealChecksums::AT_RECEIVERS)?;
        let _gateway = kind.start(&lab)?;
        all.push(observe(&lab).with_context(|| format!("{kind:?}"))?);
        if kind == Kind::Agent {
            ensure!(stat(&lab, "counters/flows_created")? == 0 && drops(&lab)?.is_empty(), "{:?}", drops(&lab)?);
        }
    }
    let [kernel, ours] = &all[..] else { return Ok(()) };
    let lost: Vec<_> = kernel.iter().filter(|(_, it)| it.is_none()).map(|(name, _)| name).collect();
    ensure!(lost.is_empty(), "the kernel forwards no {lost:?}");
    for ((name, kernel), (_, ours)) in kernel.iter().zip(ours) {
        ensure!(kernel == ours, "{name}:\nkernel {kernel:02x?}\nours   {ours:02x?}");
    }
    Ok(())
}
