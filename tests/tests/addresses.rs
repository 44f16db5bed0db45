//! Egress addresses: who gets which, for how long, and what happens when they come and go.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr, UdpSocket};

use anyhow::{Context, Result, ensure};
use egress_tests::gateway::Agent;
use egress_tests::lab::{Net1, RealChecksums};
use egress_tests::traffic::{Call, udp};
use egress_tests::{Family, Host, Lab, LabConfig, eventually, skip};

use crate::lab::{ensure_from, exchange_all};
use crate::rig::{CLUSTER, FOLLOW, Files, NEEDS, PORT, complaints, flows, stat, with_egress};

const ENTRIES: [&str; 3] =
    ["172.17.0.11,fd00:172:17::11", "172.17.0.12,fd00:172:17::12", "172.17.0.13,fd00:172:17::13"];
/// Addresses that pod1 gets beside its own, in both families: so many clients without so many namespaces.
const CLIENTS: u8 = 20;

fn three(config: LabConfig) -> Result<(Lab, Files)> {
    let mut config = config;
    for address in ["172.17.0.12/16", "172.17.0.13/16", "fd00:172:17::12/64", "fd00:172:17::13/64"] {
        config = config.egress(address.parse()?);
    }
    let lab = Lab::build(config)?;
    let pod = &lab.client("pod1")?.ns;
    let lines: String = (100..100 + CLIENTS).map(|last| format!("addr add 10.17.0.{last}/16 dev eth0\n")).collect();
    pod.feed("ip -batch -", &lines)?;
    let line = |last| format!("addr add fd00:10:17::{last}/112 dev eth0 nodad\n");
    pod.feed("ip -6 -batch -", &(100..100 + CLIENTS).map(line).collect::<String>())?;
    let files = Files::write(&lab, CLUSTER, &with_egress(&ENTRIES))?;
    Ok((lab, files))
}

fn clients(family: Family) -> impl Iterator<Item = IpAddr> {
    let text = move |last| match family {
        Family::V4 => format!("10.17.0.{last}"),
        Family::V6 => format!("fd00:10:17::{last}"),
    };
    (100..100 + CLIENTS).filter_map(move |last| text(last).parse().ok())
}

/// A UDP server and a socket of each client that is connected to it.
struct Clients<'lab> {
    pod: &'lab Host,
    server: udp::Server,
    at: SocketAddr,
    family: Family,
    sockets: BTreeMap<IpAddr, UdpSocket>,
}

impl<'lab> Clients<'lab> {
    fn of(lab: &'lab Lab, family: Family) -> Result<Self> {
        let at = SocketAddr::new(lab.far.addr(family), PORT);
        let server = udp::Server::start(&lab.far.ns, at)?;
        let mut clients = Self { pod: lab.client("pod1")?, server, at, family, sockets: BTreeMap::new() };
        clients.connect()?;
        Ok(clients)
    }

    /// New sockets, so new flows.
    fn connect(&mut self) -> Result<()> {
        for client in clients(self.family) {
            let call = Call { from: Some(SocketAddr::new(client, 0)), ..Call::to(self.at.ip(), PORT) };
            self.sockets.insert(client, udp::connect_in(&self.pod.ns, call)?);
        }
        Ok(())
    }

    /// Every client exchanges a datagram; whom the server sees each as.
    fn seen(&self) -> Result<BTreeMap<IpAddr, SocketAddr>> {
        for (client, socket) in &self.sockets {
            udp::exchange(socket, client.to_string().as_bytes()).with_context(|| format!("client {client}"))?;
        }
        let text = |payload: &[u8]| String::from_utf8_lossy(payload).parse::<IpAddr>();
        self.server.seen().iter().map(|it| Ok((text(&it.payload)?, it.peer))).collect()
    }
}

fn ips(seen: &BTreeMap<IpAddr, SocketAddr>) -> BTreeMap<IpAddr, IpAddr> {
    seen.iter().map(|(client, outside)| (*client, outside.ip())).collect()
}

