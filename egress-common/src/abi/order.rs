//! What the agent hands to the `expire` program: a head of 16 bytes (the kernel wants at least an Ethernet header), then keys.

use crate::packet::Plain;

/// Bytes before the first key.
pub const HEAD: u32 = 16;

/// Most keys of one order: 40-byte keys must fit the kernel's one-page limit for test packets.
pub const MAX_KEYS: u32 = 64;

/// Values of [`Head::why`]: which of the flows are to end.
pub mod why {
    /// Those that were idle for longer than their state allows.
    pub const IDLE: u8 = 0;
    /// All of them.
    pub const REVOKED: u8 = 1;
    /// Those that are closed and whose port a new flow could take over.
    pub const CLOSED: u8 = 2;
}

/// The head of an order.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct Head {
    /// 1 if the keys are IPv6.
    pub v6: u8,
    /// One of [`why`].
    pub why: u8,
    /// How many keys follow.
    pub keys: u8,
    /// Zero.
    pub pad: [u8; 13],
}

// SAFETY: bytes only.
unsafe impl Plain for Head {}

const _: () = assert!(size_of::<Head>() == HEAD as usize);
