//! A million flows at once, and the memory that they take.

use std::fs;
use std::os::fd::{AsFd, AsRawFd};
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use aya::maps::MapData;
use egress_tests::gateway::Agent;
use egress_tests::{Family, Lab, LabConfig, skip};

use super::agent;
use super::runs::{Frame, Programs};
use crate::rig::{NEEDS, map, stat, text};

const FLOWS: usize = 1_000_000;
/// Of each source.
const EACH: usize = 1000;
/// Less than that free, and the test is none of this machine's.
const NEEDED_KIB: u64 = 4 << 20;
/// What the agent reckons with beside the tables.
const RESERVE_MIB: u64 = 48;

fn available_kib() -> Result<u64> {
    let text = fs::read_to_string("/proc/meminfo")?;
    let line = text.lines().find_map(|line| line.strip_prefix("MemAvailable:")).context("MemAvailable")?;
    Ok(line.trim().trim_end_matches(" kB").parse()?)
}

/// Bytes that the kernel took for a map.
fn memory(lab: &Lab, name: &str) -> Result<u64> {
    let map = MapData::from_pin(map(lab, name)?)?;
    let info = fs::read_to_string(format!("/proc/self/fdinfo/{}", map.fd().as_fd().as_raw_fd()))?;
    let line = info.lines().find_map(|line| line.strip_prefix("memlock:")).context("memlock")?;
    Ok(line.trim().parse()?)
}

#[test]
fn a_million_flows_fit_the_memory_that_was_reckoned() -> Result<()> {
    if skip(NEEDS) {
        return Ok(());
    }
    let free = available_kib()?;
    if free < NEEDED_KIB {
        println!("SKIP: {} MiB of memory are free, a million flows want {}", free >> 10, NEEDED_KIB >> 10);
        return Ok(());
    }
    let lab = Lab::build(LabConfig::default())?;
    let _agent = agent(&lab, "{maxFlows: 1048576}")?;
    let programs = Programs::open(&lab)?;
    let family = Family::V4;
    let mut frame = Frame::new(lab.client("pod1")?.addr(family), lab.far.addr(family), None, false);
    lab.gateway.ns.run(|| programs.warm_up(frame.ports(1, 1)))??;
    let begin = Instant::now();
    // Fairness is at its default: beyond three quarters of the table too a source of a thousand flows is small.
    let mut send = |every: usize| {
        lab.gateway.ns.run(|| -> Result<usize> {
            let mut sent = 0;
            for n in (0..FLOWS).step_by(every) {
                frame.source(0x0101 + (n / EACH) as u16);
                let own = (n % EACH) as u16 + 2000;
                sent += usize::from(programs.out(frame.ports(own, 100 + (n % 50) as u16))?.sent());
            }
            Ok(sent)
        })?
    };
    let sent = send(1)?;
    println!("{sent} of {FLOWS} flows opened in {:?}", begin.elapsed());
    ensure!(sent == FLOWS && stat(&lab, "table/flows")? == FLOWS as u64 + 1, "{sent} of {FLOWS} flows opened");
    let created = stat(&lab, "counters/flows_created")?;
    // All are there, and a packet of any of them goes by it.
    ensure!(send(97)? == FLOWS.div_ceil(97) && stat(&lab, "counters/flows_created")? == created);

    let doctor = Agent::query(&lab, "doctor")?;
    let checks = doctor["checks"].as_array().context("checks")?;
    let table = checks.iter().find(|it| it["name"] == "flow table").context("flow table")?;
    let said = text(table, "detail");
    let mib: u64 = said.split("tables of ").nth(1).and_then(|it| it.split(' ').next()).context("no size")?.parse()?;
    let tables = [memory(&lab, "FLOWS4")?, memory(&lab, "FLOWS6")?];
    let folder = map(&lab, "FLOWS4")?;
    let mut others = 0;
    for entry in fs::read_dir(folder.parent().context("no folder")?)? {
        let name = entry?.file_name();
        let name = name.to_str().context("a map's name")?;
        if !name.starts_with("FLOWS") {
            others += memory(&lab, name)?;
        }
    }
    println!(
        "{said}; {:.1} and {:.1} bytes per flow of IPv4 and IPv6, {:.1} MiB in other maps",
        tables[0] as f64 / f64::from(1 << 20),
        tables[1] as f64 / f64::from(1 << 20),
        others as f64 / f64::from(1 << 20)
    );
    // A map has some kilobytes beside its elements.
    ensure!(tables.iter().sum::<u64>() <= (mib << 20) + (1 << 20), "{tables:?} of {mib} MiB");
    ensure!(others < RESERVE_MIB << 20, "{others} bytes in other maps");
    Ok(())
}
