//! What `doctor` finds, whether its advice helps, and what a running agent repairs by itself.

use std::fs;

use anyhow::{Context, Result, ensure};
use egress_tests::gateway::Agent;
use egress_tests::{Family, Lab, LabConfig, eventually, skip};

use crate::lab::exchange_all;
use crate::rig::{FOLLOW, Files, NEEDS, complaints, pins, text};

/// How to break it and the check that shall say so.
const BREAKS: [(&str, &str); 10] = [
    ("sysctl -w net/ipv4/ip_forward=0", "sysctl net/ipv4/ip_forward"),
    ("sysctl -w net/ipv6/conf/all/forwarding=0", "sysctl net/ipv6/conf/all/forwarding"),
    ("sysctl -w net/ipv4/conf/net1/rp_filter=1", "sysctl net/ipv4/conf/net1/rp_filter"),
    ("sysctl -w net/ipv4/conf/eth0/accept_local=0", "sysctl net/ipv4/conf/eth0/accept_local"),
    ("ip -4 rule del pref 1002", "rule 1002 IPv4 iif net1"),
    ("ip -6 rule del pref 1001", "rule 1001 IPv6 iif eth0"),
    ("ip -4 route del default table 1000", "route 0.0.0.0/0 table 1000"),
    ("ip -6 route del fd00:10:17::/112", "route fd00:10:17::/112"),
    ("ip -4 route del 10.18.0.0/16", "route 10.18.0.0/16"),
    ("ip neigh del 10.16.0.1 dev eth0", "neighbour 10.16.0.1 eth0"),
];

fn found(lab: &Lab, name: &str) -> Result<Option<String>> {
    let report = Agent::query(lab, "doctor")?;
    let checks = report["checks"].as_array().context("no checks")?;
    let broken = checks.iter().find(|check| check["name"] == name && check["ok"] == false);
    ensure!(broken.is_none() || report["ok"] == false, "{report}");
    Ok(broken.map(|check| text(check, "fix").to_owned()))
}

#[test]
fn names_what_is_broken_and_its_advice_helps() -> Result<()> {
    if skip(NEEDS) {
        return Ok(());
    }
    let lab = Lab::build(LabConfig::default())?;
    let files = Files::samples(&lab)?;
    let mut agent = Agent::start(&lab, files.options())?;
    agent.kill9()?;
    let ns = &lab.gateway.ns;
    for (line, name) in BREAKS {
        assert!(complaints(&lab)?.is_empty(), "before {line}: {:?}", complaints(&lab)?);
        ns.sh(line)?;
        let Some(fix) = found(&lab, name)? else {
            // A neighbour that the kernel finds anew is advice only: without it a redirect waits once.
            ensure!(name.starts_with("neighbour"), "{line} is not noticed: {}", Agent::query(&lab, "doctor")?);
            continue;
        };
        assert_eq!(Agent::run(&lab, &["doctor"])?.status.code(), Some(1), "{line}");
        repair(&lab, &fix).with_context(|| format!("advice after {line}"))?;
    }
    ns.sh("ip addr del fd00:172:17::11/64 dev net1")?;
    let fix = found(&lab, "egress address fd00:172:17::11")?.context("a missing egress address is not noticed")?;
    assert_eq!(fix, "ip address add fd00:172:17::11 dev net1");
    for link in ["out", "in", "guard"] {
        fs::remove_file(pins(&lab)?.join("links").join(link))?;
        let fix = found(&lab, &format!("program egw_{link}"))?.context("a detached program is not noticed")?;
        assert_eq!(fix, "restart the gateway");
    }
    ns.sh("ip link set net1 down")?;
    assert_eq!(found(&lab, "interface net1")?.as_deref(), Some("ip link set net1 up"));
    Ok(())
}

/// Runs what a person would type.
fn repair(lab: &Lab, fix: &str) -> Result<()> {
    let mut command = lab.gateway.ns.command("sh")?;
    command.args(["-c", fix]);
    let output = egress_tests::system::process::run(command, None)?;
    ensure!(output.status.success(), "{fix}: {}", output.stderr);
    Ok(())
}

#[test]
fn a_running_agent_repairs() -> Result<()> {
    if skip(NEEDS) {
        return Ok(());
    }
    let lab = Lab::build(LabConfig::default())?;
    let agent = Agent::start(&lab, Files::samples(&lab)?.options())?;
    // The kernel does not report this one; by then all news of the start are over.
    let last = BREAKS.iter().filter(|(line, _)| line.contains("accept_local"));
    for (line, name) in BREAKS.iter().filter(|(line, _)| !line.contains("accept_local")).chain(last) {
        lab.gateway.ns.sh(line)?;
        eventually(&format!("{name} is repaired"), FOLLOW, || Ok(complaints(&lab)?.is_empty()))
            .with_context(|| format!("after {line}: {:?}\n{}", complaints(&lab), agent.stderr()))?;
    }
    for family in Family::BOTH {
        exchange_all(lab.client("pod1")?, &lab.far, family)?;
    }
    Ok(())
}

/// A program that was taken away comes back with a restart, as `doctor` says.
#[test]
fn a_restart_brings_programs_back() -> Result<()> {
    if skip(NEEDS) {
        return Ok(());
    }
    let lab = Lab::build(LabConfig::default())?;
    let mut agent = Agent::start(&lab, Files::samples(&lab)?.options())?;
    agent.kill9()?;
    for link in ["out", "in", "guard"] {
        fs::remove_file(pins(&lab)?.join("links").join(link))?;
    }
    assert_eq!(complaints(&lab)?.len(), 3, "{:?}", complaints(&lab)?);
    agent.restart()?;
    assert!(complaints(&lab)?.is_empty(), "{:?}", complaints(&lab)?);
    exchange_all(lab.client("pod1")?, &lab.far, Family::V4)?;
    Ok(())
}

/// One that is taken away from a running agent comes back by itself, also from one that only replaced the programs.
#[test]
fn a_running_agent_brings_programs_back() -> Result<()> {
    if skip(NEEDS) {
        return Ok(());
    }
    let lab = Lab::build(LabConfig::default())?;
    let mut agent = Agent::start(&lab, Files::samples(&lab)?.options())?;
    for link in ["guard", "out"] {
        fs::remove_file(pins(&lab)?.join("links").join(link))?;
        eventually(&format!("{link} is back"), FOLLOW, || Ok(complaints(&lab)?.is_empty()))
            .with_context(|| format!("{:?}\n{}", complaints(&lab), agent.stderr()))?;
        agent.kill9()?;
        agent.restart()?;
    }
    exchange_all(lab.client("pod1")?, &lab.far, Family::V4)?;
    Ok(())
}
