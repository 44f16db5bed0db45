//! Where the time of our programs goes: their size, their runs one by one (`BPF_PROG_TEST_RUN`) and under load
//! (`kernel.bpf_stats_enabled`), and what the helpers cost that they call.

use std::net::IpAddr;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use aya::Pod;
use aya::programs::{ProgramInfo, SchedClassifier};
use aya::sys::{Stats, enable_stats};
use egress_common::abi::family::{V4, V6};
use egress_common::abi::flow::{FlowKey, FlowValue, IN, OUT, Word, seen, state};
use nix::time::{ClockId, clock_gettime};
use serde::Serialize;

use super::Plan;
use super::packets::{SMALL, flows, load, turn};
use super::peers::{Bed, End, Peer, Sink, UNLIMITED, network};
use super::{express, helpers, orders};
use crate::gateway::pins;
use crate::gateway::table::Table;
use crate::generator::{Cpu, Flows, PORTS, own};
use crate::lab::addresses::mac;
use crate::packet::{build, proto};
use crate::raw::give;
use crate::raw::sys::{self, Hook};
use crate::spread::Spread;
use crate::testrun::{Program, Verdict};
use crate::{Family, Lab};

/// A table of the report.
#[derive(Debug, Clone, Serialize)]
pub struct Section {
    /// Its heading.
    pub title: String,
    /// Of the numbers.
    pub columns: Vec<&'static str>,
    /// Names and numbers.
    pub rows: Vec<(String, Vec<f64>)>,
    /// How to read them.
    pub notes: Vec<String>,
}

impl Section {
    pub(super) fn new(title: &str, columns: &[&'static str], note: &str) -> Self {
        Self { title: title.to_owned(), columns: columns.to_vec(), rows: Vec::new(), notes: vec![note.to_owned()] }
    }

    pub(super) fn spread(&mut self, name: impl Into<String>, values: Vec<f64>) {
        let it = Spread::of(values);
        self.rows.push((name.into(), vec![it.median, it.min, it.max]));
    }
}

pub(super) const SPREAD: [&str; 3] = ["median", "min", "max"];
pub(super) const PORT: u16 = 6600;
/// Of both ends of a flow that is mapped onto itself.
const SAME: u16 = 700;
/// A TTL lasts so long, with something to spare.
pub(super) const REPEATS: u32 = 64;
/// Runs of a round.
pub(super) const RUNS: usize = 1 << 15;
/// A prime: flows that come one after the other do not lie so.
const STRIDE: u32 = 611_953;
/// At a flow that must not be cut meanwhile.
const ATTEMPTS: u32 = 5;
const NOTHING: &str = "nothing (TC_ACT_OK)";

/// What `--only` takes.
pub(super) const NAMES: &str = "sizes, hot, cold, load, express, orders and helpers";

/// All of it, by the names that `--only` takes: one that fails does not end the others.
pub fn profile(plan: &Plan) -> Result<Vec<(&'static str, Result<Section>)>> {
    ensure!(nix::unistd::geteuid().is_root(), "it makes network namespaces and loads BPF programs: run it as root");
    // In a lab of its own: the one for TC need not know XDP.
    let express = plan.wants("express").then(|| ("express", express::express(plan)));
    let parts: [(&str, Part); 6] = [
        ("sizes", sizes),
        ("hot", hot),
        ("cold", cold),
        ("load", load_of),
        ("orders", orders::orders),
        ("helpers", helpers::costs),
    ];
    let wanted: Vec<_> = parts.into_iter().filter(|(name, _)| plan.wants(name)).collect();
    if wanted.is_empty() {
        return Ok(Vec::from_iter(express));
    }
    let lab = Lab::build(network()?)?;
    let bed = Bed::start(Peer::Ours, &lab, plan.table, UNLIMITED)?;
    let _sink = Sink::at(&bed, End::Outside)?;
    let log = || bed.log().unwrap_or_default();
    let sections = wanted.into_iter().map(|(name, part)| (name, part(plan, &bed).with_context(log)));
    Ok(sections.chain(express).collect())
}

type Part = fn(&Plan, &Bed<'_>) -> Result<Section>;

pub(super) fn pin(bed: &Bed<'_>, program: &str) -> Result<PathBuf> {
    Ok(pins(bed.lab)?.join("progs").join(program))
}

fn sizes(_: &Plan, bed: &Bed<'_>) -> Result<Section> {
    let columns = ["instructions verified", "bytes of BPF", "bytes of machine code"];
    let mut section = Section::new("Programs", &columns, "As the kernel says (`bpftool prog show`).");
    for name in ["egw_out", "egw_in", "egw_guard", "expire", "import"] {
        let path = pin(bed, name)?;
        let info = ProgramInfo::from_pin(&path)?;
        let number = |value: Option<u32>| value.map_or(f64::NAN, f64::from);
        let machine = f64::from(info.size_jitted());
        let values = vec![number(info.verified_instruction_count()), number(info.size_translated()), machine];
        section.rows.push((name.to_owned(), values));
    }
    Ok(section)
}

/// A direction of the data path.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    Out,
    In,
}

impl Way {
    pub(super) const BOTH: [Self; 2] = [Self::Out, Self::In];

