//! `cargo xtask bench`: this gateway and its peers side by side, in labs that are alike, in turns, in one run.
//!
//! What is said of them are ratios, round by round: a machine that is slow for a while is slow for all.

mod book;
mod churn;
mod express;
mod frames;
mod helpers;
mod inward;
mod kernel;
mod limits;
mod machine;
mod orders;
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

use self::book::Book;
pub use self::book::{Missing, Outcome};
pub use self::kernel::{BUCKETS, CONNTRACK, ROWS};
use self::machine::Machine;
pub(crate) use self::peers::drop_on_arrival;
use self::peers::{Bed, Peer};
pub use self::programs::{Section, profile as programs};
pub use self::series::Measure;
use crate::gateway::agent_binary;
use crate::skip::in_path;

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
    /// Flows that are more than the CPU's caches hold.
    pub many: u32,
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
        many: 100_000,
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
        many: 100_000,
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

/// Measures and reports, also what could not be measured; fails if a measure did.
pub fn run(plan: &Plan, reports: &Reports) -> Result<()> {
    report::ensure_writable(reports)?;
    let machine = Machine::look();
    let outcome = measure(plan)?;
    outcome.ensure_any(plan)?;
    report::write(&machine, &outcome, &[], reports)?;
    outcome.judge()
}

/// Finds where the time of our programs goes, and reports.
pub fn profile(plan: &Plan, reports: &Reports) -> Result<()> {
    report::ensure_writable(reports)?;
    let machine = Machine::look();
    let (mut programs, mut outcome) = (Vec::new(), Outcome::default());
    for (name, section) in programs::profile(plan)? {
        match section {
            Ok(section) => programs.push(section),
            Err(error) => outcome.missing.push(Missing::failed(name, &error)),
        }
    }
    plan.met(!programs.is_empty() || !outcome.missing.is_empty(), &format!("there are {}", programs::NAMES))?;
    report::write(&machine, &outcome, &programs, reports)?;
    outcome.judge()
}

/// Measures; fails if nothing at all can be.
pub fn measure(plan: &Plan) -> Result<Outcome> {
    ensure!(nix::unistd::geteuid().is_root(), "it makes network namespaces and loads BPF programs: run it as root");
    let agent = agent_binary();
    ensure!(agent.is_file(), "no agent at {}; `cargo xtask bench` builds it", agent.display());
    for tool in ["iptables-restore", "nft", "tc"] {
        ensure!(in_path(tool), "there is no {tool} on this machine: the peers need it");
    }
    let raised = kernel::raise();
    let mut book = Book::new(plan, raised.rows.unwrap_or(u64::MAX));
    raised.remarks.iter().for_each(|remark| book.remark(remark.clone()));
    // First: what other measures leave behind is freed bit by bit.
    upkeep::upkeep(&mut book);
    if let Err(error) = in_labs(&mut book) {
        book.fail(&["what is measured in a lab for each peer"], &error);
        in_own_labs(&mut book);
    }
    Ok(book.close())
}

/// What builds its own.
fn in_own_labs(book: &mut Book<'_>) {
    frames::established(book);
    churn::no_port_left(book);
}

/// What is measured in one lab for each peer.
fn in_labs(book: &mut Book<'_>) -> Result<()> {
    let peers = [Peer::Ours, Peer::Iptables, Peer::Nft, Peer::Forward];
    let labs = peers::labs(&peers::network()?, peers.len() + 1)?;
    let mut beds = peers::beds(&peers, &labs, book.plan.flows)?;
    let limit = labs.last().map(|lab| Bed::start(Peer::Redirect, lab, 0, ""));
    match limit.context("no lab")? {
        Ok(bed) => beds.push(bed),
        Err(error) => book.remark(format!("{} is left out: {error:#}", Peer::Redirect.label())),
    }
    // Before the tables are full of what others left: to end that takes a CPU that programs need.
    sockets::connections(book, &beds);
    sockets::answers(book, &beds);
    sockets::bulk(book, &beds);
    packets::established(book, &beds);
    packets::topologies(book, &beds);
    in_own_labs(book);
    inward::answers(book, &beds);
    packets::two_cores(book, &beds);
    churn::new_flows(book, &beds);
    if book.has_failed() {
        eprintln!("the agent's log:\n{}", beds.iter().find_map(Bed::log).unwrap_or_default());
    }
    Ok(())
}
