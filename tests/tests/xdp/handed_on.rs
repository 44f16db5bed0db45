//! Packet by packet: what XDP carries it makes what TC makes of it, and what it hands on it leaves as it came.

use std::net::IpAddr;
use std::thread::sleep;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, ensure};
use egress_common::abi::config::flags::{XDP_IN, XDP_OUT};
use egress_common::abi::family::{V4, V6};
use egress_common::packet::finished::finished;
use egress_common::packet::parse::Parse;
use egress_common::packet::slice::Frame;
use egress_tests::gateway::Agent;
use egress_tests::packet::build::{self, Header};
use egress_tests::packet::{parse_ip, proto};
use egress_tests::testrun::{Program, Verdict, XdpProgram, XdpVerdict};
use egress_tests::traffic::PATIENCE;
use egress_tests::{Family, Lab, LabConfig, eventually, skip};
use nix::sched::{CpuSet, sched_setaffinity};
use nix::unistd::Pid;

use super::{options, sends, share, take_frames};
use crate::rig::{NEEDS, pins};
use crate::talk::Way;
use crate::wire::{header, icmp};

pub(super) type End = (IpAddr, u16);

/// The four programs, on one CPU: next hops are known to each CPU by itself.
pub(super) struct Bench<'lab> {
    tc: [Program<'lab>; 2],
    pub(super) xdp: [XdpProgram; 2],
}

impl<'lab> Bench<'lab> {
    /// Of the lab's gateway.
    pub(super) fn open(lab: &'lab Lab) -> Result<Self> {
        let progs = pins(lab)?.join("progs");
        let tc = |name: &str, interface| Program::open(&lab.gateway.ns, &progs.join(name), interface);
        Ok(Self {
            tc: [tc("egw_out", "eth0")?, tc("egw_in", "net1")?],
            xdp: [XdpProgram::open(&progs.join("egw_xdp_out"))?, XdpProgram::open(&progs.join("egw_xdp_in"))?],
        })
    }

    /// What TC makes of a packet.
    pub(super) fn tc(&self, way: Way, packet: &[u8]) -> Result<Vec<u8>> {
        let ran = self.tc[way as usize].here_once(&way.frame(packet))?;
        ensure!(ran.verdict == Verdict::Redirect, "{way:?}: TC says {:?}", ran.verdict);
        Ok(ran.frame)
    }

    /// Opens a flow by TC; the egress address and port. Next hops are looked for by the first packets.
    pub(super) fn flow(&self, packet: &[u8], inside: IpAddr) -> Result<End> {
        let mut frame = Vec::new();
        eventually("the flow is open", PATIENCE, || {
            frame = self.tc(Way::Out, packet).unwrap_or_default();
            Ok(!frame.is_empty() && egress(&frame)?.0 != inside)
        })?;
        egress(&frame)
    }

    /// XDP makes the same of it.
    fn carried(&self, way: Way, packet: &[u8]) -> Result<()> {
        let sent = way.frame(packet);
        // TC asks for the next hop, if that is due; its second may end before XDP's turn, but not twice in a row.
        let mut want = self.tc(way, packet)?;
        let (mut verdict, mut frame) = self.xdp[way as usize].run(&sent)?;
        if verdict == XdpVerdict::Pass {
            want = self.tc(way, packet)?;
            (verdict, frame) = self.xdp[way as usize].run(&sent)?;
        }
        // Ports are drawn at random: one sum in 65,535 looks as if it were unfinished.
        if verdict == XdpVerdict::Pass && !looks_finished(&sent)? {
            ensure!(frame == sent, "{way:?}: changed to {frame:02x?}");
            return Ok(());
        }
        ensure!(verdict == XdpVerdict::Redirect, "{way:?}: {verdict:?}");
        ensure!(frame == want, "{way:?}: XDP {frame:02x?}\n TC {want:02x?}");
        Ok(())
    }

    fn passed(&self, way: Way, frame: &[u8], what: &str) -> Result<()> {
        let (verdict, after) = self.xdp[way as usize].run(frame)?;
        ensure!(verdict == XdpVerdict::Pass, "{way:?}, {what}: {verdict:?}");
        ensure!(after == frame, "{way:?}, {what}: changed to {after:02x?}");
        Ok(())
    }
}

fn looks_finished(frame: &[u8]) -> Result<bool> {
    fn of<F: Parse>(frame: &mut [u8]) -> Result<bool> {
        let frame = Frame::new(frame);
        Ok(finished(&frame, &F::parse(&frame).map_err(|reason| anyhow!("{reason:?}"))?))
    }
    let mut frame = frame.to_vec();
    if frame[12..14] == [8, 0] { of::<V4>(&mut frame) } else { of::<V6>(&mut frame) }
}

