//! Every timeout to the second: the `expire` program is told of a flow one second before its time and when it has come.

use std::fs;
use std::hash::Hash;
use std::net::IpAddr;

use anyhow::{Context, Result, ensure};
use aya::Pod;
use aya::maps::{HashMap, Map, MapData};
use egress_common::abi::config::Timeouts;
use egress_common::abi::event::why;
use egress_common::abi::family::{self, Address, V4, V6};
use egress_common::abi::flow::{FlowKey, FlowValue, IN, OUT};
use egress_tests::gateway::Agent;
use egress_tests::packet::{build, proto, transport};
use egress_tests::testrun::{Program, Verdict};
use egress_tests::{Family, Lab, LabConfig, eventually, skip};
use nix::time::{ClockId, clock_gettime};

use crate::rig::{FOLLOW, Files, GATEWAY, NEEDS, change_config, config, map, order, pins};
use crate::talk::Way;
use crate::wire::{header, icmp};

const PROFILE: &str = "---
apiVersion: egress-ebpf.dev/v1alpha1
kind: EgressGatewayProfile
metadata: {name: default}
spec:
  timeouts: {tcpOpening: 241, tcpEstablished: 8001, tcpHalfClosed: 7501, tcpClosing: 261, udpUnreplied: 131, udpReplied: 311,
             icmp: 71, other: 611}
";

/// As the profile says.
const TIMEOUTS: Timeouts = Timeouts {
    tcp_opening: 241,
    tcp_established: 8001,
    tcp_half_closed: 7501,
    tcp_closing: 261,
    udp_unreplied: 131,
    udp_replied: 311,
    icmp: 71,
    other: 611,
};

const FIN: u8 = 0x11;
const SYN: u8 = 2;
const RST: u8 = 4;
const SYN_ACK: u8 = 0x12;
const ACK: u8 = 0x10;

/// What passed, and the seconds after which the flow ends.
struct Row {
    protocol: u8,
    /// Who spoke, and TCP's flags.
    said: Vec<(Way, u8)>,
    timeout: u32,
}

fn rows(family: Family) -> Vec<Row> {
    use Way::{In, Out};
    let open = [(Out, SYN), (In, SYN_ACK), (Out, ACK)];
    let tcp = |more: &[(Way, u8)], timeout| {
        let said = [&open[..], more].concat();
        Row { protocol: proto::TCP, said, timeout }
    };
    let begun = |said: &[(Way, u8)], timeout| Row { protocol: proto::TCP, said: said.to_vec(), timeout };
    let other =
        |protocol, said: &[Way], timeout| Row { protocol, said: said.iter().map(|it| (*it, 0)).collect(), timeout };
    let t = TIMEOUTS;
    vec![
        begun(&[(Out, SYN)], t.tcp_opening),
        begun(&[(Out, SYN), (In, SYN_ACK)], t.tcp_opening),
        begun(&[(Out, SYN), (In, SYN), (Out, SYN_ACK)], t.tcp_opening),
        begun(&[(Out, ACK)], t.tcp_opening),
        tcp(&[], t.tcp_established),
        // Both open at the same time.
        begun(&[(Out, SYN), (In, SYN), (Out, SYN_ACK), (In, SYN_ACK)], t.tcp_established),
        begun(&[(Out, SYN), (In, SYN), (Out, SYN_ACK), (In, ACK)], t.tcp_established),
        // In its midst.
        begun(&[(Out, ACK), (In, ACK)], t.tcp_established),
        tcp(&[(Out, FIN)], t.tcp_half_closed),
        tcp(&[(In, FIN), (Out, ACK), (Out, ACK)], t.tcp_half_closed),
        tcp(&[(Out, FIN), (In, ACK), (In, FIN), (Out, ACK)], t.tcp_closing),
        tcp(&[(Out, RST)], t.tcp_closing),
        tcp(&[(In, RST)], t.tcp_closing),
        begun(&[(Out, SYN), (In, RST | ACK)], t.tcp_closing),
        // What the other side still sends refutes nothing; what the same side sends does.
        tcp(&[(Out, RST), (In, ACK)], t.tcp_closing),
        tcp(&[(In, RST), (Out, ACK)], t.tcp_closing),
        tcp(&[(In, RST), (In, ACK)], t.tcp_established),
        tcp(&[(Out, RST), (Out, ACK)], t.tcp_established),
        tcp(&[(Out, FIN), (In, RST), (In, ACK)], t.tcp_half_closed),
        // The same ports again.
        tcp(&[(Out, FIN), (In, FIN), (Out, SYN)], t.tcp_opening),
        tcp(&[(Out, FIN), (In, FIN), (Out, SYN), (In, SYN_ACK), (Out, ACK)], t.tcp_established),
        tcp(&[(Out, RST), (Out, SYN), (In, SYN_ACK), (Out, ACK)], t.tcp_established),
        tcp(&[(In, RST), (Out, SYN), (In, SYN_ACK)], t.tcp_opening),
        other(proto::UDP, &[Out], t.udp_unreplied),
        other(proto::UDP, &[Out, In], t.udp_replied),
        other(icmp_of(family), &[Out], t.icmp),
        other(icmp_of(family), &[Out, In], t.icmp),
        other(proto::SCTP, &[Out, In], t.other),
        other(proto::GRE, &[Out], t.other),
    ]
}

