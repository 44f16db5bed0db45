//! Packets per second: our gateway and the kernel's, in two labs that are alike, in turns.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::rates::{Comparison, Round};
use super::report::Report;
use super::tour::{options, plan};
use super::{SEED_000, with_log};
use crate::bench::drop_on_arrival;
use crate::capture::{Captured, Direction};
use crate::gateway::{Agent, Gateway, KernelGateway};
use crate::generator::{Cpu, Flows, Generator, Load};
use crate::lab::addresses::{mac, no_snat_networks};
use crate::lab::names::EXTERNAL_PORT;
use crate::skip::in_path;
use crate::traffic::{Call, PATIENCE, udp};
use crate::{Family, Host, Lab, oracle};

const PORT: u16 = 7007;
const FLOWS: u32 = 1000;
/// With Ethernet, IP and UDP headers and the frame check sequence: 64 bytes.
const PAYLOAD: usize = 18;
/// Packets of one turn: some tenths of a second, short beside what slows a machine down for a while.
const TURN: u32 = 1 << 18;
/// Seen one by one before anything is measured.
const SAMPLE: u32 = 256;
const TOOLS: [&str; 2] = ["iptables-restore", "tc"];

/// How long to measure.
#[derive(Debug, Clone, Copy)]
pub struct Pace {
    rounds: usize,
    /// Turns of each gateway in a round.
    turns: usize,
}

impl Pace {
    /// Some 20 seconds.
    pub const USUAL: Self = Self { rounds: 5, turns: 3 };
    /// Some 5 seconds.
    pub const QUICK: Self = Self { rounds: 3, turns: 1 };
}

const WHAT: &str = "\
Two labs alike: one with our gateway, one with the `ip` and `iptables` rules of Kube-OVN (MASQUERADE --random-fully).
64-byte UDP, 1000 established flows. The kernel itself makes the packets and hands them to eth0 as a driver would; one
thread, pinned to one CPU, makes them, takes them through the gateway and delivers them. Only what arrived is counted.
The gateways take turns of some tenths of a second, so that what slows the machine down for a while slows both.
";

/// Measures and shows.
pub(super) fn show(report: &mut Report, pace: Pace) -> Result<()> {
    report.heading("4. Packets per second, beside the kernel's NAT")?;
    if let Some(tool) = TOOLS.into_iter().find(|it| !in_path(it)) {
        return report.text(&format!("left out: there is no {tool} on this machine"));
    }
    report.text(WHAT)?;
    let labs = [Lab::build(plan(SEED_000.families)?)?, Lab::build(plan(SEED_000.families)?)?];
    let [with_ours, with_kernels] = &labs;
    let agent = Agent::start(with_ours, options(&SEED_000))?;
    let kernels = KernelGateway::start(with_kernels, &no_snat_networks())?;
    let measure = || {
        let sides = [Side::warm_up(with_ours, agent.label())?, Side::warm_up(with_kernels, kernels.label())?];
        let ceiling = sides[1].ceiling()?;
        let whole = rounds(&sides, pace, Sink::Server)?;
        let alone = rounds(&sides, pace, Sink::Net1)?;
        Ok((ceiling, whole, alone))
    };
    let (ceiling, whole, alone) = with_log(measure(), "comparison", &agent)?;
    let row = |name: &str, it: &Comparison| [vec![name.to_owned()], it.cells().to_vec()].concat();
    let rows = [
        row("eth0 to the far end of net1's cable: the gateway alone", &alone),
        row("the same, then through the node's bridge to a server", &whole),
    ];
    report.table(&["PATH", "OURS", "IPTABLES", "RATIO"], &rows)?;
    report.text(&format!(
        "(Dropped on arrival at eth0, before any gateway: {:.2} M/s. So much the generator could do.)",
        ceiling / 1e6
    ))?;
    report.raw(&format!("\npackets per second, 64-byte UDP, {FLOWS} flows, one core: {alone}\n"))
}

/// Where packets end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sink {
    /// At the node's end of net1.
    Net1,
    /// In the server, as soon as it has received them.
    Server,
}

/// A gateway under load.
struct Side<'lab> {
    lab: &'lab Lab,
    load: Load<'lab>,
    label: &'static str,
}

