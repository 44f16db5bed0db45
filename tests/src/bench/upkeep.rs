//! What a large table costs beside its packets: memory, and the agent's time.

use std::collections::BTreeMap;
use std::fs;
use std::os::fd::{AsFd, AsRawFd};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use aya::maps::MapInfo;
use aya::programs::ProgramInfo;
use nix::time::ClockId;
use serde_json::Value;

use super::Plan;
use super::book::Book;
use super::packets::{SMALL, flows, load, turn};
use super::peers::{Bed, End, Peer, Sink, UNLIMITED, network};
use super::series::{Goal, Measure, Unit};
use crate::gateway::{Agent, pins, table};
use crate::generator::Cpu;
use crate::traffic::PATIENCE;
use crate::{Family, Lab};

/// Longer than any flow may be idle.
const LEAP_NS: u64 = 100_000_000_000_000;
/// The kernel's own bookkeeping is noise beside fewer rows.
const ENOUGH_ROWS: u32 = 100_000;

/// The families, and how the names of the other one's maps end.
const FAMILIES: [(&str, char); 2] = [("IPv4", '6'), ("IPv6", '4')];

/// All of it.
pub(super) fn upkeep(book: &mut Book<'_>) {
    let plan = book.plan;
    let memories =
        FAMILIES.map(|(family, _)| format!("memory per {family} flow, all maps, room for {} flows", plan.table));
    let agents = [
        format!("the agent's CPU with flows that live, {} of them", plan.table),
        format!("the agent's CPU to end flows, {} at once", plan.table),
    ];
    let names = memories.iter().chain(&agents).map(String::as_str);
    let wanted: Vec<_> = names.filter(|name| plan.wants(name)).collect();
    if wanted.is_empty() {
        return;
    }
    if let Err(error) = in_a_lab(book, &memories, &agents) {
        book.fail(&wanted, &error);
    }
}

/// Fails only if there is no lab.
fn in_a_lab(book: &mut Book<'_>, memories: &[String; 2], agents: &[String; 2]) -> Result<()> {
    let lab = Lab::build(network()?)?;
    let bed = Bed::start(Peer::Ours, &lab, book.plan.table, UNLIMITED)?;
    let room = book.room();
    for (name, family) in memories.iter().zip(FAMILIES) {
        book.take(&[name], 0, |plan| Ok([memory(plan, &bed, name, family, room)?]));
    }
    let [living, ended] = agents;
    book.take(&[living, ended], 0, |plan| {
        agent(plan, &bed, living, ended)
            .inspect_err(|_| eprintln!("the agent's log:\n{}", bed.log().unwrap_or_default()))
    });
    Ok(())
}

/// What the kernel accounts for our maps, by flow that there is room for.
fn memory(plan: &Plan, bed: &Bed<'_>, name: &str, (family, other): (&str, char), room: u64) -> Result<Measure> {
    let goal = Goal { against: None, must: 248.0, aim: 232.0, at_most: true };
    let goal = (family == "IPv4").then_some(goal);
    let mut measure = Measure::new(name, Unit::Bytes, goal);
    let (mut all, mut tables, mut others) = (0, 0, Vec::new());
    for (name, bytes) in maps(bed)?.into_iter().filter(|(name, _)| !name.ends_with(other)) {
        all += bytes;
        if name.starts_with("FLOWS") {
            tables += bytes;
        } else {
            others.push((bytes, name));
        }
    }
    measure.add(Peer::Ours, all as f64 / f64::from(plan.table));
    let rest = all - tables;
    measure.notes.push(format!("the flow table {tables} bytes, all other maps {rest} bytes (`memlock` of fdinfo)"));
    others.sort_unstable();
    let largest: Vec<_> = others.iter().rev().take(6).map(|(bytes, name)| format!("{name} {bytes}")).collect();
    measure.notes.push(format!("of those: {}", largest.join(", ")));
    if family == "IPv4" {
        measure.notes.push(slab());
        let label = Peer::Iptables.label();
        if u64::from(plan.table) > room {
            measure.notes.push(format!("{label}: skipped: nf_conntrack_max is {room} and may not be raised"));
        } else if plan.table >= ENOUGH_ROWS {
            measure.add(Peer::Iptables, conntrack(plan)?);
            let how = "growth of Slab in /proc/meminfo while flows were opened, without conntrack's hash table";
            measure.notes.push(format!("{label}: {how}"));
        }
    }
    Ok(measure)
}

/// Every map that a program of ours uses, with the bytes that the kernel accounts for it.
fn maps(bed: &Bed<'_>) -> Result<BTreeMap<String, u64>> {
    let mut found = BTreeMap::new();
    for program in ["egw_out", "egw_in", "egw_guard", "expire", "import"] {
        let program = ProgramInfo::from_pin(pins(bed.lab)?.join("progs").join(program))?;
        for id in program.map_ids()?.context("the kernel does not tell a program's maps")? {
            let map = MapInfo::from_id(id)?;
            found.insert(map.name_as_str().unwrap_or_default().to_owned(), locked(&map)?);
        }
    }
    Ok(found)
}

