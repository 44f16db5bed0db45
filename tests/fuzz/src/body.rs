//! A packet of any fields but its own address and port, which change; and what it has to be once they did.

use arbitrary::Arbitrary;
use egress_common::nat::rewrite::End;

use crate::{
    frame::{Build, Ip, Piece, covered},
    l4::{Field, L4},
    sum,
};

/// Address (IPv4: the first four bytes) and port or identifier.
#[derive(Arbitrary, Clone, Copy, Debug)]
pub struct Endpoint {
    /// Address.
    pub addr: [u8; 16],
    /// Port or identifier.
    pub port: u16,
}

/// The checksum that a packet comes with.
#[derive(Arbitrary, Clone, Copy, Debug)]
pub enum Sum {
    /// The right one.
    Right,
    /// A wrong one: right plus this.
    Off(u16),
    /// "No checksum" of UDP and SCTP (RFC 9653); others come right.
    Absent,
}

/// All but the own end.
#[derive(Arbitrary, Clone, Debug)]
pub struct Body {
    other: Endpoint,
    class: u8,
    /// The protocol.
    pub l4: L4,
    sum: Sum,
    ip_sum_off: u16,
    extra: u8,
    /// Which part of a datagram.
    pub piece: Piece,
    data: Vec<u8>,
}

impl Body {
    /// The peer's address.
    #[must_use]
    pub const fn peer(&self) -> [u8; 16] {
        self.other.addr
    }

    fn ip<F: Build>(&self, end: End, own: Endpoint, ttl: u8) -> Ip {
        let (src, dst) = if matches!(end, End::Source) { (own, self.other) } else { (self.other, own) };
        Ip {
            src: src.addr,
            dst: dst.addr,
            proto: self.l4.proto::<F>(),
            ttl,
            class: self.class,
            sum_off: self.ip_sum_off,
            extra: self.extra,
            piece: self.piece,
        }
    }

    /// The IP packet whose own end is `end` and is `own`.
    #[must_use]
    pub fn packet<F: Build>(&self, end: End, own: Endpoint, ttl: u8) -> Vec<u8> {
        let ip = self.ip::<F>(end, own, ttl);
        if self.piece == Piece::Tail {
            return F::packet(&ip, &self.data);
        }
        let (src, dst) = if matches!(end, End::Source) { (own, self.other) } else { (self.other, own) };
        let mut payload = self.l4.header::<F>(end, src.port, dst.port, self.data.len());
        payload.extend(&self.data);
        match self.l4.field() {
            Field::Sum(at) => {
                let right = !sum::sum(&covered::<F>(&ip, &payload));
                let sum = match self.sum {
                    Sum::Absent if self.l4.may_lack_sum() => 0,
                    Sum::Right | Sum::Absent if self.l4.may_lack_sum() && right == 0 => 0xffff,
                    Sum::Right | Sum::Absent => right,
                    Sum::Off(off) => sum::add(right, off),
                };
                payload[at..at + 2].copy_from_slice(&sum.to_be_bytes());
            }
            Field::Crc(at) => {
                let mut crc = sum::crc32c(&payload);
                match self.sum {
                    Sum::Right => {}
                    Sum::Off(off) => [crc[0], crc[3]] = (u16::from_be_bytes([crc[0], crc[3]]) ^ off).to_be_bytes(),
                    Sum::Absent => crc = [0; 4],
                }
                payload[at..at + 4].copy_from_slice(&crc);
            }
            Field::None => {}
        }
        F::packet(&ip, &payload)
    }

    /// Offset of the protocol's header in the IP packet.
    #[must_use]
    pub fn header_len<F: Build>(&self) -> usize {
        F::header_len(&self.ip::<F>(End::Source, self.other, 0))
    }

    /// The checksum field in the IP packet.
    #[must_use]
    pub fn field<F: Build>(&self) -> Field {
        let header = self.header_len::<F>();
        match self.l4.field() {
            _ if self.piece == Piece::Tail => Field::None,
            Field::Sum(at) => Field::Sum(header + at),
            Field::Crc(at) => Field::Crc(header + at),
            Field::None => Field::None,
        }
    }

    /// The port of `own` such that the sum becomes 0, which by chance it does in one packet of 65536.
    #[must_use]
    pub fn port_for_zero<F: Build>(&self, end: End, own: Endpoint) -> u16 {
        let packet = Self { sum: Sum::Right, ..self.clone() }.packet::<F>(end, Endpoint { port: 0, ..own }, 1);
        match self.field::<F>() {
            Field::Sum(at) => u16::from_be_bytes([packet[at], packet[at + 1]]),
            Field::Crc(_) | Field::None => own.port,
        }
    }

    /// Evens out where a translated packet may differ from `expected`, which was built anew; `original` is what it was before.
    ///
    /// A checksum that was right has to be right, to the bit; a wrong one exactly as wrong as before, but ones-complement has two
    /// zeros; UDP without one stays without, and with one never seems to have none.
    pub fn even<F: Build>(&self, packet: &mut [u8], expected: &mut [u8], original: &[u8]) {
        if let Field::Sum(at) = self.field::<F>()
            && packet.len() >= at + 2
        {
            if self.l4.may_lack_sum() {
                let none = |packet: &[u8]| packet[at..at + 2] == [0, 0];
                assert_eq!(none(packet), none(original), "checksum or none");
                if none(original) {
                    expected[at..at + 2].fill(0);
                }
            }
            // An echo reply of zeros only (sum 0xffff) comes out with 0: RFC 1624 cannot tell, and the kernel's helper does the same.
            let zeros = matches!(self.l4, L4::Icmp { .. }) && expected[at..at + 2] == [0xff, 0xff];
            if zeros || matches!(self.sum, Sum::Off(_)) {
                one_zero(&mut packet[at..], &mut expected[at..]);
            }
        }
        if !F::V6 && self.ip_sum_off != 0 {
            one_zero(&mut packet[10..], &mut expected[10..]);
        }
    }
}

fn one_zero(a: &mut [u8], b: &mut [u8]) {
    for field in [a, b] {
        if field[..2] == [0xff, 0xff] {
            field[..2].fill(0);
        }
    }
}
