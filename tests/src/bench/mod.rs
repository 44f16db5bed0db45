//! `cargo xtask bench`: this gateway and its peers side by side, in labs that are alike, in turns, in one run.
//!
//! What is said of them are ratios, round by round: a machine that is slow for a while is slow for all.

mod churn;
mod frames;
mod helpers;
mod inward;
mod limits;
mod machine;
mod packets;
mod peers;
mod programs;
mod report;
mod series;
mod sockets;
mod upkeep;

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use self::machine::Machine;
pub(crate) use self::peers::drop_on_arrival;
use self::peers::{Bed, Peer};
pub use self::programs::{Section, profile as programs};
pub use self::series::Measure;
use crate::gateway::agent_binary;
use crate::skip::in_path;
use crate::system::cleanup::Setting;

/// Rows that a whole run opens at most, in one table of the kernel's; and buckets: one for each, as the kernel has by default.
const CONNTRACK: u64 = 8 << 20;

/// How much is measured.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// Rounds of each measure.
    pub rounds: usize,
    /// Packets of a turn.
    pub turn: u32,
    /// Fewer cases: below two minutes.
    pub quick: bool,
    /// Only measures whose name contains this.
    pub only: Option<String>,
    /// Room for flows in our table.
    pub flows: u32,
    /// Flows where it is asked what a large table costs.
    pub table: u32,
    /// Bytes of a bulk transfer.
    pub bytes: u64,
    /// Runs of a program in a round, where its time is looked for.
    pub runs: usize,
    /// How long the agent is watched.
    pub watch: Duration,
}

impl Plan {
    /// All there is.
    pub const WHOLE: Self = Self {
        rounds: 5,
        turn: 1 << 18,
        quick: false,
        only: None,
        flows: 4 << 20,
        table: 1 << 20,
        bytes: 1 << 29,
        runs: 1 << 15,
        watch: Duration::from_secs(20),
    };
    /// The cases that people ask for.
    pub const QUICK: Self = Self {
        rounds: 3,
        turn: 1 << 17,
        quick: true,
        only: None,
        flows: 4 << 20,
        table: 1 << 20,
        bytes: 1 << 28,
        runs: 1 << 15,
        watch: Duration::from_secs(10),
    };

    fn wants(&self, name: &str) -> bool {
        self.only.as_ref().is_none_or(|only| name.contains(only.as_str()))
    }

    /// Fails if nothing was measured for want of a measure that was asked for.
    fn met(&self, any: bool, hint: &str) -> Result<()> {
        let only = self.only.as_deref().unwrap_or_default();
        ensure!(any, "--only: no measure's name contains {only:?}; {hint}");
        Ok(())
    }
}

/// Where reports go, beside standard output.
#[derive(Debug, Clone, Default)]
pub struct Reports {
    /// Every series.
    pub json: Option<PathBuf>,
    /// Tables and bars.
    pub markdown: Option<PathBuf>,
}

/// Measures and reports.
pub fn run(plan: &Plan, reports: &Reports) -> Result<()> {
    let machine = Machine::look();
    let measures = measure(plan)?;
    plan.met(!measures.is_empty(), "docs/bench.md and the report of a whole run have the names")?;
    report::write(&machine, &measures, &[], reports)
}

/// Finds where the time of our programs goes, and reports.
pub fn profile(plan: &Plan, reports: &Reports) -> Result<()> {
    let machine = Machine::look();
    let programs = programs::profile(plan)?;
    plan.met(!programs.is_empty(), "there are sizes, hot, cold, load and helpers")?;
    report::write(&machine, &[], &programs, reports)
}

/// Measures.
pub fn measure(plan: &Plan) -> Result<Vec<Measure>> {
    ensure!(nix::unistd::geteuid().is_root(), "it makes network namespaces and loads BPF programs: run it as root");
    let agent = agent_binary();
    ensure!(agent.is_file(), "no agent at {}; `cargo xtask bench` builds it", agent.display());
    for tool in ["iptables-restore", "nft", "tc"] {
        ensure!(in_path(tool), "there is no {tool} on this machine: the peers need it");
    }
    let _limits = raise_limits();
    let mut measures = Vec::new();
    // First: what other measures leave behind is freed bit by bit.
    upkeep::upkeep(plan, &mut measures)?;
    let peers = [Peer::Ours, Peer::Iptables, Peer::Nft, Peer::Forward];
    let labs = peers::labs(&peers::network()?, peers.len() + 1)?;
    let mut beds = peers::beds(&peers, &labs, plan.flows)?;
    let limit = labs.last().map(|lab| Bed::start(Peer::Redirect, lab, 0, ""));
    match limit.context("no lab")? {
        Ok(bed) => beds.push(bed),
        Err(error) => eprintln!("SKIP: {}: {error:#}", Peer::Redirect.label()),
    }
    let measured = (|| {
        packets::established(plan, &beds, &mut measures)?;
        packets::topologies(plan, &beds, &mut measures)?;
        frames::established(plan, &mut measures)?;
        inward::answers(plan, &beds, &mut measures)?;
        packets::two_cores(plan, &beds, &mut measures)?;
        churn::new_flows(plan, &beds, &mut measures)?;
        churn::no_port_left(plan, &mut measures)?;
        sockets::connections(plan, &beds, &mut measures)?;
        sockets::bulk(plan, &beds, &mut measures)
    })();
    let log = beds.iter().find_map(Bed::log).unwrap_or_default();
    measured.with_context(|| format!("the agent's log:\n{log}"))?;
    Ok(measures)
}

/// The kernel's limits hold for the whole machine; what may not be raised is said.
fn raise_limits() -> Vec<Setting> {
    let wanted = [
        ("/proc/sys/net/netfilter/nf_conntrack_max", CONNTRACK),
        ("/sys/module/nf_conntrack/parameters/hashsize", CONNTRACK),
    ];
    let raise = |(path, least): (&str, u64)| {
        Setting::raise(path, least)
            .map_err(|error| eprintln!("{error:#}: the kernel's NAT is measured with less room than ours"))
            .ok()
    };
    wanted.into_iter().filter_map(raise).collect()
}