#[test]
fn each_client_keeps_its_address_also_over_a_restart() -> Result<()> {
    if skip(NEEDS) {
        return Ok(());
    }
    let (lab, files) = three(LabConfig::default())?;
    let mut agent = Agent::start(&lab, files.options())?;
    for family in Family::BOTH {
        let mut clients = Clients::of(&lab, family)?;
        let first = clients.seen()?;
        assert_eq!(clients.seen()?, first, "a flow keeps address and port");
        let wanted = ips(&first);
        let used: BTreeSet<_> = wanted.values().copied().collect();
        assert_eq!((wanted.len(), used.len()), (usize::from(CLIENTS), 3), "clients spread: {wanted:?}");
        for round in 0..3 {
            clients.connect()?;
            assert_eq!(ips(&clients.seen()?), wanted, "round {round}");
        }
        agent.kill9()?;
        clients.connect()?;
        assert_eq!(ips(&clients.seen()?), wanted, "without an agent");
        let before = clients.seen()?;
        agent.restart()?;
        assert_eq!(clients.seen()?, before, "a restart keeps the flows");
        clients.connect()?;
        assert_eq!(ips(&clients.seen()?), wanted, "after a restart");
        // TCP and ping of one client come from the same address as its datagrams.
        let pod = lab.client("pod2")?;
        let seen = exchange_all(pod, &lab.far, family)?;
        ensure_from(&seen, seen[0].ip())?;
    }
    Ok(())
}

#[test]
fn an_address_that_goes_takes_only_its_own_flows_and_comes_back() -> Result<()> {
    if skip(NEEDS) {
        return Ok(());
    }
    let (lab, files) = three(LabConfig::default())?;
    let agent = Agent::start(&lab, files.options())?;
    let (v4, v6) = (Clients::of(&lab, Family::V4)?, Clients::of(&lab, Family::V6)?);
    for (mut clients, gone, net) in
        [(v4, "172.17.0.12", "172.17.0.12/16"), (v6, "fd00:172:17::12", "fd00:172:17::12/64")]
    {
        let gone: IpAddr = gone.parse()?;
        let before = clients.seen()?;
        let hit = before.values().filter(|it| it.ip() == gone).count();
        assert!(hit > 0 && hit < before.len(), "{before:?}");
        let removed = stat(&lab, "counters/flows_removed")?;

        lab.gateway.ns.sh(&format!("ip addr del {net} dev net1"))?;
        let line = format!("cut={hit}");
        agent.wait_for_line(FOLLOW, |it| it.contains("cut flows") && it.ends_with(&line))?;
        assert_eq!(stat(&lab, "counters/flows_removed")? - removed, u64::try_from(hit)?);
        assert!(!flows(&lab)?.iter().any(|flow| flow.egress == gone));
        let during = clients.seen()?;
        for (client, outside) in &before {
            if outside.ip() == gone {
                ensure!(during[client].ip() != gone, "{client} still has {gone}");
            } else {
                ensure!(during[client] == *outside, "{client} moved from {outside} to {}", during[client]);
            }
        }

        lab.gateway.ns.sh(&format!("ip addr add {net} dev net1{}", if gone.is_ipv6() { " nodad" } else { "" }))?;
        eventually("the clients have their first address again", FOLLOW, || {
            clients.connect()?;
            Ok(ips(&clients.seen()?) == ips(&before))
        })?;
    }
    Ok(())
}

