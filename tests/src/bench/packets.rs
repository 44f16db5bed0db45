//! Packets of flows that exist: what one costs, generator and delivery included.

use std::net::IpAddr;
use std::num::NonZero;
use std::thread;
use std::time::Duration;

use anyhow::{Result, anyhow, ensure};

use super::Plan;
use super::book::Book;
use super::peers::{Bed, End, Peer, Sink, gateways, labs, network};
use super::series::{Goal, Measure, State, Unit};
use crate::Family;
use crate::generator::{Cpu, Flows, Generator, Load};
use crate::lab::addresses::mac;
use crate::lab::names::EXTERNAL_PORT;

/// Bytes behind the UDP header of a frame of 64 bytes (84 with IPv6, and its frame check sequence), and the MTU.
pub(super) const SMALL: usize = 18;
const SIZES: [&str; 2] = ["64 B", "1500 B"];

pub(super) const fn payload(family: Family, size: usize) -> usize {
    match (size, family) {
        (0, _) => SMALL,
        (_, Family::V4) => 1500 - 20 - 8,
        (_, Family::V6) => 1500 - 40 - 8,
    }
}

/// The flows of a measure; each port is a measure's own.
pub(super) fn flows(bed: &Bed<'_>, family: Family, count: u32, port: u16, payload: usize) -> Result<Flows> {
    Ok(Flows {
        source: bed.lab.client("client1")?.addr(family),
        first_port: 20_000,
        count,
        destination: (server(bed, family), port),
        macs: (mac::OVERLAY, mac::GATEWAY_INSIDE),
        payload,
    })
}

fn server(bed: &Bed<'_>, family: Family) -> IpAddr {
    bed.lab.server.addr(family)
}

/// A load on the gateway's eth0.
pub(super) fn load<'lab>(bed: &Bed<'lab>, flows: &Flows) -> Result<Load<'lab>> {
    Generator::new(flows)?.into_load(&bed.lab.gateway.ns, "eth0")
}

/// Nanoseconds per packet of a turn; all but a few must arrive at the far end of net1's cable.
pub(super) fn turn(bed: &Bed<'_>, load: &Load<'_>, packets: u32, cpu: Cpu) -> Result<f64> {
    turn_to(bed, load, packets, cpu, End::Outside)
}

/// The same where packets end at this interface.
pub(super) fn turn_to(bed: &Bed<'_>, load: &Load<'_>, packets: u32, cpu: Cpu, end: End) -> Result<f64> {
    let (ns, interface) = bed.at(end);
    let before = ns.counters(interface)?;
    let time = load.send(packets, cpu)?;
    let arrived = ns.counters(interface)?.since(&before).rx_packets;
    let label = bed.peer.label();
    ensure!(arrived > u64::from(packets) / 100 * 99, "{label}: only {arrived} of {packets} packets arrived");
    Ok(time.as_nanos() as f64 / arrived as f64)
}

fn cases(plan: &Plan) -> Vec<(Family, usize, u32)> {
    let quick = plan.quick;
    let counts = if quick { vec![1000, plan.table] } else { vec![1, 1000, plan.many, plan.table] };
    let families: &[Family] = if quick { &[Family::V4] } else { &Family::BOTH };
    let sizes = if quick { 1 } else { SIZES.len() };
    let all = |family: &Family| {
        let family = *family;
        counts.clone().into_iter().flat_map(move |count| (0..sizes).map(move |size| (family, size, count)))
    };
    families.iter().flat_map(all).collect()
}

/// How a measure of established flows begins to be called, and what its packets find.
pub(super) fn described(family: Family, size: usize, count: u32) -> (String, State) {
    let version = if family == Family::V4 { "v4" } else { "v6" };
    let state = if count > 50_000 { State::ColdCaches } else { State::Warm };
    (format!("established, IP{version}, {}, {count} flows", SIZES[size]), state)
}

/// Cost per packet of established flows.
pub(super) fn established(book: &mut Book<'_>, beds: &[Bed<'_>]) {
    for (number, (family, size, count)) in cases(book.plan).into_iter().enumerate() {
        let goal = match count {
            1000 => Some(Goal { against: Some(Peer::Iptables), must: 0.60, aim: 0.50, at_most: true }),
            1_048_576 => Some(Goal { against: Some(Peer::Iptables), must: 0.60, aim: 0.45, at_most: true }),
            _ => None,
        };
        let (name, state) = described(family, size, count);
        let (port, payload) = (7000 + 64 * number as u16, payload(family, size));
        book.take(&[&name], count.into(), |plan| {
            let measure = Measure::new(&name, Unit::NsPerPacket, goal).state(state);
            rounds(plan, measure, beds, End::Outside, |bed| flows(bed, family, count, port, payload))
        });
    }
}