    pub(super) const fn program(self) -> (&'static str, &'static str) {
        match self {
            Self::Out => ("egw_out", "eth0"),
            Self::In => ("egw_in", "net1"),
        }
    }

    /// A packet from one end to the other.
    pub(super) fn frame(self, from: (IpAddr, u16), to: (IpAddr, u16)) -> Vec<u8> {
        let macs = match self {
            Self::Out => (mac::GATEWAY_INSIDE, mac::OVERLAY),
            Self::In => (mac::GATEWAY_OUTSIDE, mac::SERVER),
        };
        let header = build::Header { ttl: 255, ..build::Header::new(from.0, to.0, proto::UDP) };
        build::ethernet(macs.0, macs.1, &header.packet(&build::udp(from, to, &[0; SMALL])))
    }
}

/// Of a row.
pub(super) fn named(program: &str, family: Family) -> String {
    format!("{program}, IP{family:?}").replace("IPV", "IPv")
}

/// A flow whose translation changes nothing: a repeated run sees the same packet, but for its TTL.
fn hot(plan: &Plan, bed: &Bed<'_>) -> Result<Section> {
    let note = "One flow, mapped onto itself; repeated as often as the TTL allows: everything is in the first cache.";
    let mut section = Section::new("A packet of one flow [ns/run]", &SPREAD, note);
    section.spread(NOTHING, empty(plan, bed, REPEATS)?);
    for family in Family::BOTH {
        for way in Way::BOTH {
            let values = (0..ATTEMPTS).find_map(|_| same(plan, bed, family, way).transpose());
            let name = named(way.program().0, family);
            section.spread(&name, values.with_context(|| format!("{name}: the flow did not last"))??);
        }
    }
    Ok(section)
}

/// None if the flow was cut meanwhile: it has no egress address, and the agent may look.
fn same(plan: &Plan, bed: &Bed<'_>, family: Family, way: Way) -> Result<Option<Vec<f64>>> {
    let frame = of_itself(bed, family, way)?;
    let (name, interface) = way.program();
    let passes = || -> Result<bool> {
        let program = Program::open(&bed.lab.gateway.ns, &pin(bed, name)?, interface)?;
        Ok(program.run(&frame)?.verdict == Verdict::Redirect)
    };
    let program = SchedClassifier::from_pin(pin(bed, name)?)?;
    let before = passes()?;
    let values = rounds(plan, bed, program.fd()?.as_fd(), interface, REPEATS, |_| &frame)?;
    Ok((before && passes()?).then_some(values))
}

/// Makes such a flow; the packet of it that goes this way.
fn of_itself(bed: &Bed<'_>, family: Family, way: Way) -> Result<Vec<u8>> {
    let (pod, server) = (bed.lab.client("client1")?.addr(family), bed.lab.server.addr(family));
    match (pod, server) {
        (IpAddr::V4(pod), IpAddr::V4(server)) => onto_itself::<V4>(bed.lab, pod.octets(), server.octets())?,
        (IpAddr::V6(pod), IpAddr::V6(server)) => onto_itself::<V6>(bed.lab, pod.into(), server.into())?,
        _ => {}
    }
    let ends = [(pod, SAME), (server, SAME)];
    Ok(if way == Way::Out { way.frame(ends[0], ends[1]) } else { way.frame(ends[1], ends[0]) })
}

fn onto_itself<F: Table>(lab: &Lab, pod: F::Addr, server: F::Addr) -> Result<()>
where
    FlowKey<F::Addr>: Pod,
    FlowValue<F>: Pod,
{
    let now = clock_gettime(ClockId::CLOCK_BOOTTIME).context("CLOCK_BOOTTIME")?.tv_sec() as u32;
    let key = FlowKey { saddr: pod, daddr: server, sport: SAME, dport: SAME, proto: proto::UDP, dir: OUT, zone: 0 };
    let mut table = F::open(lab)?;
    for (key, state) in [(key, 0), (key.reply(pod, SAME), state::REPLY)] {
        let word = Word { port: SAME, seen: seen::ACK, state };
        table.insert(key, FlowValue::new(pod, word, now), 0).context("a flow that is mapped onto itself")?;
    }
    Ok(())
}

/// Each run is another flow's, of as many as the table holds.
fn cold(plan: &Plan, bed: &Bed<'_>) -> Result<Section> {
    let title = format!("Packets of {} flows [ns/run]", plan.table / 2);
    let note = "Each run is another flow's, one run per system call: what a packet finds is in memory, and two readings of \
                the clock are in each number, as in that of nothing.";
    let mut section = Section::new(&title, &SPREAD, note);
    section.spread(NOTHING, empty(plan, bed, 1)?);
    for family in Family::BOTH {
        let flows = flows(bed, family, plan.table / 2, PORT, SMALL)?;
        turn(bed, &load(bed, &flows)?, flows.count, Cpu::LAST)?;
        for way in Way::BOTH {
            let frames = frames(bed, &flows, family, way)?;
            let (name, interface) = way.program();
            let program = SchedClassifier::from_pin(pin(bed, name)?)?;
            let values = rounds(plan, bed, program.fd()?.as_fd(), interface, 1, |run| &frames[run % frames.len()])?;
            section.spread(named(name, family), values);
        }
    }
    Ok(section)
}

/// Packets of flows from all over the table, one for each run of a round.
pub(super) fn frames(bed: &Bed<'_>, flows: &Flows, family: Family, way: Way) -> Result<Vec<Vec<u8>>> {
    match (way, family) {
        (Way::Out, _) => Ok((0..RUNS as u32).map(|run| sent(flows, run)).collect()),
        (Way::In, Family::V4) => answers::<V4>(bed.lab, IpAddr::from),
        (Way::In, Family::V6) => answers::<V6>(bed.lab, IpAddr::from),
    }
}

/// The packet of some flow, as the generator makes it.
fn sent(flows: &Flows, run: u32) -> Vec<u8> {
    let number = run.wrapping_mul(STRIDE) % flows.count;
    let (sender, port) = ((number / PORTS) as u16, (number % PORTS) as u16);
    let source = match flows.source {
        IpAddr::V4(it) => IpAddr::from((u32::from(it) + u32::from(sender)).to_be_bytes()),
        IpAddr::V6(it) => IpAddr::from((u128::from(it) + u128::from(sender)).to_be_bytes()),
    };
    let (server, to) = flows.destination;
    Way::Out.frame((source, flows.first_port + port), (server, to + sender))
}

/// Answers of flows from all over the table.
fn answers<F: Table>(lab: &Lab, ip: impl Fn(F::Addr) -> IpAddr) -> Result<Vec<Vec<u8>>>
where
    FlowKey<F::Addr>: Pod,
    FlowValue<F>: Pod,
{
    let keys: Vec<_> = F::open(lab)?.keys().filter_map(Result::ok).filter(|key| key.dir == IN).collect();
    ensure!(!keys.is_empty(), "there are no flows");
    let pick = |run: usize| &keys[run.wrapping_mul(STRIDE as usize) % keys.len()];
    let frame = |key: &FlowKey<F::Addr>| Way::In.frame((ip(key.saddr), key.sport), (ip(key.daddr), key.dport));
    Ok((0..RUNS).map(pick).map(frame).collect())
}

pub(super) fn empty(plan: &Plan, bed: &Bed<'_>, repeat: u32) -> Result<Vec<f64>> {
    let program = sys::load(Hook::Ingress, &give(0))?;
    let frame = vec![0; 60];
    rounds(plan, bed, program.as_fd(), "eth0", repeat, |_| &frame)
}

/// Means of rounds of runs.
pub(super) fn rounds<'a>(
    plan: &Plan,
    bed: &Bed<'_>,
    program: BorrowedFd<'_>,
    interface: &str,
    repeat: u32,
    frame: impl Fn(usize) -> &'a Vec<u8> + Sync,
) -> Result<Vec<f64>> {
    let index = bed.lab.gateway.ns.ifindex(interface)?;
    let runs = plan.runs.min(RUNS) / repeat as usize;
    bed.lab.gateway.ns.run(|| {
        own(Cpu::LAST)?;
        let round = |round: usize| -> Result<f64> {
            let once = |run| {
                sys::run_tc(program, frame(round * runs + run), index, repeat).map(|it| f64::from(it.nanoseconds))
            };
            Ok((0..runs).map(once).sum::<Result<f64>>()? / runs as f64)
        };
        (0..plan.rounds).map(round).collect()
    })?
}

