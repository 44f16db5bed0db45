//! Bulk TCP: super-packets stay whole, and what arrives is what was sent.

use std::net::SocketAddr;

use anyhow::{Result, ensure};
use egress_tests::capture::{Capture, Captured, Direction};
use egress_tests::gateway::Agent;
use egress_tests::lab::RealChecksums;
use egress_tests::traffic::bulk::{Transfer, Way};
use egress_tests::traffic::{Call, tcp};
use egress_tests::{Family, Lab, LabConfig, oracle, skip};

use crate::rig::{NEEDS, PORT, flows};
use crate::wire::{agent, ensure_clean};

const STREAMS: usize = 4;
const BYTES: u64 = 3 << 20;

/// Four transfers at once; the frames that came to the receiver, and those that the gateway sent outside.
fn transfer(lab: &Lab, family: Family, way: Way) -> Result<(Vec<Captured>, Vec<Captured>)> {
    let (pod, address) = (lab.client("pod1")?, lab.server.addr(family));
    let _server = tcp::Server::start(&lab.server.ns, SocketAddr::new(address, PORT), tcp::Serve::Bulk)?;
    let at_receiver = Capture::start(if way == Way::Up { &lab.server.ns } else { &pod.ns }, "eth0")?;
    let outside = lab.capture_external()?;
    let start = || Transfer::start(&pod.ns, Call::to(address, PORT), way, BYTES, None);
    for transfer in (0..STREAMS).map(|_| start()).collect::<Result<Vec<_>>>()? {
        let outcome = transfer.finish()?;
        ensure!(outcome.intact && outcome.bytes == BYTES, "{family:?} {way:?}: {outcome:?}");
    }
    let received = at_receiver.stop()?.into_iter().filter(|it| it.direction == Direction::In).collect();
    Ok((received, outside.stop()?))
}

/// Every payload byte is in some flow's count.
fn ensure_counted(lab: &Lab) -> Result<()> {
    for flow in flows(lab)? {
        ensure!(flow.bytes.out.max(flow.bytes.inward) > BYTES, "{flow:?}");
    }
    Ok(())
}

fn keeps_super_packets(mode: &str) -> Result<()> {
    let lab = Lab::build(LabConfig::default())?;
    let _agent: Agent = agent(&lab, &[("--forward", mode)])?;
    for family in Family::BOTH {
        for way in [Way::Up, Way::Down] {
            let (received, outside) = transfer(&lab, family, way)?;
            let longest = oracle::longest(&received);
            ensure!(longest > 20_000, "{mode} {family:?} {way:?}: longest frame {longest}");
            ensure!(received.iter().any(|it| it.gso.is_some()), "{mode} {family:?} {way:?}: no GSO");
            let mean = oracle::mean_length(&received, 200);
            ensure!(mean > 4_000, "{mode} {family:?} {way:?}: mean length {mean}");
            let report = oracle::checksums(&received);
            ensure!(report.wrong.is_empty(), "{:?}", report.wrong.first());
            ensure_clean(&outside, &[])?;
        }
    }
    ensure_counted(&lab)
}

#[test]
fn super_packets_stay_whole_by_peer() -> Result<()> {
    if skip(NEEDS) { Ok(()) } else { keeps_super_packets("peer") }
}

#[test]
fn super_packets_stay_whole_by_neigh() -> Result<()> {
    if skip(NEEDS) { Ok(()) } else { keeps_super_packets("neigh") }
}

#[test]
fn super_packets_stay_whole_by_the_stack() -> Result<()> {
    if skip(NEEDS) { Ok(()) } else { keeps_super_packets("stack") }
}

/// Cut and summed up on the last cable, so that every byte of every segment is under a checksum that the sender's kernel,
/// the gateway and the receiver's kernel agree on.
#[test]
fn without_offload_every_segment_is_right() -> Result<()> {
    if skip(NEEDS) {
        return Ok(());
    }
    for checksums in [RealChecksums::AT_RECEIVERS, RealChecksums::EVERYWHERE] {
        let lab = Lab::build(LabConfig::default().checksums(checksums))?;
        let _agent = agent(&lab, &[])?;
        for family in Family::BOTH {
            for way in [Way::Up, Way::Down] {
                let (received, outside) = transfer(&lab, family, way)?;
                let longest = oracle::longest(&received);
                ensure!(longest <= 1514, "{family:?} {way:?}: longest frame {longest}");
                let report = oracle::checksums(&received);
                ensure!(report.wrong.is_empty() && report.unfinished == 0, "{:?}", report.wrong.first());
                ensure!(report.real as u64 > STREAMS as u64 * BYTES / 1500, "{report:?}");
                // Through the gateway itself they go whole where the sender handed them out whole.
                let whole = oracle::longest(&outside) > 20_000;
                ensure!(whole != checksums.senders, "{family:?} {way:?}: {} outside", oracle::longest(&outside));
                ensure_clean(&outside, &[])?;
            }
        }
    }
    Ok(())
}
