//! EgressGatewayProfile: what a VpcEgressGateway cannot say.

use kube::CustomResource;
use serde::{Deserialize, Serialize};

/// Settings of the gateways that choose this profile. What is missing has its default, see
/// [`crate::spec::profile::Profile`]. Numbers and words are checked there, so that the message can name what is right.
#[derive(CustomResource, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[kube(
    group = "egress-ebpf.dev",
    version = "v1alpha1",
    kind = "EgressGatewayProfile",
    plural = "egressgatewayprofiles",
    shortname = "egp",
    namespaced,
    schema = "disabled"
)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct EgressGatewayProfileSpec {
    /// When idle flows end.
    pub timeouts: TimeoutsSpec,
    /// Ports for new flows.
    #[serde(alias = "port_range")]
    pub port_range: PortRangeSpec,
    /// `random` or `preserve`.
    #[serde(alias = "port_selection")]
    pub port_selection: Option<String>,
    /// Size of the flow table, a power of two; none: what the memory limit holds.
    #[serde(alias = "max_flows")]
    pub max_flows: Option<i64>,
    /// `takeover`, `reset` or `drop`.
    pub midflow: Option<String>,
    /// When and how sources are limited.
    pub fairness: FairnessSpec,
    /// `auto`, `peer`, `neigh` or `stack`.
    pub forward: Option<String>,
    /// `auto`, `tc` or `xdp`.
    pub datapath: Option<String>,
}

/// `spec.timeouts`, seconds.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct TimeoutsSpec {
    /// TCP, one side was heard.
    #[serde(alias = "tcp_opening")]
    pub tcp_opening: Option<i64>,
    /// TCP, both sides were heard.
    #[serde(alias = "tcp_established")]
    pub tcp_established: Option<i64>,
    /// TCP, one side sent FIN.
    #[serde(alias = "tcp_half_closed")]
    pub tcp_half_closed: Option<i64>,
    /// TCP, both sides sent FIN, or one RST.
    #[serde(alias = "tcp_closing")]
    pub tcp_closing: Option<i64>,
    /// UDP without a reply.
    #[serde(alias = "udp_unreplied")]
    pub udp_unreplied: Option<i64>,
    /// UDP, both sides were heard.
    #[serde(alias = "udp_replied")]
    pub udp_replied: Option<i64>,
    /// ICMP and ICMPv6 queries.
    pub icmp: Option<i64>,
    /// Other protocols.
    pub other: Option<i64>,
}

/// `spec.portRange`, both ends included.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PortRangeSpec {
    /// Lowest port.
    pub min: Option<i64>,
    /// Highest port.
    pub max: Option<i64>,
}

/// `spec.fairness`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct FairnessSpec {
    /// Per cent of use from which sources are limited; 100: never.
    #[serde(alias = "from_percent")]
    pub from_percent: Option<i64>,
    /// Most flows of one source from there on.
    #[serde(alias = "max_flows_per_source")]
    pub max_flows_per_source: Option<i64>,
    /// Most new flows per second of one source from there on.
    #[serde(alias = "new_flows_per_source_per_second")]
    pub new_flows_per_source_per_second: Option<i64>,
}
