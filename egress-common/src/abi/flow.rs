//! The flow table: two entries per flow, one for each direction, each holding the whole rewrite of that direction.

use core::{marker::PhantomData, mem::MaybeUninit, ops::Deref};

use super::family::{Addr6, Address, Family, V4, V6};

/// Direction of a key: inside tuple, as a Pod sends it.
pub const OUT: u8 = 0;
/// Direction of a key: outside tuple, as replies carry it.
pub const IN: u8 = 1;

/// Key of a flow entry: the addresses and ports that the packet of this direction carries.
///
/// ICMP echo has its identifier in the port of the own side (`sport` outbound, `dport` inbound) and 0 in the other.
#[repr(C, align(4))]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct FlowKey<A> {
    /// Source address.
    pub saddr: A,
    /// Destination address.
    pub daddr: A,
    /// Source port, host-endian.
    pub sport: u16,
    /// Destination port, host-endian.
    pub dport: u16,
    /// IANA protocol number.
    pub proto: u8,
    /// [`OUT`] or [`IN`].
    pub dir: u8,
    /// Reserved for several gateways in one table; 0.
    pub zone: u16,
}

/// A key put together in words. The kernel hashes and compares whole words: where they were written in halves just before, it has
/// to wait for them.
#[repr(C, align(8))]
#[derive(Clone, Copy, Debug)]
pub struct WideKey<A>([MaybeUninit<u64>; 5], PhantomData<A>);

impl<A: Address> WideKey<A> {
    /// The key with these fields.
    #[inline(always)]
    #[must_use]
    pub fn new(key: &FlowKey<A>) -> Self {
        let ports = u32::from(key.sport) | u32::from(key.dport) << 16;
        let rest = u32::from(key.proto) | u32::from(key.dir) << 8 | u32::from(key.zone) << 16;
        let last = (u64::from(ports) | u64::from(rest) << 32).to_le();
        let (src, dst) = (key.saddr.lanes(), key.daddr.lanes());
        let mut words = [MaybeUninit::uninit(); 5];
        if size_of::<A>() == 4 {
            let both = if cfg!(target_endian = "little") { src.0 | dst.0 << 32 } else { src.0 << 32 | dst.0 };
            words[0].write(both);
            words[1].write(last);
        } else {
            words = [src.0, src.1, dst.0, dst.1, last].map(MaybeUninit::new);
        }
        Self(words, PhantomData)
    }
}

impl<A> Deref for WideKey<A> {
    type Target = FlowKey<A>;

    #[inline(always)]
    fn deref(&self) -> &FlowKey<A> {
        // SAFETY: as many of these bytes as a key has were written, at a stricter alignment; none of it is padding.
        unsafe { &*self.0.as_ptr().cast() }
    }
}

/// Port and state of one direction; changed as one 32-bit word, so that it can be compared and swapped.
#[repr(C, align(4))]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Word {
    /// Port (ICMP: identifier) that this direction is rewritten to, host-endian.
    pub port: u16,
    /// What was seen of this direction: bits of [`seen`].
    pub seen: u8,
    /// Bits of [`state`].
    pub state: u8,
}

/// Bits of [`Word::seen`]. TCP flags of one direction, collected (RFC 9293 §3.1); other protocols use [`seen::ACK`] for "spoke".
/// Builds with another layout read them: never renumber.
pub mod seen {
    /// A SYN.
    pub const SYN: u8 = 1;
    /// A FIN.
    pub const FIN: u8 = 2;
    /// A RST.
    pub const RST: u8 = 4;
    /// A segment with ACK, or any packet of another protocol.
    pub const ACK: u8 = 8;
}

/// Bits of [`Word::state`]. Builds with another layout read them: never renumber.
pub mod state {
    /// Being removed: the datapath treats the entry as absent.
    pub const DYING: u8 = 0x80;
    /// A reply half. A packet that comes upon a slot just given to another half must not take an inside address for an
    /// egress address.
    pub const REPLY: u8 = 0x40;
    /// With [`DYING`]: the second, modulo 64, in which the removal began.
    pub const SINCE: u8 = 0x3f;
}

