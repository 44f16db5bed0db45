//! The probes of a gateway Pod.

use std::thread;

use anyhow::{Result, anyhow, ensure};
use egress_tests::gateway::Agent;
use egress_tests::system::process::Output;
use egress_tests::{Lab, LabConfig, skip};

use crate::rig::{Files, NEEDS};

fn probe(lab: &Lab, arguments: &[&str]) -> Result<Output> {
    Agent::run(lab, &[&["doctor", "--probe"], arguments].concat())
}

/// It begins before the gateway, as the kubelet's may, and ends with it.
#[test]
fn one_that_waits_ends_when_packets_can_pass() -> Result<()> {
    if skip(NEEDS) {
        return Ok(());
    }
    let lab = Lab::build(LabConfig::default())?;
    let early = probe(&lab, &["ready"])?;
    ensure!(early.status.code() == Some(1), "there is no gateway: {}{}", early.stdout, early.stderr);
    let late = probe(&lab, &["ready", "--wait", "1"])?;
    ensure!(late.status.code() == Some(1) && !late.stdout.is_empty(), "{}{}", late.stdout, late.stderr);
    let files = Files::samples(&lab)?;
    let (agent, waited) = thread::scope(|scope| {
        let waiting = scope.spawn(|| probe(&lab, &["ready", "--wait", "60"]));
        let agent = Agent::start(&lab, files.options());
        (agent, waiting.join().map_err(|_| anyhow!("the probe panicked")))
    });
    let (_agent, waited) = (agent?, waited??);
    ensure!(waited.status.success() && waited.stdout.is_empty(), "{}{}", waited.stdout, waited.stderr);
    ensure!(probe(&lab, &["live"])?.status.success(), "the agent runs");
    Ok(())
}
