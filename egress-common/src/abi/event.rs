//! Records of the `EVENTS` ring buffer. Little-endian, fixed size.

/// Layout number that each record starts with.
pub const VERSION: u16 = 1;

/// Values of [`Event::kind`].
pub mod kind {
    /// No port was free for a new flow.
    pub const EXHAUSTED: u16 = 1;
    /// A source has more than its share while the table or the ports are crowded.
    pub const LIMITED: u16 = 2;
}

/// One record.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Event {
    /// [`VERSION`].
    pub version: u16,
    /// One of [`kind`].
    pub kind: u16,
    /// IANA protocol number.
    pub proto: u8,
    /// `AF_INET` or `AF_INET6`.
    pub af: u8,
    /// Destination port, host-endian.
    pub dport: u16,
    /// Seconds of the datapath's clock.
    pub at: u32,
    /// Explicit padding.
    pub pad: u32,
    /// Inside address; IPv4 in the first four bytes.
    pub inside: [u8; 16],
    /// Destination address.
    pub remote: [u8; 16],
}

const _: () = assert!(size_of::<Event>() == 48);
