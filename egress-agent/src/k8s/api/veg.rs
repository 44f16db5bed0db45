//! VpcEgressGateway of Kube-OVN, with the fields of 1.14 to 1.17.
#![expect(clippy::duplicated_attributes, reason = "printer columns of one type or priority")]

mod bandwidth;
mod bfd;
mod observability;
mod status;

use std::collections::BTreeMap;

pub use bandwidth::Bandwidth;
pub(crate) use bandwidth::mbps;
pub use bfd::Bfd;
use k8s_openapi::{
    api::core::v1::{NodeSelectorRequirement, Toleration},
    apimachinery::pkg::apis::meta::v1::LabelSelector,
};
use kube::CustomResource;
pub use observability::{
    Conntrack, ConntrackLog, FlowEnds, LogFilter, LogFilters, Observability, PortSpan, RateLimit, ServiceMonitor,
    Switch,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
pub use status::{Condition, VpcEgressGatewayStatus, Workload};

use super::schema::{IntOrText, LABEL_SELECTOR, ROUTED_BY_BGP, Unknown, quantities, rules};

/// Who leaves the cluster under which address.
#[derive(CustomResource, Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "kubeovn.io",
    version = "v1",
    kind = "VpcEgressGateway",
    plural = "vpc-egress-gateways",
    singular = "vpc-egress-gateway",
    shortname = "vpc-egress-gw",
    shortname = "veg",
    namespaced,
    derive = "PartialEq",
    doc = "Who leaves the cluster under which address.",
    status = "VpcEgressGatewayStatus",
    scale(
        spec_replicas_path = ".spec.replicas",
        status_replicas_path = ".status.replicas",
        label_selector_path = ".status.labelSelector"
    ),
    printcolumn(name = "VPC", type_ = "string", json_path = ".spec.vpc"),
    printcolumn(name = "Replicas", type_ = "integer", json_path = ".spec.replicas"),
    printcolumn(name = "BFD Enabled", type_ = "boolean", json_path = ".spec.bfd.enabled"),
    printcolumn(name = "External Subnet", type_ = "string", json_path = ".spec.externalSubnet"),
    printcolumn(name = "Phase", type_ = "string", json_path = ".status.phase"),
    printcolumn(name = "Ready", type_ = "boolean", json_path = ".status.ready"),
    printcolumn(name = "Internal IPs", type_ = "string", json_path = ".status.internalIPs", priority = 1),
    printcolumn(name = "External IPs", type_ = "string", json_path = ".status.externalIPs", priority = 1),
    printcolumn(name = "Working Nodes", type_ = "string", json_path = ".status.workload.nodes", priority = 1),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase", default)]
#[schemars(extend("required" = ["externalSubnet"], "x-kubernetes-validations" = spec_rules()))]
pub struct VpcEgressGatewaySpec {
    /// Vpc; empty: `ovn-cluster`.
    #[serde(skip_serializing_if = "String::is_empty")]
    #[schemars(extend("default" = super::DEFAULT_VPC))]
    pub vpc: String,
    /// Gateway Pods; none: 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("default" = 1, "format" = "int32", "minimum" = 0, "maximum" = 10))]
    pub replicas: Option<i64>,
    /// Stands before the Deployment's name; it cannot be changed.
    #[serde(skip_serializing_if = "String::is_empty")]
    #[schemars(extend("pattern" = PREFIX))]
    pub prefix: String,
    /// Image of the gateway Pods; empty: the controller's.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub image: String,
    /// Subnet in the overlay; empty: the Vpc's default.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub internal_subnet: String,
    /// Subnet of the external network.
    #[serde(skip_serializing_if = "String::is_empty")]
    #[schemars(extend("minLength" = 1))]
    pub external_subnet: String,
    /// Overlay addresses for the Pods, each `v4`, `v6` or `v4,v6`.
    #[serde(rename = "internalIPs", skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("maxItems" = MOST_ADDRESSES, "x-kubernetes-list-type" = "set", "items" = address_pair()))]
    pub internal_ips: Vec<String>,
    /// Egress addresses, each `v4`, `v6` or `v4,v6`.
    #[serde(rename = "externalIPs", skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("maxItems" = MOST_ADDRESSES, "x-kubernetes-list-type" = "set", "items" = address_pair()))]
    pub external_ips: Vec<String>,
    /// IPPool that overlay addresses come from.
    #[serde(rename = "internalIPPool", skip_serializing_if = "String::is_empty")]
    pub internal_ip_pool: String,
    /// IPPool that egress addresses come from.
    #[serde(rename = "externalIPPool", skip_serializing_if = "String::is_empty")]
    pub external_ip_pool: String,
    /// Pods that leave by this gateway, always translated.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub selectors: Vec<Selector>,
    /// `Cluster`: any gateway Pod; `Local`: the one on the same node, if there is one.
    #[serde(skip_serializing_if = "String::is_empty")]
    #[schemars(extend("default" = "Cluster", "enum" = ["Local", "Cluster"]))]
    pub traffic_policy: String,
    /// Whether gateway Pods must, or only should, be on different nodes.
    #[serde(skip_serializing_if = "String::is_empty")]
    #[schemars(extend("default" = "Required", "enum" = ["Required", "Preferred"]))]
    pub pod_anti_affinity: String,
    /// How OVN probes the Pods.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("default" = {}))]
    pub bfd: Option<Bfd>,
    /// CIDRs and Subnets that leave by this gateway.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("maxItems" = 128))]
    pub policies: Vec<Policy>,
    /// Terms of a node affinity, of which one must hold.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub node_selector: Vec<NodeTerm>,
    /// Tolerations of the Pods.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub tolerations: Vec<Toleration>,
    /// Resources of the gateway container.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resources: Option<Resources>,
    /// Rate limits.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bandwidth: Option<Bandwidth>,
    /// BgpConf to announce by.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub bgp_conf: String,
    /// EvpnConf to announce by.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub evpn_conf: String,
    /// Metrics and connection logs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observability: Option<Observability>,
    /// What this build does not know.
    #[serde(flatten)]
    #[schemars(skip)]
    pub other: Unknown,
}

/// As Kubernetes' names may begin.
const PREFIX: &str = r"^$|^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*[-\.]?$";

/// Bounds what the API server estimates the rules to cost.
const MOST_ADDRESSES: u32 = 64;

fn spec_rules() -> Value {
    rules(&[
        (
            "(has(self.policies) && size(self.policies) > 0) || (has(self.selectors) && size(self.selectors) > 0)",
            "Each VPC Egress Gateway MUST have at least one policy or selector",
        ),
        (
            "!has(self.internalIPs) || size(self.internalIPs) == 0 || size(self.internalIPs) >= self.replicas",
            "Size of Internal IPs MUST be equal to or greater than Replicas",
        ),
        (
            "!has(self.externalIPs) || size(self.externalIPs) == 0 || size(self.externalIPs) >= self.replicas",
            "Size of External IPs MUST be equal to or greater than Replicas",
        ),
        (
            "!has(self.internalIPs) || size(self.internalIPs) == 0 || !has(self.internalIPPool) || self.internalIPPool == ''",
            "Internal IPs and Internal IPPool are mutually exclusive",
        ),
        (
            "!has(self.externalIPs) || size(self.externalIPs) == 0 || !has(self.externalIPPool) || self.externalIPPool == ''",
            "External IPs and External IPPool are mutually exclusive",
        ),
        // Kube-OVN's rule stands on the field and does not hold while that is added or removed.
        (
            "(has(self.prefix) ? self.prefix : '') == (has(oldSelf.prefix) ? oldSelf.prefix : '')",
            "prefix is immutable: the Deployment is called by it",
        ),
        (ROUTED_BY_BGP, "evpnConf needs a bgpConf: EVPN is announced by BGP"),
    ])
}

fn address_pair() -> Value {
    json!({
        "type": "string",
        "maxLength": 96,
        "x-kubernetes-validations": rules(&[(
            "size(self.split(',')) <= 2 && self.split(',').all(part, isIP(part))",
            "must be an IPv4 address, an IPv6 address, or both as v4,v6",
        )]),
    })
}

/// One entry of `spec.selectors`. Neither: every Pod of the Vpc.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Selector {
    /// Which Namespaces; none: all.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-kubernetes-validations" = rules(&[(
        LABEL_SELECTOR,
        "Each namespace selector MUST have at least one matchLabels or matchExpressions"
    )])))]
    pub namespace_selector: Option<LabelSelector>,
    /// Which Pods in them; none: all.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-kubernetes-validations" = rules(&[(
        LABEL_SELECTOR,
        "Each pod selector MUST have at least one matchLabels or matchExpressions"
    )])))]
    pub pod_selector: Option<LabelSelector>,
    /// What this build does not know.
    #[serde(flatten)]
    #[schemars(skip)]
    pub other: Unknown,
}

