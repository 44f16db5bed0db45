//! `egress-agent doctor`: can packets pass, and if not, what to do.

use std::{
    thread::sleep,
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use egress_common::abi::config::{Config, forward};
use serde::Serialize;

use super::{Doctor, Format, Probe, output};
use crate::{
    datapath::{
        attach, audit, now,
        pins::Pins,
        probe,
        stats::{self, Stats},
        tables::Tables,
    },
    net::{
        Netlink, Step, block_on,
        netfilter::{Netfilter, rules::TABLE},
        observe, prepare, route,
        xdp::offer,
    },
    role::{place::Place, status::Status, xdp},
    spec::{
        desired::Desired,
        observed::{Link, Observed},
    },
};

/// The check of what the agent was told. With refused manifests the state before is in force, and packets pass.
const MANIFESTS: &str = "manifests";
/// The check of the flow table's room. A full table still serves the flows that are in it.
const ROOM: &str = "room for flows";
/// How often a probe that waits looks.
const LOOK_EVERY: Duration = Duration::from_millis(100);

#[derive(Serialize)]
struct Report {
    ok: bool,
    checks: Vec<Check>,
}

/// One check. `fix` is what a person would type or do; empty if it is ok.
#[derive(Serialize)]
struct Check {
    name: String,
    ok: bool,
    detail: String,
    fix: String,
}

fn check(name: impl Into<String>, ok: bool, detail: impl Into<String>, fix: impl Into<String>) -> Check {
    let fix = if ok { String::new() } else { fix.into() };
    Check { name: name.into(), ok, detail: detail.into(), fix }
}

/// True if packets can pass.
pub(super) fn run(args: &Doctor) -> Result<bool> {
    let Doctor { look: args, probe, wait } = args;
    let place = Place::enter(args.netns.netns.as_deref())?;
    if *probe == Some(Probe::Live) {
        // Here it does not suffice that packets pass without it.
        let status = Status::read(&place.pins.id)?;
        let ok = status.as_ref().is_some_and(Status::running);
        return failures(&[Check { ok, ..agent(status.as_ref()) }]);
    }
    if probe.is_some() {
        return failures(&ready(&place, Duration::from_secs(u64::from(*wait)))?);
    }
    let checks = block_on(examine(&place))??;
    let report = Report { ok: checks.iter().all(|check| check.ok), checks };
    if args.output == Format::Json {
        output::json(&report)?;
        return Ok(report.ok);
    }
    let mut table = output::table(&["CHECK", "OK", "DETAIL", "FIX"]);
    for check in &report.checks {
        table.add_row([check.name.as_str(), if check.ok { "yes" } else { "NO" }, &check.detail, &check.fix]);
    }
    output::print(&table.to_string())?;
    Ok(report.ok)
}

/// Whether traffic passes, as soon as it does or when the time is over.
fn ready(place: &Place, wait: Duration) -> Result<Vec<Check>> {
    let begin = Instant::now();
    loop {
        let looked = block_on(examine(place))?.map(traffic);
        let passes = looked.as_ref().is_ok_and(|checks| checks.iter().all(|check| check.ok));
        if passes || begin.elapsed() >= wait {
            return looked;
        }
        sleep(LOOK_EVERY);
    }
}

/// Those that say whether the traffic there is passes. A Pod that is not ready gets none, which would be worse.
fn traffic(checks: Vec<Check>) -> Vec<Check> {
    checks.into_iter().filter(|check| check.name != MANIFESTS && check.name != ROOM).collect()
}

/// Says what fails, in a line each: the kubelet shows it in an Event. True if nothing does.
fn failures(checks: &[Check]) -> Result<bool> {
    let failed: Vec<&Check> = checks.iter().filter(|check| !check.ok).collect();
    for check in &failed {
        output::print(&format!("{}: {}", check.name, check.detail))?;
    }
    Ok(failed.is_empty())
}

async fn examine(place: &Place) -> Result<Vec<Check>> {
    const START: &str = "egress-agent gateway --file PATH";
    let pins = &place.pins;
    if let Err(none) = place.clone().existing() {
        let mut checks = vec![check("gateway", false, none.to_string(), START)];
        checks.extend(kernel(probe::offers()));
        return Ok(checks);
    }
    let nl = Netlink::open().context("rtnetlink")?;
    let observed = observe(&nl).await.context("interfaces")?;
    let mut checks = Vec::new();
    let status = Status::read(&pins.id)?;
    checks.push(agent(status.as_ref()));
    checks.extend(kernel(probe::offers()));
    let config = Tables::open(pins).and_then(|tables| tables.config());
    let config = match config {
        Ok(config) if config.external_ifindex != 0 && config.netns_cookie == place.cookie => config,
        Ok(config) if config.external_ifindex != 0 => {
            checks.push(check("configuration", false, "the pins belong to a namespace that is gone", START));
            return Ok(checks);
        }
        Ok(_) => {
            checks.push(check("configuration", false, "the maps hold none yet", START));
            return Ok(checks);
        }
        Err(error) => {
            checks.push(check("configuration", false, format!("{error:#}"), START));
            return Ok(checks);
        }
    };
    checks.extend(table(stats::read(pins, None), status.as_ref()));
    checks.push(pairs(pins, now(&config)));
    let Some(status) = status else {
        checks.push(check("status", false, "no agent has run since boot", START));
        return Ok(checks);
    };
    checks.extend(manifests(&status));
    checks.extend(addresses(&status.desired, &observed));
    checks.extend(programs(pins, &status, &config, &nl).await?);
    checks.extend(kernel_nat());
    checks.extend(ways(&status.desired, &config, &observed));
    checks.extend(in_front(pins, &status, &observed));
    let current = prepare::Current::read(&nl, &status.desired, &observed).await?;
    let mut steps = prepare::plan(&status.desired, &observed, &current);
    steps.extend(route::policy_steps(&status.desired, &observed, &current.routes));
    checks.extend(steps.into_iter().map(step));
    Ok(checks)
}

/// What this kernel has, and what is done where it has it not.
fn kernel(offers: probe::Offers) -> [Check; 4] {
    let either = |has: bool, yes: &str, no: &str| if has { format!("yes: {yes}") } else { format!("no: {no}") };
    let tcx = either(offers.tcx, "programs are attached by links", "programs are attached by clsact filters");
    let csum = either(
        offers.csum_ipv6,
        "the checksums of unfinished packets are left alone",
        "the difference is taken out of the packet's checksum again",
    );
    let netkit = either(offers.netkit, "an interface may be one", "interfaces are veth, macvlan or devices");
    let batch = either(offers.batch, "flows are read in batches", "flows can neither be listed nor expire");
    [
        check("kernel: TCX", true, tcx, ""),
        check("kernel: BPF_F_IPV6", true, csum, ""),
        check("kernel: netkit", true, netkit, ""),
        check("kernel: batch lookup", offers.batch, batch, "a newer kernel"),
    ]
}

/// Packets pass without an agent; flows do not expire and edits are not followed.
fn agent(status: Option<&Status>) -> Check {
    match status {
        Some(status) if status.running() => check("agent", true, format!("runs, process {}", status.pid), ""),
        _ => check("agent", true, "does not run: packets pass, edits are not followed, flows do not expire", ""),
    }
}

fn table(stats: Result<Stats>, status: Option<&Status>) -> Vec<Check> {
    const NAME: &str = "flow table";
    let size = status.map_or("", |status| status.table.as_str());
    match stats {
        Ok(stats) => {
            let (flows, capacity) = (stats.table.flows, stats.table.capacity);
            let free = u64::from(capacity).saturating_sub(flows);
            vec![
                check(NAME, true, format!("{flows} of {capacity} flows; {size}"), ""),
                check(ROOM, free > 0, format!("for {free} more"), "raise the memory limit or maxFlows"),
            ]
        }
        Err(error) => vec![check(NAME, false, format!("{error:#}"), "egress-agent detach, then start the gateway")],
    }
}

/// Whether the table holds whole flows; a large one is looked at in part.
fn pairs(pins: &Pins, now: u32) -> Check {
    const NAME: &str = "flow halves";
    match audit::audit(pins, now) {
        Ok(audit) => {
            let part = if audit.partly { "a part of the table, " } else { "" };
            let detail = match audit.wrong.as_slice() {
                [] => format!("{part}{} halves, each has its other", audit.entries),
                [first, ..] => format!("{part}{} of {} halves are wrong: {first}", audit.wrong.len(), audit.entries),
            };
            check(NAME, audit.wrong.is_empty(), detail, "report it; a running agent removes halves of flows by itself")
        }
        Err(error) => check(NAME, false, format!("{error:#}"), "a newer kernel, if batch lookup is missing"),
    }
}

fn manifests(status: &Status) -> Vec<Check> {
    let refused = status.refused.as_deref();
    let mut checks = vec![check(
        MANIFESTS,
        refused.is_none(),
        refused.map_or_else(|| format!("{} is in force", status.desired.gateway), |why| format!("refused: {why}")),
        "correct the manifests; the state before is in force",
    )];
    if let Some(failed) = &status.failed {
        checks.push(check("last change", false, failed, "see the agent's log"));
    }
    checks.extend(status.desired.warnings.iter().map(|warning| check("warning", true, warning, "")));
    checks
}

fn addresses(desired: &Desired, observed: &Observed) -> Vec<Check> {
    let interface = &desired.external.interface;
    desired
        .egress
        .iter()
        .map(|addr| {
            let has = observed.link(interface).is_some_and(|link| link.has(*addr));
            let detail = format!("{} on {interface}", if has { "is" } else { "is not" });
            check(format!("egress address {addr}"), has, detail, format!("ip address add {addr} dev {interface}"))
        })
        .collect()
}

async fn programs(pins: &Pins, status: &Status, config: &Config, nl: &Netlink) -> Result<Vec<Check>> {
    let internal = (status.desired.internal.interface.as_str(), config.internal_ifindex);
    let external = (status.desired.external.interface.as_str(), config.external_ifindex);
    let mut checks = Vec::new();
    for place in attach::places(internal, external) {
        let name = format!("program {}", place.program);
        let (ok, detail) = match place.find(pins, nl).await? {
            Some(how) => (true, format!("attached to {} ({how})", place.interface)),
            None => (false, format!("not attached to {}", place.interface)),
        };
        checks.push(check(name, ok, detail, "restart the gateway"));
    }
    Ok(checks)
}

/// Rules that would translate what the programs translated already, once more.
fn kernel_nat() -> Option<Check> {
    const NAME: &str = "kernel NAT";
    let netfilter = Netfilter::open().ok()?;
    if netfilter.has_table().ok()? {
        let detail = format!("table inet {TABLE} keeps it away from what the programs translate");
        return Some(check(NAME, true, detail, ""));
    }
    netfilter.has_nat().ok()?.then(|| {
        check(NAME, false, format!("there are rules that translate, and no table inet {TABLE}"), "restart the gateway")
    })
}

fn ways(desired: &Desired, config: &Config, observed: &Observed) -> Vec<Check> {
    let way = |mode: u32| match mode {
        forward::PEER => "peer (bpf_redirect_peer)",
        forward::NEIGH => "neigh (bpf_redirect_neigh)",
        _ => "stack (kernel forwarding)",
    };
    [("forward out", &desired.external, config.forward_out), ("forward in", &desired.internal, config.forward_in)]
        .into_iter()
        .map(|(name, side, mode)| {
            let kind = observed.link(&side.interface).map_or("", |link| link.kind.as_str());
            let kind = if kind.is_empty() { "device" } else { kind };
            check(name, true, format!("{} by {kind} {}", way(mode), side.interface), "")
        })
        .collect()
}

/// XDP on each interface: packets pass without it as well, so nothing of it is a fault.
fn in_front(pins: &Pins, status: &Status, observed: &Observed) -> Vec<Check> {
    let desired = &status.desired;
    let mut checks = Vec::new();
    for spot in xdp::of(desired, observed) {
        let Some(link) = observed.link(spot.interface) else { continue };
        let offer = offer(link.index).ok().flatten();
        let sends = match xdp::closed(offer, spot.interface, &link.kind, link.index) {
            Some(closed) => format!("TC sends: {closed}"),
            None => format!("frames can be sent into {}", spot.interface),
        };
        let detail = match (xdp::wanted(desired), status.xdp_refused.get(spot.interface)) {
            (true, _) if spot.runs(pins) => format!("runs; {}; {sends}", costs(link)),
            (true, Some(why)) => format!("does not run, TC does all: {why}; {sends}"),
            (true, None) => format!("does not run, TC does all; {sends}"),
            (false, _) if offer.is_some_and(|it| !it.native) => "not asked for; the driver has none".to_owned(),
            // Many a NIC takes frames only while it runs a program; a veth says it beforehand.
            (false, _) if link.kind == "veth" || offer.is_some_and(|it| it.takes_frames) => {
                format!("not asked for (datapath: xdp); {}; {sends}", costs(link))
            }
            (false, _) => format!("not asked for (datapath: xdp); {}", costs(link)),
        };
        checks.push(check(format!("XDP {}", spot.interface), true, detail, ""));
    }
    checks
}

/// What XDP costs on an interface.
fn costs(link: &Link) -> &'static str {
    match link.kind.as_str() {
        "veth" => {
            "on a veth it costs the peer its segmentation offload (bulk TCP of this node: 65 to 75 % less), and packets with \
             unfinished checksums go by TC"
        }
        _ => "it costs nothing that is known",
    }
}

fn step(step: Step) -> Check {
    let ok = step.ok || !step.required;
    let advice = if step.ok || step.required { String::new() } else { format!("; advice: {}", step.fix) };
    check(step.name, ok, format!("{}{advice}", step.detail), step.fix)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Flows of a full table go on: a Pod that is not ready would get no traffic at all.
    #[test]
    fn a_full_table_is_told_and_is_ready() {
        let full = stats::Table { flows: 8, ipv4: 8, ipv6: 0, capacity: 8 };
        let stats = Stats { id: "g".to_owned(), counters: [].into(), drops: [].into(), table: full, top: None };
        let checks = table(Ok(stats), None);
        assert!(checks.iter().any(|check| !check.ok), "doctor says it");
        assert!(traffic(checks).iter().all(|check| check.ok), "the probe does not");
        let unreadable = traffic(table(Err(anyhow::anyhow!("no pins")), None));
        assert!(unreadable.iter().any(|check| !check.ok));
    }
}
