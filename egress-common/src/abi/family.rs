//! IPv4 and IPv6 as types: maps and code are separate per family, so that IPv4 never pays for 16-byte addresses.

use core::{
    fmt::Debug,
    hash::{Hash, Hasher},
    net::{IpAddr, Ipv6Addr},
};

use crate::packet::Plain;

/// An address of either family, as the bytes on the wire.
pub trait Address: Plain + Eq {
    /// What it is written into packets as.
    type Words: Plain;
    /// All zero.
    const ZERO: Self;
    /// The address in words.
    fn words(&self) -> Self::Words;
    /// Reads a field that other CPUs may change.
    ///
    /// # Safety
    ///
    /// The pointer is valid for reads, and aligned to 8 bytes for IPv6, to 4 for IPv4.
    unsafe fn peek(field: *const Self) -> Self;
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

/// An IPv6 address, as the bytes on the wire. Aligned, so that it is copied in words: a bare array goes byte by byte in BPF.
#[repr(C, align(4))]
#[derive(Clone, Copy, Debug, Eq)]
pub struct Addr6 {
    /// In network order.
    pub octets: [u8; 16],
}

impl PartialEq for Addr6 {
    #[inline(always)]
    fn eq(&self, other: &Self) -> bool {
        // Without a jump: the verifier would follow both ways.
        let (own, other) = (self.lanes(), other.lanes());
        (own.0 ^ other.0) | (own.1 ^ other.1) == 0
    }
}

impl Addr6 {
    /// That of these bytes.
    #[inline(always)]
    #[must_use]
    pub const fn new(octets: [u8; 16]) -> Self {
        Self { octets }
    }

    /// That of these [`Address::lanes`].
    #[inline(always)]
    #[must_use]
    pub const fn of((first, last): (u64, u64)) -> Self {
        // SAFETY: any bytes are an address.
        Self::new(unsafe { core::mem::transmute::<[u64; 2], [u8; 16]>([first, last]) })
    }
}

impl Hash for Addr6 {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.octets.hash(state);
    }
}

/// Two words as they stand beside each other.
#[inline(always)]
const fn wide(first: u32, last: u32) -> u64 {
    if cfg!(target_endian = "little") { first as u64 | (last as u64) << 32 } else { (first as u64) << 32 | last as u64 }
}

impl AsRef<[u8]> for Addr6 {
    fn as_ref(&self) -> &[u8] {
        &self.octets
    }
}

impl From<Ipv6Addr> for Addr6 {
    fn from(addr: Ipv6Addr) -> Self {
        Self::new(addr.octets())
    }
}

impl From<Addr6> for IpAddr {
    fn from(Addr6 { octets }: Addr6) -> Self {
        octets.into()
    }
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
    type Addr = Addr6;
    type Pad = [u32; 1];
    const AF: u8 = 10;
    const V6: bool = true;
    const HEADER: u32 = 40;
    const SRC: u32 = 8;
    const DST: u32 = 24;
    const ICMP: u8 = 58;
}

impl Address for [u8; 4] {
    type Words = u32;
    const ZERO: Self = [0; 4];

    #[inline(always)]
    fn words(&self) -> u32 {
        u32::from_ne_bytes(*self)
    }

    #[inline(always)]
    unsafe fn peek(field: *const Self) -> Self {
        // SAFETY: the caller's promise.
        unsafe { field.cast::<u32>().read_volatile() }.to_ne_bytes()
    }

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

impl Address for Addr6 {
    type Words = [u64; 2];
    const ZERO: Self = Self::new([0; 16]);

    #[inline(always)]
    fn words(&self) -> [u64; 2] {
        let (first, last) = self.lanes();
        [first, last]
    }

    #[inline(always)]
    unsafe fn peek(field: *const Self) -> Self {
        let words = field.cast::<u64>();
        // SAFETY: the caller's promise.
        Self::of(unsafe { (words.read_volatile(), words.add(1).read_volatile()) })
    }

    /// Four loads: as bytes, which need no alignment, they would be sixteen.
    #[inline(always)]
    fn lanes(&self) -> (u64, u64) {
        // SAFETY: the type is as large and aligned likewise.
        let [a, b, c, d] = unsafe { *core::ptr::from_ref(self).cast::<[u32; 4]>() };
        (wide(a, b), wide(c, d))
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
        self.octets[0] == 0xff || (high == 0 && (low == 0 || low == 1u64.to_be()))
    }

    #[inline(always)]
    fn is_link_local(&self) -> bool {
        self.octets[0] == 0xfe && self.octets[1] & 0xc0 == 0x80
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_stand_as_the_bytes_do() {
        let addr = Addr6::new(core::array::from_fn(|at| at as u8));
        assert_eq!(addr.words().map(u64::to_ne_bytes).concat(), addr.octets);
        assert_eq!(Addr6::of(addr.lanes()), addr);
        let aligned = addr.words();
        // SAFETY: as large, aligned to 8 bytes.
        assert_eq!(unsafe { Addr6::peek(aligned.as_ptr().cast()) }, addr);
        for at in 0..16 {
            let mut other = addr;
            other.octets[at] ^= 0x80;
            assert_ne!(other, addr, "{at}");
        }
    }
}
