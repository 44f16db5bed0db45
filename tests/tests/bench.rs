//! `cargo xtask bench` brings numbers; how fast anything is stays its own business.

use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use egress_tests::bench::{BUCKETS, CONNTRACK, Outcome, Plan, ROWS, measure, programs};
use egress_tests::system::cleanup::NETNS_DIR;
use egress_tests::system::process;
use egress_tests::traffic::PATIENCE;
use egress_tests::{Need, eventually, skip};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::rig::NEEDS;

/// Every measure, with as little of each as there can be.
fn plan() -> Plan {
    let watch = Duration::from_millis(300);
    Plan {
        rounds: 1,
        turn: 1 << 13,
        flows: 1 << 17,
        many: 1 << 12,
        table: 1 << 13,
        bytes: 1 << 22,
        runs: 1 << 9,
        watch,
        ..Plan::WHOLE
    }
}

/// For one at a time: who ends first would not put back what the other one needs.
static LIMITS: Mutex<()> = Mutex::new(());

const TOOLS: [Need; 3] = [Need::Tool("iptables-restore"), Need::Tool("nft"), Need::Tool("tc")];

#[test]
fn every_peer_has_numbers() -> Result<()> {
    if skip(NEEDS) || skip(&TOOLS) {
        return Ok(());
    }
    let _limits = LIMITS.lock().unwrap_or_else(PoisonError::into_inner);
    let Outcome { measures, missing, .. } = measure(&plan())?;
    ensure!(missing.is_empty(), "{missing:?}");
    // How many peers each has; one is missing where the kernel has no TCX (6.6).
    for (part, count, peers) in [
        ("established, IPv4, 64 B", 9, 2..=6),
        ("established, IPv4, 1500 B", 6, 2..=6),
        ("established, IPv6", 10, 2..=6),
        ("through a bridge", 4, 5..=6),
        ("bare cables", 5, 2..=6),
        ("XDP frames", 4, 2..=3),
        ("answers", 1, 4..=4),
        ("cores", 1, 4..=4),
        ("new flows, IPv4", 2, 3..=3),
        ("new flows, IPv6", 2, 3..=3),
        ("all ports taken", 3, 1..=1),
        ("connect,", 1, 4..=4),
        ("open connection", 1, 4..=4),
        ("bulk", 4, 4..=4),
        ("bytes per packet", 2, 4..=4),
        ("memory", 2, 1..=1),
        ("the agent's CPU", 2, 1..=1),
    ] {
        let found: Vec<_> = measures.iter().filter(|it| it.name.contains(part)).collect();
        ensure!(found.len() == count, "{part}: {found:?}");
        let bad = found.iter().find(|it| !it.is_sane() || !peers.contains(&it.series.len()));
        ensure!(bad.is_none(), "{bad:?}");
    }
    // A packet on the wire is at least an acknowledgement's header, and what is put together at most 64 KiB and its own.
    let sizes = measures.iter().filter(|it| it.name.contains("bytes per packet")).flat_map(|it| it.series.values());
    let odd: Vec<_> = sizes.flatten().filter(|it| !(54.0..65_550.0).contains(*it)).collect();
    ensure!(odd.is_empty(), "{odd:?} bytes per packet");
    Ok(())
}

/// Programs, hot, cold, under load, guard and orders, helpers, XDP: rows of each section.
const SECTIONS: [usize; 7] = [5, 5, 5, 3, 9, 18, 9];

#[test]
fn programs_tell_where_their_time_goes() -> Result<()> {
    if skip(NEEDS) || skip(&[Need::Tool("tc")]) {
        return Ok(());
    }
    let sections = programs(&plan())?.into_iter().map(|(_, section)| section).collect::<Result<Vec<_>>>()?;
    ensure!(sections.iter().map(|it| it.rows.len()).collect::<Vec<_>>() == SECTIONS, "{sections:?}");
    for section in sections {
        let sane = section.rows.iter().all(|(_, values)| values.iter().all(|it| it.is_finite() && *it >= 0.0));
        ensure!(!section.rows.is_empty() && sane, "{section:?}");
    }
    Ok(())
}

/// Rows and buckets that the kernel allows.
fn limits() -> [Option<u64>; 2] {
    [ROWS, BUCKETS].map(|path| fs::read_to_string(path).ok()?.trim().parse().ok())
}

/// Namespaces and folders of the labs of a process.
fn things_of(pid: u32) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for folder in [PathBuf::from(NETNS_DIR), std::env::temp_dir()] {
        let entries = fs::read_dir(&folder).with_context(|| folder.display().to_string())?;
        found.extend(entries.flatten().map(|it| it.path()));
    }
    let name = format!("egw-{pid}-");
    found.retain(|path| path.file_name().is_some_and(|it| it.to_string_lossy().starts_with(&name)));
    Ok(found)
}

#[test]
fn an_interrupt_puts_the_limits_back_and_leaves_nothing() -> Result<()> {
    if skip(NEEDS) || skip(&TOOLS) {
        return Ok(());
    }
    let _limits = LIMITS.lock().unwrap_or_else(PoisonError::into_inner);
    let before = limits();
    let raises = before.iter().all(|it| it.is_some_and(|it| it < CONNTRACK));
    if !raises {
        println!("the limits are {before:?} already: only what is left behind is looked at");
    }
    let mut bench = Command::new(env!("CARGO_BIN_EXE_bench"));
    bench.args(["--quick", "--only", "open connection"]).stdout(Stdio::null()).stderr(Stdio::null());
    let mut bench = process::spawn(bench)?;
    let begun = eventually("the bench raised the limits and began to build labs", PATIENCE, || {
        let raised = limits().iter().all(|it| it.is_some_and(|it| it >= CONNTRACK));
        ensure!(bench.try_wait()?.is_none(), "the bench ended");
        Ok((raised || !raises) && !things_of(bench.id())?.is_empty())
    });
    // Whatever went wrong: it must not go on.
    let _ = kill(Pid::from_raw(bench.id() as i32), Signal::SIGINT);
    let status = process::wait(&mut bench, PATIENCE)?.context("the bench did not end")?;
    begun?;
    // A shell says 130 for it.
    ensure!(status.signal() == Some(Signal::SIGINT as i32), "{status}");
    let left = things_of(bench.id())?;
    ensure!(left.is_empty(), "{left:?}");
    ensure!(limits() == before, "{:?} instead of {before:?}; does another bench run?", limits());
    Ok(())
}
