//! Telling the agent what happened. A record is written where it lies in the ring buffer: there is no stack for one.

use aya_ebpf::{
    bindings::BPF_RB_NO_WAKEUP,
    helpers::{bpf_ringbuf_reserve, bpf_ringbuf_submit},
};
use egress_common::{
    abi::{
        config::{Config, flags},
        event::{Event, SIZE, VERSION, kind},
        family::{Family, V4, V6},
        flow::FlowKey,
    },
    verdict::Counter,
};

use crate::{
    count,
    maps::{EVENTS, Maps, TALLY, config},
    store::Now,
};

/// No port was free. Rare by itself: the destination is not searched again for a while.
#[inline(always)]
pub(crate) fn exhausted<F: Tell>(key: &FlowKey<F::Addr>) {
    F::tell(key, None, u32::from(kind::EXHAUSTED));
}

/// A source was refused because it has many flows. Whoever calls this sees to it that it is rare.
#[inline(always)]
pub(crate) fn limited<F: Tell>(key: &FlowKey<F::Addr>) {
    F::tell(key, None, u32::from(kind::LIMITED));
}

/// A flow began.
#[inline(always)]
pub(crate) fn started<F: Tell>(key: &FlowKey<F::Addr>, reply: &FlowKey<F::Addr>) {
    if wanted() {
        F::tell(key, Some(reply), u32::from(kind::FLOW_START));
    }
}

/// Notes what a flow has carried while its halves are still in the table; [`ended`] tells of it. `packet`: on a packet's way,
/// not on an order.
#[inline(always)]
pub(crate) fn note<F: Maps>(key: &FlowKey<F::Addr>, reply: &FlowKey<F::Addr>, packet: bool) {
    if !wanted() {
        return;
    }
    let Some(carried) = TALLY.get_ptr_mut(u32::from(packet)) else { return };
    // SAFETY: the slot belongs to this CPU; the pointers are of map elements, which stay mapped for this run.
    unsafe {
        if let Some(half) = F::flows().get_ptr_mut(key) {
            (*carried).began = u64::from((*half).created);
            (*carried).out_packets = (&raw const (*half).packets).read_volatile();
            (*carried).out_bytes = (&raw const (*half).bytes).read_volatile();
        }
        if let Some(half) = F::flows().get_ptr_mut(reply) {
            (*carried).in_packets = (&raw const (*half).packets).read_volatile();
            (*carried).in_bytes = (&raw const (*half).bytes).read_volatile();
        }
    }
}

/// A flow ends or has just ended, `why` is one of [`egress_common::abi::event::why`]; `packet` as for [`note`].
#[inline(always)]
pub(crate) fn ended<F: Tell>(key: &FlowKey<F::Addr>, reply: &FlowKey<F::Addr>, why: u8, packet: bool) {
    if wanted() {
        let kind = u32::from(kind::FLOW_END) | u32::from(why) << WHY | u32::from(packet) << PACKET;
        F::tell(key, Some(reply), kind);
    }
}

/// Whether flows are told of.
#[inline(always)]
fn wanted() -> bool {
    config().is_some_and(|config| config.flags & flags::FLOW_EVENTS != 0)
}

/// Where the reason stands beside a kind.
const WHY: u32 = 16;
/// Where it stands whether what was carried was noted on a packet's way.
const PACKET: u32 = 24;

/// A family with its out-of-line function that tells of a packet or flow.
pub(crate) trait Tell: Family {
    /// Tells; `reply` is the flow's reply key where there is a flow.
    fn tell(key: &FlowKey<Self::Addr>, reply: Option<&FlowKey<Self::Addr>>, kind: u32);
}

macro_rules! family {
    ($family:ty, $tell:ident) => {
        impl Tell for $family {
            #[inline(always)]
            fn tell(key: &FlowKey<Self::Addr>, reply: Option<&FlowKey<Self::Addr>>, kind: u32) {
                let reply = reply.map_or(core::ptr::null_mut(), |reply| core::ptr::from_ref(reply).cast_mut());
                $tell(core::ptr::from_ref(key).cast_mut(), reply, kind);
            }
        }

        /// See [`Tell::tell`].
        #[unsafe(no_mangle)]
        #[inline(never)]
        extern "C" fn $tell(
            key: *mut FlowKey<<$family as Family>::Addr>,
            reply: *mut FlowKey<<$family as Family>::Addr>,
            kind: u32,
        ) -> u32 {
            tell::<$family>(key, reply, kind)
        }
    };
}

