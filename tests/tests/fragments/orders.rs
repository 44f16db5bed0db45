//! Fragments in every order, of flows that are there and of new ones.

use std::net::SocketAddr;

use anyhow::{Context, Result, ensure};
use egress_tests::lab::RealChecksums;
use egress_tests::packet::build::{self, Header};
use egress_tests::packet::{fragments, proto};
use egress_tests::traffic::{PATIENCE, udp};
use egress_tests::{Family, Lab, LabConfig, eventually, skip};

use super::{Order, PIECE, cut, held_and_released, number};
use crate::rig::{NEEDS, PORT, stat};
use crate::talk::{Talk, Way, message};
use crate::wire::{agent, drops, ensure_clean, header, into_eth0};

/// Of 2, 4, 20 fragments, and of nearly as many as may be held.
const LENGTHS: [usize; 4] = [2_000, 5_000, 26_000, 60_000];

#[test]
fn of_a_flow_that_is_there() -> Result<()> {
    if skip(NEEDS) {
        return Ok(());
    }
    let lab = Lab::build(LabConfig::default().checksums(RealChecksums::AT_RECEIVERS))?;
    for mode in ["peer", "stack"] {
        let _agent = agent(&lab, &[("--forward", mode)])?;
        let outside = lab.capture_external()?;
        let mut id = 100;
        for family in Family::BOTH {
            let talk = Talk::start(lab.client("pod1")?, 4000, &lab.server, PORT, family)?;
            for (way, order) in Way::BOTH.into_iter().flat_map(|way| Order::ALL.map(|order| (way, order))) {
                for length in LENGTHS {
                    let what = format!("{mode} {family:?} {way:?} {order:?} {length}");
                    id += 1;
                    let text = message(length, id as u8);
                    let before = held_and_released(&lab)?;
                    let mut pieces = cut(&talk, way, &text, id);
                    order.apply(&mut pieces);
                    pieces.iter().try_for_each(|it| way.put(&lab, it))?;
                    talk.comes(way, &text).context(what.clone())?;
                    let after = held_and_released(&lab)?;
                    let early = match order {
                        Order::Straight => 0,
                        Order::Reversed => pieces.len() as u64 - 1,
                        // As many as came before the first.
                        Order::Shuffled => pieces.iter().take_while(|it| !is_first(it)).count() as u64,
                    };
                    let counted = [after[0] - before[0], after[1] - before[1]];
                    ensure!(counted == [early; 2], "{what}: {counted:?} held and released, {early} came too early");
                }
            }
        }
        ensure!(drops(&lab)?.is_empty(), "{mode}: {:?}", drops(&lab)?);
        ensure_clean(&outside.stop()?, &[])?;
    }
    Ok(())
}

fn is_first(packet: &[u8]) -> bool {
    let fragment = egress_tests::packet::parse_ip(packet).and_then(|ip| ip.fragment);
    fragment.is_some_and(|it| it.offset == 0)
}

/// The flow is opened by the first fragment, which may come last.
#[test]
fn of_a_flow_that_they_open() -> Result<()> {
    if skip(NEEDS) {
        return Ok(());
    }
    // The server's echo fits the overlay: IPv6 would have to discover that first.
    let lab = Lab::build(LabConfig::default().mtu(1400, 1400).checksums(RealChecksums::AT_RECEIVERS))?;
    let _agent = agent(&lab, &[])?;
    let outside = lab.capture_external()?;
    let mut port = 5000;
    for family in Family::BOTH {
        let (pod, remote) = (lab.client("pod1")?, SocketAddr::new(lab.server.addr(family), PORT));
        let server = udp::Server::start(&lab.server.ns, remote)?;
        for (order, length) in Order::ALL.into_iter().flat_map(|order| LENGTHS.map(|length| (order, length))) {
            let what = format!("{family:?} {order:?} {length}");
            port += 1;
            let own = SocketAddr::new(pod.addr(family), port);
            let socket = udp::bind_in(&pod.ns, own)?;
            let text = message(length, number(family));
            let datagram = build::udp((own.ip(), own.port()), (remote.ip(), PORT), &text);
            let head = Header { id: u32::from(port), ..header(own.ip(), remote.ip(), proto::UDP) };
            let mut pieces = fragments(&head, &datagram, PIECE);
            order.apply(&mut pieces);
            pieces.iter().try_for_each(|it| into_eth0(&lab, it))?;
            // The server's echo comes in fragments again.
            let echo = udp::receive(&socket).context(what.clone())?;
            ensure!(echo.payload == text && echo.peer == remote, "{what}: another echo");
            let seen = server.seen().pop().context("the server saw nothing")?;
            ensure!(seen.payload == text && seen.peer.ip() == lab.gateway.addr(family), "{what}: {}", seen.peer);
        }
    }
    let count = (2 * Order::ALL.len() * LENGTHS.len()) as u64;
    ensure!(stat(&lab, "counters/flows_created")? == count, "{} flows", stat(&lab, "counters/flows_created")?);
    ensure!(drops(&lab)?.is_empty(), "{:?}", drops(&lab)?);
    ensure_clean(&outside.stop()?, &[])
}

/// What an answer looks like that a server's kernel cuts for a smaller overlay: the kernel fragments further.
#[test]
fn too_big_for_the_next_hop_they_are_cut_again() -> Result<()> {
    if skip(NEEDS) {
        return Ok(());
    }
    let lab = Lab::build(LabConfig::default().checksums(RealChecksums::AT_RECEIVERS))?;
    let _agent = agent(&lab, &[])?;
    let talk = Talk::start(lab.client("pod1")?, 4000, &lab.server, PORT, Family::V4)?;
    for (number, order) in Order::ALL.into_iter().enumerate() {
        let text = message(7_000, number as u8);
        let (head, datagram) = talk.parts(Way::In, &text);
        let mut pieces = fragments(&Header { id: 900 + number as u32, ..head }, &datagram, 1480);
        order.apply(&mut pieces);
        pieces.iter().try_for_each(|it| Way::In.put(&lab, it))?;
        talk.comes(Way::In, &text).with_context(|| format!("{order:?}"))?;
    }
    eventually("nothing was dropped", PATIENCE, || Ok(drops(&lab)?.is_empty()))
}
