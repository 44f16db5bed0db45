//! Sending an ICMP error of our own. There is no new packet to be had: the one that cannot go on becomes it.

use aya_ebpf::{
    bindings::bpf_adj_room_mode::BPF_ADJ_ROOM_MAC,
    helpers::{
        bpf_csum_diff, bpf_redirect, bpf_skb_adjust_room, bpf_skb_change_tail, bpf_skb_load_bytes, bpf_skb_store_bytes,
    },
};
use egress_common::{
    abi::fragment::HELD_BYTES,
    answer::{Answer, admit, answerable},
    packet::{Failed, Packet, header::ETHERNET},
    verdict::{Counter, Drop},
};

use super::{Arrived, Stack, resume};
use crate::{
    count,
    ctx::{copied::Copied, skb::Skb},
    deliver::Macs,
    maps::{ANSWERED, FRAME},
    opaque::{volatile, within},
    store::Now,
};

/// What the drop is counted as.
#[inline(always)]
pub(crate) const fn reason(why: Answer) -> Drop {
    match why {
        Answer::Expired => Drop::TtlInbound,
        Answer::TooBig(_) => Drop::TooBigInbound,
    }
}

/// `Steps::answer`.
#[inline(always)]
pub(crate) fn answer<F: Stack>(skb: Skb, code: u32) -> i32 {
    let mtu = code & 0xffff;
    let why = if mtu == 0 { Answer::Expired } else { Answer::TooBig(mtu) };
    let dropped = count::drop(reason(why));
    let Arrived { packet, config, now } = match resume::<F>() {
        Ok(arrived) => arrived,
        Err(verdict) => return verdict,
    };
    if !answerable(packet) {
        return dropped;
    }
    if !admitted(ERRORS, now) {
        count::add(Counter::IcmpUnanswered, 1);
        return dropped;
    }
    let (from, to) = (packet.dst, packet.src);
    let len = if packet.len < F::QUOTE { packet.len } else { F::QUOTE };
    match build::<F>(skb, why, &from, &to, len) {
        Ok(()) => {
            count::add(Counter::IcmpAnswers, 1);
            // SAFETY: the helper only notes the target.
            unsafe { bpf_redirect(config.external_ifindex, 0) as i32 }
        }
        Err(Failed) => dropped,
    }
}

/// Place of ICMP errors in `ANSWERED`, and that of RST.
const ERRORS: u32 = 0;
pub(super) const RESETS: u32 = 1;

/// Whether one more may be sent.
#[inline(always)]
pub(super) fn admitted(what: u32, now: Now) -> bool {
    let Some(paid) = ANSWERED.get_ptr_mut(what) else { return false };
    // SAFETY: the word belongs to this CPU.
    unsafe {
        match admit(*paid, now.ns) {
            Some(until) => {
                *paid = until;
                true
            }
            None => false,
        }
    }
}

/// Frame lengths on the way: long enough for a checksum that the kernel left unfinished (`CHECKSUM_PARTIAL`) to lie within;
/// what is pulled from behind the Ethernet header then goes beyond where that sum begins, at which the kernel forgets it
/// (`skb_postpull_rcsum`). Finished later, it would break ours.
const STRETCHED: u32 = 600;
const PULLED: i32 = 500;

/// Turns the packet into the error; MACs swapped, it goes back to where it came from.
#[inline(always)]
fn build<F: Stack>(skb: Skb, why: Answer, from: &F::Addr, to: &F::Addr, len: u32) -> Result<(), Failed> {
    let mut packet = Copied(skb);
    let macs: Macs = packet.read(0)?;
    let sum = keep(skb, len)?;
    let head = F::head(why, from, to, len, sum);
    let behind = ETHERNET + size_of::<F::Head>() as u32;
    let frame = FRAME.get_ptr_mut(0).ok_or(Failed)?;
    reshape(skb, behind + len)?;
    // SAFETY: the context is valid, and the frame has the bytes that `within` lets through.
    let failed = unsafe {
        bpf_skb_store_bytes(skb.raw(), behind, (&raw const (*frame).frame).cast(), within::<HELD_BYTES>(len), 0)
    };
    if failed != 0 {
        return Err(Failed);
    }
    packet.write(ETHERNET, head)?;
    packet.write(0, Macs { to: macs.from, from: macs.to })
}

/// Makes the frame `len` bytes long and one packet, without a checksum that the kernel would finish. Its bytes mean nothing then.
#[inline(always)]
pub(super) fn reshape(skb: Skb, len: u32) -> Result<(), Failed> {
    let raw = skb.raw();
    // SAFETY: the context is valid.
    let failed = unsafe {
        bpf_skb_change_tail(raw, STRETCHED, 0) != 0
            || bpf_skb_adjust_room(raw, -PULLED, BPF_ADJ_ROOM_MAC, 0) != 0
            || bpf_skb_change_tail(raw, len, 0) != 0
    };
    if failed { Err(Failed) } else { Ok(()) }
}

/// Longest piece that [`bpf_csum_diff`] is given: old kernels take up to 512 bytes.
const PIECE: u32 = 256;

/// Copies the first `len` bytes of the IP packet to the frame and sums them up.
#[inline(always)]
fn keep(skb: Skb, len: u32) -> Result<u32, Failed> {
    let frame = FRAME.get_ptr_mut(0).ok_or(Failed)?;
    // SAFETY: the frame belongs to this CPU.
    let bytes: *mut u8 = unsafe { (&raw mut (*frame).frame).cast() };
    let last = volatile(len) & (HELD_BYTES as u32 - 4);
    // SAFETY: the word is within the frame. It pads the last word of the sum with zeros.
    unsafe { bytes.add(last as usize).cast::<u32>().write(0) };
    // SAFETY: the context is valid, and the frame has the bytes that `within` lets through.
    if unsafe { bpf_skb_load_bytes(skb.raw().cast(), ETHERNET, bytes.cast(), within::<HELD_BYTES>(len)) } != 0 {
        return Err(Failed);
    }
    let mut sum = 0;
    let mut left = (len + 3) & !3;
    for i in 0..HELD_BYTES as u32 / PIECE {
        if left == 0 {
            break;
        }
        // SAFETY: the piece lies within the frame.
        let (at, size) = unsafe {
            (bytes.add((i * PIECE) as usize).cast(), if left >= PIECE { PIECE } else { volatile(left) & (PIECE - 4) })
        };
        // SAFETY: `size` bytes at `at` are the frame's.
        let added = unsafe { bpf_csum_diff(core::ptr::null_mut(), 0, at, size, sum) };
        sum = u32::try_from(added).map_err(|_| Failed)?;
        left = left.saturating_sub(PIECE);
    }
    Ok(sum)
}
