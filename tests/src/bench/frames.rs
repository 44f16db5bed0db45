//! Packets that arrive as XDP frames: sent into the far end of eth0's cable, taken by the gateway's own receive loop.

use anyhow::{Context, Result, ensure};

use super::Plan;
use super::book::Book;
use super::limits::Attached;
use super::packets::{described, flows, payload, turn_to};
use super::peers::{Bed, End, Peer, UNLIMITED, labs, network};
use super::series::{Goal, Measure, State, Unit};
use crate::gateway::Agent;
use crate::generator::{Cpu, Generator, Load};
use crate::lab::names::{EXTERNAL_PORT, INTERNAL_PORT};
use crate::{Family, Lab};

/// For our profile.
pub(super) const MODE: &str = "  datapath: xdp\n";

/// A turn is over in some hundredths of a second, and the machine's moods last longer: as many turns as the others' in time.
const ROUNDS: usize = 5;

fn cases(plan: &Plan) -> Vec<Case> {
    let all = [
        (Family::V4, 0, 1000, 6900),
        (Family::V4, 0, plan.many, 6910),
        (Family::V4, 1, 1000, 6930),
        (Family::V6, 0, 1000, 6940),
    ];
    let count = if plan.quick { 1 } else { all.len() };
    let case = |(family, size, flows, port)| {
        let (name, state) = described(family, size, flows);
        let (name, payload) = (format!("{name}, XDP frames on bare cables"), payload(family, size));
        Case { name, state, family, flows, port, payload }
    };
    all.into_iter().take(count).map(case).filter(|case| plan.wants(&case.name)).collect()
}

struct Case {
    name: String,
    state: State,
    family: Family,
    flows: u32,
    port: u16,
    payload: usize,
}

/// Cost per packet of established flows, dropped by XDP at the far end of net1's cable.
pub(super) fn established(book: &mut Book<'_>) {
    let cases = cases(book.plan);
    if cases.is_empty() {
        return;
    }
    if let Err(error) = in_labs(book, &cases) {
        let names: Vec<_> = cases.iter().map(|case| case.name.as_str()).collect();
        book.fail(&names, &error);
    }
}

/// Fails only if there are no labs with gateways.
fn in_labs(book: &mut Book<'_>, cases: &[Case]) -> Result<()> {
    let labs = labs(&network()?.unbridged(), 3)?;
    // A cable's end takes frames only if it has a program itself.
    let sinks = labs.iter().map(|lab| Attached::drop_frames(&lab.node, EXTERNAL_PORT));
    let _sinks = sinks.collect::<Result<Vec<_>>>()?;
    let beds = beds(&labs)?;
    for case in cases {
        book.take(&[&case.name], 0, |plan| Ok([one(plan, &beds, case)?]));
    }
    Ok(())
}

fn one(plan: &Plan, beds: &[Bed<'_>], case: &Case) -> Result<Measure> {
    let goal = Goal { against: Some(Peer::XdpRedirect), must: 1.5, aim: 1.25, at_most: true };
    let goal = (case.flows == 1000).then_some(goal);
    let mut measure = Measure::new(&case.name, Unit::NsPerPacket, goal).state(case.state);
    let mut loads = Vec::new();
    for bed in beds {
        let flows = flows(bed, case.family, case.flows, case.port, case.payload)?;
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
    Ok(measure)
}

/// Ours and the limits.
fn beds(labs: &[Lab]) -> Result<Vec<Bed<'_>>> {
    let ours = [MODE, UNLIMITED].concat();
    let peers = [(Peer::Ours, ours.as_str()), (Peer::XdpRedirect, ""), (Peer::XdpFloor, "")];
    peers.into_iter().zip(labs).map(|((peer, profile), lab)| Bed::start(peer, lab, 1 << 17, profile)).collect()
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
