//! BgpConf and EvpnConf of Kube-OVN: how a gateway announces itself.

use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::schema::Unknown;

/// BGP of a gateway. Cluster-scoped. Kube-OVN's CRD cannot hold AS numbers above 2147483647, ours can.
#[derive(CustomResource, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "kubeovn.io",
    version = "v1",
    kind = "BgpConf",
    plural = "bgp-confs",
    singular = "bgp-conf",
    doc = "BGP of an egress gateway."
)]
#[serde(rename_all = "camelCase", default)]
#[schemars(extend("x-kubernetes-preserve-unknown-fields" = true))]
pub struct BgpConfSpec {
    /// Own AS.
    #[serde(rename = "localASN", skip_serializing_if = "Option::is_none")]
    #[schemars(extend("minimum" = 0, "maximum" = u32::MAX))]
    pub local_asn: Option<i64>,
    /// The neighbours' AS.
    #[serde(rename = "peerASN", skip_serializing_if = "Option::is_none")]
    #[schemars(extend("minimum" = 0, "maximum" = u32::MAX))]
    pub peer_asn: Option<i64>,
    /// IPv4 address as identifier.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub router_id: String,
    /// Their addresses.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub neighbours: Vec<String>,
    /// TCP MD5 password, in plain text.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub password: String,
    /// Such as `90s`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub hold_time: String,
    /// Such as `30s`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub keepalive_time: String,
    /// Such as `5s`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub connect_time: String,
    /// Whether neighbours may be more than one hop away.
    pub ebgp_multi_hop: bool,
    /// Whether routes stay while BGP restarts.
    pub graceful_restart: bool,
    /// What is not read.
    #[serde(flatten)]
    #[schemars(skip)]
    pub other: Unknown,
}

/// EVPN of a gateway. Cluster-scoped.
#[derive(CustomResource, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "kubeovn.io",
    version = "v1",
    kind = "EvpnConf",
    plural = "evpn-confs",
    singular = "evpn-conf",
    doc = "EVPN of an egress gateway."
)]
#[serde(rename_all = "camelCase", default)]
#[schemars(extend("x-kubernetes-preserve-unknown-fields" = true))]
pub struct EvpnConfSpec {
    /// VXLAN network identifier, 24 bits (RFC 7348 §5).
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("minimum" = 0, "maximum" = 16_777_215))]
    pub vni: Option<i64>,
    /// Route targets, such as `65000:1016`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub route_targets: Vec<String>,
    /// What is not read.
    #[serde(flatten)]
    #[schemars(skip)]
    pub other: Unknown,
}
