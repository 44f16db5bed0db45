//! An agent whose maps have another layout takes over, and the first one again: no packet is lost, and no flow.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Error, Result, ensure};
use egress_common::abi::config::flags;
use egress_common::abi::layout::RECORDS;
use egress_tests::gateway::{Agent, AgentOptions, agent_binary, next_agent_binary};
use egress_tests::lab::RealChecksums;
use egress_tests::lab::addresses::mac;
use egress_tests::packet::build::{self, Header};
use egress_tests::packet::proto;
use egress_tests::system::process;
use egress_tests::testrun::{Program, Verdict};
use egress_tests::{Family, Lab, LabConfig, Need, eventually, skip};
use serde_json::Value;

use crate::load::Load;
use crate::rig::{CLUSTER, FOLLOW, Files, Flow, GATEWAY, NEEDS, change_config, complaints, config, edited, map, pins};
use crate::xdp::{self, sends, share, take_frames};

/// The flows, asked of an agent that knows the layout, without newcomers.
fn lasting(agent: &Agent<'_>) -> Result<BTreeMap<String, Flow>> {
    let flows: Vec<Flow> = serde_json::from_value(agent.ask("flows")?)?;
    let lasting = flows.into_iter().filter(|flow| flow.remote_port != Some(crate::load::DOOR));
    Ok(lasting.map(|flow| (format!("{} {}:{}", flow.protocol, flow.inside, flow.inside_port), flow)).collect())
}

fn layouts(lab: &Lab) -> Result<Vec<PathBuf>> {
    fs::read_dir(pins(lab)?.join("maps"))?.map(|entry| Ok(entry?.path())).collect()
}

fn there_and_back(attach: &str, then: &str) -> Result<()> {
    let lab = Lab::build(LabConfig::default())?;
    let links = if then == "clsact" { 0 } else { 3 };
    upgrade_twice(&lab, Files::samples(&lab)?.options().with("--attach", attach), then, links, || Ok(()))
}

/// To another layout and back, by a SIGKILL each, with the rights that a gateway Pod has. `ready` looks at each life of the agent
/// once it carries.
fn upgrade_twice(
    lab: &Lab,
    options: AgentOptions,
    then: &str,
    links: usize,
    ready: impl Fn() -> Result<()>,
) -> Result<()> {
    let mut agent = Agent::start(lab, options.as_pod())?;
    let load = Load::start(lab, &Family::BOTH)?;
    load.advance()?;
    ready()?;
    let (first, before) = (lasting(&agent)?, layouts(lab)?);
    ensure!(first.len() == 6 && before.len() == 1, "{first:?} {before:?}");
    for binary in [next_agent_binary(), agent_binary()] {
        agent.kill9()?;
        agent.restart_with(binary.clone(), "--attach", then)?;
        ensure!(agent.stderr().contains("took over the flows of another layout"), "{}", agent.stderr());
        ensure!(!agent.stderr().contains("could not"), "{}", agent.stderr());
        load.advance().with_context(|| format!("after {}", binary.display()))?;
        if binary == agent_binary() {
            ready()?;
        }
        let (now, maps) = (lasting(&agent)?, layouts(lab)?);
        ensure!(maps.len() == 1 && (maps == before) == (binary == agent_binary()), "{before:?} {maps:?}");
        for (name, flow) in &first {
            let now = now.get(name).with_context(|| format!("{name} is gone: {now:?}"))?;
            ensure!((now.outside(), &now.state) == (flow.outside(), &flow.state), "{now:?}, was {flow:?}");
            ensure!(now.packets.out > flow.packets.out && now.age_seconds >= flow.age_seconds, "{now:?} {flow:?}");
        }
    }
    let pinned: Vec<_> = fs::read_dir(pins(lab)?.join("links"))?.flatten().map(|it| it.file_name()).collect();
    ensure!(pinned.len() == links, "{pinned:?}");
    ensure!(complaints(lab)?.is_empty(), "{:?}", complaints(lab)?);
    let config = config(lab)?;
    ensure!(config.flags & (flags::HOLD_PORTS | flags::NARROWED) == 0, "{config:?}");
    ensure!((config.port_min, config.port_max) == (1024, 57_343), "{config:?}");
    let sums = load.finish()?;
    println!("{sums:?}");
    let flows = lasting(&agent)?;
    let udp = || flows.values().filter(|flow| flow.protocol == "udp").map(|flow| flow.packets);
    let counted = (udp().map(|it| it.out).sum(), udp().map(|it| it.inward).sum());
    ensure!(counted == (sums.datagrams, sums.datagrams), "{counted:?} of {sums:?}");
    Ok(())
}