/// Under load, as the kernel counts it: two readings of the clock are in each number.
fn load_of(plan: &Plan, bed: &Bed<'_>) -> Result<Section> {
    let note = "Mean of all runs while the generator sends (`kernel.bpf_stats_enabled`, for this long only): that switch adds \
                two readings of the clock to each run.";
    let mut section = Section::new("egw_out under load, IPv4, 64 B [ns/run]", &SPREAD, note);
    let program = SchedClassifier::from_pin(pin(bed, "egw_out")?)?;
    let _counted = enable_stats(Stats::RunTime).context("switch the statistics of programs on")?;
    for (number, count) in [1, 1000, plan.table / 4].into_iter().enumerate() {
        let load = load(bed, &flows(bed, Family::V4, count, PORT + 200 + 64 * number as u16, SMALL)?)?;
        turn(bed, &load, count.max(1000), Cpu::LAST)?;
        let mut values = Vec::new();
        for _ in 0..plan.rounds {
            let before = program.info()?;
            turn(bed, &load, plan.turn.max(count), Cpu::LAST)?;
            let after = program.info()?;
            let time = after.run_time().saturating_sub(before.run_time());
            values.push(time.as_nanos() as f64 / (after.run_count() - before.run_count()) as f64);
        }
        section.spread(format!("{count} flows"), values);
    }
    Ok(section)
}
