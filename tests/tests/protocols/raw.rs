//! Protocols without ports (GRE, ESP and others): translated by address, one Pod for each egress address and remote.

use std::net::IpAddr;

use anyhow::{Context, Result, ensure};
use egress_tests::capture::{Capture, Captured, Direction};
use egress_tests::lab::{Client, RealChecksums};
use egress_tests::packet::build::Header;
use egress_tests::packet::{fragments, proto};
use egress_tests::traffic::PATIENCE;
use egress_tests::{Family, Lab, LabConfig, skip};

use crate::rig::{NEEDS, stat};
use crate::talk::{Way, message};
use crate::wire::{agent, dropped, drops, header, into_eth0, into_net1};

/// IGMP, IPIP, 6in4, GRE, ESP, OSPF (IPv4 only), L2TP, an experiment.
const PROTOCOLS: [u8; 8] = [2, 4, 41, proto::GRE, proto::ESP, 89, 115, 253];

fn config() -> Result<LabConfig> {
    let config = LabConfig::default().checksums(RealChecksums::AT_RECEIVERS).client(Client::new("pod3", 17, 13));
    Ok(config.egress("172.17.0.12/16".parse()?).egress("fd00:172:17::12/64".parse()?))
}

/// Sends a packet and returns the inner end's address on the other side; nothing else changed but the TTL.
fn through(lab: &Lab, way: Way, (from, to): (IpAddr, IpAddr), protocol: u8, payload: &[u8]) -> Result<IpAddr> {
    let tap = if way == Way::Out { lab.capture_external()? } else { lab.capture_internal()? };
    let packet = Header { tos: 0x48, id: 0x1234, ..header(from, to, protocol) }.packet(payload);
    way.put(lab, &packet)?;
    let frame = arrived(&tap, payload).with_context(|| format!("protocol {protocol} {from} to {to}"))?;
    let ip = frame.ip().context("not IP")?;
    ensure!((ip.protocol, ip.ttl, ip.tos) == (protocol, 62, 0x48), "{ip:?}");
    ensure!(ip.length == packet.len(), "{ip:?} was {} bytes", packet.len());
    let checksums = frame.checksums().context("not IP")?;
    ensure!(checksums.are_right(), "{checksums}");
    match way {
        Way::Out => {
            ensure!(ip.destination == to, "{ip:?}");
            ensure_no_leak(&tap)?;
            Ok(ip.source)
        }
        Way::In => {
            ensure!(ip.source == from, "{ip:?}");
            Ok(ip.destination)
        }
    }
}

fn ensure_no_leak(outside: &Capture) -> Result<()> {
    let leaks = egress_tests::oracle::leaks(&outside.so_far(), &[]);
    ensure!(leaks.is_empty(), "{leaks:?}");
    Ok(())
}

fn arrived(tap: &Capture, payload: &[u8]) -> Result<Captured> {
    tap.wait_for(PATIENCE, |it| {
        let own = it.ip().and_then(|ip| it.packet().get(ip.l4_offset..ip.length));
        it.direction == Direction::In && own == Some(payload)
    })
}

#[test]
fn both_ways_with_nothing_else_changed() -> Result<()> {
    if skip(NEEDS) {
        return Ok(());
    }
    let lab = Lab::build(config()?)?;
    for mode in ["peer", "stack"] {
        let _agent = agent(&lab, &[("--forward", mode)])?;
        for family in Family::BOTH {
            let (pod, server) = (lab.client("pod1")?.addr(family), lab.server.addr(family));
            for protocol in PROTOCOLS.into_iter().filter(|it| *it != 89 || family == Family::V4) {
                for length in [0, 1, 7, 40, 1_200] {
                    // A GRE header that says nothing, or bytes of whatever else.
                    let out = [&message(length, protocol)[..], &[protocol]].concat();
                    let back = [&message(length, protocol ^ 0xff)[..], &[protocol]].concat();
                    let egress = through(&lab, Way::Out, (pod, server), protocol, &out)?;
                    ensure!(egress != pod, "{egress}");
                    let inside = through(&lab, Way::In, (server, egress), protocol, &back)?;
                    ensure!(inside == pod, "it came to {inside}");
                }
            }
        }
        // Both kernels complain, and a quote of less than eight bytes is not enough.
        ensure!(drops(&lab)?.keys().all(|it| *it == "icmp_error"), "{:?}", drops(&lab)?);
        ensure!(stat(&lab, "table/flows")? == 2 * PROTOCOLS.len() as u64 - 1);
    }
    Ok(())
}

