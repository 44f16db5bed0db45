//! What the agent knows about Kubernetes.

pub mod api;
pub(crate) mod bounds;
pub mod crd;
pub mod watch;
pub mod write;
