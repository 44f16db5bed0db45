//! The rows of OVN that steer Pods to a gateway. There are none yet: a person, or Kube-OVN, writes them.
//!
//! This is their place in a plan: everything that they depend on comes in here, and [`super::Plan::ovn`] is written when the
//! gateway's Pods are there.

use super::workload::Pods;
use crate::spec::plan::cluster::Resolved;

/// A row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Row {}

/// The rows of a gateway: policies of the router of `resolved.vpc`, whose next hops are the overlay addresses of `pods`.
pub(super) fn rows(_resolved: &Resolved, _pods: &Pods) -> Vec<Row> {
    Vec::new()
}
