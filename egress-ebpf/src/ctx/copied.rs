//! A packet that is read and written by copies: wherever its headers are, and however its bytes lie in memory. Slower than
//! [`Skb`], for what is rare.

use core::mem::MaybeUninit;

use aya_ebpf::helpers::{bpf_skb_load_bytes, bpf_skb_store_bytes};
use egress_common::packet::{Failed, L4Sum, Packet, Plain};

use super::skb::Skb;

/// An skb.
#[derive(Clone, Copy)]
pub(crate) struct Copied(pub(crate) Skb);

impl Packet for Copied {
    #[inline(always)]
    fn read<T: Plain>(&self, at: u32) -> Result<T, Failed> {
        let mut value = MaybeUninit::<T>::zeroed();
        // SAFETY: the context is valid and `value` has as many bytes as are asked for.
        let missing =
            unsafe { bpf_skb_load_bytes(self.0.raw().cast(), at, value.as_mut_ptr().cast(), size_of::<T>() as u32) };
        // SAFETY: any bytes are a T.
        if missing == 0 { Ok(unsafe { value.assume_init() }) } else { Err(Failed) }
    }

    #[inline(always)]
    fn write<T: Plain>(&mut self, at: u32, value: T) -> Result<(), Failed> {
        let from = (&raw const value).cast();
        // SAFETY: the context is valid and `value` has as many bytes as are given.
        let failed = unsafe { bpf_skb_store_bytes(self.0.raw(), at, from, size_of::<T>() as u32, 0) };
        if failed == 0 { Ok(()) } else { Err(Failed) }
    }

    #[inline(always)]
    fn frame_len(&self) -> u32 {
        self.0.frame_len()
    }

    #[inline(always)]
    fn gso_size(&self) -> u32 {
        self.0.gso_size()
    }

    #[inline(always)]
    fn sum_ip(&mut self, at: u32, diff: u32) -> Result<(), Failed> {
        self.0.sum_ip(at, diff)
    }

    #[inline(always)]
    fn sum_addr(&mut self, sum: L4Sum, diff: u32, v6: bool) -> Result<(), Failed> {
        self.0.sum_addr(sum, diff, v6)
    }

    #[inline(always)]
    fn sum_port(&mut self, sum: L4Sum, from: u16, to: u16) -> Result<(), Failed> {
        self.0.sum_port(sum, from, to)
    }

    #[inline(always)]
    fn sum_covered(&mut self, at: u32, diff: u32) -> Result<(), Failed> {
        self.0.sum_covered(at, diff)
    }

    #[inline(always)]
    fn sum_uncovered(&mut self, diff: u32) {
        self.0.sum_uncovered(diff);
    }

    #[inline(always)]
    fn blur(&self, value: u32) -> u32 {
        let any = || {
            // SAFETY: the context is valid. Volatile: the compiler must not see that both are the same.
            unsafe { (&raw const (*self.0.raw()).mark).read_volatile() }
        };
        value.wrapping_add(any().wrapping_sub(any()))
    }

    #[inline(always)]
    fn crc_diff(&self, from: [u8; 2], to: [u8; 2], behind: u32) -> u32 {
        self.0.crc_diff(from, to, behind)
    }
}