#[test]
fn no_packet_and_no_flow_is_lost_by_links() -> Result<()> {
    if skip(NEEDS) || skip(&[Need::NextAgent]) {
        return Ok(());
    }
    there_and_back("auto", "auto")
}

#[test]
fn no_packet_and_no_flow_is_lost_by_filters() -> Result<()> {
    if skip(NEEDS) || skip(&[Need::NextAgent]) {
        return Ok(());
    }
    there_and_back("clsact", "clsact")
}

/// The old agent was told to use filters, the new one is not: what is there counts.
#[test]
fn no_packet_and_no_flow_is_lost_from_filters_to_links() -> Result<()> {
    if skip(NEEDS) || skip(&[Need::NextAgent]) {
        return Ok(());
    }
    there_and_back("clsact", "auto")
}

/// What XDP has carried and the old table was not told is not lost either.
#[test]
fn no_packet_and_no_flow_is_lost_by_xdp() -> Result<()> {
    if skip(NEEDS) || skip(&[Need::NextAgent]) {
        return Ok(());
    }
    let lab = Lab::build(LabConfig::default().checksums(RealChecksums::EVERYWHERE))?;
    take_frames(&lab, true)?;
    let most_by_xdp = || {
        sends(&lab, flags::XDP_OUT | flags::XDP_IN)?;
        let before = share(&lab)?.0;
        eventually("XDP carries", FOLLOW, || Ok(share(&lab)?.0 > before + 100))
    };
    upgrade_twice(&lab, xdp::options(&lab)?.with("--attach", "auto"), "auto", 5, most_by_xdp)
}

/// The new agent dies once its first program stands behind the old one. Traffic goes on, and the next start ends what it began.
#[test]
fn an_upgrade_that_was_cut_short_is_finished() -> Result<()> {
    if skip(NEEDS) || skip(&[Need::NextAgent]) {
        return Ok(());
    }
    let lab = Lab::build(LabConfig::default())?;
    let mut agent = Agent::start(&lab, Files::samples(&lab)?.options())?;
    let load = Load::start(&lab, &Family::BOTH)?;
    load.advance()?;
    let first = lasting(&agent)?;
    agent.kill9()?;
    let behind = pins(&lab)?.join("links/in-new");
    agent.restart_until(next_agent_binary(), || behind.exists())?;
    agent.kill9()?;
    ensure!(behind.exists(), "it was done already:\n{}", agent.stderr());
    load.advance().context("while it stands half-way")?;
    agent.restart_as(next_agent_binary())?;
    ensure!(!behind.exists() && layouts(&lab)?.len() == 1, "{:?}", layouts(&lab)?);
    load.advance()?;
    let now = lasting(&agent)?;
    for (name, flow) in &first {
        ensure!(now.get(name).is_some_and(|now| now.outside() == flow.outside()), "{name}: {now:?}, was {flow:?}");
    }
    load.finish()?;
    Ok(())
}

