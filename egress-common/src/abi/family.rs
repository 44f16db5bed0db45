//! IPv4 and IPv6 as types: maps and code are separate per family, so that IPv4 never pays for 16-byte addresses.

/// An address of either family, as the bytes on the wire.
pub trait Address: Copy + Eq {
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
    type Pad: Copy + Default;
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
        self[0] >= 224 || self[0] == 127 || self[0] == 0
    }

    #[inline(always)]
    fn is_link_local(&self) -> bool {
        self[0] == 169 && self[1] == 254
    }
}

#[inline(always)]
fn word(bytes: &[u8; 16], at: usize) -> u32 {
    u32::from_ne_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

impl Address for [u8; 16] {
    const ZERO: Self = [0; 16];

    #[inline(always)]
    fn lanes(&self) -> (u64, u64) {
        (
            u64::from(word(self, 0)) | u64::from(word(self, 4)) << 32,
            u64::from(word(self, 8)) | u64::from(word(self, 12)) << 32,
        )
    }

    #[inline(always)]
    fn csum_diff(&self, to: &Self) -> u32 {
        use crate::packet::csum::{diff, fold_add};
        let low = fold_add(diff(word(self, 0), word(to, 0)), diff(word(self, 4), word(to, 4)));
        let high = fold_add(diff(word(self, 8), word(to, 8)), diff(word(self, 12), word(to, 12)));
        fold_add(low, high)
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
