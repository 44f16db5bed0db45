//! The state of a flow, derived from what both directions showed.

use crate::{
    abi::{config::Timeouts, flow::seen},
    packet::header::proto,
};

/// State of a flow. TCP uses the first four, everything else the last two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Not both sides have acknowledged yet.
    Opening,
    /// Both sides have.
    Established,
    /// One side sent FIN.
    Closing,
    /// Both sides sent FIN, or one sent RST.
    Closed,
    /// No reply seen.
    Unreplied,
    /// Both directions seen.
    Replied,
}

impl State {
    /// State of a flow of `protocol` given the [`seen`] bits of both directions.
    #[inline(always)]
    #[must_use]
    pub const fn of(protocol: u8, out: u8, back: u8) -> Self {
        if protocol != proto::TCP {
            return if back == 0 { Self::Unreplied } else { Self::Replied };
        }
        if (out | back) & seen::RST != 0 || out & back & seen::FIN != 0 {
            Self::Closed
        } else if (out | back) & seen::FIN != 0 {
            Self::Closing
        } else if out & back & seen::ACK != 0 {
            Self::Established
        } else {
            Self::Opening
        }
    }

    /// Seconds without a packet after which a flow in this state ends.
    #[inline(always)]
    #[must_use]
    pub const fn timeout(self, protocol: u8, timeouts: &Timeouts) -> u32 {
        match self {
            Self::Opening => timeouts.tcp_opening,
            Self::Established => timeouts.tcp_established,
            Self::Closing => timeouts.tcp_half_closed,
            Self::Closed => timeouts.tcp_closing,
            Self::Unreplied | Self::Replied => match protocol {
                proto::UDP if matches!(self, Self::Unreplied) => timeouts.udp_unreplied,
                proto::UDP => timeouts.udp_replied,
                proto::ICMP | proto::ICMPV6 => timeouts.icmp,
                _ => timeouts.other,
            },
        }
    }

    /// Whether a closed flow's port may go to another one after a moment: both sides sent FIN, or the inside reset it, or it
    /// was refused. A RST from outside in the midst of a connection may be forged, and both ends go on (RFC 7857 §2.2).
    #[inline(always)]
    #[must_use]
    pub const fn over(out: u8, back: u8) -> bool {
        out & back & seen::FIN != 0 || out & seen::RST != 0 || (back & seen::RST != 0 && out & back & seen::ACK == 0)
    }

    /// Name in `flows`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Opening => "opening",
            Self::Established => "established",
            Self::Closing => "closing",
            Self::Closed => "closed",
            Self::Unreplied => "unreplied",
            Self::Replied => "replied",
        }
    }
}

/// Whether a segment that shows `shown` says nothing new about its direction, of which `before` was seen.
///
/// A RST is taken back by a later segment of its direction: who resets a connection sends no more in it, so the RST was forged,
/// or out of window. A SYN without ACK does not: it begins another connection, see [`super::removal::restart`].
#[inline(always)]
#[must_use]
pub const fn known(before: u8, shown: u8) -> bool {
    before & (shown | seen::RST) == shown
}

/// Whether such a segment takes back a RST.
#[inline(always)]
#[must_use]
pub const fn refutes_reset(shown: u8) -> bool {
    shown & (seen::RST | seen::ACK) == seen::ACK
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What was seen of a direction after these segments, as the datapath keeps it.
    fn after(segments: &[u8]) -> u8 {
        segments.iter().fold(0, |seen, shown| {
            let both = if known(seen, *shown) { seen } else { seen | shown };
            if !known(seen, *shown) && refutes_reset(*shown) { both & !seen::RST } else { both }
        })
    }

    #[test]
    fn a_reset_that_ends_nothing_is_taken_back() {
        use seen::{ACK, FIN, RST, SYN};
        for (segments, want) in [
            (&[SYN | ACK, ACK, RST][..], SYN | ACK | RST),
            (&[SYN | ACK, ACK, RST, RST | ACK], SYN | ACK | RST),
            (&[SYN | ACK, ACK, RST, ACK], SYN | ACK),
            (&[SYN | ACK, RST | ACK, ACK | FIN], SYN | ACK | FIN),
            (&[RST | ACK, SYN | ACK], SYN | ACK),
            // Another connection's, or nobody's.
            (&[SYN, ACK, RST, SYN], SYN | ACK | RST),
            (&[ACK, RST, 0, FIN], ACK | FIN | RST),
        ] {
            assert_eq!(after(segments), want, "{segments:?}");
        }
        // Every packet of an established flow is such a one.
        assert!(known(SYN | ACK, ACK) && known(ACK, ACK) && known(SYN | ACK | FIN, ACK));
    }

    #[test]
    fn over_is_what_nobody_can_want() {
        use seen::{ACK, FIN, RST, SYN};
        for (out, back, want) in [
            (SYN | ACK | FIN, SYN | ACK | FIN, true),
            (SYN | ACK | FIN, SYN | ACK, false),
            (SYN | ACK | RST, SYN | ACK, true),
            (SYN, RST | ACK, true),
            (ACK, RST, true),
            (SYN | ACK, SYN | ACK | RST, false),
            (SYN | ACK | FIN, SYN | ACK | RST, false),
            (SYN | ACK, SYN | ACK, false),
            (SYN, 0, false),
        ] {
            assert_eq!(State::over(out, back), want, "{out} {back}");
            assert!(!want || State::of(proto::TCP, out, back) == State::Closed);
        }
    }

    #[test]
    fn tcp_states() {
        use seen::{ACK, FIN, RST, SYN};
        for (out, back, want) in [
            (SYN, 0, State::Opening),
            (SYN, SYN | ACK, State::Opening),
            (SYN | ACK, SYN | ACK, State::Established),
            // Both open at the same time: each side answers the other's SYN (RFC 9293 §3.5, RFC 5382 REQ-2).
            (SYN, SYN, State::Opening),
            (SYN | ACK, SYN, State::Opening),
            (ACK, 0, State::Opening),
            (SYN | ACK | FIN, SYN | ACK, State::Closing),
            (SYN | ACK, SYN | ACK | FIN, State::Closing),
            (SYN | ACK | FIN, SYN | ACK | FIN, State::Closed),
            (SYN, RST | ACK, State::Closed),
            (SYN | ACK | RST, SYN | ACK, State::Closed),
        ] {
            assert_eq!(State::of(proto::TCP, out, back), want, "{out} {back}");
        }
    }

    #[test]
    fn others() {
        assert_eq!(State::of(proto::UDP, seen::ACK, 0), State::Unreplied);
        assert_eq!(State::of(proto::ICMP, seen::ACK, seen::ACK), State::Replied);
    }
}
