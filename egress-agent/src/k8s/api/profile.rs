//! EgressGatewayProfile: what a VpcEgressGateway cannot say.

use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Settings of the gateways that choose this profile. What is missing has its default. The gateway checks
/// numbers and words, so that its message can name what is right.
#[derive(CustomResource, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "egress-ebpf.dev",
    version = "v1alpha1",
    kind = "EgressGatewayProfile",
    plural = "egressgatewayprofiles",
    shortname = "egp",
    namespaced,
    doc = "Settings of egress gateways that a VpcEgressGateway cannot say.",
    printcolumn(name = "Midflow", type_ = "string", json_path = ".spec.midflow"),
    printcolumn(name = "Flows", type_ = "integer", json_path = ".spec.maxFlows"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct EgressGatewayProfileSpec {
    /// When idle flows end.
    #[serde(skip_serializing_if = "is_default")]
    pub timeouts: TimeoutsSpec,
    /// Ports for new flows.
    #[serde(alias = "port_range", skip_serializing_if = "is_default")]
    pub port_range: PortRangeSpec,
    /// `random` or `preserve`.
    #[serde(alias = "port_selection", skip_serializing_if = "Option::is_none")]
    #[schemars(extend("enum" = ["random", "preserve"]))]
    pub port_selection: Option<String>,
    /// Size of the flow table, a power of two; none: what the memory limit holds.
    #[serde(alias = "max_flows", skip_serializing_if = "Option::is_none")]
    #[schemars(extend("minimum" = 1, "maximum" = 1 << 30))]
    pub max_flows: Option<i64>,
    /// `takeover`, `reset` or `drop`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("enum" = ["takeover", "reset", "drop"]))]
    pub midflow: Option<String>,
    /// When and how sources are limited.
    #[serde(skip_serializing_if = "is_default")]
    pub fairness: FairnessSpec,
    /// `auto`, `peer`, `neigh` or `stack`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("enum" = ["auto", "peer", "neigh", "stack"]))]
    pub forward: Option<String>,
    /// `auto`, `tc` or `xdp`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("enum" = ["auto", "tc", "xdp"]))]
    pub datapath: Option<String>,
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// `spec.timeouts`, seconds.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct TimeoutsSpec {
    /// TCP, one side was heard.
    #[serde(alias = "tcp_opening", skip_serializing_if = "Option::is_none")]
    #[schemars(extend("minimum" = 1, "maximum" = 30 * 24 * 3600))]
    pub tcp_opening: Option<i64>,
    /// TCP, both sides were heard.
    #[serde(alias = "tcp_established", skip_serializing_if = "Option::is_none")]
    #[schemars(extend("minimum" = 1, "maximum" = 30 * 24 * 3600))]
    pub tcp_established: Option<i64>,
    /// TCP, one side sent FIN.
    #[serde(alias = "tcp_half_closed", skip_serializing_if = "Option::is_none")]
    #[schemars(extend("minimum" = 1, "maximum" = 30 * 24 * 3600))]
    pub tcp_half_closed: Option<i64>,
    /// TCP, both sides sent FIN, or one RST.
    #[serde(alias = "tcp_closing", skip_serializing_if = "Option::is_none")]
    #[schemars(extend("minimum" = 1, "maximum" = 30 * 24 * 3600))]
    pub tcp_closing: Option<i64>,
    /// UDP without a reply.
    #[serde(alias = "udp_unreplied", skip_serializing_if = "Option::is_none")]
    #[schemars(extend("minimum" = 1, "maximum" = 30 * 24 * 3600))]
    pub udp_unreplied: Option<i64>,
    /// UDP, both sides were heard.
    #[serde(alias = "udp_replied", skip_serializing_if = "Option::is_none")]
    #[schemars(extend("minimum" = 1, "maximum" = 30 * 24 * 3600))]
    pub udp_replied: Option<i64>,
    /// ICMP and ICMPv6 queries.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("minimum" = 1, "maximum" = 30 * 24 * 3600))]
    pub icmp: Option<i64>,
    /// Other protocols.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("minimum" = 1, "maximum" = 30 * 24 * 3600))]
    pub other: Option<i64>,
}

/// `spec.portRange`, both ends included.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct PortRangeSpec {
    /// Lowest port.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("minimum" = 1, "maximum" = 65535))]
    pub min: Option<i64>,
    /// Highest port.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("minimum" = 1, "maximum" = 65535))]
    pub max: Option<i64>,
}

/// `spec.fairness`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct FairnessSpec {
    /// Per cent of use from which sources are limited; 100: never.
    #[serde(alias = "from_percent", skip_serializing_if = "Option::is_none")]
    #[schemars(extend("minimum" = 1, "maximum" = 100))]
    pub from_percent: Option<i64>,
    /// Most flows of one source from there on.
    #[serde(alias = "max_flows_per_source", skip_serializing_if = "Option::is_none")]
    #[schemars(extend("minimum" = 1, "maximum" = 1 << 30))]
    pub max_flows_per_source: Option<i64>,
    /// Most new flows per second of one source from there on.
    #[serde(alias = "new_flows_per_source_per_second", skip_serializing_if = "Option::is_none")]
    #[schemars(extend("minimum" = 1, "maximum" = 1_000_000))]
    pub new_flows_per_source_per_second: Option<i64>,
}
