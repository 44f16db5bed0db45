//! Flows end when they were idle for long enough, and not before. The datapath's clock is moved, nobody waits.

mod exact;
mod living;

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use aya::maps::{HashMap, Map, MapData};
use egress_common::abi::family::{V4, V6};
use egress_common::abi::flow::{FlowKey4, FlowKey6, FlowValue, IN, Word};
use egress_tests::gateway::Agent;
use egress_tests::lab::addresses::mac;
use egress_tests::packet::{build, proto};
use egress_tests::traffic::{Call, icmp, inject, tcp, udp};
use egress_tests::{Family, Lab, LabConfig, eventually, skip};

use crate::rig::{CLUSTER, FOLLOW, Files, GATEWAY, NEEDS, PORT, change_config, flows, map, stat};

/// Moves the datapath's clock on.
fn pass(lab: &Lab, seconds: u64) -> Result<()> {
    change_config(lab, |config| config.clock_offset_ns += seconds * 1_000_000_000)
}

/// The datapath's clock, set by what it shall show: the time that a test takes is taken out again.
struct Clock<'lab> {
    lab: &'lab Lab,
    start: Instant,
}

impl Clock<'_> {
    /// So many seconds after the start.
    fn at(&self, seconds: u64) -> Result<()> {
        let offset = Duration::from_secs(seconds).saturating_sub(self.start.elapsed());
        change_config(self.lab, |config| config.clock_offset_ns = offset.as_nanos() as u64)
    }
}

/// Protocol, family and state of every flow.
fn states(lab: &Lab) -> Result<Vec<(Family, String)>> {
    let mut states: Vec<_> =
        flows(lab)?.iter().map(|it| (Family::of(it.inside), format!("{} {}", it.protocol, it.state))).collect();
    states.sort();
    Ok(states)
}

/// Waits until these states are left in both families, and checks that they stay.
fn left(lab: &Lab, wanted: &[&str]) -> Result<()> {
    let mut all: Vec<_> =
        Family::BOTH.into_iter().flat_map(|family| wanted.iter().map(move |it| (family, named(it, family)))).collect();
    all.sort();
    eventually(&format!("{wanted:?} are left"), FOLLOW, || Ok(states(lab)? == all))
        .with_context(|| format!("{:?}", states(lab)))
}

fn named(state: &str, family: Family) -> String {
    if family == Family::V6 { state.replace("icmp ", "icmpv6 ") } else { state.to_owned() }
}

fn table4(lab: &Lab) -> Result<HashMap<MapData, FlowKey4, FlowValue<V4>>> {
    Ok(Map::HashMap(MapData::from_pin(map(lab, "FLOWS4")?)?).try_into()?)
}

/// Entries of both tables, halves counted one by one.
fn entries(lab: &Lab) -> Result<(usize, usize)> {
    let v6: HashMap<_, FlowKey6, FlowValue<V6>> = Map::HashMap(MapData::from_pin(map(lab, "FLOWS6")?)?).try_into()?;
    Ok((table4(lab)?.keys().count(), v6.keys().count()))
}

/// A SYN that nobody answers.
fn half_open(lab: &Lab, family: Family) -> Result<()> {
    let pod = lab.client("pod1")?;
    let (from, to) = ((pod.addr(family), 4444), (lab.far.addr(family), 9));
    // The server's reset would close it.
    let tool = if family == Family::V4 { "iptables" } else { "ip6tables" };
    lab.far.ns.sh(&format!("{tool} -A INPUT -p tcp --dport 9 -j DROP"))?;
    let segment = build::tcp(from, to, (1, 0), 2, b"");
    let packet = build::Header::new(from.0, to.0, proto::TCP).packet(&segment);
    inject(
        &lab.node,
        egress_tests::lab::names::INTERNAL_PORT,
        &build::ethernet(mac::GATEWAY_INSIDE, mac::OVERLAY, &packet),
    )
}

