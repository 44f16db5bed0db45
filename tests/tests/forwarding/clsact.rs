//! `--attach clsact`, as on kernels without TCX.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use egress_tests::gateway::Agent;
use egress_tests::lab::RealChecksums;
use egress_tests::traffic::stream::Stream;
use egress_tests::traffic::{Call, udp};
use egress_tests::{Family, Lab, LabConfig, Need, skip};

use crate::lab::{ensure_from, exchange_all};
use crate::rig::{NEEDS, PORT, complaints, flows, text};
use crate::wire::{agent, ensure_clean};

const CLSACT: &[(&str, &str)] = &[("--attach", "clsact")];
/// Where each program belongs.
const PLACES: [(&str, &str, &str); 3] =
    [("net1", "egress", "egw_guard"), ("net1", "ingress", "egw_in"), ("eth0", "ingress", "egw_out")];

/// The ids of the programs on the clsact filters.
fn filters(lab: &Lab) -> Result<Vec<u64>> {
    let mut ids = Vec::new();
    for (interface, side, program) in PLACES {
        let text = lab.gateway.ns.sh(&format!("tc -json filter show dev {interface} {side}"))?;
        let list: serde_json::Value = serde_json::from_str(&text).with_context(|| text.clone())?;
        let options = list.as_array().into_iter().flatten().filter_map(|it| it.get("options"));
        for options in options.filter(|it| it["bpf_name"] == program || it["prog"]["name"] == program) {
            ids.push(options["prog"]["id"].as_u64().with_context(|| format!("no program in {text}"))?);
        }
    }
    Ok(ids)
}

/// What `doctor` says about the programs.
fn attached(lab: &Lab) -> Result<Vec<String>> {
    let report = Agent::query(lab, "doctor")?;
    let checks = report["checks"].as_array().context("no checks")?.iter();
    Ok(checks.filter(|it| text(it, "name").starts_with("program ")).map(|it| text(it, "detail").to_owned()).collect())
}

#[test]
fn filters_work_like_links() -> Result<()> {
    if skip(NEEDS) || skip(&[Need::Tool("tc")]) {
        return Ok(());
    }
    let lab = Lab::build(LabConfig::default().checksums(RealChecksums::AT_RECEIVERS))?;
    let agent = agent(&lab, CLSACT)?;
    ensure!(filters(&lab)?.len() == 3, "{:?}", filters(&lab)?);
    ensure!(complaints(&lab)?.is_empty(), "{:?}", complaints(&lab)?);
    let wanted = ["net1 (clsact)", "net1 (clsact)", "eth0 (clsact)"].map(|it| format!("attached to {it}"));
    ensure!(attached(&lab)? == wanted, "{:?}", attached(&lab)?);
    let outside = lab.capture_external()?;
    for family in Family::BOTH {
        for server in lab.external_hosts() {
            ensure_from(&exchange_all(lab.client("pod1")?, server, family)?, lab.gateway.addr(family))?;
        }
    }
    ensure_clean(&outside.stop()?, &[])?;
    let output = Agent::run(&lab, &["detach"])?;
    ensure!(output.status.success(), "{output:?}");
    ensure!(filters(&lab)?.is_empty(), "{:?}", filters(&lab)?);
    drop(agent);
    Ok(())
}

#[test]
fn a_restart_replaces_the_filters_without_a_gap() -> Result<()> {
    if skip(NEEDS) || skip(&[Need::Tool("tc")]) {
        return Ok(());
    }
    let lab = Lab::build(LabConfig::default())?;
    let mut agent = agent(&lab, CLSACT)?;
    let servers = Family::BOTH.map(|family| SocketAddr::new(lab.server.addr(family), PORT));
    let _echo = servers.map(|at| udp::Server::start(&lab.server.ns, at)).into_iter().collect::<Result<Vec<_>>>()?;
    let outside = lab.capture_external()?;
    let pod = &lab.client("pod1")?.ns;
    for at in servers {
        udp::once(pod, Call::to(at.ip(), PORT), b"the neighbours are known now")?;
    }
    let streams = servers.map(|at| Stream::start(pod, Call::to(at.ip(), PORT), Duration::from_millis(2)));
    let mut seen = filters(&lab)?;
    for _ in 0..3 {
        agent.kill9()?;
        agent.restart()?;
        let now = filters(&lab)?;
        ensure!(now.len() == 3 && now.iter().all(|id| !seen.contains(id)), "{seen:?} became {now:?}");
        seen.extend(now);
    }
    for stream in streams {
        let outcome = stream?.finish()?;
        ensure!(outcome.sent > 100 && outcome.missing.is_empty() && outcome.repeated == 0, "{outcome:?}");
    }
    ensure!(flows(&lab)?.len() == 4, "flows were lost: {:?}", flows(&lab)?);
    ensure_clean(&outside.stop()?, &[])
}
