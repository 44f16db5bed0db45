//! What the agent hands to the programs `expire` and `import`: a head of 16 bytes (the kernel wants at least an Ethernet
//! header), then keys or flows.

use super::{family::Family, flow::FlowKey};
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
    /// Which of the flows are to end, as their events will say: one of [`super::event::why`]. Idle ones, closed ones whose port
    /// a new flow could take over, or all.
    pub why: u8,
    /// How many keys follow.
    pub keys: u8,
    /// Zero.
    pub pad: [u8; 13],
}

// SAFETY: bytes only.
unsafe impl Plain for Head {}

/// Most flows of one order to `import`, likewise.
pub const MAX_FLOWS: u32 = 32;

/// The head of an order to `import`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct ImportHead {
    /// 1 if the flows are IPv6.
    pub v6: u8,
    /// What a flow that is there already carried: 1 if it is to be added, 0 if the totals are to be at least that.
    pub add: u8,
    /// How many flows follow.
    pub flows: u8,
    /// Zero.
    pub pad: [u8; 13],
}

// SAFETY: bytes only.
unsafe impl Plain for ImportHead {}

/// A number of 64 bits where only 32 are aligned.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Wide {
    /// Bits 0 to 31.
    pub low: u32,
    /// Bits 32 to 63.
    pub high: u32,
}

/// A flow that another table holds, or the kernel's conntrack. Pairs are outbound, then inbound.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Carried<F: Family> {
    /// Outbound key.
    pub key: FlowKey<F::Addr>,
    /// Egress address.
    pub nat_addr: F::Addr,
    /// Egress port or identifier.
    pub port: u16,
    /// What was seen: bits of [`super::flow::seen`].
    pub seen: [u8; 2],
    /// When it began: seconds of the datapath's clock.
    pub created: u32,
    /// When either direction last carried a packet, same clock.
    pub last_seen: [u32; 2],
    /// Packets.
    pub packets: [Wide; 2],
    /// IP bytes.
    pub bytes: [Wide; 2],
}

/// What became of one flow of an order; `import` returns how many there were of each, eight bits each, lowest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Taken {
    /// It is in the table now.
    New = 0,
    /// It was there with the same mapping, or it has ended and another flow has its place.
    Known = 1,
    /// It, or the flow that holds its egress port, is being removed at this moment.
    Refused = 2,
    /// There is no room.
    Full = 3,
}

impl Wide {
    /// As one number.
    #[inline(always)]
    #[must_use]
    pub const fn get(self) -> u64 {
        self.low as u64 | (self.high as u64) << 32
    }
}

impl From<u64> for Wide {
    #[expect(clippy::cast_possible_truncation, reason = "two halves")]
    fn from(number: u64) -> Self {
        Self { low: number as u32, high: (number >> 32) as u32 }
    }
}

const _: () = {
    assert!(size_of::<Head>() == HEAD as usize && size_of::<ImportHead>() == HEAD as usize);
    assert!(size_of::<Carried<super::family::V4>>() == 68 && size_of::<Carried<super::family::V6>>() == 104);
};
