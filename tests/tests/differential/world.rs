//! Runs a program through the gateway of a lab.
//!
//! After every step a packet of a flow of its own goes out, and one comes back: as everything is sent from one CPU, what the
//! gateway makes of the step has passed before.

use std::collections::BTreeMap;
use std::net::IpAddr;

use anyhow::{Context, Result, ensure};
use egress_tests::capture::{Capture, Captured, Direction};
use egress_tests::lab::addresses::{FAR, SERVER, mac};
use egress_tests::lab::names;
use egress_tests::packet::build::{self, ethernet};
use egress_tests::packet::{Ip, parse_ip, proto};
use egress_tests::traffic::{Injector, PATIENCE};
use egress_tests::{Lab, eventually};

use super::fragments::{Whole, cut, reassemble};
use super::program::{Endpoint, Flow, Kind, Link, Program, Side, Step};
use super::rename::{Rename, is_error, word};
use super::seen::Seen;
use crate::wire::{header, holds, of};

/// Port of the flows between the steps, at both ends.
const BETWEEN: u16 = 9;

/// What became of a step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Outcome {
    /// It could not be sent: nobody outside has seen its flow.
    Unsent,
    /// What came out.
    Seen(Vec<Seen>),
}

/// A lab, ready to run a program.
pub(super) struct World<'lab> {
    lab: &'lab Lab,
    program: &'lab Program,
    injectors: (Injector, Injector),
    taps: (Capture, Capture),
    /// What the world sees of each flow.
    egress: BTreeMap<usize, Endpoint>,
    /// The same of the flow between the steps.
    between: Option<u16>,
    count: u64,
}

impl<'lab> World<'lab> {
    /// Silences everybody and waits until packets pass.
    pub(super) fn new(lab: &'lab Lab, program: &'lab Program) -> Result<Self> {
        quiet(lab)?;
        let open = |interface| Injector::open(&lab.node, interface);
        let mut world = Self {
            lab,
            program,
            injectors: (open(names::INTERNAL_PORT)?, open(names::EXTERNAL_PORT)?),
            taps: (lab.capture_internal()?, lab.capture_external()?),
            egress: BTreeMap::new(),
            between: None,
            count: 0,
        };
        for remote in [SERVER, FAR] {
            let remote = of(remote, program.family);
            eventually("packets pass", PATIENCE, || Ok(world.between_out(remote, PATIENCE / 50).is_ok()))?;
        }
        world.barrier()?;
        world.taps.0.take();
        world.taps.1.take();
        Ok(world)
    }

    fn pod(&self) -> Result<IpAddr> {
        Ok(self.lab.client("pod1")?.addr(self.program.family))
    }

    fn gateway(&self) -> IpAddr {
        self.lab.gateway.addr(self.program.family)
    }

    /// Sends a packet out and returns the port that it got.
    fn between_out(&mut self, remote: IpAddr, patience: std::time::Duration) -> Result<u16> {
        self.count += 1;
        let mark = format!("out between the steps {:08}", self.count);
        let packet = udp((self.pod()?, BETWEEN), (remote, BETWEEN), mark.as_bytes());
        self.injectors.0.send(&ethernet(mac::GATEWAY_INSIDE, mac::OVERLAY, &packet))?;
        let came = self.taps.1.wait_for(patience, |it| it.direction == Direction::In && holds(it, mark.as_bytes()))?;
        Ok(came.ip().and_then(Ip::ports).context("no ports")?.0)
    }

    /// Waits until everything that was sent has passed.
    fn barrier(&mut self) -> Result<()> {
        let far = of(FAR, self.program.family);
        let port = self.between_out(far, PATIENCE)?;
        ensure!(*self.between.get_or_insert(port) == port, "the flow between the steps has another port: {port}");
        let mark = format!("back between the steps {:08}", self.count);
        let packet = udp((far, BETWEEN), (self.gateway(), port), mark.as_bytes());
        self.injectors.1.send(&ethernet(mac::GATEWAY_OUTSIDE, mac::ROUTER, &packet))?;
        self.taps.0.wait_for(PATIENCE, |it| it.direction == Direction::In && holds(it, mark.as_bytes()))?;
        Ok(())
    }

    /// Runs the program and returns an outcome for each step.
    pub(super) fn run(mut self) -> Result<Vec<Outcome>> {
        let program = self.program;
        let outcomes = program.steps.iter().enumerate();
        let outcomes = outcomes.map(|(at, step)| self.step(step).with_context(|| format!("step {at}: {step}")));
        let outcomes = outcomes.collect::<Result<Vec<_>>>()?;
        self.taps.0.stop()?;
        self.taps.1.stop()?;
        Ok(outcomes)
    }

