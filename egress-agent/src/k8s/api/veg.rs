//! VpcEgressGateway of Kube-OVN, with the fields of 1.14 to 1.17.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use kube::CustomResource;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Who leaves the cluster under which address.
#[derive(CustomResource, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "kubeovn.io",
    version = "v1",
    kind = "VpcEgressGateway",
    plural = "vpc-egress-gateways",
    singular = "vpc-egress-gateway",
    shortname = "vpc-egress-gw",
    shortname = "veg",
    namespaced,
    status = "VpcEgressGatewayStatus",
    schema = "disabled"
)]
#[serde(rename_all = "camelCase", default)]
pub struct VpcEgressGatewaySpec {
    /// Vpc; empty: [`super::DEFAULT_VPC`].
    pub vpc: String,
    /// Gateway Pods; none: 1.
    pub replicas: Option<i64>,
    /// Stands before the Deployment's name.
    pub prefix: String,
    /// Image of the gateway Pods.
    pub image: String,
    /// Subnet in the overlay; empty: the Vpc's default.
    pub internal_subnet: String,
    /// Subnet of the external network.
    pub external_subnet: String,
    /// Overlay addresses for the Pods, each `v4`, `v6` or `v4,v6`.
    #[serde(rename = "internalIPs")]
    pub internal_ips: Vec<String>,
    /// Egress addresses, each `v4`, `v6` or `v4,v6`.
    #[serde(rename = "externalIPs")]
    pub external_ips: Vec<String>,
    /// IPPool that overlay addresses come from.
    #[serde(rename = "internalIPPool")]
    pub internal_ip_pool: String,
    /// IPPool that egress addresses come from.
    #[serde(rename = "externalIPPool")]
    pub external_ip_pool: String,
    /// Pods that leave by this gateway, always translated.
    pub selectors: Vec<Selector>,
    /// `Cluster` or `Local`.
    pub traffic_policy: String,
    /// `Required` or `Preferred`.
    pub pod_anti_affinity: String,
    /// How OVN probes the Pods.
    pub bfd: Option<Bfd>,
    /// CIDRs and Subnets that leave by this gateway.
    pub policies: Vec<Policy>,
    /// Terms of a node affinity.
    pub node_selector: Vec<Value>,
    /// Tolerations of the Pods.
    pub tolerations: Vec<Value>,
    /// Resources of the gateway container.
    pub resources: Option<Value>,
    /// Rate limits.
    pub bandwidth: Option<Bandwidth>,
    /// BgpConf to announce by.
    pub bgp_conf: String,
    /// EvpnConf to announce by.
    pub evpn_conf: String,
    /// Metrics and connection logs of Kube-OVN's observer.
    pub observability: Option<Value>,
}

/// One entry of `spec.selectors`. Neither: every Pod of the Vpc.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Selector {
    /// Which Namespaces; none: all.
    pub namespace_selector: Option<LabelSelector>,
    /// Which Pods in them; none: all.
    pub pod_selector: Option<LabelSelector>,
}

/// One entry of `spec.policies`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Policy {
    /// Whether the gateway translates.
    pub snat: bool,
    /// CIDRs or single addresses.
    pub ip_blocks: Vec<String>,
    /// Names of Subnets.
    pub subnets: Vec<String>,
}

/// `spec.bfd`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Bfd {
    /// Whether OVN probes.
    pub enabled: bool,
    /// Milliseconds.
    #[serde(rename = "minRX")]
    pub min_rx: i64,
    /// Milliseconds.
    #[serde(rename = "minTX")]
    pub min_tx: i64,
    /// Lost packets before a session is down.
    pub multiplier: i64,
}

/// `spec.bandwidth`; a number is Mbit/s, a string a quantity in bit/s.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Bandwidth {
    /// Into the cluster.
    pub ingress: Option<Value>,
    /// Out of the cluster.
    pub egress: Option<Value>,
}

/// What the controller reports.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct VpcEgressGatewayStatus {
    /// `spec.replicas` as taken.
    pub replicas: i64,
    /// Selector of the gateway Pods.
    pub label_selector: String,
    /// Whether traffic passes.
    pub ready: bool,
    /// `Pending`, `Processing` or `Completed`.
    pub phase: String,
    /// Overlay addresses, one entry per Pod.
    #[serde(rename = "internalIPs")]
    pub internal_ips: Vec<String>,
    /// Egress addresses, one entry per Pod.
    #[serde(rename = "externalIPs")]
    pub external_ips: Vec<String>,
    /// Conditions.
    pub conditions: Vec<Condition>,
    /// The Deployment.
    pub workload: Option<Workload>,
}

/// Kube-OVN's own condition type.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Condition {
    /// Such as `Ready`.
    #[serde(rename = "type")]
    pub type_: String,
    /// `True`, `False` or `Unknown`.
    pub status: String,
    /// One word.
    pub reason: String,
    /// For people.
    pub message: String,
    /// Generation that this is about.
    pub observed_generation: i64,
    /// RFC 3339.
    pub last_update_time: String,
    /// RFC 3339.
    pub last_transition_time: String,
}

/// `status.workload`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Workload {
    /// `apps/v1`.
    pub api_version: String,
    /// `Deployment`.
    pub kind: String,
    /// Its name.
    pub name: String,
    /// Nodes that the Pods run on.
    pub nodes: Vec<String>,
}