/// Everything that has a timeout of its own, in one lab: opened, then the clock passes each of them.
#[test]
fn each_state_ends_in_its_time() -> Result<()> {
    if skip(NEEDS) || skip(&[egress_tests::Need::Tool("iptables"), egress_tests::Need::Tool("ip6tables")]) {
        return Ok(());
    }
    let lab = Lab::build(LabConfig::default())?;
    let mut agent = Agent::start(&lab, Files::samples(&lab)?.options())?;
    let pod = &lab.client("pod1")?.ns;
    let (mut servers, mut lasting) = (Vec::new(), Vec::new());
    for family in Family::BOTH {
        let at = SocketAddr::new(lab.far.addr(family), PORT);
        let call = Call::to(at.ip(), PORT);
        servers.push((udp::Server::start(&lab.far.ns, at)?, tcp::Server::start(&lab.far.ns, at, tcp::Serve::Echo)?));
        half_open(&lab, family)?;
        icmp::once(pod, at.ip(), 77)?;
        udp::once(pod, call, b"answered")?;
        let silent = lab.server.addr(family);
        // An ICMP error comes back, which is no answer of the flow.
        udp::connect_in(pod, Call::to(silent, 9))?.send(b"unanswered")?;
        tcp::once(pod, call, b"closed")?;
        let mut stream = tcp::connect_in(pod, call)?;
        tcp::exchange(&mut stream, b"open")?;
        lasting.push(stream);
    }
    let all = ["icmp replied", "tcp closed", "tcp established", "tcp opening", "udp replied", "udp unreplied"];
    left(&lab, &all)?;
    agent.kill9()?;
    let removed = stat(&lab, "counters/flows_removed")?;
    let clock = Clock { lab: &lab, start: Instant::now() };
    clock.at(45)?;
    agent.restart()?;
    swept(&lab)?;
    left(&lab, &all)?;
    clock.at(61)?;
    left(&lab, &["tcp closed", "tcp established", "udp replied", "udp unreplied"])?;
    clock.at(121)?;
    left(&lab, &["tcp closed", "tcp established", "udp replied"])?;
    clock.at(220)?;
    swept(&lab)?;
    left(&lab, &["tcp closed", "tcp established", "udp replied"])?;
    clock.at(241)?;
    left(&lab, &["tcp established", "udp replied"])?;
    clock.at(280)?;
    swept(&lab)?;
    left(&lab, &["tcp established", "udp replied"])?;
    clock.at(301)?;
    left(&lab, &["tcp established"])?;
    // Ten flows; the markers are none.
    assert_eq!((entries(&lab)?, stat(&lab, "counters/flows_removed")? - removed), ((2, 2), 10));
    // Idle for 7400 seconds of 7440, and data flows on in the same flow.
    clock.at(7400)?;
    swept(&lab)?;
    let before = flows(&lab)?;
    for stream in &mut lasting {
        tcp::exchange(stream, b"still there")?;
    }
    let after = flows(&lab)?;
    assert!(before.iter().zip(&after).all(|(a, b)| a.outside() == b.outside() && b.idle_seconds < 100), "{after:?}");
    assert_eq!(after.len(), 2);
    clock.at(14_700)?;
    swept(&lab)?;
    assert_eq!(flows(&lab)?.len(), 2, "the data began its time anew");
    clock.at(15_000)?;
    eventually("both halves of all flows are gone", FOLLOW, || Ok(entries(&lab)? == (0, 0)))?;
    assert_eq!(stat(&lab, "table/flows")?, 0);
    Ok(())
}

/// Waits until the agent has looked through the whole table: it ended half a flow that was put there.
fn swept(lab: &Lab) -> Result<()> {
    let mut table = table4(lab)?;
    let marker =
        FlowKey4 { saddr: [192, 0, 2, 1], daddr: [192, 0, 2, 2], sport: 1, dport: 1, proto: 253, dir: IN, zone: 0 };
    // The first may be ended by a look that had begun before.
    for _ in 0..2 {
        table.insert(marker, FlowValue::new([192, 0, 2, 3], Word::default(), 0), 0)?;
        eventually("the agent ends the marker", FOLLOW, || Ok(table.get(&marker, 0).is_err()))?;
    }
    Ok(())
}

#[test]
fn a_profiles_timeouts_hold_and_traffic_keeps_a_flow() -> Result<()> {
    if skip(NEEDS) {
        return Ok(());
    }
    let lab = Lab::build(LabConfig::default())?;
    let profile = "---\napiVersion: egress-ebpf.dev/v1alpha1\nkind: EgressGatewayProfile\nmetadata: {name: default}\n\
                   spec: {timeouts: {udpReplied: 1000, udpUnreplied: 1000, icmp: 400}}\n";
    let _agent = Agent::start(&lab, Files::write(&lab, CLUSTER, &format!("{GATEWAY}{profile}"))?.options())?;
    let pod = &lab.client("pod1")?.ns;
    let at = SocketAddr::new(lab.far.addr(Family::V4), PORT);
    let _server = udp::Server::start(&lab.far.ns, at)?;
    let (busy, idle) = (udp::connect_in(pod, Call::to(at.ip(), PORT))?, udp::connect_in(pod, Call::to(at.ip(), PORT))?);
    udp::exchange(&idle, b"once")?;
    icmp::once(pod, at.ip(), 77)?;
    for _ in 0..3 {
        udp::exchange(&busy, b"again and again")?;
        pass(&lab, 400)?;
        swept(&lab)?;
    }
    let mine: Vec<_> = flows(&lab)?.into_iter().filter(|it| it.remote == at.ip()).collect();
    assert_eq!(mine.len(), 1, "{mine:?}");
    assert_eq!((mine[0].inside_port, mine[0].packets.out), (busy.local_addr()?.port(), 3));
    assert!(mine[0].age_seconds >= 1200, "{mine:?}");
    Ok(())
}

#[test]
fn nothing_expires_without_an_agent() -> Result<()> {
    if skip(NEEDS) {
        return Ok(());
    }
    let lab = Lab::build(LabConfig::default())?;
    let mut agent = Agent::start(&lab, Files::samples(&lab)?.options())?;
    let pod = &lab.client("pod1")?.ns;
    for family in Family::BOTH {
        let at = SocketAddr::new(lab.far.addr(family), PORT);
        let _server = udp::Server::start(&lab.far.ns, at)?;
        udp::once(pod, Call::to(at.ip(), PORT), b"once")?;
    }
    agent.kill9()?;
    pass(&lab, 100_000)?;
    // As long as two looks of an agent would take.
    std::thread::sleep(Duration::from_millis(2500));
    assert_eq!((flows(&lab)?.len(), entries(&lab)?), (2, (2, 2)));
    agent.restart()?;
    eventually("the restarted agent ends them", FOLLOW, || Ok(entries(&lab)? == (0, 0)))?;
    assert_eq!(stat(&lab, "counters/flows_removed")?, 2);
    Ok(())
}
