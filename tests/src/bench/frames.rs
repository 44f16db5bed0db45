//! Packets that arrive as XDP frames: sent into the far end of eth0's cable, taken by the gateway's own receive loop.

use anyhow::{Context, Result, ensure};

use super::book::Book;
use super::limits::Attached;
use super::packets::{SMALL, flows, turn_to};
use super::peers::{Bed, End, Peer, labs, network};
use super::series::{Goal, Measure, State, Unit};
use crate::gateway::Agent;
use crate::generator::{Cpu, Generator, Load};
use crate::lab::names::{EXTERNAL_PORT, INTERNAL_PORT};
use crate::{Family, Lab};

const NAME: &str = "established, IPv4, 64 B, 1000 flows, XDP frames on bare cables";
const MODE: &str = "  datapath: xdp\n";

/// A turn is over in some hundredths of a second, and the machine's moods last longer: as many turns as the others' in time.
const ROUNDS: usize = 5;

/// Cost per packet of established flows, dropped by XDP at the far end of net1's cable.
pub(super) fn established(book: &mut Book<'_>) {
    book.take(&[NAME], 0, |plan| {
        let labs = labs(&network()?.unbridged(), 3)?;
        // A cable's end takes frames only if it has a program itself.
        let sinks = labs.iter().map(|lab| Attached::drop_frames(&lab.node, EXTERNAL_PORT));
        let _sinks = sinks.collect::<Result<Vec<_>>>()?;
        let (beds, said) = beds(&labs)?;
        let goal = Goal { against: Some(Peer::XdpRedirect), must: 1.5, aim: 1.25, at_most: true };
        let mut measure = Measure::new(NAME, Unit::NsPerPacket, Some(goal)).state(State::Warm);
        measure.notes.extend(said);
        let mut loads = Vec::new();
        for bed in &beds {
            let flows = flows(bed, Family::V4, 1000, 6900, SMALL)?;
            let load = Generator::into_cable(&flows, &bed.lab.node, INTERNAL_PORT)?;
            // What XDP cannot do, as opening a flow, is done by TC: it arrives at the cable's end another way.
            load.send(2 * flows.count, Cpu::LAST)?;
            loads.push(load);
        }
        for _ in 0..ROUNDS * plan.rounds {
            for (bed, load) in beds.iter().zip(&loads) {
                measure.add(bed.peer, one_turn(bed, load, plan.turn)?);
            }
        }
        Ok([measure])
    });
}

/// Ours and the limits; if ours cannot be in that mode, what it said.
fn beds(labs: &[Lab]) -> Result<(Vec<Bed<'_>>, Option<String>)> {
    let (mut beds, mut said) = (Vec::new(), None);
    for (peer, lab) in [Peer::Ours, Peer::XdpRedirect, Peer::XdpFloor].into_iter().zip(labs) {
        match Bed::start(peer, lab, 1 << 17, if peer == Peer::Ours { MODE } else { "" }) {
            Ok(bed) => beds.push(bed),
            Err(error) if peer == Peer::Ours => said = Some(skipped(&format!("{error:#}"))),
            Err(error) => return Err(error),
        }
    }
    Ok((beds, said))
}

fn one_turn(bed: &Bed<'_>, load: &Load<'_>, packets: u32) -> Result<f64> {
    let end = if bed.peer == Peer::XdpFloor { End::Arrival } else { End::Outside };
    if bed.peer != Peer::Ours {
        return turn_to(bed, load, packets, Cpu::LAST, end);
    }
    let before = by_xdp(bed)?;
    let time = turn_to(bed, load, packets, Cpu::LAST, end)?;
    let by_xdp = by_xdp(bed)? - before;
    ensure!(by_xdp > u64::from(packets) / 100 * 99, "only {by_xdp} of {packets} packets went by XDP");
    Ok(time)
}

/// Packets that ours did not hand to TC, which would be measured instead.
fn by_xdp(bed: &Bed<'_>) -> Result<u64> {
    let stats = Agent::query(bed.lab, "stats")?;
    let count = stats.pointer("/gateways/0/counters/xdp_packets").and_then(serde_json::Value::as_u64);
    count.with_context(|| format!("no xdp_packets: {stats}"))
}

/// What the agent said about the mode.
fn skipped(error: &str) -> String {
    let said = error.lines().find(|line| line.contains("xdp")).unwrap_or(error).trim();
    format!("ours in XDP mode is skipped: {said}")
}