family!(V4, tell4);
family!(V6, tell6);

#[inline(always)]
fn tell<F: Family>(key: *mut FlowKey<F::Addr>, reply: *mut FlowKey<F::Addr>, kind: u32) -> u32 {
    // SAFETY: the verifier holds callers of a global function to valid pointers or null.
    let (Some(key), Some(config)) = (unsafe { key.as_ref() }, config()) else { return 0 };
    let now = Now::read(config);
    let Some(event) = reserve(config, kind as u16, now) else { return 0 };
    // SAFETY: as above; the record is ours until it is submitted.
    unsafe {
        name::<F>(event, key);
        if let Some(reply) = reply.as_ref() {
            // As the table says it.
            (*event).began = Now::glance(config).s;
            name_egress::<F>(event, reply);
        }
        if kind as u16 == kind::FLOW_END
            && let Some(carried) = TALLY.get_ptr(kind >> PACKET)
        {
            (*event).why = (kind >> WHY) as u8;
            (*event).began = (*carried).began as u32;
            (*event).out_packets = (*carried).out_packets;
            (*event).out_bytes = (*carried).out_bytes;
            (*event).in_packets = (*carried).in_packets;
            (*event).in_bytes = (*carried).in_bytes;
        }
    }
    submit(event);
    1
}

/// A record with its head filled and everything else zero; none if there is no room. Written in words: as a whole it would be
/// put together on the stack.
#[inline(always)]
fn reserve(config: &Config, kind: u16, now: Now) -> Option<*mut Event> {
    // SAFETY: the map is a ring buffer; the record is checked for null.
    let event = unsafe { bpf_ringbuf_reserve((&raw const EVENTS).cast_mut().cast(), SIZE as u64, 0) }.cast::<Event>();
    if event.is_null() {
        count::shared(Counter::EventsLost);
        return None;
    }
    // SAFETY: the record has `SIZE` bytes and is aligned to 8.
    unsafe {
        for i in 0..SIZE / 8 {
            event.cast::<u64>().add(i).write_volatile(0);
        }
        (*event).version = VERSION;
        (*event).size = SIZE as u16;
        (*event).kind = kind;
        for i in 0..4 {
            let part = (&raw const config.boot_id).cast::<u32>().add(i).read_volatile();
            (&raw mut (*event).boot_id).cast::<u32>().add(i).write_volatile(part);
        }
        (*event).at_ns = now.ns;
    }
    Some(event)
}

/// The agent looks by itself every so often: a wake-up for each record would cost more than the record.
#[inline(always)]
fn submit(event: *mut Event) {
    // SAFETY: reserved above, submitted once.
    unsafe { bpf_ringbuf_submit(event.cast(), u64::from(BPF_RB_NO_WAKEUP)) };
}

/// # Safety
/// The record is ours.
#[inline(always)]
unsafe fn name<F: Family>(event: *mut Event, key: &FlowKey<F::Addr>) {
    // SAFETY: the caller's promise.
    unsafe {
        (*event).proto = key.proto;
        (*event).af = F::AF;
        put::<F>(&raw mut (*event).inside, &key.saddr);
        put::<F>(&raw mut (*event).remote, &key.daddr);
        (*event).inside_port = key.sport;
        (*event).remote_port = key.dport;
    }
}

/// # Safety
/// The record is ours.
#[inline(always)]
unsafe fn name_egress<F: Family>(event: *mut Event, reply: &FlowKey<F::Addr>) {
    // SAFETY: the caller's promise.
    unsafe {
        put::<F>(&raw mut (*event).egress, &reply.daddr);
        (*event).egress_port = reply.dport;
    }
}

/// An address is one word or four.
///
/// # Safety
/// `to` is valid.
#[inline(always)]
unsafe fn put<F: Family>(to: *mut [u8; 16], addr: &F::Addr) {
    for i in 0..size_of::<F::Addr>() / 4 {
        // SAFETY: within both; keys are aligned to 4.
        unsafe {
            let part = core::ptr::from_ref(addr).cast::<u32>().add(i).read_volatile();
            to.cast::<u32>().add(i).write_volatile(part);
        }
    }
}
