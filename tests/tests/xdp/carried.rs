//! Traffic of both families through XDP on both interfaces, and where its sums are not finished.

use std::net::SocketAddr;

use anyhow::{Result, ensure};
use egress_common::abi::config::flags::{XDP_IN, XDP_OUT};
use egress_tests::capture::{Capture, Captured, Direction};
use egress_tests::gateway::Agent;
use egress_tests::lab::RealChecksums;
use egress_tests::traffic::bulk::{self, Way};
use egress_tests::traffic::{Call, icmp, tcp, udp};
use egress_tests::{Family, Lab, LabConfig, oracle, skip};

use super::{attached, options, sends, share, take_frames};
use crate::lab::{ensure_from, exchange_all};
use crate::rig::{NEEDS, PORT, complaints, flows};
use crate::wire::{drops, ensure_clean};

const MANY: u32 = 200;
const BYTES: u64 = 2 << 20;

/// Datagrams, echo requests and bulk TCP, with eyes at both receivers; what came to them.
fn traffic(lab: &Lab, family: Family) -> Result<Vec<Captured>> {
    let (pod, server) = (lab.client("pod1")?, &lab.server);
    let (address, at) = (server.addr(family), SocketAddr::new(server.addr(family), PORT));
    let eyes = [Capture::start(&pod.ns, "eth0")?, Capture::start(&server.ns, "eth0")?];
    let echo = udp::Server::start(&server.ns, at)?;
    let bulk_server = tcp::Server::start(&server.ns, at, tcp::Serve::Bulk)?;
    let socket = udp::connect_in(&pod.ns, Call::to(address, PORT))?;
    (0..MANY).try_for_each(|number| udp::exchange(&socket, &[number as u8; 900]))?;
    for way in [Way::Up, Way::Down] {
        let outcome = bulk::once(&pod.ns, Call::to(address, PORT), way, BYTES)?;
        ensure!(outcome.intact && outcome.bytes == BYTES, "{family:?} {way:?}: {outcome:?}");
    }
    icmp::once(&pod.ns, address, 77)?;
    for seen in [echo.peers(), bulk_server.peers()] {
        ensure_from(&seen, lab.gateway.addr(family))?;
    }
    let mut received = Vec::new();
    for eyes in eyes {
        received.extend(eyes.stop()?.into_iter().filter(|it| it.direction == Direction::In));
    }
    Ok(received)
}

/// What `flows` counts is what the counters do: nothing twice, nothing not at all.
fn ensure_counted_once(lab: &Lab) -> Result<(u64, u64)> {
    let (mut before, mut same) = (share(lab)?, false);
    for _ in 0..100 {
        let counted: u64 = flows(lab)?.iter().map(|flow| flow.packets.out + flow.packets.inward).sum();
        let now = share(lab)?;
        // The last packets of connections may still be on their way.
        same = now == before && counted == now.1;
        if same {
            break;
        }
        before = now;
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    ensure!(same, "flows and counters differ: {before:?}, {:?}", flows(lab)?);
    Ok(before)
}

#[test]
fn finished_packets_go_by_xdp() -> Result<()> {
    if skip(NEEDS) {
        return Ok(());
    }
    let lab = Lab::build(LabConfig::default().checksums(RealChecksums::EVERYWHERE))?;
    take_frames(&lab, true)?;
    let _agent = Agent::start(&lab, options(&lab)?)?;
    ensure!(attached(&lab)?.iter().all(|id| *id != 0), "{:?}", attached(&lab)?);
    sends(&lab, XDP_OUT | XDP_IN)?;
    let outside = lab.capture_external()?;
    for family in Family::BOTH {
        let before = share(&lab)?;
        let report = oracle::checksums(&traffic(&lab, family)?);
        ensure!(report.wrong.is_empty() && report.unfinished == 0, "{:?}", report.wrong.first());
        ensure!(report.real as u64 > 2 * BYTES / 1500, "{report:?}");
        let now = ensure_counted_once(&lab)?;
        let (xdp, all) = (now.0 - before.0, now.1 - before.1);
        println!("{family:?}: {xdp} of {all} packets by XDP");
        // TC opens connections, and asks for the next hop once a second.
        ensure!(xdp * 100 > all * 90, "{family:?}: only {xdp} of {all} packets went by XDP");
        exchange_all(lab.client("pod2")?, &lab.far, family)?;
    }
    ensure_clean(&outside.stop()?, &[])?;
    ensure!(drops(&lab)?.is_empty() && complaints(&lab)?.is_empty(), "{:?} {:?}", drops(&lab)?, complaints(&lab)?);
    Ok(())
}

/// As Pods of the same node send: XDP cannot see that a sum is unfinished but by its value, and TC finishes it.
#[test]
fn unfinished_packets_are_for_tc() -> Result<()> {
    if skip(NEEDS) {
        return Ok(());
    }
    let lab = Lab::build(LabConfig::default().checksums(RealChecksums::AT_RECEIVERS))?;
    take_frames(&lab, true)?;
    let _agent = Agent::start(&lab, options(&lab)?)?;
    sends(&lab, XDP_OUT | XDP_IN)?;
    for family in Family::BOTH {
        let before = share(&lab)?;
        let report = oracle::checksums(&traffic(&lab, family)?);
        ensure!(report.wrong.is_empty() && report.unfinished == 0, "{:?}", report.wrong.first());
        let now = ensure_counted_once(&lab)?;
        let (xdp, all) = (now.0 - before.0, now.1 - before.1);
        println!("{family:?}: {xdp} of {all} packets by XDP");
        // A sum may look finished by chance.
        ensure!(xdp * 20 < all, "{family:?}: {xdp} of {all} packets went by XDP");
    }
    ensure!(drops(&lab)?.is_empty(), "{:?}", drops(&lab)?);
    Ok(())
}
