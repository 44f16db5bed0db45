//! `status` of a VpcEgressGateway.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::k8s::api::schema::Unknown;

/// What the controller reports.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct VpcEgressGatewayStatus {
    /// Gateway Pods that there are.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("format" = "int32", "minimum" = 0))]
    pub replicas: Option<i64>,
    /// Selector of the gateway Pods.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub label_selector: String,
    /// Whether traffic passes.
    pub ready: bool,
    /// `Pending`, `Processing` or `Completed`.
    #[serde(skip_serializing_if = "String::is_empty")]
    #[schemars(extend("default" = "Pending", "enum" = ["Pending", "Processing", "Completed"]))]
    pub phase: String,
    /// Overlay addresses, one entry per Pod.
    #[serde(rename = "internalIPs", skip_serializing_if = "Vec::is_empty")]
    pub internal_ips: Vec<String>,
    /// Egress addresses, one entry per Pod, in the order of `internalIPs`.
    #[serde(rename = "externalIPs", skip_serializing_if = "Vec::is_empty")]
    pub external_ips: Vec<String>,
    /// Conditions, by type.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,
    /// The Deployment.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub workload: Option<Workload>,
    /// What this build does not know.
    #[serde(flatten)]
    #[schemars(skip)]
    pub other: Unknown,
}

/// Kube-OVN's own condition type.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(extend("required" = ["type", "status"]))]
pub struct Condition {
    /// Such as `Ready`.
    #[serde(rename = "type", skip_serializing_if = "String::is_empty")]
    pub type_: String,
    /// `True`, `False` or `Unknown`.
    #[serde(skip_serializing_if = "String::is_empty")]
    #[schemars(extend("enum" = ["True", "False", "Unknown"]))]
    pub status: String,
    /// One word.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub reason: String,
    /// For people.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub message: String,
    /// Generation that this is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// When anything of the condition changed, RFC 3339.
    #[serde(skip_serializing_if = "String::is_empty")]
    #[schemars(extend("format" = "date-time"))]
    pub last_update_time: String,
    /// When `status` changed, RFC 3339.
    #[serde(skip_serializing_if = "String::is_empty")]
    #[schemars(extend("format" = "date-time"))]
    pub last_transition_time: String,
    /// What this build does not know.
    #[serde(flatten)]
    #[schemars(skip)]
    pub other: Unknown,
}

/// `status.workload`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Workload {
    /// `apps/v1`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub api_version: String,
    /// `Deployment`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub kind: String,
    /// Its name.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// Nodes that the Pods run on, each once, by name.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub nodes: Vec<String>,
    /// What this build does not know.
    #[serde(flatten)]
    #[schemars(skip)]
    pub other: Unknown,
}
