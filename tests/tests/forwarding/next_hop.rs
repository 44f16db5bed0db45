//! A next hop whose MAC changes without a word, while no agent runs.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Result, ensure};
use egress_tests::capture::{Captured, Direction};
use egress_tests::lab::addresses::mac;
use egress_tests::traffic::{Call, PATIENCE, udp};
use egress_tests::{Family, Host, Lab, LabConfig, eventually, skip};

use crate::rig::{NEEDS, PORT, change_config};
use crate::wire::{agent, doubt_quickly};

const NEW_MAC: [u8; 6] = [2, 0, 0, 0, 0x17, 0x77];
/// The kernel looks after its managed neighbours every 5 s (`interval_probe_time_ms` of the first namespace).
const RECOVERY: Duration = Duration::from_secs(30);

/// A datagram to `host`, and whether it came back.
fn answered(lab: &Lab, host: &Host, family: Family, patience: Duration) -> Result<bool> {
    let call = Call::to(host.addr(family), PORT).from_port(4000).patience(patience);
    Ok(udp::once(&lab.client("pod1")?.ns, call, b"anybody there?").is_ok())
}

/// Changes the MAC of `changed`'s eth0 and returns when the gateway was seen to send to the old one.
fn change_mac(lab: &Lab, changed: &Host, old: [u8; 6], to: &Host) -> Result<()> {
    let outside = lab.capture_external()?;
    let sockets = Family::BOTH
        .map(|family| udp::connect_in(&lab.client("pod1")?.ns, Call::to(to.addr(family), PORT).from_port(4000)));
    changed.ns.sh(&format!("ip link set dev eth0 address {}", mac::text(NEW_MAC)))?;
    for socket in sockets {
        socket?.send(b"lost")?;
    }
    for family in Family::BOTH {
        let lost = |it: &Captured| {
            it.direction == Direction::In
                && it.bytes.ends_with(b"lost")
                && it.frame.as_ref().is_some_and(|frame| frame.to == old)
                && it.ip().is_some_and(|ip| ip.family() == family)
        };
        outside.wait_for(PATIENCE, lost)?;
    }
    Ok(())
}

fn echo(host: &Host) -> Result<Vec<udp::Server>> {
    Family::BOTH.iter().map(|it| udp::Server::start(&host.ns, SocketAddr::new(host.addr(*it), PORT))).collect()
}

#[test]
fn the_router_gets_another_mac_while_the_agent_is_dead() -> Result<()> {
    if skip(NEEDS) {
        return Ok(());
    }
    let lab = Lab::build(LabConfig::default())?;
    doubt_quickly(&lab, "net1")?;
    let mut agent = agent(&lab, &[])?;
    let _echo = echo(&lab.far)?;
    for family in Family::BOTH {
        ensure!(answered(&lab, &lab.far, family, PATIENCE)?, "no answer over {family:?} at first");
    }
    agent.kill9()?;
    change_mac(&lab, &lab.router, mac::ROUTER, &lab.far)?;
    for family in Family::BOTH {
        let again = || answered(&lab, &lab.far, family, Duration::from_millis(100));
        eventually(&format!("{family:?} passes again"), RECOVERY, again)?;
    }
    Ok(())
}

/// The kernel looks after managed neighbours only: of others it hears when a packet goes through its own code, which one in
/// 15 s does.
#[test]
fn a_server_on_the_link_gets_another_mac_while_the_agent_is_dead() -> Result<()> {
    if skip(NEEDS) {
        return Ok(());
    }
    let lab = Lab::build(LabConfig::default())?;
    doubt_quickly(&lab, "net1")?;
    let mut agent = agent(&lab, &[])?;
    let _echo = echo(&lab.server)?;
    for family in Family::BOTH {
        ensure!(answered(&lab, &lab.server, family, PATIENCE)?, "no answer over {family:?} at first");
    }
    agent.kill9()?;
    change_mac(&lab, &lab.server, mac::SERVER, &lab.server)?;
    change_config(&lab, |config| config.clock_offset_ns += 16_000_000_000)?;
    for family in Family::BOTH {
        let again = || answered(&lab, &lab.server, family, Duration::from_millis(100));
        eventually(&format!("{family:?} passes again"), RECOVERY, again)?;
    }
    Ok(())
}
