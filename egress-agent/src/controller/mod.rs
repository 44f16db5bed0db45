//! The controller's decisions: from a cluster's objects to the objects that a VpcEgressGateway needs. Pure: the time is an
//! argument, and nobody is asked.
//!
//! ```text
//! VEG, Vpc, Subnets, … ── spec::plan::cluster ─→ Resolved ─┬─ deployment ─→ Deployment
//! Pods, Namespaces ────── select ─→ selected addresses ────┼─ config ─────→ ConfigMap (what `egress-agent gateway` reads)
//! Deployment, its Pods ── workload ─→ what there is ───────┼─ status ─────→ status, Events
//!                                                          └─ ovn ────────→ OVN rows (none yet)
//! ```
//!
//! [`plan`] puts it together for one gateway. Objects are JSON, because server-side apply sends exactly these fields and
//! no others; a test reads them by Kubernetes' own types.

mod applied;
mod claims;
pub mod config;
mod container;
mod deployment;
mod members;
mod names;
mod ovn;
mod owned;
mod plan;
mod quantity;
pub mod render;
pub mod select;
pub mod state;
mod status;
mod waits;
mod wires;
mod workload;

#[cfg(test)]
mod tests;

pub use deployment::APPLIED;
pub use ovn::Row;
pub use plan::{Event, Failure, Input, Plan, mistakes, plan};

/// What the controller's command line says about gateways.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Image of gateways that name none.
    pub image: String,
    /// When the image is pulled.
    pub pull_policy: String,
    /// What of Kube-OVN is done that a gateway of ours does not need.
    pub compat: Compat,
}

impl Default for Settings {
    fn default() -> Self {
        Self { image: IMAGE.to_owned(), pull_policy: "IfNotPresent".to_owned(), compat: Compat::None }
    }
}

/// Image of gateways, where nobody names one.
pub const IMAGE: &str = concat!("localhost/egress-agent:", env!("CARGO_PKG_VERSION"));

/// Whose habits are kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Compat {
    /// Ours: routes of policies are the agent's, and no edit of a policy makes new Pods.
    #[default]
    None,
    /// Routes of policies are in the Pod's annotation, so every edit of a policy makes new Pods.
    KubeOvn,
}
