//! Churn: flows of all kinds come and go as quickly as two CPUs can make them, while the clock runs ahead, and nothing may be left
//! behind. For `cargo xtask soak` and, short, for the test command.
//!
//! Two threads bound to two CPUs run the programs themselves (`BPF_PROG_TEST_RUN`), a third revokes flows at random, the agent
//! expires them; beside that real sockets talk through the gateway. In the end: each half has its other half, the tables return to
//! zero, as many flows ended as began, each was reported, the agent has not grown, and connections that lasted lost nothing.

mod churn;
mod eyes;
mod sockets;

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, ensure};
use egress_common::abi::family::{V4, V6};
use nix::sys::signal::{Signal, kill};
use serde_json::Value;

use self::eyes::{FlowLog, Process};
use self::sockets::Lasting;
use crate::gateway::table::{bijection, change_config, entries};
use crate::gateway::{Agent, AgentOptions};
use crate::{Lab, LabConfig, eventually};

const CLUSTER: &str = include_str!("../../../manifests/samples/cluster.yaml");
const GATEWAY: &str = include_str!("../../../manifests/samples/gateway2-dual-stack.yaml");
/// How far the clock moves on, and how often.
const JUMP: (u64, Duration) = (30, Duration::from_millis(100));
/// Time between two looks at the whole, while it goes on.
const LOOK: Duration = Duration::from_secs(2);
/// What the agent may grow by between a quarter of the time and the end: its buffers are as large then as they get.
const GROWTH_KIB: u64 = 16 << 10;
/// Files that the agent has open for a while only: of the way through both tables, and of a look at the system.
const PASSING: usize = 4;
/// How long the agent may take to end every flow: two rounds through the table.
const ENDED: Duration = Duration::from_secs(60);

/// Time between two leaps of the clock in the end: more than a round through the tables.
const AGAIN: Duration = Duration::from_secs(12);

/// Room for every flow that churn can think of, and for those of sockets.
pub const ROOM: u32 = 131_072;

/// What is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Plan {
    /// How long flows come and go.
    pub time: Duration,
    /// Flows of each family that the table holds: more are asked for than that, so that it is full most of the time.
    pub max_flows: u32,
    /// Also by sockets, which need room in the table.
    pub sockets: bool,
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// Packets that were run through the programs.
    pub packets: u64,
    /// Flows that began, and ended.
    pub flows: u64,
    /// Of those, by a new flow that took the port.
    pub reclaimed: u64,
    /// New flows that were refused.
    pub refused: u64,
    /// Exchanges of sockets, each by a new flow.
    pub exchanges: u64,
    /// Exchanges on connections that lasted the whole time.
    pub lasting: u64,
    /// Records that the ring buffer had no room for.
    pub lost: u64,
    /// Most flows at one time.
    pub most: u64,
    /// What the agent grew by.
    pub growth_kib: u64,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} packets, {} flows began and ended ({} by giving their port away), {} refused, at most {} at a time; \
             {} exchanges by sockets and {} on lasting connections; {} records lost, the agent grew by {} KiB",
            self.packets,
            self.flows,
            self.reclaimed,
            self.refused,
            self.most,
            self.exchanges,
            self.lasting,
            self.lost,
            self.growth_kib,
        )
    }
}

/// Builds a lab and lets it churn.
pub fn run(plan: Plan) -> Result<Report> {
    let lab = Lab::build(LabConfig::default())?;
    let profile = format!(
        "---\napiVersion: egress-ebpf.dev/v1alpha1\nkind: EgressGatewayProfile\nmetadata: {{name: default}}\n\
         spec: {{maxFlows: {}, portRange: {{min: 2000, max: 2511}}, fairness: {{fromPercent: {}}}}}\n",
        plan.max_flows,
        // A table is full to the last flow only if nobody is limited before.
        if plan.sockets { 75 } else { 100 },
    );
    let files =
        [lab.write_file("cluster.yaml", CLUSTER)?, lab.write_file("gateway.yaml", &format!("{GATEWAY}{profile}"))?];
    let log = FlowLog::start(&lab)?;
    let agent = Agent::start(&lab, AgentOptions::files(files).with("--flow-log", log.path()?))?;
    let before = Counters::read(&agent)?;
    let (servers, mut lasting) = Lasting::start(&lab)?;
    let (stop, first) = (AtomicBool::new(false), churn::prepare(&lab)?);
    let (packets, exchanges, growth, most) = thread::scope(|scope| {
        let (stop, first) = (&stop, &first);
        let drivers = [0, 1].map(|cpu| scope.spawn(move || until(stop, || first.drive(cpu, stop))));
        let revoker = scope.spawn(|| until(stop, || churn::revoke(&lab, stop)));
        let talker = plan.sockets.then(|| scope.spawn(|| until(stop, || sockets::talk(&lab, stop))));
        let clock = scope.spawn(|| until(stop, || pass_time(&lab, &mut lasting, stop)));
        let watched = until(stop, || watch(&lab, &agent, plan.time, stop));
        stop.store(true, Ordering::SeqCst);
        let panicked = |_| anyhow!("a thread panicked");
        let mut packets = 0;
        for driver in drivers {
            packets += driver.join().map_err(panicked)??;
        }
        revoker.join().map_err(panicked)??;
        clock.join().map_err(panicked)??;
        let exchanges = talker.map_or(Ok(Ok(0)), thread::ScopedJoinHandle::join).map_err(panicked)??;
        let (growth, most) = watched?;
        Ok::<_, anyhow::Error>((packets, exchanges, growth, most))
    })
    .with_context(|| format!("packets were dropped: {}", dropped(&agent)))?;
    // Standing still, it mends nothing.
    kill(agent.pid(), Signal::SIGSTOP)?;
    let pairs = bijection::<V4>(&lab).and_then(|_| bijection::<V6>(&lab));
    kill(agent.pid(), Signal::SIGCONT)?;
    pairs.context("at the end")?;
    let exchanged = lasting.finish()?;
    drop(servers);
    let mut moved: Option<Instant> = None;
    eventually("the tables return to zero", ENDED, || {
        if entries(&lab)? == 0 {
            return Ok(true);
        }
        // Again and again: a socket that still sends its FIN anew opens a flow.
        if moved.is_none_or(|it| it.elapsed() > AGAIN) {
            change_config(&lab, |config| config.clock_offset_ns += 100_000_000_000_000)?;
            moved = Some(Instant::now());
        }
        Ok(false)
    })
    .with_context(|| format!("left: {:?}", Agent::query(&lab, "flows").map(|flows| flows.to_string())))?;

    let now = Counters::read(&agent)?;
    let began = now.created - before.created;
    let ended = now.removed + now.reclaimed - before.removed - before.reclaimed;
    ensure!(began == ended, "{began} flows began and {ended} ended");
    // What was lost may have been any of the records.
    let told = || log.count().told() + now.lost - before.lost;
    eventually("every beginning and end is told or counted as lost", ENDED, || Ok(told() >= began + ended))
        .with_context(|| format!("{:?} of {began} flows", log.count()))?;
    let count = log.count();
    ensure!(count.starts <= began && count.ends <= ended, "{count:?} of {began} flows");
    ensure!(count.lost == now.lost - before.lost, "{count:?}, and {} were lost", now.lost - before.lost);
    Ok(Report {
        packets,
        flows: began,
        reclaimed: now.reclaimed - before.reclaimed,
        refused: now.refused - before.refused,
        exchanges,
        lasting: exchanged,
        lost: count.lost,
        most,
        growth_kib: growth,
    })
}

