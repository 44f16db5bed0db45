//! What the agent hands to the `expire` program: a head of 16 bytes (the kernel wants at least an Ethernet header), then keys.

use crate::packet::Plain;

/// Bytes before the first key.
pub const HEAD: u32 = 16;

/// Most keys of one order: 40-byte keys must fit the kernel's one-page limit for test packets.
pub const MAX_KEYS: u32 = 64;

/// The head of an order.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct Head {
    /// 1 if the keys are IPv6.
    pub v6: u8,
    /// 1 to remove the flows although they are not idle.
    pub revoked: u8,
    /// How many keys follow.
    pub keys: u8,
    /// Zero.
    pub pad: [u8; 13],
}

// SAFETY: bytes only.
unsafe impl Plain for Head {}

const _: () = assert!(size_of::<Head>() == HEAD as usize);
