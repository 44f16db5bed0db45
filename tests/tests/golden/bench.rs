//! A running gateway whose programs are run packet by packet, and what a row of a table may expect of a run.

use std::net::IpAddr;

use anyhow::{Context, Result, bail, ensure};
use egress_tests::gateway::Agent;
use egress_tests::lab::addresses::mac;
use egress_tests::packet::{build, parse_ip};
use egress_tests::testrun::{Program, Ran, Verdict};
use egress_tests::traffic::PATIENCE;
use egress_tests::{Family, Lab, eventually};

use super::shape::{Ends, Shape, udp};
use crate::rig::pins;
pub(super) use crate::talk::Way;
use crate::wire::{agent, dropped};

/// TTL of what arrives.
pub(super) const TTL: u8 = 63;

/// How translated packets leave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mode {
    Peer,
    Neigh,
    Stack,
}

impl Mode {
    const fn name(self) -> &'static str {
        match self {
            Self::Peer => "peer",
            Self::Neigh => "neigh",
            Self::Stack => "stack",
        }
    }
}

/// See the module.
pub(super) struct Bench<'lab> {
    pub(super) lab: &'lab Lab,
    mode: Mode,
    out: Program<'lab>,
    inward: Program<'lab>,
    guard: Program<'lab>,
    _agent: Agent<'lab>,
}

impl<'lab> Bench<'lab> {
    /// Starts the agent and waits until the next hops on both sides are known.
    pub(super) fn start(lab: &'lab Lab, mode: Mode) -> Result<Self> {
        let agent = agent(lab, &[("--forward", mode.name())])?;
        let programs = pins(lab)?.join("progs");
        let open = |name: &str, interface| Program::open(&lab.gateway.ns, &programs.join(name), interface);
        let bench = Self {
            lab,
            mode,
            out: open("egw_out", "eth0")?,
            inward: open("egw_in", "net1")?,
            guard: open("egw_guard", "net1")?,
            _agent: agent,
        };
        for family in Family::BOTH {
            eventually("the next hops are known", PATIENCE, || Ok(bench.warm_up(family).is_ok()))
                .with_context(|| format!("{:?}", bench.warm_up(family)))?;
        }
        Ok(bench)
    }

    fn warm_up(&self, family: Family) -> Result<()> {
        let (pod, server) = ((self.pod2(family)?, 1), (self.lab.far.addr(family), 1));
        let sent = Ends { from: pod, to: server };
        let ran = self.run(Way::Out, &udp().packet(sent, TTL))?;
        let seen = self.learn(&udp(), sent, &ran)?;
        self.ensure_sent(Way::Out, &ran, |ttl| udp().packet(seen, ttl))?;
        let ran = self.run(Way::In, &udp().packet(seen.back(), TTL))?;
        self.ensure_sent(Way::In, &ran, |ttl| udp().packet(sent.back(), ttl))
    }

    pub(super) fn pod(&self, family: Family) -> Result<IpAddr> {
        Ok(self.lab.client("pod1")?.addr(family))
    }

    pub(super) fn pod2(&self, family: Family) -> Result<IpAddr> {
        Ok(self.lab.client("pod2")?.addr(family))
    }

    /// Runs the direction's program on a packet.
    pub(super) fn run(&self, way: Way, packet: &[u8]) -> Result<Ran> {
        self.program(way).run(&way.frame(packet))
    }