/// The same where the gateway's cables are bridge ports at their other ends, and a server behind the bridge gets the packets;
/// and where they are bare cables.
pub(super) fn topologies(book: &mut Book<'_>, beds: &[Bed<'_>]) {
    let goal = Some(Goal { against: Some(Peer::Iptables), must: 0.60, aim: 0.50, at_most: true });
    let all = [
        (Family::V4, 0, 1000, 6900),
        (Family::V6, 0, 1000, 6910),
        (Family::V4, 1, 1000, 6920),
        (Family::V4, 0, book.plan.many, 6930),
    ];
    let count = if book.plan.quick { 1 } else { all.len() };
    for (family, size, flows_of, port) in all.into_iter().take(count) {
        let (name, state) = described(family, size, flows_of);
        let name = format!("{name}, through a bridge to the server's interface");
        let goal = goal.filter(|_| flows_of == 1000);
        book.take(&[&name], flows_of.into(), |plan| {
            let measure = Measure::new(&name, Unit::NsPerPacket, goal).state(state);
            rounds(plan, measure, beds, End::Server, |bed| flows(bed, family, flows_of, port, payload(family, size)))
        });
    }
    let name = "established, IPv4, 64 B, 1000 flows, bare cables";
    book.take(&[name], 1000, |plan| {
        let peers: Vec<_> = beds.iter().map(|bed| bed.peer).collect();
        let labs = labs(&network()?.unbridged(), peers.len())?;
        let beds = super::peers::beds(&peers, &labs, 1 << 17)?;
        let measure = Measure::new(name, Unit::NsPerPacket, goal).state(State::Warm);
        rounds(plan, measure, &beds, End::Outside, |bed| flows(bed, Family::V4, 1000, 6900, SMALL))
    });
}

/// Opens each bed's flows by a packet each, then takes turns; packets end at `end`.
fn rounds(
    plan: &Plan,
    mut measure: Measure,
    beds: &[Bed<'_>],
    end: End,
    flows: impl Fn(&Bed<'_>) -> Result<Flows>,
) -> Result<[Measure; 1]> {
    let _sinks = Sink::of(beds, end)?;
    let mut loads = Vec::new();
    for bed in beds {
        let flows = flows(bed)?;
        let load = load(bed, &flows)?;
        turn_to(bed, &load, flows.count.max(1000), Cpu::LAST, end)?;
        loads.push(load);
    }
    for _ in 0..plan.rounds {
        for (bed, load) in beds.iter().zip(&loads) {
            measure.add(bed.peer, turn_to(bed, load, plan.turn, Cpu::LAST, end)?);
            if bed.peer == Peer::Forward {
                let _sink = Sink::at(bed, End::Arrival)?;
                let time = load.send(plan.turn, Cpu::LAST)?;
                measure.add(Peer::Floor, time.as_nanos() as f64 / f64::from(plan.turn));
            }
        }
    }
    Ok([measure])
}

const TWO_CORES: &str = "packets per second of two cores over one, 64 B, 1000 flows each";

/// How much more two cores carry than one.
pub(super) fn two_cores(book: &mut Book<'_>, beds: &[Bed<'_>]) {
    if thread::available_parallelism().map_or(1, NonZero::get) < 2 {
        return;
    }
    book.take(&[TWO_CORES], 2000, |plan| {
        let goal = Goal { against: Some(Peer::Forward), must: 0.95, aim: 1.0, at_most: false };
        let mut measure = Measure::new(TWO_CORES, Unit::Times, Some(goal)).state(State::Warm);
        let mut loads = Vec::new();
        let beds = gateways(beds);
        let _sinks = Sink::of(beds.iter().copied(), End::Outside)?;
        for bed in &beds {
            let pair = [
                load(bed, &flows(bed, Family::V4, 1000, 9000, SMALL)?)?,
                load(bed, &flows(bed, Family::V4, 1000, 9001, SMALL)?)?,
            ];
            pair.iter().try_for_each(|load| turn(bed, load, 1000, Cpu::LAST).map(drop))?;
            loads.push(pair);
        }
        for _ in 0..plan.rounds {
            for (bed, pair) in beds.iter().copied().zip(&loads) {
                measure.add(bed.peer, scaling(bed, pair, plan.turn)?);
            }
        }
        Ok([measure])
    });
}

fn scaling(bed: &Bed<'_>, pair: &[Load<'_>; 2], packets: u32) -> Result<f64> {
    let alone = turn(bed, &pair[0], packets, Cpu::LAST)?;
    let before = bed.lab.node.counters(EXTERNAL_PORT)?;
    let both = thread::scope(|scope| {
        let started: Vec<_> =
            pair.iter().enumerate().map(|(cpu, load)| scope.spawn(move || load.send(packets, Cpu(cpu)))).collect();
        let ended = started.into_iter().map(|it| it.join().map_err(|_| anyhow!("a generator panicked"))?);
        ended.collect::<Result<Vec<_>>>()
    })?;
    let arrived = bed.lab.node.counters(EXTERNAL_PORT)?.since(&before).rx_packets;
    let sent = u64::from(packets) * 2;
    ensure!(arrived > sent / 100 * 99, "{}: only {arrived} of {sent} packets arrived", bed.peer.label());
    let rate = |time: &Duration| f64::from(packets) / time.as_nanos() as f64;
    Ok(both.iter().map(rate).sum::<f64>() * alone)
}