    fn step(&mut self, step: &Step) -> Result<Outcome> {
        let flow = &self.program.flows[step.flow];
        let mut packet = step.packet.clone();
        if flow.untranslated {
            self.egress.insert(step.flow, flow.pod);
        } else if flow.unsolicited {
            self.egress.insert(step.flow, Endpoint { address: self.gateway(), port: flow.pod.port });
        }
        if step.side == Side::Outside {
            let Some(rename) = self.rename(step.flow, flow) else { return Ok(Outcome::Unsent) };
            ensure!(rename.back().apply(&mut packet) || flow.untranslated, "not of its flow");
        }
        let pieces = step.cut.as_ref().map_or_else(|| vec![packet.clone()], |it| cut(&packet, it));
        let (injector, to, from) = match step.side {
            Side::Inside => (&self.injectors.0, mac::GATEWAY_INSIDE, mac::OVERLAY),
            Side::Outside => (&self.injectors.1, mac::GATEWAY_OUTSIDE, neighbour(&packet)),
        };
        for piece in pieces {
            injector.send(&framed(ethernet(to, from, &piece), step.link))?;
        }
        self.barrier()?;
        let (inside, outside) = (came_out(self.taps.0.take()), came_out(self.taps.1.take()));
        // What is said once needs no egress endpoint, and protocol 51 has the same for all Pods.
        if step.side == Side::Inside && !step.is(Kind::NotTranslatable) {
            self.learn(step.flow, flow, &outside)?;
        }
        let rename = self.rename(step.flow, flow);
        let own = ![Kind::ErrorFromInside, Kind::ErrorFromOutside, Kind::Redirect].iter().any(|it| step.is(*it));
        let inside = inside.into_iter().filter_map(|it| Seen::of(it, Side::Inside, own, |_| true));
        let named = |packet: &mut [u8]| rename.is_some_and(|it| it.apply(packet));
        let outside = outside.into_iter().filter_map(|it| Seen::of(it, Side::Outside, own, named));
        Ok(Outcome::Seen(inside.chain(outside).collect()))
    }

    /// From what the world sees of a flow to what the Pod sees.
    fn rename(&self, index: usize, flow: &Flow) -> Option<Rename> {
        let from = *self.egress.get(&index)?;
        Some(Rename { protocol: flow.protocol, from, to: flow.pod })
    }

    /// Notes the egress endpoint of a flow that is seen for the first time; two flows may not have the same.
    fn learn(&mut self, index: usize, flow: &Flow, outside: &[(Captured, Whole)]) -> Result<()> {
        if self.egress.contains_key(&index) {
            return Ok(());
        }
        let sources = outside.iter().filter_map(|(_, it)| {
            let ip = parse_ip(&it.packet)?;
            (ip.protocol == flow.protocol && !is_error(&ip) && ip.destination == flow.remote.address)
                .then(|| source(&ip, &it.packet, flow.pod.port != 0))
        });
        let Some(egress) = sources.flatten().next() else { return Ok(()) };
        ensure!(egress.address == self.gateway(), "{flow} leaves from {}", egress.address);
        let same = self
            .egress
            .iter()
            .map(|(other, it)| (&self.program.flows[*other], it))
            .find(|(other, it)| **it == egress && other.protocol == flow.protocol && (other.remote == flow.remote));
        if let Some((other, _)) = same {
            anyhow::bail!("{flow} and {other} have the same egress endpoint {egress:?}");
        }
        self.egress.insert(index, egress);
        Ok(())
    }
}

/// Nobody answers but neighbours, and nobody else forwards.
fn quiet(lab: &Lab) -> Result<()> {
    let rules = "table inet quiet {\n\
                 chain arriving {\n\
                 type filter hook prerouting priority raw; policy drop\n\
                 icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert } accept\n\
                 }\n\
                 }\n";
    [&lab.node, &lab.router.ns, &lab.server.ns].into_iter().try_for_each(|ns| ns.feed("nft -f -", rules).map(drop))
}

/// Who on the external network sends a packet to the gateway.
fn neighbour(packet: &[u8]) -> [u8; 6] {
    let source = parse_ip(packet).map(|ip| ip.source);
    let server = [SERVER.0.into(), IpAddr::from(SERVER.1)];
    if source.is_some_and(|it| server.contains(&it)) { mac::SERVER } else { mac::ROUTER }
}

fn udp(from: (IpAddr, u16), to: (IpAddr, u16), payload: &[u8]) -> Vec<u8> {
    header(from.0, to.0, proto::UDP).packet(&build::udp(from, to, payload))
}

fn framed(mut frame: Vec<u8>, link: Link) -> Vec<u8> {
    match link {
        Link::Plain => {}
        Link::PriorityTag => drop(frame.splice(12..12, [0x81, 0, 0xa0, 0])),
        Link::Padding(length) => frame.extend(std::iter::repeat_n(0xaa, length)),
    }
    frame
}

/// A packet's source as an endpoint.
fn source(ip: &Ip, packet: &[u8], ports: bool) -> Option<Endpoint> {
    let at = ip.l4_offset + if matches!(ip.protocol, proto::ICMP | proto::ICMPV6) { 4 } else { 0 };
    let port = if ports { word(packet, at)? } else { 0 };
    Some(Endpoint { address: ip.source, port })
}

/// Packets that the gateway sent, whole where they came in fragments; not what goes between the steps, nor what
/// neighbours say to each other.
fn came_out(frames: Vec<Captured>) -> Vec<(Captured, Whole)> {
    let wanted = |frame: &Captured| {
        let talk =
            |ip: &Ip| ip.source.is_ipv6() && ip.protocol == proto::ICMPV6 && (130..=143).any(|it| ip.is_icmp(it));
        frame.direction == Direction::In
            && frame.ip().is_some_and(|ip| !talk(ip) && !ip.destination.is_multicast())
            && !holds(frame, b"between the steps ")
    };
    let frames: Vec<_> = frames.into_iter().filter(wanted).collect();
    let packets = frames.iter().map(|frame| {
        let length = frame.ip().map_or(0, |it| it.length).min(frame.packet().len());
        frame.packet()[..length].to_vec()
    });
    let wholes = reassemble(packets.collect());
    wholes.into_iter().filter_map(|whole| Some((frame_of(&whole, &frames)?, whole))).collect()
}

/// The first frame with the packet's addresses and length or, if it came in pieces, its addresses.
fn frame_of(whole: &Whole, frames: &[Captured]) -> Option<Captured> {
    let ip = parse_ip(&whole.packet)?;
    frames
        .iter()
        .find(|it| it.ip().is_some_and(|it| (it.source, it.destination) == (ip.source, ip.destination)))
        .cloned()
}
