//! Fragments: what is known of a datagram (`FRAGS`), how many came before its first (`EARLY`), and those that are kept (`HELD`).
//!
//! The kernel's LRU maps keep up to 128 free places for each CPU, and evict when the common ones are used up: on many CPUs less
//! fits than the numbers say.
//! Sizes are for each family.

/// Datagrams whose fragments pass at the same time (RFC 6146 §4).
pub const DATAGRAMS: usize = 4096;
/// Datagrams whose first fragment is waited for.
pub const WAITING: usize = 4096;
/// Fragments that wait.
pub const HELD: usize = 2048;
/// Fragments of one datagram that wait: the 64 KiB of the longest in packets of 1400 bytes.
pub const HELD_EACH: u32 = 48;
/// Longest frame that is held.
pub const HELD_BYTES: usize = 2048;

/// A datagram of one direction (RFC 791 §3.2; RFC 8200 §4.5 knows no protocol, it is 0 there).
#[repr(C, align(4))]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DatagramKey<A> {
    /// Source address.
    pub saddr: A,
    /// Destination address.
    pub daddr: A,
    /// Identification.
    pub id: u32,
    /// IPv4: IANA protocol number.
    pub proto: u8,
    /// As in [`super::flow::FlowKey`].
    pub dir: u8,
    /// Place among the held ones; 0 in `FRAGS` and `EARLY`.
    pub index: u16,
}

/// Values of [`Datagram::fate`].
pub mod fate {
    /// It belongs to a flow.
    pub const FLOW: u8 = 1;
    /// It is the gateway's own.
    pub const OWN: u8 = 2;
}

/// Fragments of a datagram that wait for its first.
#[repr(C, align(8))]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Waiting {
    /// When the first of them came: seconds of the datapath's clock.
    pub since: u32,
    /// How many came; more than [`HELD_EACH`] if some were dropped.
    pub count: u32,
}

/// What the first fragment told.
#[repr(C, align(8))]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Datagram {
    /// When it came: seconds of the datapath's clock.
    pub since: u32,
    /// Source port or identifier.
    pub sport: u16,
    /// Destination port.
    pub dport: u16,
    /// IANA protocol number.
    pub proto: u8,
    /// One of [`fate`].
    pub fate: u8,
    /// Explicit padding.
    pub pad: u16,
    /// Length of the datagram, once its last fragment came.
    pub total: u32,
    /// Bytes that passed.
    pub bytes: u64,
}

/// A held frame.
#[repr(C, align(8))]
#[derive(Clone, Copy)]
pub struct Held {
    /// Bytes used.
    pub len: u32,
    /// Explicit padding.
    pub pad: u32,
    /// The frame from its Ethernet header on.
    pub frame: [u8; HELD_BYTES],
}

const _: () = {
    assert!(size_of::<DatagramKey<[u8; 4]>>() == 16);
    assert!(size_of::<DatagramKey<super::family::Addr6>>() == 40);
    assert!(size_of::<Datagram>() == 24);
    assert!(size_of::<Held>() == 8 + HELD_BYTES);
};
