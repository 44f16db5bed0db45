//! The account of flows that begin and end: the only place that is told of each, once.

use egress_common::{
    abi::{event::why::RECLAIMED, flow::FlowKey},
    verdict::Counter,
};

use crate::{count, events, fair::Fair};

/// Both halves are in the table; `weighed`: see [`Fair::weigh`].
#[inline(always)]
pub(crate) fn begun<F: Fair>(key: &FlowKey<F::Addr>, reply: &FlowKey<F::Addr>, weighed: bool) {
    count::shared(Counter::FlowsCreated);
    if weighed {
        F::account_weighed();
    } else {
        F::account(key, reply, 1);
    }
    events::started::<F>(key, reply);
}

/// Both halves are marked as dying and still in the table, or were just removed; `why` is one of
/// [`egress_common::abi::event::why`]. What they carried was noted by [`events::note`], `packet` is as there.
#[inline(always)]
pub(crate) fn ending<F: Fair>(key: &FlowKey<F::Addr>, reply: &FlowKey<F::Addr>, why: u8, packet: bool) {
    // On a packet's way it was counted where it was removed: there the last bytes of stack are taken.
    if !packet {
        count::shared(if why == RECLAIMED { Counter::FlowsReclaimed } else { Counter::FlowsRemoved });
    }
    F::account(key, reply, -1);
    events::ended::<F>(key, reply, why, packet);
}