/// One entry of `spec.policies`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(extend("x-kubernetes-validations" = rules(&[(
    "has(self.ipBlocks) || has(self.subnets)",
    "Each policy MUST have at least one ipBlocks or subnets"
)])))]
pub struct Policy {
    /// Whether the gateway translates.
    pub snat: bool,
    /// CIDRs or single addresses.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("maxItems" = 1024, "x-kubernetes-list-type" = "set", "items" = ip_block()))]
    pub ip_blocks: Vec<String>,
    /// Names of Subnets.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("maxItems" = 1024, "x-kubernetes-list-type" = "set"))]
    pub subnets: Vec<String>,
    /// What this build does not know.
    #[serde(flatten)]
    #[schemars(skip)]
    pub other: Unknown,
}

fn ip_block() -> Value {
    json!({
        "type": "string",
        "maxLength": 49,
        "x-kubernetes-validations": rules(&[(
            "isCIDR(self) || isIP(self)",
            "must be a CIDR such as 10.18.0.0/16, or an address",
        )]),
    })
}

/// One entry of `spec.nodeSelector`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(extend("x-kubernetes-validations" = rules(&[(
    "has(self.matchLabels) || has(self.matchExpressions) || has(self.matchFields)",
    "an empty node selector matches no node: give matchLabels, matchExpressions or matchFields"
)])))]
pub struct NodeTerm {
    /// Labels that the node has.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub match_labels: BTreeMap<String, String>,
    /// Rules about its labels.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub match_expressions: Vec<NodeSelectorRequirement>,
    /// Rules about its fields.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub match_fields: Vec<NodeSelectorRequirement>,
    /// What this build does not know.
    #[serde(flatten)]
    #[schemars(skip)]
    pub other: Unknown,
}

/// Resources of a container; quantities may be numbers, which Kubernetes' own Rust type refuses.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Resources {
    /// What it may use at most.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "quantities")]
    pub limits: BTreeMap<String, IntOrText>,
    /// What it is given at least.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "quantities")]
    pub requests: BTreeMap<String, IntOrText>,
    /// Claims of dynamic resources.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "super::schema::objects")]
    pub claims: Vec<Value>,
    /// What this build does not know.
    #[serde(flatten)]
    #[schemars(skip)]
    pub other: Unknown,
}
