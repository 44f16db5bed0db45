//! The agent comes and goes; traffic, flows and counters do not notice.

mod ending;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use aya::programs::links::{FdLink, PinnedLink};
use egress_tests::gateway::Agent;
use egress_tests::traffic::bulk::{Transfer, Way};
use egress_tests::traffic::stream::Stream;
use egress_tests::traffic::{Call, PATIENCE, tcp, udp};
use egress_tests::{Family, Lab, LabConfig, skip};

use crate::lab::exchange_all;
use crate::load::Load;
use crate::rig::{Files, NEEDS, PORT, complaints, config, flows, id, pins, stat};

/// Ids of the programs that the pinned links run.
fn running_programs(lab: &Lab) -> Result<BTreeMap<&'static str, u32>> {
    let links = pins(lab)?.join("links");
    ["out", "in", "guard"].into_iter().map(|name| Ok((name, program_of(&links.join(name))?))).collect()
}

fn program_of(pin: &Path) -> Result<u32> {
    let link = PinnedLink::from_pin(pin).with_context(|| format!("open {}", pin.display()))?;
    Ok(FdLink::from(link).info()?.program_id())
}

/// What tells one flow from another and from a later one in its place.
fn identities(lab: &Lab) -> Result<Vec<(String, SocketAddr, SocketAddr)>> {
    let inside = |flow: &crate::rig::Flow| SocketAddr::new(flow.inside, flow.inside_port);
    Ok(flows(lab)?.iter().map(|flow| (flow.protocol.clone(), inside(flow), flow.outside())).collect())
}

/// Five ends under load, by SIGKILL and by SIGTERM: numbered datagrams and bulk TCP of both families lose nothing while the
/// agent dies, is dead, and comes back and replaces the programs.
#[test]
fn no_packet_is_lost_while_agents_die_and_start() -> Result<()> {
    if skip(NEEDS) {
        return Ok(());
    }
    let lab = Lab::build(LabConfig::default())?;
    let mut agent = Agent::start(&lab, Files::samples(&lab)?.options())?;
    let (mut servers, mut streams, mut transfers) = (Vec::new(), Vec::new(), Vec::new());
    for family in Family::BOTH {
        let at = SocketAddr::new(lab.far.addr(family), PORT);
        let call = Call::to(at.ip(), PORT);
        let ns = &lab.far.ns;
        servers.push((udp::Server::start(ns, at)?, tcp::Server::start(ns, at, tcp::Serve::Bulk)?));
        streams.push(Stream::start(&lab.client("pod1")?.ns, call, Duration::from_millis(1))?);
        transfers.push(Transfer::start(&lab.client("pod2")?.ns, call, Way::Up, u64::MAX, Some(8 << 20))?);
    }
    let advance = || transfers.iter().try_for_each(|transfer| transfer.advance(1 << 20, PATIENCE));
    advance()?;
    let (first, key) = (identities(&lab)?, config(&lab)?.port_key);
    assert_eq!(first.len(), 4, "{first:?}");
    for round in 0..5 {
        let (programs, packets) = (running_programs(&lab)?, stat(&lab, "counters/out_packets")?);
        if round % 2 == 0 {
            agent.kill9()?;
        } else {
            let status = agent.terminate()?;
            assert!(status.success() && status.signal().is_none(), "{status}");
        }
        advance().context("while no agent runs")?;
        assert_eq!(running_programs(&lab)?, programs);
        agent.restart()?;
        advance().with_context(|| format!("after restart {round}"))?;
        let now = running_programs(&lab)?;
        assert!(now.iter().all(|(name, id)| programs[name] != *id), "not replaced: {programs:?} {now:?}");
        assert!(stat(&lab, "counters/out_packets")? > packets, "counters are kept");
    }
    assert_eq!(identities(&lab)?, first);
    assert_eq!((stat(&lab, "counters/flows_created")?, config(&lab)?.port_key), (4, key));
    for transfer in transfers {
        let outcome = transfer.stop()?;
        assert!(outcome.intact && outcome.retransmits == 0, "{outcome:?}");
    }
    for stream in streams {
        let outcome = stream.finish()?;
        assert!(outcome.sent > 1_000 && outcome.missing.is_empty() && outcome.repeated == 0, "{outcome:?}");
    }
    assert!(complaints(&lab)?.is_empty(), "{:?}", complaints(&lab)?);
    Ok(())
}

/// Nor is anything of what begins meanwhile.
#[test]
fn new_conversations_begin_while_agents_die_and_start() -> Result<()> {
    if skip(NEEDS) {
        return Ok(());
    }
    let lab = Lab::build(LabConfig::default())?;
    let mut agent = Agent::start(&lab, Files::samples(&lab)?.options())?;
    let load = Load::start(&lab, &Family::BOTH)?;
    for _ in 0..2 {
        agent.kill9()?;
        load.advance().context("while no agent runs")?;
        agent.restart()?;
        load.advance()?;
    }
    println!("{:?}", load.finish()?);
    Ok(())
}

#[test]
fn a_second_agent_for_the_namespace_is_refused() -> Result<()> {
    if skip(NEEDS) {
        return Ok(());
    }
    let lab = Lab::build(LabConfig::default())?;
    let options = Files::samples(&lab)?.options();
    let _agent = Agent::start(&lab, options.clone())?;
    let programs = running_programs(&lab)?;
    let mut command = std::process::Command::new(egress_tests::gateway::agent_binary());
    command.arg("gateway").arg("--netns").arg(lab.gateway.ns.path());
    options.files.iter().for_each(|file| _ = command.arg("--file").arg(file));
    let output = egress_tests::system::process::run(command, None)?;
    assert_eq!(output.status.code(), Some(1), "{}", output.stderr);
    let wanted = format!("gateway {}: another egress-agent is running for this network namespace", id(&lab)?);
    assert!(output.stderr.contains(&wanted) && !output.stderr.contains("ready"), "{}", output.stderr);
    assert_eq!(running_programs(&lab)?, programs, "the first one's programs run on");
    exchange_all(lab.client("pod1")?, &lab.far, Family::V4)?;
    assert!(complaints(&lab)?.is_empty(), "{:?}", complaints(&lab)?);
    Ok(())
}
