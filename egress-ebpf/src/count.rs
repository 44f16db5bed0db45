//! Counting, and the verdicts that TC understands.

use aya_ebpf::bindings::{TC_ACT_OK, TC_ACT_SHOT, TC_ACT_UNSPEC};
use egress_common::{
    nat::rewrite::End,
    verdict::{COUNTERS as COUNTER_COUNT, Counter, DROPS as DROP_COUNT, Drop},
};

use crate::{
    atomic,
    maps::{COUNTERS, DROPS},
};

/// Adds to a counter.
#[inline(always)]
pub(crate) fn add(counter: Counter, amount: u64) {
    if let Some(totals) = COUNTERS.get_ptr_mut(0) {
        let index = counter as usize;
        if index < COUNTER_COUNT {
            // SAFETY: `Counters` is one u64 per counter in the enum's order; the slot belongs to this CPU.
            unsafe { *totals.cast::<u64>().add(index) += amount };
        }
    }
}

/// Counts a translated packet of so many bytes.
#[inline(always)]
pub(crate) fn translated(end: End, bytes: u32, by_xdp: bool) {
    let (packets, sum) = match end {
        End::Source => (Counter::OutPackets, Counter::OutBytes),
        End::Destination => (Counter::InPackets, Counter::InBytes),
    };
    if let Some(totals) = COUNTERS.get_ptr_mut(0) {
        let totals = totals.cast::<u64>();
        // SAFETY: as above; the enum's numbers are below the number of counters.
        unsafe {
            *totals.add(packets as usize) += 1;
            *totals.add(sum as usize) += u64::from(bytes);
            if by_xdp {
                *totals.add(Counter::XdpPackets as usize) += 1;
            }
        }
    }
}

/// Adds one where both packets and orders of the agent count: old kernels (6.1) let packets in between while an order is
/// carried out.
#[inline(always)]
pub(crate) fn shared(counter: Counter) {
    if let Some(totals) = COUNTERS.get_ptr_mut(0) {
        // SAFETY: as above; the enum's numbers are below the number of counters.
        unsafe { atomic::add(totals.cast::<u64>().add(counter as usize), 1) };
    }
}

/// Counts a drop.
#[inline(always)]
pub(crate) fn drop(reason: Drop) -> i32 {
    drop_number(reason as u32)
}

/// Counts a drop given its number.
#[inline(always)]
pub(crate) fn drop_number(reason: u32) -> i32 {
    if let Some(totals) = DROPS.get_ptr_mut(0) {
        // SAFETY: a local. Read as if it could be anything: what the compiler knows of its range the verifier does not.
        let index = unsafe { (&raw const reason).read_volatile() } as usize;
        if index < DROP_COUNT {
            // SAFETY: `Drops` is one u64 per reason in the enum's order; the slot belongs to this CPU.
            unsafe { *totals.cast::<u64>().add(index) += 1 };
        }
    }
    TC_ACT_SHOT
}

/// Leaves the packet to the kernel.
#[inline(always)]
pub(crate) fn to_stack() -> i32 {
    add(Counter::ToStack, 1);
    TC_ACT_OK
}

/// Leaves the packet to the next program, and then to the kernel.
#[inline(always)]
pub(crate) fn pass_on() -> i32 {
    add(Counter::ToStack, 1);
    TC_ACT_UNSPEC
}
