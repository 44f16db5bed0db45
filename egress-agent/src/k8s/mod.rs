//! What the agent knows about Kubernetes.

pub mod api;
pub mod crd;
