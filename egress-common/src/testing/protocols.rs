//! Packets of every protocol that is translated, between two endpoints.

use std::vec::Vec;

use proptest::prelude::*;

use super::frame::{Build, icmp, tcp, udp};
use crate::packet::header::proto;

/// GRE, for the protocols of which only the addresses are translated.
pub(crate) const GRE: u8 = 47;

/// What stands in for the family's ICMP where a number is the same for both.
pub(crate) const QUERY: u8 = proto::ICMP;

/// One of each way of being translated.
pub(crate) const EACH: [u8; 7] = [proto::TCP, proto::UDP, proto::UDP_LITE, proto::DCCP, proto::SCTP, QUERY, GRE];

/// One of [`EACH`].
pub(crate) fn each() -> impl Strategy<Value = u8> + Clone {
    proptest::sample::select(&EACH[..])
}

/// The family's number of one of [`EACH`].
pub(crate) const fn number<F: Build>(each: u8) -> u8 {
    if each == QUERY { F::ICMP } else { each }
}

/// Payload of one of [`EACH`] from and to these ports, and where its Internet checksum goes. What `asks` is an ICMP query with
/// the first port as its identifier, else the answer to one that has the second.
pub(crate) fn payload<F: Build>(each: u8, ports: (u16, u16), asks: bool, data: &[u8]) -> (Vec<u8>, Option<usize>) {
    match each {
        proto::TCP => (tcp(ports.0, ports.1, 0x10, data), Some(16)),
        proto::UDP => (udp(ports.0, ports.1, data), Some(6)),
        proto::UDP_LITE => (udp_lite(ports.0, ports.1, data), Some(6)),
        proto::DCCP => (dccp(ports.0, ports.1, data), Some(6)),
        proto::SCTP => (sctp(ports.0, ports.1, data), None),
        QUERY => {
            let echo = if F::V6 { (128, 129) } else { (8, 0) };
            (if asks { icmp(echo.0, ports.0, data) } else { icmp(echo.1, ports.1, data) }, Some(2))
        }
        _ => ([&[0x20, 0, 8, 0, 0, 0, 0, 9][..], data].concat(), None),
    }
}

/// A UDP-Lite packet whose checksum covers all of it (RFC 3828 §3.1), open; it goes to byte 6.
pub(crate) fn udp_lite(sport: u16, dport: u16, data: &[u8]) -> Vec<u8> {
    [&sport.to_be_bytes()[..], &dport.to_be_bytes(), &[0; 4], data].concat()
}

/// A DCCP-Data packet with short sequence number (RFC 4340 §5.1), checksum open; it goes to byte 6.
pub(crate) fn dccp(sport: u16, dport: u16, data: &[u8]) -> Vec<u8> {
    [&sport.to_be_bytes()[..], &dport.to_be_bytes(), &[3, 0, 0, 0, 2 << 1, 0, 0, 1], data].concat()
}

/// An SCTP packet with its CRC32c (RFC 9260 §3.1).
pub(crate) fn sctp(sport: u16, dport: u16, data: &[u8]) -> Vec<u8> {
    let mut packet = [&sport.to_be_bytes()[..], &dport.to_be_bytes(), &[0xca, 0xfe, 1, 2, 0, 0, 0, 0], data].concat();
    let crc = crc32c(&packet);
    packet[8..12].copy_from_slice(&crc.to_le_bytes());
    packet
}

/// Bit by bit, as RFC 9260 appendix A has it.
pub(crate) fn crc32c(bytes: &[u8]) -> u32 {
    let mut register = u32::MAX;
    for byte in bytes {
        register ^= u32::from(*byte);
        for _ in 0..8 {
            register = if register & 1 != 0 { register >> 1 ^ 0x82f6_3b78 } else { register >> 1 };
        }
    }
    !register
}
