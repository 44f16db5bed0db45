//! Subnet of Kube-OVN.
#![expect(clippy::duplicated_attributes, reason = "printer columns of one type or priority")]

use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{schema::Unknown, veg::Condition};

/// What a Subnet says, as far as an egress gateway reads it. Cluster-scoped.
#[derive(CustomResource, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "kubeovn.io",
    version = "v1",
    kind = "Subnet",
    plural = "subnets",
    shortname = "subnet",
    doc = "Addresses of a network, in the overlay or outside.",
    status = "SubnetStatus",
    printcolumn(name = "Provider", type_ = "string", json_path = ".spec.provider"),
    printcolumn(name = "Vpc", type_ = "string", json_path = ".spec.vpc"),
    printcolumn(name = "Protocol", type_ = "string", json_path = ".spec.protocol"),
    printcolumn(name = "CIDR", type_ = "string", json_path = ".spec.cidrBlock"),
    printcolumn(name = "Gateway", type_ = "string", json_path = ".spec.gateway")
)]
#[serde(rename_all = "camelCase", default)]
#[schemars(extend("x-kubernetes-preserve-unknown-fields" = true))]
pub struct SubnetSpec {
    /// `IPv4`, `IPv6` or `Dual`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub protocol: String,
    /// Its Vpc; empty: `ovn-cluster`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub vpc: String,
    /// Who implements it: `ovn`, or `<attachment>.<namespace>[.ovn]`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub provider: String,
    /// `v4`, `v6` or `v4,v6` CIDR.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub cidr_block: String,
    /// Gateway of each family, `v4`, `v6` or `v4,v6`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub gateway: String,
    /// VLAN of an underlay Subnet.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub vlan: String,
    /// Addresses and ranges (`a..b`) that are not handed out.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub exclude_ips: Vec<String>,
    /// What is not read.
    #[serde(flatten)]
    #[schemars(skip)]
    pub other: Unknown,
}

impl Subnet {
    /// Why Kube-OVN takes the Subnet for wrong, if it does. It makes nothing of such a one.
    pub(crate) fn refused(&self) -> Option<&str> {
        let conditions = &self.status.as_ref()?.conditions;
        let refused = conditions.iter().find(|it| it.type_ == "Validated" && it.status == "False")?;
        Some(if refused.message.is_empty() { &refused.reason } else { &refused.message })
    }
}

/// What Kube-OVN reports about a Subnet.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
#[schemars(extend("x-kubernetes-preserve-unknown-fields" = true))]
pub struct SubnetStatus {
    /// Whether it is `Validated`, for one.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "super::schema::objects")]
    pub conditions: Vec<Condition>,
    /// What is not read.
    #[serde(flatten)]
    #[schemars(skip)]
    pub other: Unknown,
}