    /// Runs the direction's program on a frame as it is.
    pub(super) fn program(&self, way: Way) -> &Program<'lab> {
        match way {
            Way::Out => &self.out,
            Way::In => &self.inward,
        }
    }

    /// Runs the guard on a packet that the kernel sends to the external router.
    pub(super) fn guard(&self, packet: &[u8]) -> Result<Ran> {
        self.guard_frame(&leaving(Way::Out, packet))
    }

    /// Runs the guard on a frame.
    pub(super) fn guard_frame(&self, frame: &[u8]) -> Result<Ran> {
        self.guard.run(frame)
    }

    /// The ends under which a packet left: with the egress address and port.
    pub(super) fn learn(&self, shape: &Shape, sent: Ends, ran: &Ran) -> Result<Ends> {
        let packet = ran.frame.get(14..).context("no packet")?;
        let ip = parse_ip(packet).context("not IP")?;
        let own: Vec<_> = self.lab.config.egress.iter().map(ipnet::IpNet::addr).collect();
        ensure!(own.contains(&ip.source), "{}: {:?} from {}", shape.name, ran.verdict, ip.source);
        let at = |at| packet.get(ip.l4_offset + at..ip.l4_offset + at + 2);
        let port = match shape.port_at() {
            Some(offset) => u16::from_be_bytes(at(offset).context("cut short")?.try_into()?),
            None => 0,
        };
        Ok(Ends { from: (ip.source, port), ..sent })
    }

    /// The run sent what `expected` makes of a TTL: every byte, and both MACs where the peer gets it.
    pub(super) fn ensure_sent(&self, way: Way, ran: &Ran, expected: impl Fn(u8) -> Vec<u8>) -> Result<()> {
        let (verdict, ttl) = match self.mode {
            Mode::Peer | Mode::Neigh => (Verdict::Redirect, TTL - 1),
            Mode::Stack => (Verdict::Ok, TTL),
        };
        let frame = if self.mode == Mode::Peer { leaving(way, &expected(ttl)) } else { way.frame(&expected(ttl)) };
        ensure_same(&ran.frame, &frame).with_context(|| format!("verdict {:?}", ran.verdict))?;
        ensure!(ran.verdict == verdict, "verdict {:?} instead of {verdict:?}", ran.verdict);
        Ok(())
    }

    /// The packet is dropped, and counted under this name and no other.
    pub(super) fn ensure_dropped(&self, way: Way, packet: &[u8], reason: &str) -> Result<()> {
        self.ensure_frame_dropped(way, &way.frame(packet), reason)
    }

    /// As [`Self::ensure_dropped`].
    pub(super) fn ensure_frame_dropped(&self, way: Way, frame: &[u8], reason: &str) -> Result<()> {
        dropped(self.lab, reason, 1, || {
            let ran = self.program(way).run(frame)?;
            ensure!(ran.verdict == Verdict::Shot, "{:?} instead of a drop, as {}", ran.verdict, hex(&ran.frame));
            Ok(())
        })
    }

    /// The packet is left to the kernel as it is.
    pub(super) fn ensure_left(&self, way: Way, packet: &[u8]) -> Result<()> {
        let ran = self.run(way, packet)?;
        ensure_same(&ran.frame, &way.frame(packet))?;
        ensure!(ran.verdict == Verdict::Ok, "{:?} instead of the kernel", ran.verdict);
        Ok(())
    }
}

/// The frame in which the next hop gets a packet.
pub(super) fn leaving(way: Way, packet: &[u8]) -> Vec<u8> {
    match way {
        Way::Out => build::ethernet(mac::ROUTER, mac::GATEWAY_OUTSIDE, packet),
        Way::In => build::ethernet(mac::OVERLAY, mac::GATEWAY_INSIDE, packet),
    }
}

/// Two frames are the same to the last byte.
pub(super) fn ensure_same(found: &[u8], wanted: &[u8]) -> Result<()> {
    if found != wanted {
        let at = found.iter().zip(wanted).position(|(a, b)| a != b).unwrap_or_else(|| found.len().min(wanted.len()));
        bail!("differs from byte {at}\n found {}\nwanted {}", hex(found), hex(wanted));
    }
    Ok(())
}

/// With gaps behind the Ethernet header and every four bytes after it.
pub(super) fn hex(frame: &[u8]) -> String {
    let (ethernet, packet) = frame.split_at(frame.len().min(14));
    let join = |bytes: &[u8]| bytes.iter().map(|it| format!("{it:02x}")).collect::<String>();
    std::iter::once(join(ethernet)).chain(packet.chunks(4).map(join)).collect::<Vec<_>>().join(" ")
}
