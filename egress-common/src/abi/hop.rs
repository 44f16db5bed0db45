//! The next-hop cache: what the kernel's routing table answered for a destination, believed for a second.

use super::family::Address;

/// Slots of the cache, per CPU and family; a destination has one slot.
pub const HOPS: u32 = 512;

/// How long an answer is believed.
pub const BELIEVED_NS: u64 = 1_000_000_000;

/// How often one packet to a next hop that the kernel does not probe by itself goes through the kernel's neighbour code,
/// which then notices a changed MAC (RFC 4861 §7.3).
pub const PROBE_NS: u64 = 15_000_000_000;

/// Bits of [`Hop::flags`].
pub mod flags {
    /// `dmac` and `smac` are known.
    pub const RESOLVED: u32 = 1;
    /// The next hop is the Subnet's gateway: a managed neighbour, which the kernel keeps probing by itself.
    pub const MANAGED: u32 = 2;
    /// The route leaves by the interface that the packet came in by.
    pub const BACK: u32 = 4;
    /// The neighbour is not resolved yet: the answer is not believed for the next packet.
    pub const PENDING: u32 = 8;
}

/// One slot of `HOPS4`/`HOPS6`.
#[repr(C, align(8))]
#[derive(Clone, Copy, Debug)]
pub struct Hop<A> {
    /// When the routing table was asked; `CLOCK_BOOTTIME`.
    pub asked_ns: u64,
    /// When a packet last went through the neighbour code.
    pub probed_ns: u64,
    /// Destination that this slot holds.
    pub dst: A,
    /// Next hop: a gateway or the destination itself.
    pub via: A,
    /// Interface that the packet arrives by.
    pub iif: u32,
    /// MTU of the route.
    pub mtu: u32,
    /// Bits of [`flags`].
    pub flags: u32,
    /// MAC of the next hop.
    pub dmac: [u8; 6],
    /// MAC of the outgoing interface.
    pub smac: [u8; 6],
}

impl<A: Address> Hop<A> {
    /// Whether the answer is still believed.
    #[inline(always)]
    #[must_use]
    pub const fn believed(&self, now_ns: u64) -> bool {
        now_ns.wrapping_sub(self.asked_ns) < BELIEVED_NS
    }

    /// An answer that was never asked for.
    #[must_use]
    pub const fn empty() -> Self {
        Self {
            asked_ns: 0,
            probed_ns: 0,
            dst: A::ZERO,
            via: A::ZERO,
            iif: 0,
            mtu: 0,
            flags: 0,
            dmac: [0; 6],
            smac: [0; 6],
        }
    }
}

const _: () = {
    // The programs copy both MACs as three words.
    assert!(core::mem::offset_of!(Hop<[u8; 4]>, dmac) == 36 && core::mem::offset_of!(Hop<[u8; 4]>, smac) == 42);
    assert!(
        core::mem::offset_of!(Hop<super::family::Addr6>, dmac) == 60
            && core::mem::offset_of!(Hop<super::family::Addr6>, smac) == 66
    );
    assert!(size_of::<Hop<[u8; 4]>>() == 48);
    assert!(size_of::<Hop<super::family::Addr6>>() == 72);
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn believed_for_a_second() {
        let hop = Hop::<[u8; 4]> { asked_ns: 5_000_000_000, ..Hop::empty() };
        for (now, want) in
            [(5_000_000_000, true), (4_999_999_999, false), (5_999_999_999, true), (6_000_000_000, false)]
        {
            assert_eq!(hop.believed(now), want, "{now}");
        }
        assert!(!Hop::<[u8; 4]>::empty().believed(7_000_000_000), "never asked");
    }
}
