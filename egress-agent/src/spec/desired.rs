//! What a gateway shall do: the outcome of reading manifests against the interfaces. Pure data; the datapath and the
//! routes are brought in line with it.

use std::{
    collections::BTreeSet,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use super::profile::Profile;

/// The desired state of one gateway.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Desired {
    /// `namespace/name` of the VpcEgressGateway.
    pub gateway: String,
    /// Overlay side.
    pub internal: Side,
    /// Side of the external network.
    pub external: Side,
    /// Egress addresses in the order of `externalIPs`; all are on the external interface.
    pub egress: Vec<IpAddr>,
    /// CIDRs of `snat: false` policies.
    pub no_snat: BTreeSet<IpNet>,
    /// Addresses of Pods that a selector matches.
    pub selected: BTreeSet<IpAddr>,
    /// CIDRs of all policies that lie outside the internal Subnet: reached through the internal gateway.
    pub routes: BTreeSet<IpNet>,
    /// Settings that a VEG cannot say.
    pub profile: Profile,
    /// What the user should know although it is no mistake, such as a Pod without an address.
    pub warnings: Vec<String>,
}

/// One interface with the gateways of its Subnet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Side {
    /// Interface name.
    pub interface: String,
    /// Subnet's IPv4 gateway.
    pub gateway4: Option<Ipv4Addr>,
    /// Subnet's IPv6 gateway.
    pub gateway6: Option<Ipv6Addr>,
}
