//! Headers of the protocols behind IP, their checksums open.

use arbitrary::Arbitrary;
use egress_common::{abi::family::Family, nat::rewrite::End, packet::header::proto};

use crate::frame::be16;

/// Protocols of which only the addresses are translated, in both families: GRE, ESP, IPIP, L2TP.
const BARE: [u8; 4] = [47, 50, 4, 115];

/// A protocol and the fields of its header.
#[derive(Arbitrary, Clone, Copy, Debug)]
pub enum L4 {
    /// TCP.
    Tcp {
        /// FIN and others.
        flags: u8,
        /// Length of the options.
        option_words: u8,
    },
    /// UDP.
    Udp,
    /// UDP-Lite, all covered.
    UdpLite,
    /// DCCP, all covered.
    Dccp,
    /// SCTP.
    Sctp,
    /// A query if the source is the own end, else its answer.
    Icmp {
        /// Which query.
        which: u8,
        /// ICMP code.
        code: u8,
        /// Sequence number.
        seq: u16,
    },
    /// A protocol without ports.
    Bare {
        /// Which.
        which: u8,
    },
}

/// The checksum field.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Field {
    /// Internet checksum at this offset in the header.
    Sum(usize),
    /// CRC32c.
    Crc(usize),
    /// There is none that we know of.
    None,
}

impl L4 {
    /// IANA protocol number.
    #[must_use]
    pub fn proto<F: Family>(self) -> u8 {
        match self {
            Self::Tcp { .. } => proto::TCP,
            Self::Udp => proto::UDP,
            Self::UdpLite => proto::UDP_LITE,
            Self::Dccp => proto::DCCP,
            Self::Sctp => proto::SCTP,
            Self::Icmp { .. } => F::ICMP,
            Self::Bare { which } => BARE[usize::from(which) % BARE.len()],
        }
    }

    /// Where its checksum is.
    #[must_use]
    pub const fn field(self) -> Field {
        match self {
            Self::Tcp { .. } => Field::Sum(16),
            Self::Udp | Self::UdpLite | Self::Dccp => Field::Sum(6),
            Self::Sctp => Field::Crc(8),
            Self::Icmp { .. } => Field::Sum(2),
            Self::Bare { .. } => Field::None,
        }
    }

    /// Whether 0 in the checksum field says that there is none.
    #[must_use]
    pub const fn may_lack_sum(self) -> bool {
        matches!(self, Self::Udp | Self::UdpLite)
    }

    /// The header in front of `data` bytes.
    #[must_use]
    pub fn header<F: Family>(self, end: End, sport: u16, dport: u16, data: usize) -> Vec<u8> {
        let ports = [sport.to_be_bytes(), dport.to_be_bytes()].concat();
        match self {
            Self::Tcp { flags, option_words } => {
                let words = option_words % 11;
                let fixed = [0, 0, 0, 1, 0, 0, 0, 2, (5 + words) << 4, flags, 0x72, 0x10, 0, 0, 0, 0];
                [&ports[..], &fixed, &vec![1; usize::from(words) * 4]].concat()
            }
            Self::Udp | Self::UdpLite => [&ports[..], &be16(8 + data), &[0, 0]].concat(),
            Self::Dccp => [&ports[..], &[4, 0, 0, 0, 0, 0, 0, 9, 0, 0, 0, 0]].concat(),
            Self::Sctp => [&ports[..], &[1, 2, 3, 4, 0, 0, 0, 0]].concat(),
            Self::Icmp { which, code, seq } => {
                let (query, answer) = match which % 4 {
                    _ if F::V6 => (128, 129),
                    0 => (8, 0),
                    which => (11 + 2 * which, 12 + 2 * which),
                };
                let (kind, id) = if matches!(end, End::Source) { (query, sport) } else { (answer, dport) };
                [&[kind, code, 0, 0], &id.to_be_bytes()[..], &seq.to_be_bytes()].concat()
            }
            Self::Bare { .. } => vec![0, 0, 8, 0, 0, 0, 0, 1],
        }
    }
}
