//! `spec.observability` (Kube-OVN 1.16 and later).

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Resources;
use crate::k8s::api::schema::{PORT_SPAN, Unknown, rules};

/// Metrics and connection logs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Observability {
    /// Resources of Kube-OVN's observer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resources: Option<Resources>,
    /// Counters of the interfaces.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub interface_metrics: Option<Switch>,
    /// Counters and log of translated flows.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub conntrack: Option<Conntrack>,
    /// A ServiceMonitor for Prometheus' operator.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service_monitor: Option<ServiceMonitor>,
    /// What this build does not know.
    #[serde(flatten)]
    #[schemars(skip)]
    pub other: Unknown,
}

impl Observability {
    /// Whether anything is asked for.
    #[must_use]
    pub fn wanted(&self) -> bool {
        let on = |switch: &Option<Switch>| switch.as_ref().is_some_and(|switch| switch.enabled);
        let conntrack = self.conntrack.as_ref();
        on(&self.interface_metrics)
            || conntrack.is_some_and(|c| on(&c.metrics) || c.log.as_ref().is_some_and(|log| log.enabled))
            || self.service_monitor.is_some()
            || !self.other.is_empty()
    }
}

/// Something that is on or off.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Switch {
    /// Whether it is on.
    pub enabled: bool,
    /// What this build does not know.
    #[serde(flatten)]
    #[schemars(skip)]
    pub other: Unknown,
}

/// `conntrack`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Conntrack {
    /// Counters.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub metrics: Option<Switch>,
    /// Log.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub log: Option<ConntrackLog>,
    /// What this build does not know.
    #[serde(flatten)]
    #[schemars(skip)]
    pub other: Unknown,
}

/// `conntrack.log`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct ConntrackLog {
    /// Whether flows are logged.
    pub enabled: bool,
    /// `start`, `end`; none: both.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend(
        "maxItems" = 2,
        "x-kubernetes-list-type" = "set",
        "items" = {"type": "string", "enum": ["start", "end"]}
    ))]
    pub events: Vec<String>,
    /// How many lines are written.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rate_limit: Option<RateLimit>,
    /// Which flows.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub filters: Option<LogFilters>,
    /// What this build does not know.
    #[serde(flatten)]
    #[schemars(skip)]
    pub other: Unknown,
}

/// `conntrack.log.rateLimit`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct RateLimit {
    /// On the average.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("format" = "int32", "minimum" = 1, "maximum" = 100_000))]
    pub records_per_second: Option<i64>,
    /// At once.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("format" = "int32", "minimum" = 1, "maximum" = 1_000_000))]
    pub burst: Option<i64>,
    /// What this build does not know.
    #[serde(flatten)]
    #[schemars(skip)]
    pub other: Unknown,
}

/// `conntrack.log.filters`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct LogFilters {
    /// Only these; none: all.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("maxItems" = 64))]
    pub include: Vec<LogFilter>,
    /// Not these.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("maxItems" = 64))]
    pub exclude: Vec<LogFilter>,
    /// What this build does not know.
    #[serde(flatten)]
    #[schemars(skip)]
    pub other: Unknown,
}

/// Flows of which every given field holds.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct LogFilter {
    /// `ipv4`, `ipv6`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("maxItems" = 2, "items" = {"type": "string", "enum": ["ipv4", "ipv6"]}))]
    pub address_families: Vec<String>,
    /// `tcp`, `udp`, `sctp`, `icmp`, `icmpv6`, `other`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("maxItems" = 6, "items" = {"type": "string", "enum": ["tcp", "udp", "sctp", "icmp", "icmpv6", "other"]}))]
    pub protocols: Vec<String>,
    /// `snat`, `dnat`, `snat_dnat`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("maxItems" = 3, "items" = {"type": "string", "enum": ["snat", "dnat", "snat_dnat"]}))]
    pub nat_types: Vec<String>,
    /// As the packet came.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub original: Option<FlowEnds>,
    /// As it went on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub translated: Option<FlowEnds>,
    /// What this build does not know.
    #[serde(flatten)]
    #[schemars(skip)]
    pub other: Unknown,
}

/// Both ends of a flow.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct FlowEnds {
    /// Of the source.
    #[serde(rename = "sourceCIDRs", skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("maxItems" = 64))]
    pub source_cidrs: Vec<String>,
    /// Of the destination.
    #[serde(rename = "destinationCIDRs", skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("maxItems" = 64))]
    pub destination_cidrs: Vec<String>,
    /// Of the source.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("maxItems" = 64))]
    pub source_ports: Vec<PortSpan>,
    /// Of the destination.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("maxItems" = 64))]
    pub destination_ports: Vec<PortSpan>,
    /// What this build does not know.
    #[serde(flatten)]
    #[schemars(skip)]
    pub other: Unknown,
}

/// Ports, both included.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
#[schemars(extend(
    "required" = ["start", "end"],
    "x-kubernetes-validations" = rules(&[(PORT_SPAN, "start must not be greater than end")])
))]
pub struct PortSpan {
    /// First.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("format" = "int32", "minimum" = 0, "maximum" = 65535))]
    pub start: Option<i64>,
    /// Last.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("format" = "int32", "minimum" = 0, "maximum" = 65535))]
    pub end: Option<i64>,
    /// What this build does not know.
    #[serde(flatten)]
    #[schemars(skip)]
    pub other: Unknown,
}

/// `serviceMonitor`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct ServiceMonitor {
    /// Its labels.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// Its annotations.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
    /// What this build does not know.
    #[serde(flatten)]
    #[schemars(skip)]
    pub other: Unknown,
}
