//! What XDP makes of the packets of a half and where it sends them, worked out once for all of a second.

use super::{
    config::Mac,
    family::Family,
    hop::{BELIEVED_NS, Hop, flags},
};
use crate::{
    delivery::{NextHop, facts, probe_due},
    nat::prepared::Sums,
};

/// 24 bytes for IPv4, 40 for IPv6.
#[repr(C, align(8))]
#[derive(Clone, Copy, Debug)]
pub struct Target<F: Family> {
    /// As in [`super::flow::FlowValue`].
    pub nat_addr: F::Addr,
    /// See [`super::flow::Word::port`].
    pub port: u16,
    /// See [`super::flow::Word::seen`].
    pub seen: u8,
    /// Explicit padding.
    pub zero: u8,
    /// Explicit padding.
    pub pad: F::Pad,
    /// MAC of the next hop, the first byte on the wire lowest, and in the upper two bytes the MTU of the route: 16 bits, as the
    /// kernel says it and veths have it.
    pub next: u64,
    /// From when on the routing table is to be asked again: `CLOCK_BOOTTIME` in units of 2^20 ns, about a millisecond, rounded up.
    pub until: u32,
    /// How the sums over the packet change.
    pub sums: Sums,
}

impl<F: Family> Target<F> {
    /// That of packets whose address and port `own` become `nat`. None if XDP cannot send them to this hop from the interface with
    /// this MAC, or if the kernel's neighbour code is to see the next one.
    #[inline(always)]
    #[must_use]
    pub fn of(own: (F::Addr, u16), nat: (F::Addr, u16), hop: &Hop<F::Addr>, mac: &Mac, now_ns: u64) -> Option<Self> {
        let known = hop.flags & (flags::RESOLVED | flags::BACK) == flags::RESOLVED;
        if !known || probe_due(&facts(hop, now_ns)) || word(hop.smac) != u64::from_le_bytes(mac.0) & MAC {
            return None;
        }
        Some(Self {
            nat_addr: nat.0,
            port: nat.1,
            seen: 0,
            zero: 0,
            pad: F::Pad::default(),
            next: word(hop.dmac) | u64::from(hop.mtu) << 48,
            until: ticks(hop.asked_ns + BELIEVED_NS) + 1,
            sums: Sums::of::<F>(own, nat),
        })
    }

    /// Whether the next hop is still believed.
    #[inline(always)]
    #[must_use]
    pub const fn holds(&self, now_ns: u64) -> bool {
        self.until.wrapping_sub(ticks(now_ns)).cast_signed() > 0
    }

    /// The next hop as one to which packets may go.
    #[inline(always)]
    #[must_use]
    pub const fn hop(&self) -> NextHop {
        NextHop { flags: flags::RESOLVED | flags::MANAGED, mtu: (self.next >> 48) as u32, unprobed_ns: 0 }
    }

    /// Both MACs of the frame that is sent from the interface with this one: as they stand at its beginning, in words.
    #[inline(always)]
    #[must_use]
    pub const fn macs(&self, from: &Mac) -> (u64, u32) {
        let from = u64::from_le_bytes(from.0);
        (self.next & MAC | from << 48, (from >> 16) as u32)
    }
}

const MAC: u64 = (1 << 48) - 1;

#[inline(always)]
const fn word([a, b, c, d, e, f]: [u8; 6]) -> u64 {
    u64::from_le_bytes([a, b, c, d, e, f, 0, 0])
}

#[inline(always)]
const fn ticks(ns: u64) -> u32 {
    (ns >> 20) as u32
}

const _: () = {
    assert!(size_of::<Target<super::family::V4>>() == 24 && size_of::<Target<super::family::V6>>() == 40);
};

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        abi::{config::forward, family::V4},
        delivery::{Way, tests::packet, way},
        nat::rewrite::End,
    };

    const SECOND: u64 = 1_000_000_000;
    const OWN: ([u8; 4], u16) = ([10, 17, 0, 9], 4000);
    const NAT: ([u8; 4], u16) = ([172, 17, 0, 11], 50_000);
    const MAC: Mac = Mac([2, 0, 0, 0, 0, 7, 0, 0]);

    const fn hop() -> Hop<[u8; 4]> {
        Hop {
            asked_ns: 100 * SECOND,
            flags: flags::RESOLVED | flags::MANAGED,
            mtu: 1500,
            dmac: [2, 1, 2, 3, 4, 5],
            smac: [2, 0, 0, 0, 0, 7],
            ..Hop::empty()
        }
    }

    fn at(hop: &Hop<[u8; 4]>, now_ns: u64) -> Option<Target<V4>> {
        Target::of(OWN, NAT, hop, &MAC, now_ns)
    }

    #[test]
    fn says_what_the_hop_did() {
        let target = at(&hop(), 100 * SECOND).unwrap();
        assert_eq!((target.nat_addr, target.port, target.hop().mtu), (NAT.0, NAT.1, 1500));
        let (first, last) = target.macs(&MAC);
        let frame = [&first.to_le_bytes()[..], &last.to_le_bytes()].concat();
        assert_eq!(frame, [2, 1, 2, 3, 4, 5, 2, 0, 0, 0, 0, 7]);
        assert_eq!(at(&Hop { mtu: 65_535, ..hop() }, 100 * SECOND).unwrap().hop().mtu, 65_535);
    }

    #[test]
    fn is_believed_as_long_as_the_hop() {
        let target = at(&hop(), 100 * SECOND).unwrap();
        for (ns, want) in [(0, true), (SECOND - 1, true), (SECOND + (2 << 20), false)] {
            assert_eq!(target.holds(100 * SECOND + ns), want, "{ns}");
        }
    }

    #[test]
    fn only_where_xdp_can_send() {
        let now = 100 * SECOND;
        for flags in [0, flags::PENDING, flags::MANAGED, flags::RESOLVED | flags::MANAGED | flags::BACK] {
            assert!(at(&Hop { flags, ..hop() }, now).is_none(), "{flags}");
        }
        let by_hand = Hop { flags: flags::RESOLVED, probed_ns: 86 * SECOND, ..hop() };
        assert!(at(&by_hand, now).is_some() && at(&by_hand, now + SECOND).is_none(), "to be probed");
        assert!(at(&Hop { smac: [2, 0, 0, 0, 0, 8], ..hop() }, now).is_none(), "another interface's");
        assert!(at(&Hop::empty(), now).is_none());
        let mut packet = packet(64, 1500, false);
        let way = |packet: &_| way(packet, End::Source, &at(&hop(), now).unwrap().hop(), forward::PEER);
        assert_eq!(way(&packet), Way::Peer);
        packet.ttl = 1;
        assert_eq!(way(&packet), Way::Untouched);
    }
}
