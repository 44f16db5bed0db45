//! NetworkAttachmentDefinition of Multus.

use kube::CustomResource;
use serde::{Deserialize, Serialize};

/// A further network of a Pod.
#[derive(CustomResource, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[kube(
    group = "k8s.cni.cncf.io",
    version = "v1",
    kind = "NetworkAttachmentDefinition",
    plural = "network-attachment-definitions",
    namespaced,
    schema = "disabled"
)]
#[serde(default)]
pub struct NetworkAttachmentDefinitionSpec {
    /// CNI configuration, JSON.
    pub config: String,
}
