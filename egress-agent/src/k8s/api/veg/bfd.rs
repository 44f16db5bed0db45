//! `spec.bfd`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::k8s::api::schema::Unknown;

/// How OVN probes the gateway Pods.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Bfd {
    /// Whether OVN probes.
    pub enabled: bool,
    /// Shortest interval between received packets, milliseconds.
    #[serde(rename = "minRX", skip_serializing_if = "Option::is_none")]
    #[schemars(extend("default" = 1000, "format" = "int32", "minimum" = 1, "maximum" = 3_600_000))]
    pub min_rx: Option<i64>,
    /// Shortest interval between sent packets, milliseconds.
    #[serde(rename = "minTX", skip_serializing_if = "Option::is_none")]
    #[schemars(extend("default" = 1000, "format" = "int32", "minimum" = 1, "maximum" = 3_600_000))]
    pub min_tx: Option<i64>,
    /// Lost packets before a session is down. Eight bits on the wire (RFC 5880 §4.1).
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("default" = 3, "format" = "int32", "minimum" = 1, "maximum" = 255))]
    pub multiplier: Option<i64>,
    /// What this build does not know.
    #[serde(flatten)]
    #[schemars(skip)]
    pub other: Unknown,
}
