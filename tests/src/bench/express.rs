//! Where the time of the XDP programs goes: their runs one by one (`BPF_PROG_TEST_RUN`).

use std::net::IpAddr;
use std::os::fd::{AsFd, BorrowedFd};

use anyhow::{Context, Result, ensure};
use aya::programs::SchedClassifier;
use egress_common::abi::family::{V4, V6};

use super::Plan;
use super::frames::MODE;
use super::packets::{SMALL, flows, load};
use super::peers::{Bed, Peer, UNLIMITED, network};
use super::programs::{ATTEMPTS, PORT, REPEATS, RUNS, SPREAD, Section, Way, answers, named, of_itself, pin, sent};
use crate::generator::{Cpu, own};
use crate::lab::addresses::{OVERLAY_ROUTER, SERVER, mac};
use crate::lab::names::{EXTERNAL_PORT, INTERNAL_PORT};
use crate::raw::sys::{self, Hook};
use crate::raw::{XDP_DROP, give};
use crate::system::switch_gro;
use crate::traffic::PATIENCE;
use crate::{Family, Lab, eventually};

/// `XDP_REDIRECT`.
const REDIRECT: u32 = 4;
/// Packets that make TC ask for every next hop.
const ASKING: usize = 1024;

/// Both programs, hot and cold.
pub(super) fn express(plan: &Plan) -> Result<Section> {
    let note = format!(
        "Hot: one flow, mapped onto itself, as its next hops are (they have the gateway's own MACs), and repeated {REPEATS} times: \
         its shortcut is found. Cold: each run is another one of {} flows, one run per system call: the flow table is asked, and \
         a shortcut learned, where its slot is free. TC has asked for the next hops before each round.",
        plan.table / 2
    );
    let mut section = Section::new("Frames in XDP [ns/run]", &SPREAD, &note);
    let lab = Lab::build(network()?.unbridged())?;
    // A cable's end takes frames only if it has NAPI.
    [INTERNAL_PORT, EXTERNAL_PORT].iter().try_for_each(|port| switch_gro(&lab.node, port, true))?;
    let bed = Bed::start(Peer::Ours, &lab, plan.table, &[MODE, UNLIMITED].concat())?;
    fill(plan, &bed, &mut section).with_context(|| bed.log().unwrap_or_default())?;
    Ok(section)
}

fn fill(plan: &Plan, bed: &Bed<'_>, section: &mut Section) -> Result<()> {
    for (family, ip) in [("", SERVER.0.to_string()), ("-6", SERVER.1.to_string())] {
        next_hop(bed, family, &ip, "net1", mac::GATEWAY_INSIDE)?;
    }
    for (family, ip) in [("", OVERLAY_ROUTER.0.to_string()), ("-6", OVERLAY_ROUTER.1.to_string())] {
        next_hop(bed, family, &ip, "eth0", mac::GATEWAY_OUTSIDE)?;
    }
    let nothing = sys::load(Hook::Xdp, &give(XDP_DROP))?;
    let frame = vec![0; 60];
    for (name, repeat) in [("hot, nothing (XDP_DROP)", REPEATS), ("cold, nothing (XDP_DROP)", 1)] {
        let values = rounds(plan, bed, nothing.as_fd(), repeat, XDP_DROP as u32, || Ok(()), |_| &frame)?;
        section.spread(name, values);
    }
    for family in Family::BOTH {
        for way in Way::BOTH {
            let programs = Programs::open(bed, way)?;
            let name = named(programs.name, family);
            // The agent may cut the flow meanwhile: it has no egress address.
            let mut values = hot(plan, bed, &programs, family, way);
            for _ in 1..ATTEMPTS {
                values = values.or_else(|_| hot(plan, bed, &programs, family, way));
            }
            section.spread(format!("hot, {name}"), values.with_context(|| format!("hot, {name}"))?);
        }
        let flows = flows(bed, family, plan.table / 2, PORT, SMALL)?;
        load(bed, &flows)?.send(flows.count, Cpu::LAST)?;
        for way in Way::BOTH {
            let programs = Programs::open(bed, way)?;
            let frames = match (way, family) {
                (Way::Out, _) => (0..RUNS as u32).map(|run| sent(&flows, run)).collect(),
                (Way::In, Family::V4) => answers::<V4>(bed.lab, IpAddr::from)?,
                (Way::In, Family::V6) => answers::<V6>(bed.lab, IpAddr::from)?,
            };
            let (asking, frames) = frames.split_at(ASKING.min(frames.len() / 2));
            let ask = || asking.iter().try_for_each(|frame| programs.ask(frame));
            let frame = |run: usize| &frames[run % frames.len()];
            let values = rounds(plan, bed, programs.xdp.fd()?.as_fd(), 1, REDIRECT, ask, frame)?;
            section.spread(format!("cold, {}", named(programs.name, family)), values);
        }
    }
    Ok(())
}