impl<'lab> Side<'lab> {
    /// Opens every flow with a datagram that is answered; the generator then repeats them.
    fn warm_up(lab: &'lab Lab, label: &'static str) -> Result<Self> {
        let (client, server) = (lab.client("client1")?, &lab.server);
        let flows = Flows {
            source: client.addr(Family::V4),
            first_port: 20_000,
            count: FLOWS,
            destination: (server.addr(Family::V4), PORT),
            macs: (mac::OVERLAY, mac::GATEWAY_INSIDE),
            payload: PAYLOAD,
        };
        let egress: Vec<IpAddr> = lab.config.egress.iter().map(|it| it.addr()).collect();
        let seen = open(client, server, &flows)?;
        let wrong = seen.iter().find(|it| !egress.contains(&it.ip()));
        ensure!(wrong.is_none() && seen.len() == FLOWS as usize, "{label}: the server saw {wrong:?}");
        // What a Pod sends comes with its checksum unfinished, which saves the kernel's conntrack from checking it. The
        // generator's are finished, and are spared too.
        let conntrack = ("net/netfilter/nf_conntrack_checksum", "0");
        lab.gateway.ns.sysctl(&[conntrack]).context("switch the check of checksums off")?;
        lab.server
            .ns
            .feed("iptables-restore", &format!("*raw\n-A PREROUTING -p udp --dport {PORT} -j DROP\nCOMMIT\n"))?;
        // Its address must stay known when it gets nothing.
        lab.gateway.ns.sh(&format!(
            "ip neighbour replace {} lladdr {} dev net1 nud permanent",
            server.addr(Family::V4),
            mac::text(mac::SERVER),
        ))?;
        let side = Self { lab, load: Generator::new(&flows)?.into_load(&lab.gateway.ns, "eth0")?, label };
        side.look_at_some(&egress)?;
        Ok(side)
    }

    /// The generator's packets are translated like any others.
    fn look_at_some(&self, egress: &[IpAddr]) -> Result<()> {
        let outside = self.lab.capture_external()?;
        self.load.send(SAMPLE, Cpu::LAST)?;
        let is_one = |it: &Captured| {
            it.direction == Direction::In && it.ip().is_some_and(|ip| ip.ports().is_some_and(|ports| ports.1 == PORT))
        };
        outside.wait_for(PATIENCE, is_one).with_context(|| format!("{}: nothing came out", self.label))?;
        let frames: Vec<_> = outside.stop()?.into_iter().filter(is_one).collect();
        ensure!(frames.len() == SAMPLE as usize, "{}: {} of {SAMPLE} packets came out", self.label, frames.len());
        let stranger = frames.iter().filter_map(Captured::ip).find(|ip| !egress.contains(&ip.source));
        ensure!(stranger.is_none(), "{}: a packet left as {stranger:?}", self.label);
        let checksums = oracle::checksums(&frames);
        ensure!(checksums.wrong.is_empty(), "{}: wrong checksums: {}", self.label, checksums.wrong.join("; "));
        Ok(())
    }

    /// Packets of a turn that reached the sink, and the time it took.
    fn turn(&self, sink: Sink) -> Result<(u64, Duration)> {
        let (ns, interface) = match sink {
            Sink::Net1 => (&self.lab.node, EXTERNAL_PORT),
            Sink::Server => (&self.lab.server.ns, "eth0"),
        };
        let before = ns.counters(interface)?;
        let time = self.load.send(TURN, Cpu::LAST)?;
        let arrived = ns.counters(interface)?.since(&before).rx_packets;
        ensure!(arrived > u64::from(TURN) / 100 * 99, "{}: only {arrived} of {TURN} packets arrived", self.label);
        Ok((arrived, time))
    }

    /// What the generator alone can do: nothing gets as far as the gateway.
    fn ceiling(&self) -> Result<f64> {
        drop_on_arrival(&self.lab.gateway.ns, "eth0")?;
        let time = self.load.send(TURN, Cpu::LAST)?;
        self.lab.gateway.ns.sh("tc qdisc del dev eth0 clsact")?;
        Ok(f64::from(TURN) / time.as_secs_f64())
    }
}

/// Exchanges a datagram on every flow; returns what the server saw.
fn open(client: &Host, server: &Host, flows: &Flows) -> Result<Vec<SocketAddr>> {
    let (address, port) = flows.destination;
    let service = udp::Server::start(&server.ns, SocketAddr::new(address, port))?;
    for from in flows.ports() {
        udp::once(&client.ns, Call::to(address, port).from_port(from), b"open")?;
    }
    let mut seen = service.peers();
    seen.sort_unstable();
    seen.dedup();
    Ok(seen)
}

fn rounds(sides: &[Side<'_>; 2], pace: Pace, sink: Sink) -> Result<Comparison> {
    if sink == Sink::Net1 {
        sides.iter().try_for_each(|it| drop_on_arrival(&it.lab.node, EXTERNAL_PORT))?;
    }
    let mut rounds = Vec::new();
    for _ in 0..pace.rounds {
        let mut totals = [(0, Duration::ZERO); 2];
        for _ in 0..pace.turns {
            for (side, total) in sides.iter().zip(&mut totals) {
                let (packets, time) = side.turn(sink)?;
                *total = (total.0 + packets, total.1 + time);
            }
        }
        let [ours, kernels] = totals.map(|(packets, time)| packets as f64 / time.as_secs_f64());
        rounds.push(Round { ours, kernels });
    }
    Ok(Comparison::of(&rounds))
}
