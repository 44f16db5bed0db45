//! Frames into net1 that are not for the gateway's MAC: a switch floods what it does not know.

use std::net::SocketAddr;

use anyhow::{Context, Result, ensure};
use egress_common::verdict::Counter;
use egress_tests::capture::Direction;
use egress_tests::lab::addresses::mac;
use egress_tests::lab::names;
use egress_tests::packet::build;
use egress_tests::traffic::{Call, inject, udp as client};
use egress_tests::{Family, Lab, LabConfig, skip};

use crate::rig::{NEEDS, PORT, flows};
use crate::wire::{agent, counter, drops, holds, udp};

#[test]
fn flooded_frames_are_not_forwarded() -> Result<()> {
    if skip(NEEDS) {
        return Ok(());
    }
    let lab = Lab::build(LabConfig::default())?;
    let _agent = agent(&lab, &[])?;
    for family in Family::BOTH {
        let (pod, server) = (lab.client("pod1")?, lab.server.addr(family));
        let _echo = client::Server::start(&lab.server.ns, SocketAddr::new(server, PORT))?;
        let socket = client::connect_in(&pod.ns, Call::to(server, PORT))?;
        client::exchange(&socket, b"first")?;
        let flow = flows(&lab)?.into_iter().find(|it| it.remote == server).context("no flow")?;
        let reply = udp((server, PORT), (flow.egress, flow.egress_port), b"flooded");
        let inside = lab.capture_internal()?;
        let before = counter(&lab, Counter::InPackets)?;
        let tagged = |tag: &[u8]| {
            let plain = build::ethernet(mac::GATEWAY_OUTSIDE, mac::ROUTER, &reply);
            [&plain[..12], tag, &plain[12..]].concat()
        };
        for frame in [
            build::ethernet([2, 0, 0, 0, 0x17, 0x99], mac::SERVER, &reply),
            build::ethernet([0xff; 6], mac::SERVER, &reply),
            build::ethernet([1, 0, 0x5e, 0, 0, 1], mac::SERVER, &reply),
            tagged(&[0x81, 0, 0, 5]),
            tagged(&[0x88, 0xa8, 0, 5]),
        ] {
            inject(&lab.node, names::EXTERNAL_PORT, &frame)?;
        }
        client::exchange(&socket, b"second")?;
        ensure!(counter(&lab, Counter::InPackets)? == before + 1, "flooded frames were translated");
        let came =
            inside.stop()?.into_iter().filter(|it| it.direction == Direction::In && holds(it, b"flooded")).count();
        ensure!(came == 0, "{came} flooded frames came in");
    }
    // The tagged ones; the others are left to the kernel.
    ensure!(drops(&lab)?.into_iter().eq([("vlan", 4)]), "{:?}", drops(&lab)?);
    Ok(())
}
