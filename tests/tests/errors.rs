//! ICMP errors of routers and hosts: they reach the socket whose packet they are about, and no other.

mod injected;
mod ours;
mod sockets;

use std::net::IpAddr;

use anyhow::{Context, Result};
use egress_tests::Lab;

use crate::rig::{Flow, flows};

/// The flow between this Pod and this host.
fn flow(lab: &Lab, protocol: &str, inside: IpAddr, remote: IpAddr) -> Result<Flow> {
    let found = flows(lab)?.into_iter().find(|it| (&*it.protocol, it.inside, it.remote) == (protocol, inside, remote));
    found.with_context(|| format!("no {protocol} flow of {inside}"))
}
