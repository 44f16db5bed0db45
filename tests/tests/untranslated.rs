//! Traffic of `snat: false` CIDRs: forwarded as the kernel would, whatever it is.

mod packets;
mod sockets;

use anyhow::Result;
use egress_tests::lab::RealChecksums;
use egress_tests::lab::addresses::no_snat_networks;
use egress_tests::{Lab, LabConfig};

/// Both sides know the way to each other.
fn lab(overlay: u32, external: u32, checksums: RealChecksums) -> Result<Lab> {
    let config = LabConfig::default().mtu(overlay, external).checksums(checksums);
    let lab = Lab::build(config.return_routes(&no_snat_networks()))?;
    crate::wire::talkative(&lab)?;
    Ok(lab)
}
