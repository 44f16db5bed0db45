//! Every test that needs a Kubernetes cluster, in one binary; a module per topic.
//!
//! A test begins with `if skip_cluster() { return Ok(()); }`. Most share one cluster ([`shared`]), which ends with the process.

mod api;
mod cluster;
mod gateway_pods;
mod shared;

pub(crate) use shared::{shared, skip_cluster};
