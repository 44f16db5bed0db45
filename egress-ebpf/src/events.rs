//! Telling the agent what happened.

use egress_common::{
    abi::{
        event::{Event, VERSION, kind},
        family::Family,
        flow::FlowKey,
    },
    verdict::Counter,
};

use crate::{count, maps::EVENTS};

/// Reports that no port was free. Rare by itself: the destination is not searched again for a while.
#[inline(always)]
pub(crate) fn exhausted<F: Family>(key: &FlowKey<F::Addr>, now: u32) {
    tell::<F>(kind::EXHAUSTED, key, now);
}

/// Reports that a source has its share. The caller sees to it that this is rare.
#[inline(always)]
pub(crate) fn limited<F: Family>(key: &FlowKey<F::Addr>, now: u32) {
    tell::<F>(kind::LIMITED, key, now);
}

#[inline(always)]
fn tell<F: Family>(kind: u16, key: &FlowKey<F::Addr>, now: u32) {
    let mut event = Event {
        version: VERSION,
        kind,
        proto: key.proto,
        af: F::AF,
        dport: key.dport,
        at: now,
        pad: 0,
        inside: [0; 16],
        remote: [0; 16],
    };
    // SAFETY: an address is at most 16 bytes of plain data.
    unsafe {
        (&raw mut event.inside).cast::<F::Addr>().write_unaligned(key.saddr);
        (&raw mut event.remote).cast::<F::Addr>().write_unaligned(key.daddr);
    }
    if EVENTS.output_untyped::<Event>(&event, 0).is_err() {
        count::add(Counter::EventsLost, 1);
    }
}
