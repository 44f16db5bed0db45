//! What Cilium #33074 loses: two Pods open 1,650 connections a second each to one server for 25 seconds, and close them first.
//! 82,500 connections on 56,320 ports, each of which stays taken by a closed one.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use egress_common::abi::usage::{CELLS, Cell};
use egress_common::nat::fair::ALL;
use egress_tests::{Family, Lab, LabConfig, eventually, skip};

use super::agent;
use super::runs::{Frame, Programs};
use crate::rig::{FOLLOW, NEEDS, change_config, config, stat, used};

const SECONDS: u64 = 25;
/// Of each Pod.
const RATE: u64 = 1650;
const PODS: u64 = 2;
/// Local ports that the Pods use, from the first to the last and again.
const FIRST: u64 = 1024;
const LOCAL: u64 = 65_536 - FIRST;
/// The clock is moved on so often, it need not be waited for.
const TICK: Duration = Duration::from_millis(50);

const FIN: u8 = 1;
const SYN: u8 = 2;
const ACK: u8 = 16;

/// The packets of a connection, from either end.
struct Connection {
    syn: Frame,
    ack: Frame,
    fin: Frame,
    syn_ack: Frame,
    fin_ack: Frame,
}

#[test]
fn a_busy_destination_with_clients_that_close_first() -> Result<()> {
    if skip(NEEDS) {
        return Ok(());
    }
    let lab = Lab::build(LabConfig::default())?;
    let _agent = agent(&lab, "{}")?;
    let programs = Programs::open(&lab)?;
    for (family, seconds) in [(Family::V4, SECONDS), (Family::V6, SECONDS)] {
        let [tries, reclaimed] = ["counters/port_tries", "counters/flows_reclaimed"];
        let before = (stat(&lab, tries)?, stat(&lab, reclaimed)?);
        let begin = Instant::now();
        let failures = connections(&lab, &programs, family, seconds)?;
        let all = seconds * PODS * RATE;
        println!(
            "{family:?}: {all} connections, {failures} failures, {:.2} tries each, {} ports taken over, in {:?}",
            (stat(&lab, tries)? - before.0) as f64 / all as f64,
            stat(&lab, reclaimed)? - before.1,
            begin.elapsed()
        );
        ensure!(failures == 0, "{family:?}: {failures} of {all} connections failed");
        ensure!(stat(&lab, reclaimed)? - before.1 >= all - 56_320, "the ports were never used up");
    }
    // What was counted of flows that began is taken back, however they ended.
    let left = |name| Ok::<_, anyhow::Error>(used(&lab, name)?.get(&ALL, 0)?.first);
    ensure!(left("USE4")? as u64 + left("USE6")? as u64 == stat(&lab, "table/flows")?);
    change_config(&lab, |config| config.clock_offset_ns += 1_000_000_000_000)?;
    eventually("every flow ends", FOLLOW, || Ok(stat(&lab, "table/flows")? == 0))?;
    for name in ["USE4", "USE6"] {
        let cells: Vec<Cell> = used(&lab, name)?.iter().collect::<Result<_, _>>()?;
        let wrong = cells.iter().filter(|it| **it != Cell::default()).count();
        ensure!(cells.len() == CELLS && wrong == 0, "{wrong} of {} cells of {name} are not 0", cells.len());
    }
    Ok(())
}

fn connections(lab: &Lab, programs: &Programs, family: Family, seconds: u64) -> Result<usize> {
    let (far, egress) = (lab.far.addr(family), lab.gateway.addr(family));
    let mut pods = Vec::new();
    for name in ["pod1", "pod2"] {
        let pod = lab.client(name)?.addr(family);
        let out = |flags| Frame::new(pod, far, Some(flags), false);
        let back = |flags| Frame::new(far, egress, Some(flags), true);
        let (syn_ack, fin_ack) = (back(SYN | ACK), back(FIN | ACK));
        pods.push(Connection { syn: out(SYN), ack: out(ACK), fin: out(FIN | ACK), syn_ack, fin_ack });
    }
    lab.gateway.ns.run(|| programs.warm_up(pods[0].syn.ports(1, 1)))??;
    let (start, offset) = (Instant::now(), config(lab)?.clock_offset_ns);
    let mut failures = 0;
    let ticks = seconds * 1000 / TICK.as_millis() as u64;
    for tick in 0..ticks {
        // The clock shows what it would in a test that waits.
        let ahead = (TICK * tick as u32).saturating_sub(start.elapsed());
        change_config(lab, |config| config.clock_offset_ns = offset + ahead.as_nanos() as u64)?;
        let these = tick * RATE * seconds / ticks..(tick + 1) * RATE * seconds / ticks;
        failures += lab.gateway.ns.run(|| -> Result<usize> {
            let mut failed = 0;
            // Of one tick: no two connections share a port of the gateway.
            let mut used = HashSet::new();
            for n in these {
                for pod in &mut pods {
                    let own = (FIRST + n % LOCAL) as u16;
                    let port = connect(programs, pod, own)?;
                    failed += usize::from(port.is_none_or(|port| !used.insert(port)));
                }
            }
            Ok(failed)
        })??;
    }
    Ok(failures)
}

/// Opens and closes one; its port outside, or none if a packet was lost.
fn connect(programs: &Programs, it: &mut Connection, own: u16) -> Result<Option<u16>> {
    let (ran, port) = programs.out_as(it.syn.ports(own, 443))?;
    if !ran.sent() {
        return Ok(None);
    }
    let whole = programs.inward(it.syn_ack.ports(443, port))?.sent()
        && programs.out(it.ack.ports(own, 443))?.sent()
        && programs.out(it.fin.ports(own, 443))?.sent()
        && programs.inward(it.fin_ack.ports(443, port))?.sent()
        && programs.out(it.ack.ports(own, 443))?.sent();
    Ok(whole.then_some(port))
}
