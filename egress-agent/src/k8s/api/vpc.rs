//! Vpc of Kube-OVN.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use kube::CustomResource;
use serde::{Deserialize, Serialize};

/// What a Vpc says, as far as an egress gateway reads it. Cluster-scoped.
#[derive(CustomResource, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[kube(group = "kubeovn.io", version = "v1", kind = "Vpc", plural = "vpcs", status = "VpcStatus", schema = "disabled")]
#[serde(rename_all = "camelCase", default)]
pub struct VpcSpec {
    /// Subnet of Pods that name none.
    pub default_subnet: String,
    /// Namespaces whose Pods live in it.
    pub namespaces: Vec<String>,
    /// Logical port from which OVN probes gateways.
    pub bfd_port: Option<BfdPort>,
}

/// `spec.bfdPort` of a Vpc.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct BfdPort {
    /// Whether the port exists.
    pub enabled: bool,
    /// `v4`, `v6` or `v4,v6`.
    pub ip: String,
    /// Nodes that host it.
    pub node_selector: Option<LabelSelector>,
}

/// What Kube-OVN reports about a Vpc.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct VpcStatus {
    /// Whether it is the cluster's default Vpc.
    pub default: bool,
    /// OVN logical router.
    pub router: String,
    /// Subnet of gateways that name none.
    pub default_logical_switch: String,
    /// Its Subnets.
    pub subnets: Vec<String>,
    /// The probing port as it is.
    pub bfd_port: Option<BfdPortStatus>,
}

/// `status.bfdPort` of a Vpc.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct BfdPortStatus {
    /// OVN logical router port.
    pub name: String,
    /// `v4`, `v6` or `v4,v6`.
    pub ip: String,
    /// Nodes that host it.
    pub nodes: Vec<String>,
}
