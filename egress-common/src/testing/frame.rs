//! Frames built byte by byte, with checksums computed from scratch and by other code than the one under test.

use std::{fmt::Debug, vec, vec::Vec};

use crate::{
    abi::family::{Addr6, Family, V4, V6},
    packet::header::proto,
};

/// A family whose headers can be built.
pub(crate) trait Build: Family<Addr: Debug> + Debug {
    /// An address out of 16 random bytes.
    fn addr(bytes: [u8; 16]) -> Self::Addr;
    /// The address on the wire.
    fn wire(addr: &Self::Addr) -> Vec<u8>;
    /// Ethernet and IP header in front of `len` bytes.
    fn header(ip: &Ip<Self>, len: usize) -> Vec<u8>;
}

/// Fields of an IP header that tests vary.
#[derive(Clone, Debug)]
pub(crate) struct Ip<F: Family> {
    pub(crate) src: F::Addr,
    pub(crate) dst: F::Addr,
    /// Protocol of the IP header.
    pub(crate) proto: u8,
    /// Protocol behind IPv6 extension headers: the pseudo header's.
    pub(crate) upper: u8,
    pub(crate) ttl: u8,
    /// IPv4: flags and offset. IPv6 has them in an extension header.
    pub(crate) frag: u16,
    /// IPv4 options or IPv6 extension headers.
    pub(crate) extra: Vec<u8>,
}

impl<F: Build> Ip<F> {
    /// TTL 64 and, in IPv4, Don't Fragment.
    pub(crate) fn new(src: F::Addr, dst: F::Addr, proto: u8) -> Self {
        Self { src, dst, proto, upper: proto, ttl: 64, frag: 0x4000, extra: Vec::new() }
    }

    /// From and to addresses that mean nothing.
    pub(crate) fn any(proto: u8) -> Self {
        Self::new(F::addr([10, 16, 0, 9, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12]), F::addr([1; 16]), proto)
    }

    /// Where the payload begins.
    pub(crate) fn l4(&self) -> usize {
        14 + F::HEADER as usize + self.extra.len()
    }

    /// The frame with this payload as it is.
    pub(crate) fn frame(&self, payload: &[u8]) -> Vec<u8> {
        [F::header(self, payload.len()), payload.to_vec()].concat()
    }

    /// The frame with the payload's checksum written at `at` (none: left as it is).
    pub(crate) fn sealed(&self, mut payload: Vec<u8>, at: Option<usize>) -> Vec<u8> {
        if let Some(at) = at {
            payload[at..at + 2].fill(0);
            let mut covered = Vec::new();
            if self.upper != proto::ICMP {
                covered.extend(F::wire(&self.src));
                covered.extend(F::wire(&self.dst));
                covered.extend((payload.len() as u32).to_be_bytes());
                covered.extend(u32::from(self.upper).to_be_bytes());
            }
            covered.extend(&payload);
            let sum = match checksum(&covered) {
                0 if matches!(self.upper, proto::UDP | proto::UDP_LITE) => 0xffff,
                sum => sum,
            };
            payload[at..at + 2].copy_from_slice(&sum.to_be_bytes());
        }
        self.frame(&payload)
    }
}

impl Build for V4 {
    fn addr(bytes: [u8; 16]) -> [u8; 4] {
        [bytes[0], bytes[1], bytes[2], bytes[3]]
    }

    fn wire(addr: &[u8; 4]) -> Vec<u8> {
        addr.to_vec()
    }

    fn header(ip: &Ip<Self>, len: usize) -> Vec<u8> {
        let head = 20 + ip.extra.len();
        let mut header = vec![0x40 | (head / 4) as u8, 0];
        header.extend(((head + len) as u16).to_be_bytes());
        header.extend([0x12, 0x34]);
        header.extend(ip.frag.to_be_bytes());
        header.extend([ip.ttl, ip.proto, 0, 0]);
        header.extend(ip.src);
        header.extend(ip.dst);
        header.extend(&ip.extra);
        let sum = checksum(&header);
        header[10..12].copy_from_slice(&sum.to_be_bytes());
        [ethernet(0x0800), header].concat()
    }
}

impl Build for V6 {
    fn addr(bytes: [u8; 16]) -> Addr6 {
        Addr6::new(bytes)
    }

    fn wire(addr: &Addr6) -> Vec<u8> {
        addr.octets.to_vec()
    }

    fn header(ip: &Ip<Self>, len: usize) -> Vec<u8> {
        let mut header = vec![0x60, 0, 0xab, 0xcd];
        header.extend(((ip.extra.len() + len) as u16).to_be_bytes());
        header.extend([ip.proto, ip.ttl]);
        header.extend(ip.src.octets);
        header.extend(ip.dst.octets);
        header.extend(&ip.extra);
        [ethernet(0x86dd), header].concat()
    }
}

fn ethernet(kind: u16) -> Vec<u8> {
    let mut header = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2];
    header.extend(kind.to_be_bytes());
    header
}

/// RFC 1071 in 64 bits over big-endian words.
pub(crate) fn checksum(bytes: &[u8]) -> u16 {
    let mut sum: u64 =
        bytes.chunks(2).map(|pair| u64::from(pair[0]) << 8 | u64::from(*pair.get(1).unwrap_or(&0))).sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

/// A TCP segment without options, checksum open; it goes to byte 16.
pub(crate) fn tcp(sport: u16, dport: u16, flags: u8, data: &[u8]) -> Vec<u8> {
    let mut segment = [sport.to_be_bytes(), dport.to_be_bytes()].concat();
    segment.extend([0, 0, 0, 1, 0, 0, 0, 2, 0x50, flags, 0x72, 0x10, 0, 0, 0, 0]);
    segment.extend(data);
    segment
}

/// A UDP datagram, checksum open; it goes to byte 6.
pub(crate) fn udp(sport: u16, dport: u16, data: &[u8]) -> Vec<u8> {
    let mut datagram = [sport.to_be_bytes(), dport.to_be_bytes(), ((8 + data.len()) as u16).to_be_bytes()].concat();
    datagram.extend([0, 0]);
    datagram.extend(data);
    datagram
}

/// An ICMP message with an identifier, checksum open; it goes to byte 2.
pub(crate) fn icmp(kind: u8, id: u16, data: &[u8]) -> Vec<u8> {
    let mut message = vec![kind, 0, 0, 0];
    message.extend(id.to_be_bytes());
    message.extend([0, 7]);
    message.extend(data);
    message
}
