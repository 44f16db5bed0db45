//! The table and the ports under pressure: what still opens, what it costs, and what a greedy source does to others.
//!
//! Flows come by `BPF_PROG_TEST_RUN` of the running gateway's programs, neighbours are real sockets on the wire.

mod churn;
mod full;
mod million;
mod neighbours;
mod runs;

use anyhow::Result;
use egress_tests::Lab;
use egress_tests::gateway::Agent;

use crate::rig::{CLUSTER, Files, GATEWAY};

/// An agent with this `spec` of a profile.
fn agent<'lab>(lab: &'lab Lab, spec: &str) -> Result<Agent<'lab>> {
    let profile = format!(
        "---\napiVersion: egress-ebpf.dev/v1alpha1\nkind: EgressGatewayProfile\nmetadata: {{name: default}}\nspec: {spec}\n"
    );
    Agent::start(lab, Files::write(lab, CLUSTER, &format!("{GATEWAY}{profile}"))?.options())
}
