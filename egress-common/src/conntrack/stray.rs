//! TCP segments that belong to no flow.

use crate::{
    abi::{config::flags, flow::seen},
    verdict::Drop,
};

/// What becomes of one from the inside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stray {
    /// A flow is opened for it.
    Opens,
    /// Its sender is told that the connection is gone (RFC 9293 §3.10.7.1).
    Reset,
    /// It is dropped.
    Dropped(Drop),
}

/// Decides about one that showed `shown`, given [`crate::abi::config::Config::flags`].
///
/// What takes a connection over is a segment of its midst or a FIN that acknowledges: then both ends are told of the end. A SYN
/// with ACK answers a SYN that cannot have come, and without ACK there is only the first SYN.
#[inline(always)]
#[must_use]
pub const fn from_inside(shown: u8, config: u32) -> Stray {
    if shown & seen::RST != 0 {
        Stray::Dropped(Drop::RstNoFlow)
    } else if shown & (seen::SYN | seen::ACK | seen::FIN) == seen::SYN {
        Stray::Opens
    } else if config & flags::MIDFLOW_RESET != 0 {
        Stray::Reset
    } else if config & flags::MIDFLOW_DROP == 0 && shown & (seen::SYN | seen::ACK) == seen::ACK {
        Stray::Opens
    } else {
        Stray::Dropped(Drop::Midflow)
    }
}

/// Whether one from outside, to an address of ours, is answered with RST. Never a SYN (RFC 5382 REQ-4), with or without ACK.
#[inline(always)]
#[must_use]
pub const fn resets_outside(shown: u8, config: u32) -> bool {
    config & flags::MIDFLOW_RESET != 0 && shown & (seen::SYN | seen::RST | seen::ACK) == seen::ACK
}

#[cfg(test)]
mod tests {
    use super::*;
    use seen::{ACK, FIN, RST, SYN};

    /// Every set of flags.
    #[test]
    fn from_the_inside() {
        for shown in 0..16 {
            let [takeover, reset, drop] =
                [0, flags::MIDFLOW_RESET, flags::MIDFLOW_DROP].map(|config| from_inside(shown, config));
            if shown & RST != 0 {
                assert_eq!([takeover, reset, drop], [Stray::Dropped(Drop::RstNoFlow); 3]);
            } else if shown == SYN {
                assert_eq!([takeover, reset, drop], [Stray::Opens; 3]);
            } else {
                let midflow = Stray::Dropped(Drop::Midflow);
                let opens = shown == ACK || shown == ACK | FIN;
                assert_eq!(takeover, if opens { Stray::Opens } else { midflow }, "{shown}");
                assert_eq!([reset, drop], [Stray::Reset, midflow], "{shown}");
            }
        }
    }

    #[test]
    fn from_outside() {
        for shown in 0..16 {
            assert!(!resets_outside(shown, 0) && !resets_outside(shown, flags::MIDFLOW_DROP));
            let wanted = shown == ACK || shown == ACK | FIN;
            assert_eq!(resets_outside(shown, flags::MIDFLOW_RESET), wanted, "{shown}");
        }
    }
}