fn next_hop(bed: &Bed<'_>, family: &str, ip: &str, interface: &str, mac: [u8; 6]) -> Result<()> {
    let mac = mac::text(mac);
    bed.lab.gateway.ns.sh(&format!("ip {family} neighbour replace {ip} lladdr {mac} dev {interface} nud permanent"))?;
    Ok(())
}

/// Both of a direction.
struct Programs {
    name: &'static str,
    xdp: SchedClassifier,
    tc: SchedClassifier,
    index: u32,
}

impl Programs {
    fn open(bed: &Bed<'_>, way: Way) -> Result<Self> {
        let (tc, interface) = way.program();
        let name = if way == Way::Out { "egw_xdp_out" } else { "egw_xdp_in" };
        // A run needs the descriptor only, and aya does not let one name what an XDP program's type is opened with.
        let open = |name| SchedClassifier::from_pin(pin(bed, name)?).with_context(|| format!("open {name}"));
        Ok(Self { name, xdp: open(name)?, tc: open(tc)?, index: bed.lab.gateway.ns.ifindex(interface)? })
    }

    /// TC looks for the next hop, once a second; XDP finds it on the same CPU.
    fn ask(&self, frame: &[u8]) -> Result<()> {
        sys::run_tc(self.tc.fd()?.as_fd(), frame, self.index, 1).map(drop)
    }
}

fn hot(plan: &Plan, bed: &Bed<'_>, programs: &Programs, family: Family, way: Way) -> Result<Vec<f64>> {
    let frame = of_itself(bed, family, way)?;
    let xdp = programs.xdp.fd()?.as_fd();
    let ask = || programs.ask(&frame);
    // The agent says whether XDP may send only after a look.
    bed.lab.gateway.ns.run(|| {
        own(Cpu::LAST)?;
        eventually("XDP sends", PATIENCE, || {
            ask()?;
            Ok(sys::run_xdp(xdp, &frame, 1)?.verdict == REDIRECT)
        })
    })??;
    rounds(plan, bed, xdp, REPEATS, REDIRECT, ask, |_| &frame)
}

/// Means of rounds of runs, each with `before` before it; nearly all runs must end so.
fn rounds<'a>(
    plan: &Plan,
    bed: &Bed<'_>,
    program: BorrowedFd<'_>,
    repeat: u32,
    verdict: u32,
    before: impl Fn() -> Result<()> + Sync,
    frame: impl Fn(usize) -> &'a Vec<u8> + Sync,
) -> Result<Vec<f64>> {
    let runs = plan.runs.min(RUNS) / repeat as usize;
    bed.lab.gateway.ns.run(|| {
        own(Cpu::LAST)?;
        let round = |round: usize| -> Result<f64> {
            before()?;
            let (mut sum, mut so) = (0.0, 0);
            for run in 0..runs {
                let ran = sys::run_xdp(program, frame(round * runs + run), repeat)?;
                sum += f64::from(ran.nanoseconds);
                so += usize::from(ran.verdict == verdict);
            }
            ensure!(so * 100 >= runs * 99, "only {so} of {runs} runs of an XDP program ended in {verdict}");
            Ok(sum / runs as f64)
        };
        (0..plan.rounds).map(round).collect()
    })?
}
