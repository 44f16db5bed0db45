//! New flows, and packets that find no port.

use anyhow::ensure;

use super::book::Book;
use super::packets::{SMALL, flows, load, turn};
use super::peers::{Bed, End, Peer, Sink, network};
use super::series::{Goal, Measure, State, Unit};
use crate::generator::{Cpu, Flows};
use crate::lab::names::EXTERNAL_PORT;
use crate::{Family, Lab};

/// New flows per second: each packet is its flow's first.
pub(super) fn new_flows(book: &mut Book<'_>, beds: &[Bed<'_>]) {
    let nats: Vec<_> = beds.iter().filter(|bed| bed.peer.is_nat()).collect();
    let families: &[Family] = if book.plan.quick { &[Family::V4] } else { &Family::BOTH };
    let counts = [(30_000, 1.4, 2.0, 20_000), (500_000, 2.5, 4.0, 30_000)];
    for (family, (count, must, aim, first)) in families.iter().flat_map(|family| counts.map(|it| (*family, it))) {
        let count = count.min(book.plan.table / 2);
        let version = if family == Family::V4 { "v4" } else { "v6" };
        let name = format!("new flows, IP{version}, 64 B, {count} distinct");
        book.take(&[&name], u64::from(count) * book.plan.rounds as u64, |plan| {
            let goal = Goal { against: Some(Peer::Iptables), must, aim, at_most: false };
            let mut measure = Measure::new(&name, Unit::PerSecond, Some(goal)).state(State::Cold);
            let _sinks = Sink::of(nats.iter().copied(), End::Outside)?;
            for round in 0..plan.rounds {
                for bed in &nats {
                    // Destinations of its own: nothing of the rounds before is in the way.
                    let port = first + 64 * round as u16;
                    let load = load(bed, &flows(bed, family, count, port, SMALL)?)?;
                    measure.add(bed.peer, 1e9 / turn(bed, &load, count, Cpu::LAST)?);
                }
            }
            Ok([measure])
        });
    }
}

/// A ratio, and what it is of.
const NO_PORT: [&str; 3] = [
    "a packet that finds all ports taken, over an established one",
    "a packet that finds all ports taken",
    "an established packet beside those that find all ports taken",
];

/// A packet whose destination has no port left, beside an established one of the same gateway.
pub(super) fn no_port_left(book: &mut Book<'_>) {
    book.take(&NO_PORT, 0, |plan| {
        let lab = Lab::build(network()?)?;
        let more = "  portRange: {min: 20000, max: 20999}\n  fairness: {fromPercent: 100}\n";
        let bed = Bed::start(Peer::Ours, &lab, 1 << 16, more)?;
        let _sink = Sink::at(&bed, End::Outside)?;
        let few = load(&bed, &flows(&bed, Family::V4, 500, 9002, SMALL)?)?;
        turn(&bed, &few, 1000, Cpu::LAST)?;
        // One sender takes every port of both egress addresses towards a destination; then come another one's packets.
        let takes = flows(&bed, Family::V4, 16_000, 9003, SMALL)?;
        load(&bed, &takes)?.send(takes.count, Cpu::LAST)?;
        let many = load(&bed, &Flows { source: lab.client("client2")?.addr(Family::V4), ..takes })?;
        let goal = Goal { against: None, must: 1.5, aim: 1.1, at_most: true };
        let mut ratio = Measure::new(NO_PORT[0], Unit::Times, Some(goal));
        let [mut refused, mut established] =
            [NO_PORT[1], NO_PORT[2]].map(|name| Measure::new(name, Unit::NsPerPacket, None));
        for _ in 0..plan.rounds {
            let passing = turn(&bed, &few, plan.turn, Cpu::LAST)?;
            let before = lab.node.counters(EXTERNAL_PORT)?;
            let time = many.send(plan.turn, Cpu::LAST)?;
            let passed = lab.node.counters(EXTERNAL_PORT)?.since(&before).rx_packets;
            ensure!(passed < u64::from(plan.turn) / 100, "{passed} packets passed where no port is left");
            let dropping = time.as_nanos() as f64 / f64::from(plan.turn);
            refused.add(Peer::Ours, dropping);
            established.add(Peer::Ours, passing);
            ratio.add(Peer::Ours, dropping / passing);
        }
        Ok([ratio, refused, established.state(State::Warm)])
    });
}
