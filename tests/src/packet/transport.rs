//! Transport packets that no other test needs: SCTP, DCCP, UDP-Lite, GRE, ESP.

use std::net::IpAddr;

use super::build::fill_checksum;
use super::proto;

/// CRC32c (RFC 9260 appendix A), bit by bit.
pub fn crc32c(bytes: &[u8]) -> u32 {
    let mut crc = u32::MAX;
    for byte in bytes {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            crc = if crc & 1 == 0 { crc >> 1 } else { (crc >> 1) ^ 0x82f6_3b78 };
        }
    }
    !crc
}

/// What an SCTP packet's checksum should be, as the number whose little-endian bytes stand there; `None` if it is too short.
pub fn sctp_checksum(packet: &[u8]) -> Option<u32> {
    let (head, rest) = packet.split_at_checked(12)?;
    Some(crc32c(&[&head[..8], &[0; 4], rest].concat()))
}

/// An SCTP packet with its checksum (RFC 9260 §3.1).
pub fn sctp(ports: (u16, u16), tag: u32, chunks: &[u8]) -> Vec<u8> {
    let mut packet = [&ports.0.to_be_bytes()[..], &ports.1.to_be_bytes(), &tag.to_be_bytes(), &[0; 4], chunks].concat();
    let checksum = crc32c(&packet).to_le_bytes();
    packet[8..12].copy_from_slice(&checksum);
    packet
}

/// An SCTP chunk: type, flags, length, value (RFC 9260 §3.2), padded.
pub fn sctp_chunk(kind: u8, flags: u8, value: &[u8]) -> Vec<u8> {
    let length = (4 + value.len()) as u16;
    let mut chunk = [&[kind, flags], &length.to_be_bytes()[..], value].concat();
    chunk.resize(chunk.len().next_multiple_of(4), 0);
    chunk
}

/// An SCTP DATA chunk (RFC 9260 §3.3.1).
pub fn sctp_data(payload: &[u8]) -> Vec<u8> {
    sctp_chunk(0, 3, &[&[0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0], payload].concat())
}

/// A DCCP packet of a type with a service code or acknowledgement behind the generic header (RFC 4340 §5.1); `coverage` is
/// CsCov: 0 for everything, 1 for the header only.
pub fn dccp(source: (IpAddr, u16), destination: (IpAddr, u16), kind: u8, coverage: u8, payload: &[u8]) -> Vec<u8> {
    let mut packet = [source.1.to_be_bytes(), destination.1.to_be_bytes()].concat();
    packet.extend([5, coverage, 0, 0, (kind << 1) | 1, 0, 0, 0, 0, 0, 0, 7, 0x45, 0x47, 0x57, 0x31]);
    packet.extend(payload);
    let covered = if coverage == 0 { packet.len() } else { 20 + (usize::from(coverage) - 1) * 4 };
    fill_checksum(&mut packet, 6, covered, source.0, destination.0, proto::DCCP);
    packet
}

/// A UDP-Lite datagram (RFC 3828) whose checksum covers `coverage` bytes; 0 for everything.
pub fn udp_lite(source: (IpAddr, u16), destination: (IpAddr, u16), coverage: u16, payload: &[u8]) -> Vec<u8> {
    let words = [source.1, destination.1, coverage, 0].map(u16::to_be_bytes);
    let mut datagram = [words.as_flattened(), payload].concat();
    let covered = if coverage == 0 { datagram.len() } else { usize::from(coverage) };
    fill_checksum(&mut datagram, 6, covered, source.0, destination.0, proto::UDP_LITE);
    datagram
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 3720 appendix B.4.
    #[test]
    fn the_known_values_of_crc32c() {
        assert_eq!(crc32c(&[0; 32]), 0x8a91_36aa);
        assert_eq!(crc32c(&[0xff; 32]), 0x62a8_ab43);
        assert_eq!(crc32c(&(0..32).collect::<Vec<_>>()), 0x46dd_794e);
        assert_eq!(crc32c(b"123456789"), 0xe306_9283);
    }
}