/// A failure ends everything else as well.
fn until<T>(stop: &AtomicBool, work: impl FnOnce() -> Result<T>) -> Result<T> {
    let done = work();
    if done.is_err() {
        stop.store(true, Ordering::SeqCst);
    }
    done
}

/// Moves the clock on. Connections that last speak each time, so that none is ever idle for long.
fn pass_time(lab: &Lab, lasting: &mut Lasting, stop: &AtomicBool) -> Result<()> {
    while !stop.load(Ordering::SeqCst) {
        thread::sleep(JUMP.1);
        change_config(lab, |config| config.clock_offset_ns += JUMP.0 * 1_000_000_000)?;
        lasting.exchange()?;
    }
    Ok(())
}

/// Looks at what must hold all the time; what the agent grew by, and the most flows.
fn watch(lab: &Lab, agent: &Agent<'_>, time: Duration, stop: &AtomicBool) -> Result<(u64, u64)> {
    let (start, mut next, mut early, mut most) = (Instant::now(), LOOK, None, 0);
    while start.elapsed() < time && !stop.load(Ordering::SeqCst) {
        thread::sleep(JUMP.1);
        if start.elapsed() < next {
            continue;
        }
        next += LOOK;
        let doctor = Agent::query(lab, "doctor")?;
        let checks = doctor["checks"].as_array().context("no checks")?;
        let halves = checks.iter().find(|check| check["name"] == "flow halves").context("no check of halves")?;
        ensure!(halves["ok"] == true, "{halves}");
        most = most.max(Counters::read(agent)?.flows);
        if early.is_none() && start.elapsed() * 4 >= time {
            early = Some(Process::of(agent.pid())?);
        }
    }
    let (early, late) = (early.context("too short to see growth")?, Process::of(agent.pid())?);
    ensure!(late.files <= early.files + PASSING, "the agent had {} files open, now {}", early.files, late.files);
    let growth = late.resident_kib.saturating_sub(early.resident_kib);
    ensure!(growth <= GROWTH_KIB, "the agent grew by {growth} KiB");
    Ok((growth, most))
}

/// Reasons for which packets were dropped, as far as they can be had.
fn dropped(agent: &Agent<'_>) -> String {
    let stats = agent.ask("stats").unwrap_or_default();
    let all = stats.pointer("/gateways/0/drops").and_then(Value::as_object);
    let some = all.into_iter().flatten().filter(|(_, number)| number.as_u64() != Some(0));
    some.map(|(reason, number)| format!("{reason} {number}")).collect::<Vec<_>>().join(", ")
}

/// Numbers of `stats`.
struct Counters {
    created: u64,
    removed: u64,
    reclaimed: u64,
    refused: u64,
    lost: u64,
    flows: u64,
}

impl Counters {
    fn read(agent: &Agent<'_>) -> Result<Self> {
        let stats = agent.ask("stats")?;
        let number = |path: &str| {
            let found = stats.pointer(&format!("/gateways/0/{path}")).and_then(Value::as_u64);
            found.with_context(|| format!("no {path} in {stats}"))
        };
        Ok(Self {
            created: number("counters/flows_created")?,
            removed: number("counters/flows_removed")?,
            reclaimed: number("counters/flows_reclaimed")?,
            refused: number("drops/table_full")? + number("drops/ports_exhausted")? + number("drops/source_limited")?,
            lost: number("counters/events_lost")?,
            flows: number("table/flows")?,
        })
    }
}