const fn icmp_of(family: Family) -> u8 {
    icmp(family)
}

type Side = (IpAddr, u16);

/// A packet from one end to the other.
fn packet(row: &Row, (way, flags): (Way, u8), from: Side, to: Side) -> Vec<u8> {
    let family = Family::of(from.0);
    let payload = match row.protocol {
        proto::TCP => build::tcp(from, to, (1, 1), flags, b""),
        proto::UDP => build::udp(from, to, b"data"),
        proto::SCTP => transport::sctp((from.1, to.1), 1, &transport::sctp_data(b"data")),
        proto::GRE => vec![0, 0, 8, 0, 1, 2, 3, 4],
        _ => {
            let kinds = if family == Family::V4 { (8, 0) } else { (128, 129) };
            let (kind, id) = if way == Way::Out { (kinds.0, from.1) } else { (kinds.1, to.1) };
            let [high, low] = id.to_be_bytes();
            build::icmp(from.0, to.0, kind, 0, [high, low, 0, 1], b"data")
        }
    };
    header(from.0, to.0, row.protocol).packet(&payload)
}

/// A family's table.
trait Table: family::Family<Addr: Address + Into<IpAddr> + Copy> {
    const NAME: &'static str;
}

impl Table for V4 {
    const NAME: &'static str = "FLOWS4";
}

impl Table for V6 {
    const NAME: &'static str = "FLOWS6";
}

/// A running gateway without its agent.
struct Gateway<'lab> {
    lab: &'lab Lab,
    out: Program<'lab>,
    inward: Program<'lab>,
    expire: Program<'lab>,
}

/// A flow whose time comes `timeout` seconds after `last`.
struct Flow {
    name: String,
    order: Vec<u8>,
    last: u32,
    timeout: u32,
}