fn locked(map: &MapInfo) -> Result<u64> {
    let map = map.fd()?;
    let text =
        fs::read_to_string(format!("/proc/self/fdinfo/{}", map.as_fd().as_raw_fd())).context("fdinfo of a map")?;
    let line = text.lines().find_map(|line| line.strip_prefix("memlock:")).context("no memlock in fdinfo")?;
    line.trim().parse().with_context(|| format!("memlock {line}"))
}

/// The size of a conntrack row, without what hangs on it.
fn slab() -> String {
    let text = fs::read_to_string("/proc/slabinfo").unwrap_or_default();
    let size = text.lines().find_map(|line| line.strip_prefix("nf_conntrack ")?.split_whitespace().nth(2));
    size.map_or_else(
        || "nf_conntrack: /proc/slabinfo says nothing of it here".to_owned(),
        |size| format!("nf_conntrack: {size} bytes of a row, without its extensions (/proc/slabinfo)"),
    )
}

/// Bytes of kernel memory that a row of conntrack takes, with NAT.
fn conntrack(plan: &Plan) -> Result<f64> {
    let lab = Lab::build(network()?)?;
    let bed = Bed::start(Peer::Iptables, &lab, 0, "")?;
    let before = slabs()?;
    let sink = open(&bed, plan.table)?;
    let grown = slabs()? - before;
    drop(sink);
    drop(bed);
    drop(lab);
    // They are freed later; nothing is measured beside that.
    let patience = Instant::now() + plan.watch;
    while slabs()? - before > grown / 16.0 && Instant::now() < patience {
        thread::sleep(Duration::from_millis(100));
    }
    Ok(grown * 1024.0 / f64::from(plan.table))
}

fn slabs() -> Result<f64> {
    let text = fs::read_to_string("/proc/meminfo").context("/proc/meminfo")?;
    let line = text.lines().find_map(|line| line.strip_prefix("Slab:")).context("no Slab in /proc/meminfo")?;
    line.trim().trim_end_matches(" kB").parse().with_context(|| line.to_owned())
}

fn open<'lab>(bed: &Bed<'lab>, count: u32) -> Result<Sink<'lab>> {
    let sink = Sink::at(bed, End::Outside)?;
    let load = load(bed, &flows(bed, Family::V4, count, 6700, SMALL)?)?;
    turn(bed, &load, count, Cpu::LAST)?;
    Ok(sink)
}

/// The agent's user and system time.
fn agent(plan: &Plan, bed: &Bed<'_>, living_name: &str, ended_name: &str) -> Result<[Measure; 2]> {
    let process = bed.agent.as_ref().context("no agent")?;
    let clock = ClockId::pid_cpu_clock_id(process.pid()).context("the agent's CPU clock")?;
    let used = || clock.now().map(Duration::from).context("the agent's CPU clock");
    let over = |time: Duration| -> Result<f64> {
        let before = used()?;
        thread::sleep(time);
        Ok(used()?.saturating_sub(before).as_secs_f64() / time.as_secs_f64())
    };
    // It has begun.
    thread::sleep(plan.watch / 10);
    let empty = over(plan.watch / 2)?;
    let _sink = open(bed, plan.table)?;
    // What it has to say of new flows is said.
    thread::sleep(plan.watch / 10);
    let living = over(plan.watch)?;
    let count = f64::from(plan.table);
    let mut idle = Measure::new(living_name, Unit::Percent, None);
    idle.add(Peer::Ours, 100.0 * living);
    let (each, seconds) = (1e9 * (living - empty) / count, plan.watch.as_secs_f64());
    idle.notes.push(format!("{:.3} % with an empty table; {each:.1} ns per flow and second", 100.0 * empty));
    idle.notes.push(format!("user and system time of all its threads over {seconds} s"));

    let before = removed(bed.lab)?;
    let (start, used_before) = (Instant::now(), used()?);
    table::change_config(bed.lab, |config| config.clock_offset_ns += LEAP_NS)?;
    let mut gone = 0;
    let enough = if plan.quick { plan.watch / 2 } else { plan.watch * 4 };
    let all = u64::from(plan.table);
    while gone < all && start.elapsed() < if gone == 0 { PATIENCE } else { enough } {
        thread::sleep(plan.watch / 10);
        gone = removed(bed.lab)? - before;
    }
    let (cost, time) = (used()?.saturating_sub(used_before), start.elapsed());
    ensure!(gone > 0, "no flow ended within {time:?}");
    let mut ended = Measure::new(ended_name, Unit::NsPerFlow, None);
    ended.add(Peer::Ours, cost.as_nanos() as f64 / gone as f64);
    ended.notes.push(format!("{gone} ended within {:.1} s, found and removed", time.as_secs_f64()));
    Ok([idle, ended])
}

fn removed(lab: &Lab) -> Result<u64> {
    let stats = Agent::query(lab, "stats")?;
    let found = stats.pointer("/gateways/0/counters/flows_removed").and_then(Value::as_u64);
    found.with_context(|| format!("no flows_removed in {stats}"))
}
