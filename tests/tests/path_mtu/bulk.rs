//! TCP transfers over a narrow path.

use std::net::SocketAddr;

use anyhow::{Context, Result, ensure};
use egress_tests::capture::{Capture, Direction};
use egress_tests::lab::RealChecksums;
use egress_tests::traffic::bulk::{self, Way as Load};
use egress_tests::traffic::{Call, tcp};
use egress_tests::{Family, Lab, oracle, skip};

use super::Narrow;
use crate::gateways::{self, Kind};
use crate::rig::PORT;
use crate::talk::Way;
use crate::wire::ensure_clean;

const BYTES: u64 = 4 << 20;

fn transfer(lab: &Lab, narrow: Narrow, family: Family, way: Way, checksums: RealChecksums) -> Result<()> {
    let (pod, server) = (lab.client("pod1")?, narrow.server(lab));
    let address = server.addr(family);
    let _server = tcp::Server::start(&server.ns, SocketAddr::new(address, PORT), tcp::Serve::Bulk)?;
    let (sender, receiver, load) = if way == Way::Out { (pod, server, Load::Up) } else { (server, pod, Load::Down) };
    let at_sender = Capture::start(&sender.ns, "eth0")?;
    let at_receiver = Capture::start(&receiver.ns, "eth0")?;
    let outside = lab.capture_external()?;
    let outcome = bulk::once(&pod.ns, Call::to(address, PORT), load, BYTES)?;
    ensure!(outcome.intact && outcome.bytes == BYTES, "{outcome:?}");
    let (at_sender, mut received) = (at_sender.stop()?, at_receiver.stop()?);
    if way == narrow.way() {
        let to = if way == Way::Out { address } else { lab.gateway.addr(family) };
        narrow.ensure_told(&at_sender, sender, to)?;
    }
    received.retain(|it| it.direction == Direction::In);
    let report = oracle::checksums(&received);
    ensure!(report.wrong.is_empty(), "{:?}", report.wrong.first());
    if checksums.receivers {
        ensure!(report.unfinished == 0 && report.real as u64 > BYTES / 1500, "{report:?}");
    } else {
        // Whole super-packets, cut nowhere on the way.
        let (longest, mean) = (oracle::longest(&received), oracle::mean_length(&received, 200));
        ensure!(longest > 20_000 && mean > 4_000, "longest frame {longest}, mean {mean}");
    }
    ensure_clean(&outside.stop()?, &[])
}

fn transfers(narrow: Narrow) -> Result<()> {
    for kind in Kind::BOTH {
        for checksums in [RealChecksums::default(), RealChecksums::AT_RECEIVERS, RealChecksums::EVERYWHERE] {
            // The kernel's answers from eth0's side have other sources; that it gets through is enough.
            if kind == Kind::Kernel && (checksums.senders || narrow == Narrow::Eth0) {
                continue;
            }
            let lab = narrow.lab(checksums)?;
            let _gateway = kind.start(&lab)?;
            // The narrow way first: a Pod that knows of it already would say so with its MSS.
            let ways = [narrow.way(), narrow.way().back()];
            for (family, way) in Family::BOTH.into_iter().flat_map(|family| ways.map(|way| (family, way))) {
                let what = || format!("{kind:?} {narrow:?} {family:?} {way:?} {checksums:?}");
                transfer(&lab, narrow, family, way, checksums).with_context(what)?;
            }
        }
    }
    Ok(())
}

#[test]
fn over_a_narrow_external_network() -> Result<()> {
    if skip(gateways::NEEDS) { Ok(()) } else { transfers(Narrow::Net1) }
}

#[test]
fn over_a_narrow_way_to_the_pods() -> Result<()> {
    if skip(gateways::NEEDS) { Ok(()) } else { transfers(Narrow::Eth0) }
}

#[test]
fn over_a_narrow_link_beyond_a_router() -> Result<()> {
    if skip(gateways::NEEDS) { Ok(()) } else { transfers(Narrow::Far) }
}