impl Gateway<'_> {
    fn run(&self, way: Way, packet: &[u8]) -> Result<()> {
        let program = if way == Way::Out { &self.out } else { &self.inward };
        let ran = program.run(&way.frame(packet))?;
        ensure!(ran.verdict != Verdict::Shot, "{way:?}: dropped");
        Ok(())
    }

    /// Lets the row's packets pass.
    fn open<F: Table>(&self, row: &Row, port: u16) -> Result<Flow>
    where
        FlowKey<F::Addr>: Pod + Eq + Hash,
        FlowValue<F>: Pod,
    {
        let family = if F::V6 { Family::V6 } else { Family::V4 };
        let name = format!("{family:?}, protocol {}: {:x?}", row.protocol, row.said);
        let bare = row.protocol == proto::GRE;
        let port = if bare { 0 } else { port };
        let far = if bare || row.protocol == icmp_of(family) { 0 } else { 443 };
        let (pod, server) = ((self.lab.client("pod1")?.addr(family), port), (self.lab.far.addr(family), far));
        let table: HashMap<_, FlowKey<F::Addr>, FlowValue<F>> =
            Map::HashMap(MapData::from_pin(map(self.lab, F::NAME)?)?).try_into()?;
        let mine = |it: &FlowKey<F::Addr>| (it.sport, it.proto, it.dir) == (port, row.protocol, OUT);
        let (first, rest) = row.said.split_first().context("nothing said")?;
        self.run(Way::Out, &packet(row, *first, pod, server)).with_context(|| name.clone())?;
        let key = table.keys().filter_map(Result::ok).find(mine).with_context(|| format!("{name}: no flow"))?;
        let value = table.get(&key, 0)?;
        let egress = (value.nat_addr.into(), value.word.port);
        for said in rest {
            let (from, to) = if said.0 == Way::Out { (pod, server) } else { (server, egress) };
            self.run(said.0, &packet(row, *said, from, to)).with_context(|| name.clone())?;
        }
        let reply = key.reply(value.nat_addr, value.word.port);
        ensure!(reply.dir == IN && table.get(&key, 0)?.word.port == egress.1, "{name}: another port");
        let last = table.get(&key, 0)?.last_seen.max(table.get(&reply, 0)?.last_seen);
        Ok(Flow { name, order: order(why::IDLE, pod, server, row.protocol), last, timeout: row.timeout })
    }

    /// Sets the datapath's clock to the beginning of this second and runs `expire` on the flow; whether that ended.
    fn ends_at(&self, flow: &Flow, second: u32) -> Result<bool> {
        let now = clock_gettime(ClockId::CLOCK_BOOTTIME)?;
        let now = now.tv_sec() as u64 * 1_000_000_000 + now.tv_nsec() as u64;
        let wanted = u64::from(second) * 1_000_000_000;
        change_config(self.lab, |config| config.clock_offset_ns = wanted.wrapping_sub(now))?;
        Ok(self.expire.run(&flow.order)?.verdict == Verdict::Other(1))
    }
}

/// The flows are older than the profile: an edit holds for what runs, too.
#[test]
fn each_timeout_is_kept_to_the_second() -> Result<()> {
    if skip(NEEDS) {
        return Ok(());
    }
    let lab = Lab::build(LabConfig::default())?;
    let files = Files::samples(&lab)?;
    let mut agent = Agent::start(&lab, files.options())?;
    let programs = pins(&lab)?.join("progs");
    let open = |name: &str, interface| Program::open(&lab.gateway.ns, &programs.join(name), interface);
    let gateway = Gateway {
        lab: &lab,
        out: open("egw_out", "eth0")?,
        inward: open("egw_in", "net1")?,
        expire: open("expire", "eth0")?,
    };
    let mut all = Vec::new();
    for (row, port) in rows(Family::V4).iter().zip(4000..) {
        all.push(gateway.open::<V4>(row, port)?);
    }
    for (row, port) in rows(Family::V6).iter().zip(4000..) {
        all.push(gateway.open::<V6>(row, port)?);
    }
    fs::write(&files.gateway, format!("{GATEWAY}{PROFILE}"))?;
    eventually("the programs have the new timeouts", FOLLOW, || Ok(config(&lab)?.timeouts == TIMEOUTS))?;
    agent.kill9()?;
    for flow in &all {
        let end = flow.last + flow.timeout;
        ensure!(!gateway.ends_at(flow, end - 1)?, "{}: ended before {} seconds", flow.name, flow.timeout);
        ensure!(gateway.ends_at(flow, end)?, "{}: not ended after {} seconds", flow.name, flow.timeout);
        ensure!(!gateway.ends_at(flow, end)?, "{}: ended twice", flow.name);
    }
    ensure!(crate::rig::flows(&lab)?.is_empty(), "{:?}", crate::rig::flows(&lab)?);
    Ok(())
}