/// The sample lists 172.17.0.12, which the default lab's net1 does not have.
#[test]
fn a_listed_address_that_is_not_there_is_not_used_and_none_at_all_is_refused() -> Result<()> {
    if skip(NEEDS) {
        return Ok(());
    }
    let lab = Lab::build(LabConfig::default())?;
    let agent = Agent::start(&lab, Files::samples(&lab)?.options())?;
    for family in Family::BOTH {
        for (name, client) in lab.clients().filter(|(name, _)| *name != "bystander") {
            let seen = exchange_all(client, &lab.server, family)?;
            ensure_from(&seen, lab.gateway.addr(family)).context(name.to_owned())?;
        }
    }
    for address in ["172.17.0.11/16", "fd00:172:17::11/64"] {
        lab.gateway.ns.sh(&format!("ip addr del {address} dev net1"))?;
    }
    agent.wait_for_line(FOLLOW, |line| line.contains("spec.externalSubnet: no interface has an address in"))?;
    eventually("doctor names what is wrong", FOLLOW, || {
        let complaints = complaints(&lab)?;
        let has = |start: &str| complaints.iter().any(|it| it.starts_with(start));
        Ok(has("manifests: refused") && has("egress address fd00:172:17::11: is not on net1"))
    })?;
    eventually("flows end with their addresses", FOLLOW, || Ok(flows(&lab)?.is_empty()))?;
    for address in ["172.17.0.11/16", "fd00:172:17::11/64 nodad"] {
        let (net, flag) = address.split_once(' ').unwrap_or((address, ""));
        lab.gateway.ns.sh(&format!("ip addr add {net} dev net1 {flag}"))?;
    }
    for (family, router) in [("-4", "172.17.0.1"), ("-6", "fd00:172:17::1")] {
        // The kernel took the default route away with the address.
        lab.gateway.ns.sh(&format!("ip {family} route replace default via {router} dev net1"))?;
    }
    eventually("doctor is content again", FOLLOW, || Ok(complaints(&lab)?.is_empty()))
        .with_context(|| format!("{:?}\n{}", complaints(&lab), agent.stderr()))?;
    for family in Family::BOTH {
        exchange_all(lab.client("pod1")?, &lab.far, family)?;
    }
    Ok(())
}

#[test]
fn several_addresses_on_a_macvlan() -> Result<()> {
    if skip(NEEDS) {
        return Ok(());
    }
    let config = LabConfig::default().net1(Net1::Macvlan).checksums(RealChecksums::AT_RECEIVERS);
    let (lab, files) = three(config)?;
    let _agent = Agent::start(&lab, files.options())?;
    for family in Family::BOTH {
        let mut clients = Clients::of(&lab, family)?;
        let first = clients.seen()?;
        let used: BTreeSet<_> = first.values().map(SocketAddr::ip).collect();
        assert_eq!(used.len(), 3, "{first:?}");
        clients.connect()?;
        assert_eq!(ips(&clients.seen()?), ips(&first));
        let seen = exchange_all(lab.client("pod2")?, &lab.far, family)?;
        ensure_from(&seen, seen[0].ip())?;
    }
    Ok(())
}

/// The manifests are refused then, but the lost address is not used on.
#[test]
fn the_last_address_of_a_family_that_goes_is_not_used_on() -> Result<()> {
    if skip(NEEDS) {
        return Ok(());
    }
    let lab = Lab::build(LabConfig::default())?;
    let agent = Agent::start(&lab, Files::samples(&lab)?.options())?;
    for family in Family::BOTH {
        exchange_all(lab.client("pod1")?, &lab.far, family)?;
    }
    let is_v4 = |flow: &crate::rig::Flow| flow.remote.is_ipv4();
    ensure!(flows(&lab)?.iter().any(is_v4));
    lab.gateway.ns.sh("ip -4 addr flush dev net1")?;
    eventually("the flows are cut", FOLLOW, || Ok(!flows(&lab)?.iter().any(is_v4))).with_context(|| agent.stderr())?;
    let outside = lab.capture_external()?;
    udp::connect_in(&lab.client("pod1")?.ns, Call::to(lab.far.addr(Family::V4), PORT))?.send(b"lost")?;
    eventually("it is dropped by name", FOLLOW, || Ok(stat(&lab, "drops/no_egress_address")? > 0))?;
    let lost = lab.gateway.addr(Family::V4);
    assert!(!outside.stop()?.iter().any(|it| it.ip().is_some_and(|ip| ip.source == lost)));
    exchange_all(lab.client("pod1")?, &lab.far, Family::V6)?;
    Ok(())
}
