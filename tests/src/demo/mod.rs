//! What `cargo xtask demo` shows: a lab with the manifests of Kube-OVN's documentation, traffic through it, how to look into
//! the gateway,
//! and packets per second beside the kernel's NAT. Whatever is not as it must be ends it with an error.

mod eyes;
pub mod kubernetes;
mod look;
mod race;
mod rates;
mod report;
mod tour;
mod traffic;

use anyhow::{Result, anyhow, ensure};

pub use self::race::Pace;
use self::report::Report;
use crate::Family;
use crate::gateway::{Agent, agent_binary};

/// The sample manifests, as they are in the tree.
const SAMPLES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../manifests/samples");

/// A gateway that is shown.
#[derive(Debug)]
struct Scene {
    heading: &'static str,
    manifest: &'static str,
    veg: &'static str,
    families: &'static [Family],
}

const SEED_000: Scene = Scene {
    heading: "1. The gateway of Kube-OVN's documentation",
    manifest: "gateway1.yaml",
    veg: "default/gateway1",
    families: &[Family::V4],
};

const DUAL_STACK: Scene = Scene {
    heading: "2. Its dual-stack twin",
    manifest: "gateway2-dual-stack.yaml",
    veg: "default/gateway2",
    families: &Family::BOTH,
};

/// Shows all of it.
pub fn run(pace: Pace) -> Result<()> {
    ensure!(nix::unistd::geteuid().is_root(), "it makes network namespaces and loads BPF programs: run it as root");
    let agent = agent_binary();
    ensure!(agent.is_file(), "no agent at {}; `cargo xtask demo` builds it", agent.display());
    let mut report = Report::default();
    report.heading(tour::TITLE)?;
    report.text(tour::WELCOME)?;
    tour::show(&mut report, &SEED_000, false)?;
    tour::show(&mut report, &DUAL_STACK, true)?;
    race::show(&mut report, pace)
}

/// What went wrong first, then what the agent has to say.
fn with_log<T>(result: Result<T>, what: &str, agent: &Agent<'_>) -> Result<T> {
    result.map_err(|error| anyhow!("{what}: {error:#}\n\nthe agent's log:\n{}", agent.stderr().trim_end()))
}
