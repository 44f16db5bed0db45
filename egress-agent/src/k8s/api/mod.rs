//! Objects of Kube-OVN, of Multus and our own, as their API stores them. Namespace and Pod come from `k8s-openapi`.
//!
//! Kube-OVN's and Multus' objects are read liberally: every field may be missing, unknown ones are kept (`other`), because
//! their owner has validated them and every release has other fields. Our own kind refuses what it does not know.

mod ip_pool;
mod nad;
mod profile;
mod routing;
pub(crate) mod schema;
mod subnet;
mod veg;
mod vpc;

#[cfg(test)]
pub(crate) mod tests;

pub use ip_pool::{IPPool, IPPoolSpec, IPPoolStatus};
pub use nad::{NetworkAttachmentDefinition, NetworkAttachmentDefinitionSpec};
pub use profile::{EgressGatewayProfile, EgressGatewayProfileSpec, FairnessSpec, PortRangeSpec, TimeoutsSpec};
pub use routing::{BgpConf, BgpConfSpec, EvpnConf, EvpnConfSpec};
pub use schema::{IntOrText, Unknown};
pub use subnet::{Subnet, SubnetSpec, SubnetStatus};
pub(crate) use veg::mbps;
pub use veg::{
    Bandwidth, Bfd, Condition, Conntrack, ConntrackLog, FlowEnds, LogFilter, LogFilters, NodeTerm, Observability,
    Policy, PortSpan, RateLimit, Resources, Selector, ServiceMonitor, Switch, VpcEgressGateway, VpcEgressGatewaySpec,
    VpcEgressGatewayStatus, Workload,
};
pub use vpc::{BfdPort, BfdPortStatus, Vpc, VpcSpec, VpcStatus};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Resource;

/// `namespace/name`, or `name` where there is no namespace.
pub(crate) fn key<T: Resource>(object: &T) -> String {
    let meta = object.meta();
    let name = meta.name.as_deref().unwrap_or_default();
    meta.namespace.as_ref().map_or_else(|| name.to_owned(), |namespace| format!("{namespace}/{name}"))
}

/// Whether an object belongs to the VpcEgressGateway with this UID: a name may be another's by now.
pub(crate) fn owned_by(object: &ObjectMeta, gateway: &str) -> bool {
    object.owner_references.iter().flatten().any(|owner| owner.kind == "VpcEgressGateway" && owner.uid == gateway)
}

/// Vpc of a VpcEgressGateway or Subnet that names none.
pub const DEFAULT_VPC: &str = "ovn-cluster";

/// Label that Kube-OVN and we put on gateway Pods; its value is the gateway's name.
pub const GATEWAY_LABEL: &str = "ovn.kubernetes.io/vpc-egress-gateway";

/// Annotation of a Pod: its address in the overlay, `v4`, `v6` or `v4,v6`.
pub const IP_ADDRESS_ANNOTATION: &str = "ovn.kubernetes.io/ip_address";

/// Annotation of a Pod: the Vpc that it belongs to.
pub const LOGICAL_ROUTER_ANNOTATION: &str = "ovn.kubernetes.io/logical_router";

/// Label of a Namespace that the API server sets to its name.
pub const NAMESPACE_NAME_LABEL: &str = "kubernetes.io/metadata.name";

/// Annotation of a VpcEgressGateway: `name` or `namespace/name` of its EgressGatewayProfile.
pub const PROFILE_ANNOTATION: &str = "egress-ebpf.dev/profile";

/// API group of our own kinds.
pub const GROUP: &str = "egress-ebpf.dev";
