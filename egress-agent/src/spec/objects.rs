//! The objects that a plan is made from. Filled by [`super::manifest`] or by an API watch.

use std::{collections::BTreeMap, fmt};

use k8s_openapi::api::core::v1::{Namespace, Pod};
use kube::Resource;

use super::report::{At, Origin, Problem};
pub(crate) use crate::k8s::api::key;
use crate::k8s::api::{
    BgpConf, EgressGatewayProfile, EvpnConf, IPPool, NetworkAttachmentDefinition, Subnet, Vpc, VpcEgressGateway,
};

/// An object and where it was read.
#[derive(Clone, Debug)]
pub struct Located<T> {
    /// For messages.
    pub origin: Origin,
    /// The object.
    pub object: T,
}

impl<T: Resource<DynamicType = ()>> Located<T> {
    /// For messages about the object.
    pub(crate) fn at(&self) -> At {
        At::object(&self.origin, &T::kind(&()), &key(&self.object))
    }
}

/// Objects of each kind by `namespace/name`, or by `name` where the kind has no namespace.
#[derive(Clone, Debug, Default)]
pub struct Objects {
    /// VpcEgressGateways.
    pub gateways: BTreeMap<String, Located<VpcEgressGateway>>,
    /// Subnets.
    pub subnets: BTreeMap<String, Located<Subnet>>,
    /// Vpcs.
    pub vpcs: BTreeMap<String, Located<Vpc>>,
    /// NetworkAttachmentDefinitions.
    pub attachments: BTreeMap<String, Located<NetworkAttachmentDefinition>>,
    /// Namespaces.
    pub namespaces: BTreeMap<String, Located<Namespace>>,
    /// Pods.
    pub pods: BTreeMap<String, Located<Pod>>,
    /// EgressGatewayProfiles.
    pub profiles: BTreeMap<String, Located<EgressGatewayProfile>>,
    /// IPPools.
    pub pools: BTreeMap<String, Located<IPPool>>,
    /// BgpConfs.
    pub bgp: BTreeMap<String, Located<BgpConf>>,
    /// EvpnConfs.
    pub evpn: BTreeMap<String, Located<EvpnConf>>,
    /// Where they came from, for messages.
    pub place: Place,
    /// What was passed over while reading.
    pub warnings: Vec<Problem>,
    /// What the API server refuses of VpcEgressGateways, by their definition; a gateway that reads files may not mind.
    pub refused: Vec<Problem>,
}

/// Where objects come from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Place {
    /// Manifests.
    #[default]
    Files,
    /// The API server.
    Cluster,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Files => "in the files",
            Self::Cluster => "in the cluster",
        })
    }
}

/// Names for a message: `a, b and 3 more`.
pub(super) fn list<'a>(names: impl IntoIterator<Item = &'a String>) -> String {
    const SHOWN: usize = 10;
    let names: Vec<&str> = names.into_iter().map(String::as_str).collect();
    match names.get(..SHOWN) {
        _ if names.is_empty() => "none".to_owned(),
        Some(shown) if names.len() > SHOWN => format!("{} and {} more", shown.join(", "), names.len() - SHOWN),
        _ => names.join(", "),
    }
}
