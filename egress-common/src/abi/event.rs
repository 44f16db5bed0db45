//! Records of the `EVENTS` ring buffer: little-endian, of fixed size, without hidden padding. docs/events.md is for readers.

/// Layout number that each record starts with.
pub const VERSION: u16 = 2;

/// Values of [`Event::kind`].
pub mod kind {
    /// No port was free for a new flow.
    pub const EXHAUSTED: u16 = 1;
    /// A flow began, at its time: both directions find their way. One that was taken over may have begun long ago.
    pub const FLOW_START: u16 = 2;
    /// A flow ended; [`super::Event::why`] says why.
    pub const FLOW_END: u16 = 3;
    /// A source was refused a new flow because it has many.
    pub const LIMITED: u16 = 4;
}

/// Values of [`Event::why`] where a flow ended.
pub mod why {
    /// It carried nothing for as long as its state allows.
    pub const IDLE: u8 = 1;
    /// It was closed, and a new flow took its port or the table was crowded.
    pub const RECLAIMED: u8 = 2;
    /// It was cut: its egress address is gone, its policy flipped, or a flow that was taken over has its port.
    pub const REVOKED: u8 = 3;
}

/// One record. Fields that a kind has no use for are zero.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Event {
    /// [`VERSION`].
    pub version: u16,
    /// Bytes of this record.
    pub size: u16,
    /// One of [`kind`].
    pub kind: u16,
    /// IANA protocol number.
    pub proto: u8,
    /// `AF_INET` or `AF_INET6`.
    pub af: u8,
    /// See [`super::config::Config::boot_id`].
    pub boot_id: [u8; 16],
    /// When, in nanoseconds of the datapath's clock.
    pub at_ns: u64,
    /// Inside address; IPv4 in the first four bytes, as in the two below.
    pub inside: [u8; 16],
    /// Egress address.
    pub egress: [u8; 16],
    /// The other end's address.
    pub remote: [u8; 16],
    /// Ports as flow keys have them, host-endian: 0 where there is none, an identifier in both own ones.
    pub inside_port: u16,
    /// Egress port.
    pub egress_port: u16,
    /// The other end's port.
    pub remote_port: u16,
    /// One of [`why`].
    pub why: u8,
    /// Explicit padding.
    pub pad: u8,
    /// When the flow began, in seconds of the datapath's clock.
    pub began: u32,
    /// Explicit padding.
    pub pad2: u32,
    /// Packets from the inside.
    pub out_packets: u64,
    /// Their IP bytes.
    pub out_bytes: u64,
    /// Packets to the inside.
    pub in_packets: u64,
    /// Their IP bytes.
    pub in_bytes: u64,
}

/// What a flow has carried, kept for its record until there is stack to write it.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Tally {
    /// See [`Event::began`].
    pub began: u64,
    /// See [`Event::out_packets`].
    pub out_packets: u64,
    /// See [`Event::out_bytes`].
    pub out_bytes: u64,
    /// See [`Event::in_packets`].
    pub in_packets: u64,
    /// See [`Event::in_bytes`].
    pub in_bytes: u64,
}

/// Bytes of a record.
pub const SIZE: usize = size_of::<Event>();

impl Event {
    /// A record from a ring buffer, if this build knows its layout.
    #[must_use]
    pub fn read(bytes: &[u8]) -> Option<Self> {
        if bytes.len() < SIZE {
            return None;
        }
        // SAFETY: long enough, and any bytes are an Event.
        let event: Self = unsafe { bytes.as_ptr().cast::<Self>().read_unaligned() };
        (event.version == VERSION && usize::from(event.size) == SIZE).then_some(event)
    }
}

const _: () = {
    assert!(SIZE == 128);
    assert!(cfg!(target_endian = "little"), "records are little-endian as they lie in memory");
};
