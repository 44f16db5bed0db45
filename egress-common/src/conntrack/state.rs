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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tcp_states() {
        use seen::{ACK, FIN, RST, SYN};
        for (out, back, want) in [
            (SYN, 0, State::Opening),
            (SYN, SYN | ACK, State::Opening),
            (SYN | ACK, SYN | ACK, State::Established),
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
