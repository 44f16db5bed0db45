//! Vpc of Kube-OVN.
#![expect(clippy::duplicated_attributes, reason = "printer columns of one type or priority")]

use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::schema::Unknown;

/// What a Vpc says, as far as an egress gateway reads it. Cluster-scoped.
#[derive(CustomResource, Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "kubeovn.io",
    version = "v1",
    kind = "Vpc",
    plural = "vpcs",
    shortname = "vpc",
    doc = "A network of its own: a logical router of OVN and its Subnets.",
    status = "VpcStatus",
    printcolumn(name = "Standby", type_ = "boolean", json_path = ".status.standby"),
    printcolumn(name = "Subnets", type_ = "string", json_path = ".status.subnets"),
    printcolumn(name = "Namespaces", type_ = "string", json_path = ".spec.namespaces"),
    printcolumn(name = "DefaultSubnet", type_ = "string", json_path = ".status.defaultLogicalSwitch")
)]
#[serde(rename_all = "camelCase", default)]
#[schemars(extend("x-kubernetes-preserve-unknown-fields" = true))]
pub struct VpcSpec {
    /// Subnet of Pods that name none.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub default_subnet: String,
    /// Namespaces whose Pods live in it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub namespaces: Vec<String>,
    /// Logical port from which OVN probes gateways.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bfd_port: Option<BfdPort>,
    /// What is not read.
    #[serde(flatten)]
    #[schemars(skip)]
    pub other: Unknown,
}

/// `spec.bfdPort` of a Vpc.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(extend("x-kubernetes-preserve-unknown-fields" = true))]
pub struct BfdPort {
    /// Whether the port exists.
    pub enabled: bool,
    /// `v4`, `v6` or `v4,v6`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub ip: String,
    /// Nodes that host it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub node_selector: Option<LabelSelector>,
    /// What is not read.
    #[serde(flatten)]
    #[schemars(skip)]
    pub other: Unknown,
}

/// What Kube-OVN reports about a Vpc.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(extend("x-kubernetes-preserve-unknown-fields" = true))]
pub struct VpcStatus {
    /// Whether it is the cluster's default Vpc.
    pub default: bool,
    /// OVN logical router.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub router: String,
    /// Subnet of gateways that name none.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub default_logical_switch: String,
    /// Its Subnets.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub subnets: Vec<String>,
    /// The probing port as it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bfd_port: Option<BfdPortStatus>,
    /// What is not read.
    #[serde(flatten)]
    #[schemars(skip)]
    pub other: Unknown,
}

/// `status.bfdPort` of a Vpc.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
#[schemars(extend("x-kubernetes-preserve-unknown-fields" = true))]
pub struct BfdPortStatus {
    /// OVN logical router port.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// `v4`, `v6` or `v4,v6`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub ip: String,
    /// Nodes that host it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub nodes: Vec<String>,
    /// What is not read.
    #[serde(flatten)]
    #[schemars(skip)]
    pub other: Unknown,
}