fn stay_on_one_cpu() -> Result<()> {
    let mut cpus = CpuSet::new();
    cpus.set(0)?;
    Ok(sched_setaffinity(Pid::from_raw(0), &cpus)?)
}

/// The source under which a packet left.
pub(super) fn egress(frame: &[u8]) -> Result<End> {
    let ip = parse_ip(&frame[14..]).context("no IP")?;
    Ok((ip.source, ip.ports().context("no ports")?.0))
}

pub(super) fn tcp(from: End, to: End, flags: u8, data: &[u8]) -> Vec<u8> {
    header(from.0, to.0, proto::TCP).packet(&build::tcp(from, to, (1, 2), flags, data))
}

pub(super) fn udp(from: End, to: End, data: &[u8]) -> Vec<u8> {
    crate::wire::udp(from, to, data)
}

/// The sum over the pseudo header alone, where the packet's own is: as a socket leaves it.
fn unfinished(from: End, to: End, mut packet: Vec<u8>, l4: usize, at: usize) -> Vec<u8> {
    let octets = |addr: IpAddr| match addr {
        IpAddr::V4(addr) => addr.octets().to_vec(),
        IpAddr::V6(addr) => addr.octets().to_vec(),
    };
    let protocol = if at == 16 { proto::TCP } else { proto::UDP };
    let length = (packet.len() - l4) as u16;
    let covered = [octets(from.0), octets(to.0), length.to_be_bytes().to_vec(), vec![0, protocol]].concat();
    let mut sum: u32 = covered.chunks(2).map(|it| u32::from(u16::from_be_bytes([it[0], it[1]]))).sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    packet[l4 + at..l4 + at + 2].copy_from_slice(&(sum as u16).to_be_bytes());
    packet
}

/// Every way in which a packet of a flow is not for XDP, by name.
fn odd(family: Family, way: Way, from: End, to: End, from_far: IpAddr) -> Vec<(&'static str, Vec<u8>)> {
    let plain = udp(from, to, b"plain");
    let l4 = if family == Family::V4 { 20 } else { 40 };
    let head = |protocol| header(from.0, to.0, protocol);
    let datagram = |data: &[u8]| build::udp(from, to, data);
    let mut unsummed = plain.clone();
    unsummed[l4 + 6..l4 + 8].fill(0);
    let hops = |ttl| Header { ttl, ..head(proto::UDP) }.packet(&datagram(b"late"));
    let with = |change: &dyn Fn(&mut Header)| {
        let mut it = head(proto::UDP);
        change(&mut it);
        it.packet(&datagram(b"odd"))
    };
    let framed = |packet: &[u8]| way.frame(packet);
    let mut broadcast = framed(&plain);
    broadcast[..6].fill(0xff);
    let mut other = framed(&plain);
    other[5] ^= 1;
    let tagged = [&framed(&plain)[..12], &[0x81, 0, 0, 5], &framed(&plain)[12..]].concat();
    let arp = [&framed(&plain)[..12], &[8, 6], &[0; 46]].concat();
    let (query, error) = if family == Family::V4 { (8, 3) } else { (128, 1) };
    let echo = build::icmp(from.0, to.0, query, 0, [0, 7, 0, 1], b"ping");
    let quoting = build::icmp(from_far, to.0, error, 1, [0; 4], &udp(to, from, b"quoted"));
    let mut short = framed(&plain);
    short.truncate(14 + l4 + 4);
    let mut all = vec![
        ("no flow", framed(&udp((from.0, from.1 ^ 0x40), (to.0, to.1 ^ 0x40), b"new"))),
        ("SYN", framed(&tcp(from, to, 2, b""))),
        ("TTL 1", framed(&hops(1))),
        ("TTL 0", framed(&hops(0))),
        ("to everybody", broadcast),
        ("to another MAC", other),
        ("in a VLAN", tagged),
        ("ARP", arp),
        ("cut short", short),
        ("too long", framed(&udp(from, to, &[0; 1480]))),
        ("unfinished UDP", framed(&unfinished(from, to, plain.clone(), l4, 6))),
        ("unfinished TCP", framed(&unfinished(from, to, tcp(from, to, 0x18, b"data"), l4, 16))),
        ("UDP without a sum", framed(&unsummed)),
        ("UDP that may be a tunnel", framed(&udp(from, (to.0, 4789), b"inner"))),
        ("first fragment", framed(&with(&|it| (it.fragment, it.dont_fragment) = (Some((0, true)), false)))),
        ("later fragment", framed(&with(&|it| (it.fragment, it.dont_fragment) = (Some((8, false)), false)))),
        ("ICMP query", framed(&head(icmp(family)).packet(&echo))),
        ("ICMP error", framed(&header(from_far, to.0, icmp(family)).packet(&quoting))),
        ("another protocol", framed(&head(47).packet(b"some GRE bytes"))),
    ];
    if family == Family::V4 {
        all.push(("options", framed(&with(&|it| it.options = vec![1, 1, 1, 0]))));
        let mut damaged = framed(&plain);
        damaged[14 + 10] ^= 1;
        all.push(("damaged header", damaged));
    } else {
        all.push(("extension header", framed(&with(&|it| it.extensions = vec![(60, vec![0, 0, 1, 4, 0, 0, 0, 0])]))));
    }
    all
}

