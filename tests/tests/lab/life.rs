//! Labs come up fast, live side by side and leave nothing behind.

use std::io::{BufRead, BufReader};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use egress_tests::system::cleanup::{NETNS_DIR, sweep};
use egress_tests::system::name::InstanceName;
use egress_tests::system::{Netns, process};
use egress_tests::{Family, Lab, LabConfig, Need, eventually, skip};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::exchange_all;

const NEEDS: &[Need] = &[Need::Root, Need::Tool("ip")];

fn paths(lab: &Lab) -> Vec<PathBuf> {
    lab.namespaces().map(|ns| ns.path().to_owned()).chain([lab.folder().to_owned()]).collect()
}

#[test]
fn up_in_a_moment_and_gone_afterwards() -> Result<()> {
    if skip(NEEDS) {
        return Ok(());
    }
    let start = Instant::now();
    let lab = Lab::build(LabConfig::default())?;
    let elapsed = start.elapsed();
    println!("up in {elapsed:?}");
    assert!(elapsed < Duration::from_secs(3), "{elapsed:?}");
    let paths = paths(&lab);
    assert!(paths.len() == 9 && paths.iter().all(|it| it.exists()), "{paths:?}");
    drop(lab);
    assert!(!paths.iter().any(|it| it.exists()), "{paths:?}");
    Ok(())
}

#[test]
fn two_at_once_do_not_meet() -> Result<()> {
    if skip(NEEDS) {
        return Ok(());
    }
    let (one, other) = (Lab::build(LabConfig::default())?, Lab::build(LabConfig::default())?);
    for lab in [&one, &other] {
        // Inside traffic needs no gateway.
        exchange_all(lab.client("pod1")?, lab.client("bystander")?, Family::V4)?;
        exchange_all(lab.client("pod1")?, lab.client("pod2")?, Family::V6)?;
    }
    Ok(())
}

#[test]
fn a_panic_removes_the_lab() -> Result<()> {
    if skip(NEEDS) {
        return Ok(());
    }
    let lab = Lab::build(LabConfig::default())?;
    let paths = paths(&lab);
    let panicked = std::thread::spawn(move || {
        let _lab = lab;
        std::panic::resume_unwind(Box::new("no message"));
    });
    assert!(panicked.join().is_err());
    assert!(!paths.iter().any(|it| it.exists()), "{paths:?}");
    Ok(())
}

/// Starts the binary `lab`, which holds one open; returns its namespaces and what it said.
fn held(arguments: &[&str]) -> Result<(Child, Vec<PathBuf>, Vec<String>)> {
    let mut child = Command::new(env!("CARGO_BIN_EXE_lab")).args(arguments).stdout(Stdio::piped()).spawn()?;
    let out = BufReader::new(child.stdout.take().context("no standard output")?);
    let mut lines = Vec::new();
    for line in out.lines() {
        lines.push(line?);
        if lines.last().is_some_and(|it| it.starts_with("up;")) {
            break;
        }
    }
    let paths: Vec<_> = lines.iter().take(8).map(|name| Path::new(NETNS_DIR).join(name)).collect();
    assert!(paths.len() == 8 && paths.iter().all(|it| it.exists()), "{lines:?}");
    Ok((child, paths, lines))
}

#[test]
fn an_interrupt_removes_the_lab() -> Result<()> {
    if skip(super::KERNEL) {
        return Ok(());
    }
    for signal in [Signal::SIGINT, Signal::SIGTERM] {
        let (mut child, paths, _) = held(&[])?;
        kill(Pid::from_raw(child.id() as i32), signal)?;
        let status = process::wait(&mut child, Duration::from_secs(5))?.context("it did not end")?;
        assert!(!paths.iter().any(|it| it.exists()), "{paths:?}");
        assert_eq!(status.signal(), Some(signal as i32));
    }
    Ok(())
}

#[test]
fn the_next_lab_sweeps_what_a_killed_one_left() -> Result<()> {
    if skip(super::KERNEL) {
        return Ok(());
    }
    let own = Netns::create(&InstanceName::next()?.of("kept"))?;
    let (mut child, paths, _) = held(&[])?;
    sweep();
    assert!(paths.iter().all(|it| it.exists()), "a living lab was swept");
    child.kill()?;
    child.wait()?;
    assert!(paths.iter().all(|it| it.exists()), "nothing was left to sweep");
    sweep();
    assert!(!paths.iter().any(|it| it.exists()), "{paths:?}");
    assert!(own.path().exists());
    Ok(())
}

#[test]
fn children_do_not_outlive_their_maker() -> Result<()> {
    if skip(super::KERNEL) {
        return Ok(());
    }
    let (mut child, _, lines) = held(&["sleep", "600"])?;
    let pid = lines.iter().find_map(|it| it.strip_prefix("process ")).context("no process")?;
    let link = format!("/proc/{pid}/ns/net");
    assert_ne!(std::fs::read_link(&link)?, std::fs::read_link("/proc/self/ns/net")?, "it is not in the namespace");
    child.kill()?;
    child.wait()?;
    eventually("the process ended", Duration::from_secs(5), || Ok(std::fs::read_link(&link).is_err()))?;
    sweep();
    Ok(())
}

#[test]
fn a_command_that_fails_is_an_error() -> Result<()> {
    if skip(NEEDS) {
        return Ok(());
    }
    let ns = Netns::create(&InstanceName::next()?.of("cmd"))?;
    assert!(ns.sh("ip link show dev lo")?.contains("lo"));
    let error = ns.sh("ip link show dev nothing").map(drop).map_err(|error| error.to_string());
    assert!(error.is_err_and(|it| it.contains("ip link show dev nothing") && it.contains("does not exist")));
    assert!(ns.sh("no-such-program").is_err());
    Ok(())
}