/// A second Pod to the same remote gets the other egress address, a third one none.
#[test]
fn one_pod_for_each_egress_address_and_remote() -> Result<()> {
    if skip(NEEDS) {
        return Ok(());
    }
    let lab = Lab::build(config()?)?;
    let _agent = agent(&lab, &[])?;
    for family in Family::BOTH {
        let [first, second, third] = ["pod1", "pod2", "pod3"].map(|name| lab.client(name).map(|it| it.addr(family)));
        let (first, second, third) = (first?, second?, third?);
        let (server, far) = (lab.server.addr(family), lab.far.addr(family));
        for protocol in [proto::GRE, proto::ESP] {
            let own = through(&lab, Way::Out, (first, server), protocol, b"of the first")?;
            let other = through(&lab, Way::Out, (second, server), protocol, b"of the second")?;
            ensure!(own != other, "both leave as {own}");
            let packet = header(third, server, protocol).packet(b"of the third");
            dropped(&lab, "ports_exhausted", 1, || into_eth0(&lab, &packet))?;
            // To another remote there is room, and the others go on.
            let elsewhere = through(&lab, Way::Out, (third, far), protocol, b"to another")?;
            for (pod, egress, remote) in [(first, own, server), (second, other, server), (third, elsewhere, far)] {
                let inside = through(&lab, Way::In, (remote, egress), protocol, format!("for {pod}").as_bytes())?;
                ensure!(inside == pod, "what is for {pod} came to {inside}");
                ensure!(through(&lab, Way::Out, (pod, remote), protocol, b"once more")? == egress);
            }
            // Nobody asked for this.
            let unasked = header(lab.router.addr(family), own, protocol).packet(b"unasked");
            dropped(&lab, "no_mapping", 1, || into_net1(&lab, &unasked))?;
        }
    }
    Ok(())
}

/// Also where they open the flow.
#[test]
fn their_fragments_pass_in_any_order() -> Result<()> {
    if skip(NEEDS) {
        return Ok(());
    }
    let lab = Lab::build(config()?)?;
    let _agent = agent(&lab, &[])?;
    for (family, protocol) in Family::BOTH.into_iter().flat_map(|it| [(it, proto::GRE), (it, proto::ESP)]) {
        let (pod, server) = (lab.client("pod1")?.addr(family), lab.server.addr(family));
        let (inside, outside) = (lab.capture_internal()?, lab.capture_external()?);
        let mut egress = None;
        for way in Way::BOTH {
            let (from, to) = match (way, egress) {
                (Way::In, Some(egress)) => (server, egress),
                _ => (pod, server),
            };
            let text = message(4_000, protocol ^ way as u8);
            let head = Header { id: 99, ..header(from, to, protocol) };
            let mut pieces = fragments(&head, &text, 1304);
            pieces.reverse();
            pieces.iter().try_for_each(|it| way.put(&lab, it))?;
            let tap = if way == Way::Out { &outside } else { &inside };
            for piece in text.chunks(1304) {
                let frame = arrived(tap, piece).with_context(|| format!("{family:?} {protocol} {way:?}"))?;
                let ip = frame.ip().context("not IP")?;
                ensure!(ip.fragment.is_some_and(|it| it.id == 99) && ip.ttl == 62, "{ip:?}");
                let near = if way == Way::Out { ip.source } else { ip.destination };
                ensure!(way == Way::Out && near != pod || way == Way::In && near == pod, "{ip:?}");
                egress = egress.or(Some(near));
            }
        }
        ensure_no_leak(&outside)?;
    }
    let [held, released] = ["held", "released"].map(|it| stat(&lab, &format!("counters/fragments_{it}")));
    ensure!(held? == released? && drops(&lab)?.is_empty(), "{:?}", drops(&lab)?);
    Ok(())
}
