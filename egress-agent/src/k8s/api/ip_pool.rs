//! IPPool of Kube-OVN.
#![expect(clippy::duplicated_attributes, reason = "printer columns of one type or priority")]

use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::schema::Unknown;

/// Some addresses of a Subnet. Cluster-scoped.
#[derive(CustomResource, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "kubeovn.io",
    version = "v1",
    kind = "IPPool",
    plural = "ippools",
    shortname = "ippool",
    doc = "Some addresses of a Subnet.",
    status = "IPPoolStatus",
    printcolumn(name = "Subnet", type_ = "string", json_path = ".spec.subnet"),
    printcolumn(name = "IPs", type_ = "string", json_path = ".spec.ips")
)]
#[serde(rename_all = "camelCase", default)]
#[schemars(extend("x-kubernetes-preserve-unknown-fields" = true))]
pub struct IPPoolSpec {
    /// The Subnet.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub subnet: String,
    /// Namespaces that use it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub namespaces: Vec<String>,
    /// Addresses, ranges (`a..b`) and CIDRs.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub ips: Vec<String>,
    /// What is not read.
    #[serde(flatten)]
    #[schemars(skip)]
    pub other: Unknown,
}

/// How many addresses are left; not read.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
#[schemars(extend("x-kubernetes-preserve-unknown-fields" = true))]
pub struct IPPoolStatus {
    /// Everything.
    #[serde(flatten)]
    #[schemars(skip)]
    pub other: Unknown,
}
