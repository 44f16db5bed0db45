//! Datagrams that are too long for one packet, of real sockets.

use std::net::SocketAddr;

use anyhow::{Context, Result, ensure};
use egress_tests::capture::Captured;
use egress_tests::lab::RealChecksums;
use egress_tests::traffic::{Call, PATIENCE, icmp, udp};
use egress_tests::{Family, Lab, LabConfig, skip};

use super::number;
use crate::gateways::{self, Kind};
use crate::rig::{PORT, stat};
use crate::talk::{Talk, Way, message};
use crate::wire::ensure_clean;

/// Of 2, 3, 7 and about 20 fragments.
const LENGTHS: [usize; 4] = [2_000, 4_000, 9_000, 27_000];

#[test]
fn long_datagrams_and_echoes_arrive_whole_both_ways() -> Result<()> {
    if skip(gateways::NEEDS) {
        return Ok(());
    }
    // As long as the overlay's packets, so that IPv6 need not discover anything first.
    for kind in Kind::BOTH {
        for checksums in [RealChecksums::AT_RECEIVERS, RealChecksums::EVERYWHERE] {
            let lab = Lab::build(LabConfig::default().mtu(1400, 1400).checksums(checksums))?;
            let _gateway = kind.start(&lab)?;
            let outside = lab.capture_external()?;
            for family in Family::BOTH {
                both_ways(&lab, family).with_context(|| format!("{kind:?} {family:?}"))?;
            }
            let frames = outside.stop()?;
            let is_fragment = |it: &&Captured| it.ip().is_some_and(|ip| ip.fragment.is_some());
            ensure!(frames.iter().filter(is_fragment).count() > 200, "what was sent were no fragments");
            ensure_clean(&frames, &[])?;
            if kind == Kind::Agent {
                ensure!(stat(&lab, "drops/fragment")? == 0 && stat(&lab, "table/flows")? == 6, "not as expected");
            }
        }
    }
    Ok(())
}

fn both_ways(lab: &Lab, family: Family) -> Result<()> {
    let pod = lab.client("pod1")?;
    let talk = Talk::start(pod, 4000, &lab.server, PORT, family)?;
    for way in Way::BOTH {
        for length in LENGTHS.into_iter().chain([60_000]) {
            talk.pass(way, &message(length, number(family)))?;
        }
    }
    // Also where the first packet of a flow is a fragment, beyond a router.
    let other = SocketAddr::new(lab.far.addr(family), PORT);
    let far = udp::Server::start(&lab.far.ns, other)?;
    let socket = udp::connect_in(&pod.ns, Call::to(other.ip(), PORT))?;
    udp::exchange(&socket, &message(5_000, number(family)))?;
    drop(far);
    let payload = message(3_000, 1);
    let reply = icmp::Pinger::new(&pod.ns, family)?.ping(talk.remote.ip(), 77, 1, &payload, PATIENCE)?;
    ensure!(reply.payload == payload, "the echo differs");
    Ok(())
}