/// Runs `work` beside an agent that uses XDP, with its programs, on one CPU; not where XDP sends nothing.
pub(super) fn with_bench(work: impl Fn(&Lab, &Bench<'_>) -> Result<()> + Send + Sync) -> Result<()> {
    let lab = Lab::build(LabConfig::default())?;
    take_frames(&lab, true)?;
    let agent = Agent::start(&lab, options(&lab)?.with("--forward", "peer"))?;
    if agent.stderr().contains("this kernel does not tell whether") {
        println!(
            "SKIP: the kernel does not tell which interfaces take frames from XDP (Linux 6.3 does), so XDP sends none"
        );
        return Ok(());
    }
    sends(&lab, XDP_OUT | XDP_IN)?;
    let bench = Bench::open(&lab)?;
    lab.gateway.ns.run(|| {
        stay_on_one_cpu()?;
        work(&lab, &bench)
    })?
}

#[test]
fn what_xdp_carries_and_what_not() -> Result<()> {
    if skip(NEEDS) {
        return Ok(());
    }
    with_bench(|lab, bench| {
        Family::BOTH.into_iter().try_for_each(|family| of(lab, bench, family).with_context(|| format!("{family:?}")))
    })
}

fn of(lab: &Lab, bench: &Bench<'_>, family: Family) -> Result<()> {
    let pod: End = (lab.client("pod2")?.addr(family), 4000);
    let far: End = (lab.far.addr(family), 443);
    let router = lab.router.addr(family);
    let seen = bench.flow(&udp(pod, far, b"hello"), pod.0)?;
    let seen_tcp = bench.flow(&tcp(pod, far, 2, b""), pod.0)?;
    eventually("the way back is known", PATIENCE, || Ok(bench.carried(Way::In, &udp(far, seen, b"hi")).is_ok()))
        .with_context(|| format!("{:?}", bench.carried(Way::In, &udp(far, seen, b"hi"))))?;
    bench.tc(Way::In, &tcp(far, seen_tcp, 0x12, b""))?;
    for data in [&b""[..], b"x", b"some data", &[0xff; 1000]] {
        bench.carried(Way::Out, &udp(pod, far, data))?;
        bench.carried(Way::In, &udp(far, seen, data))?;
        bench.carried(Way::Out, &tcp(pod, far, 0x18, data))?;
        bench.carried(Way::In, &tcp(far, seen_tcp, 0x18, data))?;
    }
    // Lengths and ports of every kind: sums come out in all their forms.
    for number in 0..400_u16 {
        let data = vec![number as u8; usize::from(number)];
        bench.carried(
            if number % 2 == 0 { Way::Out } else { Way::In },
            &if number % 2 == 0 { tcp(pod, far, 0x10, &data) } else { tcp(far, seen_tcp, 0x10, &data) },
        )?;
    }
    let before = share(lab)?.0;
    for (what, frame) in odd(family, Way::Out, pod, far, pod.0) {
        bench.passed(Way::Out, &frame, what)?;
    }
    for (what, frame) in odd(family, Way::In, far, seen, router) {
        if what != "UDP that may be a tunnel" {
            bench.passed(Way::In, &frame, what)?;
        }
    }
    ensure!(share(lab)?.0 == before, "what was handed on was counted");
    bench.carried(Way::Out, &udp(pod, far, b"still"))?;
    bench.carried(Way::In, &udp(far, seen, b"still"))?;
    // A next hop is believed for a second.
    sleep(Duration::from_millis(1100));
    bench.passed(Way::Out, &Way::Out.frame(&udp(pod, far, b"later")), "an old next hop")?;
    bench.carried(Way::Out, &udp(pod, far, b"later"))
}
