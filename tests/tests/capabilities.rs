//! The capabilities of a gateway Pod are enough, fewer are not, and a mount namespace that dies with the agent is refused.

use std::process::Command;

use anyhow::Result;
use egress_tests::gateway::{Agent, agent_binary};
use egress_tests::system::process::{self, Output, keep_only_capabilities};
use egress_tests::traffic::{Call, udp};
use egress_tests::{Family, Lab, LabConfig, skip};

use crate::lab::{ensure_from, exchange_all};
use crate::rig::{FOLLOW, Files, NEEDS, PORT, complaints, flows, id, pins, stat, with_no_snat};

const NET_ADMIN: u8 = 12;
const PERFMON: u8 = 38;
const BPF: u8 = 39;

/// Everything that the agent does in its life, with three capabilities: load, attach, prepare, follow an edit, cut and end
/// flows, restart over itself.
#[test]
fn three_capabilities_are_enough() -> Result<()> {
    if skip(NEEDS) {
        return Ok(());
    }
    let lab = Lab::build(LabConfig::default().without_policy_routes())?;
    let files = Files::samples(&lab)?;
    let mut agent = Agent::start(&lab, files.options().as_pod())?;
    let pod = lab.client("pod1")?;
    for round in 0..2 {
        for family in Family::BOTH {
            for host in [&lab.server, &lab.far] {
                ensure_from(&exchange_all(pod, host, family)?, lab.gateway.addr(family))?;
            }
        }
        // The id is the same from inside and outside.
        assert_eq!(Agent::query(&lab, "stats")?.pointer("/gateways/0/id"), Some(&id(&lab)?.into()));
        assert!(complaints(&lab)?.is_empty(), "{:?}", complaints(&lab)?);
        assert!(!agent.stderr().contains("WARN") && !agent.stderr().contains("ERROR"), "{}", agent.stderr());
        if round == 0 {
            agent.kill9()?;
            agent.restart()?;
        }
    }
    assert_eq!(flows(&lab)?.len(), 4 * 3 + 4 * 2, "pings of both rounds are one flow");
    std::fs::write(&files.gateway, with_no_snat(&["172.17.0.100/32"]))?;
    agent.wait_for_line(FOLLOW, |line| line.contains("cut flows"))?;
    assert!(stat(&lab, "counters/flows_removed")? > 0);
    let call = Call::to(lab.far.addr(Family::V4), PORT);
    let _server = udp::Server::start(&lab.far.ns, call.to)?;
    udp::once(&pod.ns, call, b"on")?;
    Ok(())
}

fn start_with(lab: &Lab, files: &Files, keep: &'static [u8]) -> Result<Output> {
    let mut command = lab.gateway.ns.command(agent_binary())?;
    keep_only_capabilities(&mut command, keep);
    command.arg("gateway").arg("--file").arg(&files.cluster).arg("--file").arg(&files.gateway);
    process::run(command, None)
}

#[test]
fn one_less_is_named_and_leaves_nothing() -> Result<()> {
    if skip(NEEDS) {
        return Ok(());
    }
    let lab = Lab::build(LabConfig::default())?;
    let files = Files::samples(&lab)?;
    for keep in [&[NET_ADMIN, BPF][..], &[NET_ADMIN, PERFMON], &[BPF, PERFMON]] {
        let output = start_with(&lab, &files, keep)?;
        assert_eq!(output.status.code(), Some(1), "{keep:?}: {}", output.stderr);
        let wanted = "the agent needs CAP_BPF, CAP_NET_ADMIN and CAP_PERFMON";
        assert!(output.stderr.contains(wanted) && !output.stderr.contains("ready"), "{keep:?}: {}", output.stderr);
        assert!(!pins(&lab)?.exists(), "{keep:?}");
    }
    Ok(())
}

/// `ip netns exec` gives a mount namespace of its own: pins would be lost with it.
#[test]
fn a_private_mount_namespace_is_refused() -> Result<()> {
    if skip(NEEDS) {
        return Ok(());
    }
    let lab = Lab::build(LabConfig::default())?;
    let files = Files::samples(&lab)?;
    let mut command = Command::new("ip");
    command.args(["netns", "exec", lab.gateway.ns.name()]).arg(agent_binary());
    command.arg("gateway").arg("--file").arg(&files.cluster).arg("--file").arg(&files.gateway);
    let output = process::run(command, None)?;
    assert_eq!(output.status.code(), Some(1), "{}", output.stderr);
    for word in ["private", "ip netns exec", "--netns PATH"] {
        assert!(output.stderr.contains(word), "{}", output.stderr);
    }
    assert!(!pins(&lab)?.exists());
    Ok(())
}
