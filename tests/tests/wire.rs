//! What tests of the datapath on the wire share: an agent with the dual-stack sample, frames straight to the gateway's
//! interfaces, and the table of drops.

use std::collections::BTreeMap;
use std::net::IpAddr;

use anyhow::{Context, Result, ensure};
use aya::maps::{Map, MapData, PerCpuArray};
use egress_common::verdict::{COUNTERS, Counter, DROPS, Drop};
use egress_tests::capture::{Captured, Direction};
use egress_tests::gateway::Agent;
use egress_tests::packet::Ip;
use egress_tests::packet::build::{self, Header};
use egress_tests::traffic::PATIENCE;
use egress_tests::{Family, Lab, eventually, oracle};
use ipnet::IpNet;

use crate::rig::{self, Files};
use crate::talk::Way;

/// The agent with the samples and these options.
pub(crate) fn agent<'a>(lab: &'a Lab, more: &[(&str, &str)]) -> Result<Agent<'a>> {
    let plain = Files::samples(lab)?.options();
    Agent::start(lab, more.iter().fold(plain, |options, (option, value)| options.with(option, value)))
}

/// Hands a packet to the gateway's eth0, as the overlay would.
pub(crate) fn into_eth0(lab: &Lab, packet: &[u8]) -> Result<()> {
    Way::Out.put(lab, packet)
}

/// Hands a frame to the gateway's eth0.
pub(crate) fn frame_into_eth0(lab: &Lab, frame: &[u8]) -> Result<()> {
    Way::Out.put_frame(lab, frame)
}

/// Hands a packet to the gateway's net1, as the external router would.
pub(crate) fn into_net1(lab: &Lab, packet: &[u8]) -> Result<()> {
    Way::In.put(lab, packet)
}

/// A UDP packet; TTL 63, as behind the overlay's router.
pub(crate) fn udp(from: (IpAddr, u16), to: (IpAddr, u16), payload: &[u8]) -> Vec<u8> {
    header(from.0, to.0, egress_tests::packet::proto::UDP).packet(&build::udp(from, to, payload))
}

/// A header with TTL 63.
pub(crate) fn header(from: IpAddr, to: IpAddr, protocol: u8) -> Header {
    Header { ttl: 63, ..Header::new(from, to, protocol) }
}

/// The address of a family.
pub(crate) fn of<A: Into<IpAddr>, B: Into<IpAddr>>((v4, v6): (A, B), family: Family) -> IpAddr {
    match family {
        Family::V4 => v4.into(),
        Family::V6 => v6.into(),
    }
}

/// The number of the family's ICMP.
pub(crate) const fn icmp(family: Family) -> u8 {
    match family {
        Family::V4 => egress_tests::packet::proto::ICMP,
        Family::V6 => egress_tests::packet::proto::ICMPV6,
    }
}

fn totals<const N: usize>(lab: &Lab, map: &str) -> Result<[u64; N]> {
    let table: PerCpuArray<_, [u64; N]> = Map::PerCpuArray(MapData::from_pin(rig::map(lab, map)?)?).try_into()?;
    let mut sum = [0; N];
    for cpu in table.get(&0, 0)?.iter() {
        sum.iter_mut().zip(cpu).for_each(|(sum, one)| *sum += one);
    }
    Ok(sum)
}

/// Drops by their names, those that are not zero; straight from the map, which is quicker than `stats`.
pub(crate) fn drops(lab: &Lab) -> Result<BTreeMap<&'static str, u64>> {
    let all = Drop::ALL.iter().map(|it| it.name()).zip(totals::<DROPS>(lab, "DROPS")?);
    Ok(all.filter(|(_, count)| *count > 0).collect())
}

/// A counter.
pub(crate) fn counter(lab: &Lab, counter: Counter) -> Result<u64> {
    Ok(totals::<COUNTERS>(lab, "COUNTERS")?[counter as usize])
}

/// A counter by its name.
pub(crate) fn counted(lab: &Lab, name: &str) -> Result<u64> {
    let number = Counter::ALL.iter().position(|it| it.name() == name).with_context(|| format!("no counter {name}"))?;
    Ok(totals::<COUNTERS>(lab, "COUNTERS")?[number])
}

/// Does `work` and waits until it has raised the drop counter `reason` by `count`, and no other one.
pub(crate) fn dropped(lab: &Lab, reason: &str, count: u64, work: impl FnOnce() -> Result<()>) -> Result<()> {
    let before = drops(lab)?;
    work()?;
    let more = |now: &BTreeMap<&'static str, u64>| -> BTreeMap<&'static str, u64> {
        let since = now.iter().map(|(name, count)| (*name, count - before.get(name).unwrap_or(&0)));
        since.filter(|(_, count)| *count > 0).collect()
    };
    let mut seen = BTreeMap::new();
    let came = eventually("the drop was counted", PATIENCE, || {
        seen = more(&drops(lab)?);
        Ok(seen.values().sum::<u64>() >= count)
    });
    ensure!(came.is_ok() && seen == BTreeMap::from([(reason, count)]), "wanted {reason} {count}, counted {seen:?}");
    Ok(())
}

/// Frames that passed an interface in this direction.
pub(crate) fn passed(frames: &[Captured], direction: Direction) -> impl Iterator<Item = (&Captured, &Ip)> {
    frames.iter().filter(move |it| it.direction == direction).filter_map(|it| Some((it, it.ip()?)))
}

/// What was seen outside names nobody inside, and no checksum is wrong.
pub(crate) fn ensure_clean(outside: &[Captured], allowed: &[IpNet]) -> Result<()> {
    let leaks = oracle::leaks(outside, allowed);
    ensure!(leaks.is_empty(), "outside: {leaks:?}");
    let report = oracle::checksums(outside);
    ensure!(report.wrong.is_empty(), "{:?}", report.wrong);
    ensure!(report.real + report.unfinished > 0, "nothing was captured");
    Ok(())
}

/// Whether a frame holds these bytes.
pub(crate) fn holds(frame: &Captured, mark: &[u8]) -> bool {
    frame.bytes.windows(mark.len()).any(|it| it == mark)
}

/// The gateway doubts a neighbour after a moment, and gives it up soon after. To be said before it has any: the first timer
/// counts.
pub(crate) fn doubt_quickly(lab: &Lab, interface: &str) -> Result<()> {
    for family in ["ipv4", "ipv6"] {
        for (name, value) in
            [("base_reachable_time_ms", "50"), ("delay_first_probe_time", "0"), ("retrans_time_ms", "10")]
        {
            lab.gateway.ns.sysctl(&[(&format!("net/{family}/neigh/{interface}/{name}"), value)])?;
        }
    }
    Ok(())
}

/// Nobody in the lab keeps ICMP errors back: every one is waited for by somebody.
pub(crate) fn talkative(lab: &Lab) -> Result<()> {
    lab.namespaces().try_for_each(|ns| ns.sysctl(&[("net/ipv4/icmp_ratelimit", "0"), ("net/ipv6/icmp/ratelimit", "0")]))
}
