//! Reading and changing a packet, on whatever carries it: an skb, an XDP frame, bytes in a test.
//!
//! [`parse`] knows the plain packet, [`deep`] every other one: [`options`], the [`chain`] of extension headers, fragments;
//! [`transport`] what is behind the IP header, [`quote`] the packet inside an ICMP error, [`finished`] whether its checksum stands.

mod chain;
pub mod crc32c;
pub mod csum;
pub mod deep;
pub mod finished;
pub mod header;
pub mod intact;
mod options;
pub mod parse;
pub mod quote;
pub mod slice;
pub mod transport;

/// Types that any bytes are a value of and that have no padding.
///
/// # Safety
/// `repr(C)` (or a primitive), no padding, every bit pattern valid.
pub unsafe trait Plain: Copy {}

// SAFETY: primitives.
unsafe impl Plain for u8 {}
// SAFETY: primitives.
unsafe impl Plain for u16 {}
// SAFETY: primitives.
unsafe impl Plain for u32 {}
// SAFETY: primitives.
unsafe impl Plain for u64 {}
// SAFETY: an array of bytes.
unsafe impl<const N: usize> Plain for [u8; N] {}
// SAFETY: an array of words.
unsafe impl<const N: usize> Plain for [u64; N] {}
// SAFETY: an array of bytes.
unsafe impl Plain for crate::abi::family::Addr6 {}

/// The packet could not be read or changed there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Failed;

/// How a change reaches the Internet checksum of a protocol (TCP, UDP, UDP-Lite, DCCP, ICMP).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct L4Sum {
    /// Offset of the checksum field from the start of the frame.
    pub at: u32,
    /// UDP and UDP-Lite: 0 means "no checksum" and stays 0; a computed 0 becomes 0xffff (RFC 768, RFC 3828 §3.1).
    pub udp: bool,
    /// The changed addresses are part of the sum (all but ICMP over IPv4).
    pub pseudo: bool,
}

/// A frame from its Ethernet header on. Offsets are from its first byte.
pub trait Packet {
    /// Reads a header; `Failed` if the frame ends before it does.
    fn read<T: Plain>(&self, at: u32) -> Result<T, Failed>;
    /// Writes a field.
    fn write<T: Plain>(&mut self, at: u32, value: T) -> Result<(), Failed>;
    /// Length of the frame.
    fn frame_len(&self) -> u32;
    /// Payload bytes of each segment if the frame is a super-packet, else 0.
    fn gso_size(&self) -> u32;
    /// Takes a change of header words into the IPv4 header checksum at `at`.
    fn sum_ip(&mut self, at: u32, diff: u32) -> Result<(), Failed>;
    /// Takes a change of an address into the sum that covers the pseudo header (RFC 9293 §3.1, RFC 8200 §8.1).
    fn sum_addr(&mut self, sum: L4Sum, diff: u32, v6: bool) -> Result<(), Failed>;
    /// Takes a change of a 16-bit field of the L4 header (big-endian values) into the sum.
    fn sum_port(&mut self, sum: L4Sum, from: u16, to: u16) -> Result<(), Failed>;
    /// Both in one.
    #[inline(always)]
    fn sum_end(&mut self, sum: L4Sum, diff: u32, v6: bool, from: u16, to: u16) -> Result<(), Failed> {
        self.sum_addr(sum, diff, v6)?;
        self.sum_port(sum, from, to)
    }
    /// Takes a change of words that the checksum at `at` covers into it.
    fn sum_covered(&mut self, at: u32, diff: u32) -> Result<(), Failed>;
    /// Words changed that no Internet checksum in the packet makes up for (IPv6 hop limit, an IPv6 address or a port that none
    /// covers, a CRC32c): whoever keeps a sum over the frame must know.
    fn sum_uncovered(&mut self, diff: u32);
    /// The value. A verifier that follows every path through a loop must not know it any more: then all paths of one round are
    /// one for the next.
    fn blur(&self, value: u32) -> u32 {
        value
    }
    /// [`crc32c::diff`]; the kernel's packets do it out of line.
    fn crc_diff(&self, from: [u8; 2], to: [u8; 2], behind: u32) -> u32 {
        crc32c::diff(from, to, behind)
    }
}
