//! How a packet leaves the gateway, once its next hop is known.

use crate::{
    abi::{config::forward, family::Family, hop},
    answer::Answer,
    nat::rewrite::End,
    packet::parse::Parsed,
};

/// Where a packet goes. All but `Untouched` come after translation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// Straight into the namespace of the interface's peer, with these MACs; TTL lowered by us.
    Peer,
    /// Through the kernel's neighbour code; TTL lowered by us.
    Neigh,
    /// Translated, then routed (and fragmented, and its TTL lowered) by the kernel.
    Stack,
    /// To the kernel as it came: it answers with the right ICMP error from the inside address.
    Untouched,
    /// Nowhere; its sender is told, see [`crate::answer`].
    Answer(Answer),
}

/// What is known about the next hop.
#[derive(Clone, Copy, Debug)]
pub struct NextHop {
    /// Bits of [`hop::flags`].
    pub flags: u32,
    /// MTU of the route in bytes.
    pub mtu: u32,
    /// Nanoseconds since a packet last went to it through the kernel's neighbour code.
    pub unprobed_ns: u64,
}

/// Chooses the way of a packet that `end` says the direction of; `mode` is one of [`forward`].
#[inline(always)]
pub fn way<F: Family>(packet: &Parsed<F>, end: End, to: &NextHop, mode: u32) -> Way {
    let outbound = matches!(end, End::Source);
    if packet.ttl <= 1 {
        return if outbound { Way::Untouched } else { Way::Answer(Answer::Expired) };
    }
    if packet.wire_len > to.mtu {
        return if packet.may_fragment {
            Way::Stack
        } else if outbound {
            Way::Untouched
        } else {
            Way::Answer(Answer::TooBig(to.mtu))
        };
    }
    match mode {
        forward::PEER if to.flags & hop::flags::RESOLVED != 0 && !probe_due(to) => Way::Peer,
        forward::PEER | forward::NEIGH => Way::Neigh,
        _ => Way::Stack,
    }
}

/// What delivery needs to know of a cached answer.
#[inline(always)]
#[must_use]
pub const fn facts<A>(hop: &hop::Hop<A>, now_ns: u64) -> NextHop {
    NextHop { flags: hop.flags, mtu: hop.mtu, unprobed_ns: now_ns.wrapping_sub(hop.probed_ns) }
}

/// Whether the kernel should see one packet to this next hop, so that it notices a changed MAC.
#[inline(always)]
#[must_use]
pub(crate) const fn probe_due(to: &NextHop) -> bool {
    to.flags & hop::flags::MANAGED == 0 && to.unprobed_ns >= hop::PROBE_NS
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::{
        abi::family::V4,
        packet::parse::{Kind, Piece},
    };

    pub(crate) fn packet(ttl: u8, wire_len: u32, may_fragment: bool) -> Parsed<V4> {
        Parsed {
            src: [10, 17, 0, 9],
            dst: [1, 1, 1, 1],
            kind: Kind::Ports,
            proto: 6,
            sport: 1,
            dport: 2,
            seen: 0,
            ttl,
            may_fragment,
            len: wire_len,
            wire_len,
            l4: 34,
            piece: Piece::default(),
        }
    }

    #[test]
    fn table() {
        let resolved = hop::flags::RESOLVED | hop::flags::MANAGED;
        let (peer, neigh, stack) = (forward::PEER, forward::NEIGH, forward::STACK);
        let (out, back) = (End::Source, End::Destination);
        for (ttl, len, frag, end, flags, unprobed, mode, want) in [
            (64, 1500, false, out, resolved, u64::MAX, peer, Way::Peer),
            (64, 1500, false, back, resolved, u64::MAX, peer, Way::Peer),
            (64, 1500, false, out, 0, 0, peer, Way::Neigh),
            (64, 1500, false, out, hop::flags::RESOLVED, 0, peer, Way::Peer),
            (64, 1500, false, out, hop::flags::RESOLVED, hop::PROBE_NS, peer, Way::Neigh),
            (64, 1500, false, out, resolved, 0, neigh, Way::Neigh),
            (64, 1500, false, out, resolved, 0, stack, Way::Stack),
            (1, 100, false, out, resolved, 0, peer, Way::Untouched),
            (0, 100, false, out, resolved, 0, stack, Way::Untouched),
            (1, 100, false, back, resolved, 0, peer, Way::Answer(Answer::Expired)),
            (64, 1501, false, out, resolved, 0, peer, Way::Untouched),
            (64, 1501, false, back, resolved, 0, peer, Way::Answer(Answer::TooBig(1500))),
            (64, 1501, true, out, resolved, 0, peer, Way::Stack),
            (64, 1501, true, back, resolved, 0, peer, Way::Stack),
        ] {
            let to = NextHop { flags, mtu: 1500, unprobed_ns: unprobed };
            assert_eq!(way(&packet(ttl, len, frag), end, &to, mode), want, "{ttl} {len} {frag} {end:?} {mode}");
        }
    }
}
