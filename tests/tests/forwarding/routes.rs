//! The routing table picks the way; where it picks none, the Subnet's gateway is it.

use std::net::IpAddr;

use anyhow::{Context, Result, ensure};
use egress_common::verdict::Counter;
use egress_tests::capture::{Captured, Direction};
use egress_tests::packet::build::Header;
use egress_tests::packet::{build, proto};
use egress_tests::traffic::PATIENCE;
use egress_tests::{Family, Lab, LabConfig, skip};

use crate::lab::{ensure_from, exchange_all};
use crate::rig::{NEEDS, flows};
use crate::wire::{agent, counter, dropped, drops, ensure_clean, holds, into_eth0, udp};

/// A network that nobody has, and an address in it.
const ELSEWHERE: [(&str, &str); 2] = [("192.0.2.0/24", "192.0.2.9"), ("2001:db8:77::/64", "2001:db8:77::9")];

#[test]
fn what_a_route_sends_back_inside_is_not_translated() -> Result<()> {
    if skip(NEEDS) {
        return Ok(());
    }
    let lab = Lab::build(LabConfig::default())?;
    let (gateway, pod) = (&lab.gateway.ns, lab.client("pod1")?);
    gateway.sh(&format!("ip route add {} via 10.16.0.1 dev eth0", ELSEWHERE[0].0))?;
    gateway.sh(&format!("ip -6 route add {} via fd00:10:16::1 dev eth0", ELSEWHERE[1].0))?;
    for mode in ["peer", "stack"] {
        let _agent = agent(&lab, &[("--forward", mode)])?;
        let (inside, outside) = (lab.capture_internal()?, lab.capture_external()?);
        for (family, (_, address)) in Family::BOTH.into_iter().zip(ELSEWHERE) {
            let (own, there) = (pod.addr(family), address.parse::<IpAddr>()?);
            // The node would send it here again and again: it has two hops left.
            let header = Header { ttl: 2, ..Header::new(own, there, proto::UDP) };
            into_eth0(&lab, &header.packet(&build::udp((own, 4000), (there, 53), b"back inside")))?;
            let back = inside.wait_for(PATIENCE, |it: &Captured| {
                it.direction == Direction::In && holds(it, b"back inside") && it.ip().is_some_and(|ip| ip.source == own)
            })?;
            ensure!(back.ip().is_some_and(|ip| ip.ttl == 1 && ip.ports() == Some((4000, 53))), "{back:?}");
        }
        ensure!(flows(&lab)?.is_empty() && drops(&lab)?.is_empty(), "{:?} {:?}", flows(&lab)?, drops(&lab)?);
        ensure!(counter(&lab, Counter::Untranslated)? == 2);
        let escaped: Vec<_> = outside.stop()?.into_iter().filter(|it| holds(it, b"back inside")).collect();
        ensure!(escaped.is_empty(), "{escaped:?}");
    }
    Ok(())
}

#[test]
fn a_route_that_refuses_drops() -> Result<()> {
    if skip(NEEDS) {
        return Ok(());
    }
    let lab = Lab::build(LabConfig::default())?;
    let _agent = agent(&lab, &[])?;
    let outside = lab.capture_external()?;
    for (number, kind) in ["blackhole", "unreachable", "prohibit"].into_iter().enumerate() {
        for (family, base) in [(Family::V4, "192.0.2."), (Family::V6, "2001:db8:77::")] {
            let address: IpAddr = format!("{base}{}", number + 1).parse()?;
            lab.gateway.ns.sh(&format!("ip route add {kind} {address}"))?;
            let packet = udp((lab.client("pod1")?.addr(family), 4000), (address, 53), b"refused");
            dropped(&lab, "blackhole", 1, || into_eth0(&lab, &packet)).with_context(|| kind)?;
        }
    }
    let escaped: Vec<_> = outside.stop()?.into_iter().filter(|it| holds(it, b"refused")).collect();
    ensure!(escaped.is_empty() && flows(&lab)?.is_empty(), "{escaped:?}");
    Ok(())
}

#[test]
fn without_a_default_route_the_subnets_gateway_is_the_way() -> Result<()> {
    if skip(NEEDS) {
        return Ok(());
    }
    let lab = Lab::build(LabConfig::default())?;
    let mut agent = agent(&lab, &[])?;
    // It would bring the routes back.
    agent.kill9()?;
    for family in ["-4", "-6"] {
        for table in ["main", "1000"] {
            lab.gateway.ns.sh(&format!("ip {family} route del default table {table}"))?;
        }
    }
    let outside = lab.capture_external()?;
    for family in Family::BOTH {
        for server in lab.external_hosts() {
            ensure_from(&exchange_all(lab.client("pod1")?, server, family)?, lab.gateway.addr(family))?;
        }
    }
    ensure_clean(&outside.stop()?, &[])
}

#[test]
fn where_forwarding_is_off_nothing_is_forwarded() -> Result<()> {
    if skip(NEEDS) {
        return Ok(());
    }
    let lab = Lab::build(LabConfig::default())?;
    let mut agent = agent(&lab, &[])?;
    agent.kill9()?;
    lab.gateway.ns.sysctl(&[("net/ipv4/ip_forward", "0"), ("net/ipv6/conf/all/forwarding", "0")])?;
    for family in Family::BOTH {
        let packet = udp((lab.client("pod1")?.addr(family), 4000), (lab.far.addr(family), 53), b"off");
        dropped(&lab, "forwarding_off", 1, || into_eth0(&lab, &packet))?;
    }
    Ok(())
}
