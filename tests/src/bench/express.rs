//! Where the time of the XDP programs goes: their runs one by one (`BPF_PROG_TEST_RUN`).

use std::os::fd::{AsFd, BorrowedFd};

use anyhow::{Context, Result, ensure};
use aya::programs::SchedClassifier;

use super::Plan;
use super::frames::MODE;
use super::packets::{SMALL, flows, load};
use super::peers::{Bed, Peer, UNLIMITED, network};
use super::programs::{PORT, RUNS, SPREAD, Section, Way, frames, named, pin};
use crate::generator::{Cpu, own};
use crate::lab::names::{EXTERNAL_PORT, INTERNAL_PORT};
use crate::raw::sys::{self, Hook};
use crate::raw::{XDP_DROP, give};
use crate::system::switch_gro;
use crate::traffic::PATIENCE;
use crate::{Family, Lab, eventually};

/// `XDP_REDIRECT`.
const REDIRECT: u32 = 4;
/// Packets that make TC ask for every next hop.
const ASKING: usize = 64;
/// Runs that take far less than the second for which a next hop is believed: each changes the kernel's dispatcher of XDP programs.
const BELIEVED: usize = 256;

/// Both programs, hot and cold.
pub(super) fn express(plan: &Plan) -> Result<Section> {
    let note = format!(
        "One run per system call. Hot: one flow, whose shortcut is found. Cold: each run is another one of {} flows: the flow table is \
         asked, and a shortcut learned, where its slot is free. TC has asked for the next hops just before; runs that XDP hands to \
         TC do not count, and are less than half.",
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
    let nothing = sys::load(Hook::Xdp, &give(XDP_DROP))?;
    let frame = vec![0; 60];
    let values = rounds(plan, bed, nothing.as_fd(), XDP_DROP as u32, || Ok(()), |_| &frame)?;
    section.spread("nothing (XDP_DROP)", values);
    for family in Family::BOTH {
        let flows = flows(bed, family, plan.table / 2, PORT, SMALL)?;
        load(bed, &flows)?.send(flows.count, Cpu::LAST)?;
        for way in Way::BOTH {
            one_way(plan, bed, (family, way), &frames(bed, &flows, family, way)?, section)?;
        }
    }
    Ok(())
}

fn one_way(
    plan: &Plan,
    bed: &Bed<'_>,
    (family, way): (Family, Way),
    frames: &[Vec<u8>],
    section: &mut Section,
) -> Result<()> {
    let programs = Programs::open(bed, way)?;
    let xdp = programs.xdp.fd()?.as_fd();
    let (asking, frames) = frames.split_at(ASKING.min(frames.len() / 2));
    let ask = || asking.iter().try_for_each(|frame| programs.ask(frame));
    // The agent says whether XDP may send only after a look.
    bed.lab.gateway.ns.run(|| {
        own(Cpu::LAST)?;
        eventually("XDP sends", PATIENCE, || {
            ask()?;
            Ok(sys::run_xdp(xdp, &frames[0], 1)?.verdict == REDIRECT)
        })
    })??;
    for (state, flows) in [("hot", 1), ("cold", frames.len())] {
        let name = format!("{state}, {}", named(programs.name, family));
        let values = rounds(plan, bed, xdp, REDIRECT, ask, |run| &frames[run % flows]);
        section.spread(name.clone(), values.context(name)?);
    }
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

/// Means of those runs of a round that end so, with `before` before every so many. Others may be handed to TC: a next hop is
/// believed for a second only, and a run takes as long as the machine likes.
fn rounds<'a>(
    plan: &Plan,
    bed: &Bed<'_>,
    program: BorrowedFd<'_>,
    verdict: u32,
    before: impl Fn() -> Result<()> + Sync,
    frame: impl Fn(usize) -> &'a Vec<u8> + Sync,
) -> Result<Vec<f64>> {
    let runs = plan.runs.min(RUNS);
    bed.lab.gateway.ns.run(|| {
        own(Cpu::LAST)?;
        let round = |round: usize| -> Result<f64> {
            let (mut sum, mut so) = (0.0, 0);
            for run in 0..runs {
                if run % BELIEVED == 0 {
                    before()?;
                }
                let ran = sys::run_xdp(program, frame(round * runs + run), 1)?;
                if ran.verdict == verdict {
                    sum += f64::from(ran.nanoseconds);
                    so += 1;
                }
            }
            ensure!(so * 2 > runs, "only {so} of {runs} runs of an XDP program ended in {verdict}");
            Ok(sum / so as f64)
        };
        (0..plan.rounds).map(round).collect()
    })?
}
