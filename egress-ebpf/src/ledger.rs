//! The account of flows that begin and end: the only place that is told of each, once.

use egress_common::{abi::flow::FlowKey, verdict::Counter};

use crate::{count, maps::Maps, store::Now};

/// Both halves are in the table.
#[inline(always)]
pub(crate) fn begun<F: Maps>(_key: &FlowKey<F::Addr>, _reply: &FlowKey<F::Addr>, _now: Now) {
    count::add(Counter::FlowsCreated, 1);
}

/// Both halves are marked as dying and still in the table.
#[inline(always)]
pub(crate) fn ending<F: Maps>(_key: &FlowKey<F::Addr>, _reply: &FlowKey<F::Addr>, _now: Now) {}