/// While another table is asked first, a port that it may still have is not given away.
#[test]
fn what_has_ended_keeps_its_port() -> Result<()> {
    if skip(NEEDS) {
        return Ok(());
    }
    let lab = Lab::build(LabConfig::default())?;
    let one = edited(GATEWAY, "    - 172.17.0.12,fd00:172:17::12\n", "");
    let profile = "---\napiVersion: egress-ebpf.dev/v1alpha1\nkind: EgressGatewayProfile\nmetadata: {name: default}\n\
                   spec: {portRange: {min: 2000, max: 2000}}\n";
    let _agent = Agent::start(&lab, Files::write(&lab, CLUSTER, &format!("{one}{profile}"))?.options())?;
    let out = Program::open(&lab.gateway.ns, &pins(&lab)?.join("progs/egw_out"), "eth0")?;
    let inward = Program::open(&lab.gateway.ns, &pins(&lab)?.join("progs/egw_in"), "net1")?;
    let (pod, far) = (lab.client("pod1")?.addr(Family::V4), (lab.far.addr(Family::V4), 443));
    let send = |port: u16| {
        let l4 = build::tcp((pod, port), far, (1, 0), 2, b"");
        let packet = Header::new(pod, far.0, proto::TCP).packet(&l4);
        Ok::<_, Error>(out.run(&build::ethernet(mac::GATEWAY_INSIDE, mac::OVERLAY, &packet))?.verdict)
    };
    let later = |more| {
        change_config(&lab, |config| {
            config.clock_offset_ns += 10_000_000_000;
            config.flags = config.flags & !flags::HOLD_PORTS | more;
        })
    };
    send(4001)?;
    let egress = (lab.gateway.addr(Family::V4), 2000);
    let reset = Header::new(far.0, egress.0, proto::TCP).packet(&build::tcp(far, egress, (1, 0), 4, b""));
    inward.run(&build::ethernet(mac::GATEWAY_OUTSIDE, mac::ROUTER, &reset))?;
    later(flags::HOLD_PORTS)?;
    ensure!(send(4002)? == Verdict::Shot, "another table may have the port");
    later(0)?;
    ensure!(send(4003)? != Verdict::Shot, "nobody has it");
    Ok(())
}

/// What `LAYOUT` says is what the maps' BTF says.
#[test]
fn the_named_fields_lie_where_btf_has_them() -> Result<()> {
    if skip(NEEDS) || skip(&[Need::Tool("bpftool")]) {
        return Ok(());
    }
    let lab = Lab::build(LabConfig::default())?;
    let _agent = Agent::start(&lab, Files::samples(&lab)?.options())?;
    for record in RECORDS {
        let (name, part) = record.name.split_once(' ').context("a record's name")?;
        let dump = |what: &str| -> Result<Value> {
            let mut command = Command::new("bpftool");
            command.args(["-j", "btf", "dump", "map", "pinned"]).arg(map(&lab, name)?).args([what, "format", "raw"]);
            let output = process::run(command, None)?;
            serde_json::from_str(&output.stdout).with_context(|| format!("{}{}", output.stdout, output.stderr))
        };
        let (root, all) = (dump(part)?, dump("all")?);
        let root = &root["types"][0];
        ensure!(root["size"] == record.size, "{}: {root}", record.name);
        for field in record.fields {
            let (mut at, mut bits) = (root, 0);
            for step in field.name.split('.') {
                let members = at["members"].as_array().with_context(|| format!("{} {at}", record.name))?;
                let member = members.iter().find(|member| member["name"] == step);
                let member = member.with_context(|| format!("no {step} in {at}"))?;
                bits += member["bits_offset"].as_u64().context("bits_offset")?;
                let types = all["types"].as_array().context("types")?;
                at = types.iter().find(|it| it["id"] == member["type_id"]).context("the member's type")?;
            }
            ensure!(bits == 8 * field.offset as u64, "{} {}: bit {bits}, {field:?}", record.name, field.name);
            let size = at["size"].as_u64().or_else(|| Some(at["nr_elems"].as_u64()? * element(&all, at)?));
            ensure!(size == Some(field.size as u64), "{} {}: {at}, {field:?}", record.name, field.name);
        }
    }
    Ok(())
}

/// Bytes of an array's elements.
fn element(all: &Value, array: &Value) -> Option<u64> {
    all["types"].as_array()?.iter().find(|it| it["id"] == array["type_id"])?["size"].as_u64()
}
