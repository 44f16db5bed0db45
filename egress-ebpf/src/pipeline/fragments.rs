//! Fragments: what their first one told, and those that wait for it. `egress_common::fragment` decides.

use aya_ebpf::{
    bindings::{BPF_F_INGRESS, BPF_F_RECOMPUTE_CSUM, BPF_NOEXIST, TC_ACT_SHOT},
    helpers::{bpf_clone_redirect, bpf_skb_change_tail, bpf_skb_load_bytes, bpf_skb_store_bytes},
};
use egress_common::{
    abi::{
        flow::OUT,
        fragment::{DatagramKey, HELD_BYTES, HELD_EACH, Waiting, fate},
    },
    fragment::{Progress, agrees, alive, key, progress, remembered},
    packet::{Packet, parse::Parsed},
    verdict::{Counter, Drop},
};

use super::{Arrived, Stack, resume, steps::READ};
use crate::{atomic, count, ctx::skb::Skb, maps::FRAME, opaque::within, store::Now};

/// What is known of a later fragment.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Recall {
    /// It goes with a flow; the packet has its ports now.
    Flow,
    /// It is the gateway's own.
    Own,
    /// Nothing yet.
    Unknown,
    /// It is more than a datagram can have.
    Excess,
}

/// Looks a later fragment's datagram up.
#[inline(always)]
pub(crate) fn recall<F: Stack>(packet: &mut Parsed<F>, dir: u8, now: Now) -> Recall {
    let key = key(packet, dir);
    let Some(slot) = F::frags().get_ptr_mut(key) else { return Recall::Unknown };
    // SAFETY: the pointer is of a map element, which stays mapped for this run.
    let datagram = unsafe { *slot };
    if !alive(datagram.since, now.s) {
        return Recall::Unknown;
    }
    let (progress, total) = progress(&datagram, packet);
    match progress {
        Progress::Excess => return Recall::Excess,
        // Another CPU may have done it.
        Progress::Whole => drop(F::frags().remove(key)),
        Progress::Open => {
            // SAFETY: aligned fields of the element; `bytes` is only ever added to, one fragment writes `total`.
            unsafe {
                atomic::add(&raw mut (*slot).bytes, u64::from(packet.piece.len));
                if total != datagram.total {
                    (&raw mut (*slot).total).write_volatile(total);
                }
            }
        }
    }
    (packet.sport, packet.dport, packet.proto) = (datagram.sport, datagram.dport, datagram.proto);
    if datagram.fate == fate::OWN { Recall::Own } else { Recall::Flow }
}

/// Notes what a first fragment tells. Whether others wait for it; `Err` if it contradicts the one before.
#[inline(always)]
pub(crate) fn remember<F: Stack>(packet: &Parsed<F>, dir: u8, fate: u8, now: Now) -> Result<bool, ()> {
    let key = key(packet, dir);
    // SAFETY: the pointer is of a map element, which stays mapped for this run.
    let known = F::frags().get_ptr(key).map(|slot| unsafe { *slot }).filter(|it| alive(it.since, now.s));
    match known {
        Some(known) if !agrees(&known, packet) => return Err(()),
        Some(_) => {}
        None => F::frags().insert(key, remembered(packet, fate, now.s), 0).map_err(|_| ())?,
    }
    // SAFETY: as above.
    Ok(F::early().get_ptr(key).is_some_and(|slot| alive(unsafe { (*slot).since }, now.s)))
}

/// `Steps::hold`.
#[inline(always)]
pub(crate) fn hold<F: Stack>(skb: Skb, dir: u32) -> i32 {
    let Arrived { packet, now, .. } = match resume::<F>() {
        Ok(arrived) => arrived,
        Err(verdict) => return verdict,
    };
    let mut key = key(packet, dir as u8);
    let len = skb.frame_len();
    let Some(index) = place::<F>(&key, now).filter(|_| len <= HELD_BYTES as u32) else {
        return count::drop(Drop::Fragment);
    };
    let Some(frame) = FRAME.get_ptr_mut(0) else { return count::drop(Drop::Fragment) };
    // SAFETY: the frame belongs to this CPU and has room for what `within` lets through.
    let (copied, frame) = unsafe {
        (*frame).len = len;
        let to = (&raw mut (*frame).frame).cast();
        (bpf_skb_load_bytes(skb.raw().cast(), 0, to, within::<HELD_BYTES>(len)), &*frame)
    };
    key.index = index;
    if copied != 0 || F::held().insert(key, frame, 0).is_err() {
        return count::drop(Drop::Fragment);
    }
    // The first one may have come since, and not have seen this one.
    let first = DatagramKey { index: 0, ..key };
    // SAFETY: the pointer is of a map element, which stays mapped for this run.
    let known = F::frags().get_ptr(first).is_some_and(|slot| alive(unsafe { (*slot).since }, now.s));
    if known && F::held().remove(key).is_ok() {
        return READ;
    }
    count::add(Counter::FragmentsHeld, 1);
    TC_ACT_SHOT
}

/// A place among the waiting ones of its datagram.
#[inline(always)]
fn place<F: Stack>(key: &DatagramKey<F::Addr>, now: Now) -> Option<u16> {
    let one = Waiting { since: now.s, count: 1 };
    if F::early().insert(key, one, u64::from(BPF_NOEXIST)).is_ok() {
        return Some(0);
    }
    let slot = F::early().get_ptr_mut(key)?;
    // SAFETY: aligned words of the element.
    let index = unsafe {
        if alive((*slot).since, now.s) {
            atomic::next(&raw mut (*slot).count)
        } else {
            slot.write(one);
            0
        }
    };
    (index < HELD_EACH).then_some(index as u16)
}

/// `Steps::release`. The first fragment comes again as a clone, ahead of the others; its skb then carries those, one by one.
#[inline(always)]
pub(crate) fn release<F: Stack>(skb: Skb, dir: u32) -> i32 {
    let Arrived { packet, config, .. } = match resume::<F>() {
        Ok(arrived) => arrived,
        Err(verdict) => return verdict,
    };
    let mut key = key(packet, dir as u8);
    let interface = if dir as u8 == OUT { config.internal_ifindex } else { config.external_ifindex };
    // SAFETY: the pointer is of a map element, which stays mapped for this run.
    let count = F::early().get_ptr(key).map_or(0, |slot| unsafe { (*slot).count });
    // Another CPU may have done it; then there is nothing to release.
    let _ = F::early().remove(key);
    // SAFETY: the context is valid.
    unsafe { bpf_clone_redirect(skb.raw(), interface, u64::from(BPF_F_INGRESS)) };
    for index in 0..HELD_EACH {
        if index >= count {
            break;
        }
        key.index = index as u16;
        let Some(held) = F::held().get_ptr(key) else { continue };
        // SAFETY: the element stays mapped for this run, and has the bytes that `within` lets through.
        let filled = unsafe {
            let len = within::<HELD_BYTES>((*held).len);
            bpf_skb_change_tail(skb.raw(), len, 0) == 0
                && bpf_skb_store_bytes(
                    skb.raw(),
                    0,
                    (&raw const (*held).frame).cast(),
                    len,
                    u64::from(BPF_F_RECOMPUTE_CSUM),
                ) == 0
        };
        // Whoever removes it sends it on.
        if F::held().remove(key).is_ok() && filled {
            // SAFETY: the context is valid.
            unsafe { bpf_clone_redirect(skb.raw(), interface, u64::from(BPF_F_INGRESS)) };
            count::add(Counter::FragmentsReleased, 1);
        }
    }
    TC_ACT_SHOT
}