/// Value of a flow entry. 32 bytes for IPv4, 48 for IPv6.
#[repr(C, align(8))]
#[derive(Clone, Copy, Debug)]
pub struct FlowValue<F: Family> {
    /// Moves the other fields.
    #[cfg(feature = "layout-next")]
    pub novel: u64,
    /// Outbound: the egress address that becomes the source. Inbound: the inside address that becomes the destination.
    pub nat_addr: F::Addr,
    /// Port and state.
    pub word: Word,
    /// When this direction last carried a packet: seconds of [`super::config`]'s clock, written at most once a second.
    pub last_seen: u32,
    /// When the flow began, same clock.
    pub created: u32,
    /// Explicit padding.
    pub pad: F::Pad,
    /// Packets of this direction, exact.
    pub packets: u64,
    /// IP bytes of this direction, exact.
    pub bytes: u64,
}

impl<F: Family> FlowValue<F> {
    /// A half that begins at `now`.
    #[inline(always)]
    pub fn new(nat_addr: F::Addr, word: Word, now: u32) -> Self {
        Self {
            #[cfg(feature = "layout-next")]
            novel: 0,
            nat_addr,
            word,
            last_seen: now,
            created: now,
            pad: F::Pad::default(),
            packets: 0,
            bytes: 0,
        }
    }
}

impl Word {
    /// As the number that is compared and swapped (native order).
    #[inline(always)]
    #[must_use]
    pub const fn raw(self) -> u32 {
        self.port as u32 | (self.seen as u32) << 16 | (self.state as u32) << 24
    }

    /// Inverse of [`Self::raw`].
    #[inline(always)]
    #[must_use]
    pub const fn from_raw(raw: u32) -> Self {
        #[expect(clippy::cast_possible_truncation, reason = "each field takes its own bits")]
        Self { port: raw as u16, seen: (raw >> 16) as u8, state: (raw >> 24) as u8 }
    }

    /// Whether a packet of direction `dir` ([`OUT`] or [`IN`]) may go by this half.
    #[inline(always)]
    #[must_use]
    pub const fn carries(self, dir: u8) -> bool {
        self.state == if dir == IN { state::REPLY } else { 0 }
    }

    /// Whether the entry counts as absent.
    #[inline(always)]
    #[must_use]
    pub const fn dying(self) -> bool {
        self.state & state::DYING != 0
    }
}

impl<A: Address> FlowKey<A> {
    /// The end that is translated: the Pod's on the way out, the egress address and port on the way in.
    #[inline(always)]
    #[must_use]
    pub const fn own(&self) -> (A, u16) {
        if self.dir == IN { (self.daddr, self.dport) } else { (self.saddr, self.sport) }
    }

    /// Key of the reply direction of the flow with this outbound key, once it has an egress address and port.
    #[inline(always)]
    #[must_use]
    pub const fn reply(&self, egress: A, port: u16) -> Self {
        Self {
            saddr: self.daddr,
            daddr: egress,
            sport: self.dport,
            dport: port,
            proto: self.proto,
            dir: IN,
            zone: self.zone,
        }
    }

    /// Key of the outbound direction, given the inbound key and the inside endpoint its entry holds.
    #[inline(always)]
    #[must_use]
    pub const fn original(&self, inside: A, port: u16) -> Self {
        Self {
            saddr: inside,
            daddr: self.saddr,
            sport: port,
            dport: self.sport,
            proto: self.proto,
            dir: OUT,
            zone: self.zone,
        }
    }
}

/// IPv4 flow key.
pub type FlowKey4 = FlowKey<[u8; 4]>;
/// IPv6 flow key.
pub type FlowKey6 = FlowKey<Addr6>;

const _: () = {
    assert!(size_of::<FlowKey4>() == 16);
    assert!(size_of::<FlowKey6>() == 40);
    let novel = if cfg!(feature = "layout-next") { 8 } else { 0 };
    assert!(size_of::<FlowValue<V4>>() == 32 + novel);
    assert!(size_of::<FlowValue<V6>>() == 48 + novel);
    assert!(cfg!(target_endian = "little"), "Word's byte layout and its raw form agree on little endian only");
};

#[cfg(test)]
mod tests {
    use super::{seen, state};

    /// What builds of another layout take them for.
    #[test]
    fn bits_keep_their_numbers() {
        assert_eq!((seen::SYN, seen::FIN, seen::RST, seen::ACK), (1, 2, 4, 8));
        assert_eq!((state::DYING, state::REPLY, state::SINCE), (0x80, 0x40, 0x3f));
    }
}
