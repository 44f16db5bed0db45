//! IPv4 and IPv6 as types: maps and code are separate per family, so that IPv4 never pays for 16-byte addresses.

use core::fmt::Debug;

use crate::packet::Plain;

/// An address of either family, as the bytes on the wire.
pub trait Address: Plain + Eq {
    /// All zero.
    const ZERO: Self;
    /// The address as two words for hashing (native byte order; only equality and mixing matter).
    fn lanes(&self) -> (u64, u64);
    /// Ones-complement difference that turns a sum over `self` into a sum over `to` (RFC 1624), for the kernel's
    /// checksum helpers.
    fn csum_diff(&self, to: &Self) -> u32;
    /// Multicast, limited broadcast, loopback or unspecified: never forwarded, never translated.
    fn is_special(&self) -> bool;
    /// Link-local unicast: never leaves its link (RFC 3927 §2.7, RFC 4291 §2.5.6).
    fn is_link_local(&self) -> bool;
}

/// What differs between the families.
pub trait Family: Copy + 'static {
    /// Address type.
    type Addr: Address;
    /// Fills the gap that the address leaves before the flow value's 8-byte counters.
    type Pad: Copy + Debug + Default;
    /// `AF_INET` or `AF_INET6`.
    const AF: u8;
    /// Whether this is IPv6.
    const V6: bool;
    /// Length of the IP header without options or extension headers.
    const HEADER: u32;
    /// Offset of the source address in the IP header.
    const SRC: u32;
    /// Offset of the destination address in the IP header.
    const DST: u32;
    /// IANA number of the family's ICMP.
    const ICMP: u8;
}

/// IPv4.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct V4;

/// IPv6.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct V6;

impl Family for V4 {
    type Addr = [u8; 4];
    type Pad = [u32; 0];
    const AF: u8 = 2;
    const V6: bool = false;
    const HEADER: u32 = 20;
    const SRC: u32 = 12;
    const DST: u32 = 16;
    const ICMP: u8 = 1;
}

impl Family for V6 {
    type Addr = [u8; 16];
    type Pad = [u32; 1];
    const AF: u8 = 10;
    const V6: bool = true;
    const HEADER: u32 = 40;
    const SRC: u32 = 8;
    const DST: u32 = 24;
    const ICMP: u8 = 58;
}

impl Address for [u8; 4] {
    const ZERO: Self = [0; 4];

    #[inline(always)]
    fn lanes(&self) -> (u64, u64) {
        (u64::from(u32::from_ne_bytes(*self)), 0)
    }

    #[inline(always)]
    fn csum_diff(&self, to: &Self) -> u32 {
        crate::packet::csum::diff(u32::from_ne_bytes(*self), u32::from_ne_bytes(*to))
    }

    #[inline(always)]
    fn is_special(&self) -> bool {
        self[0] & 0xf0 == 224 || *self == [255; 4] || self[0] == 127 || self[0] == 0
    }

    #[inline(always)]
    fn is_link_local(&self) -> bool {
        self[0] == 169 && self[1] == 254
    }
}

impl Address for [u8; 16] {
    const ZERO: Self = [0; 16];

    /// One wide load: put together byte by byte, the compiler takes it apart again and fills the program's stack.
    #[inline(always)]
    #[expect(clippy::cast_possible_truncation, reason = "two halves")]
    fn lanes(&self) -> (u64, u64) {
        let whole = u128::from_ne_bytes(*self);
        (whole as u64, (whole >> 64) as u64)
    }

    #[inline(always)]
    #[expect(clippy::cast_possible_truncation, reason = "two halves")]
    fn csum_diff(&self, to: &Self) -> u32 {
        use crate::packet::csum::{diff, fold_add};
        let of =
            |from: u64, to: u64| fold_add(diff(from as u32, to as u32), diff((from >> 32) as u32, (to >> 32) as u32));
        let (old, new) = (self.lanes(), to.lanes());
        fold_add(of(old.0, new.0), of(old.1, new.1))
    }

    #[inline(always)]
    fn is_special(&self) -> bool {
        let (high, low) = self.lanes();
        self[0] == 0xff || (high == 0 && (low == 0 || low == 1u64.to_be()))
    }

    #[inline(always)]
    fn is_link_local(&self) -> bool {
        self[0] == 0xfe && self[1] & 0xc0 == 0x80
    }
}
