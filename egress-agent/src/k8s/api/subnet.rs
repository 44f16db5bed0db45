//! Subnet of Kube-OVN.

use kube::CustomResource;
use serde::{Deserialize, Serialize};

/// What a Subnet says, as far as an egress gateway reads it. Cluster-scoped.
#[derive(CustomResource, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[kube(group = "kubeovn.io", version = "v1", kind = "Subnet", plural = "subnets", schema = "disabled")]
#[serde(rename_all = "camelCase", default)]
pub struct SubnetSpec {
    /// `IPv4`, `IPv6` or `Dual`.
    pub protocol: String,
    /// Its Vpc; empty: [`super::DEFAULT_VPC`].
    pub vpc: String,
    /// Who implements it: `ovn`, or `<attachment>.<namespace>[.ovn]`.
    pub provider: String,
    /// `v4`, `v6` or `v4,v6` CIDR.
    pub cidr_block: String,
    /// Gateway of each family, `v4`, `v6` or `v4,v6`.
    pub gateway: String,
    /// VLAN of an underlay Subnet.
    pub vlan: String,
    /// Addresses and ranges (`a..b`) that are not handed out.
    pub exclude_ips: Vec<String>,
}
