//! Every RST is held against one built from scratch.

use std::vec::Vec;

use proptest::prelude::*;

use super::*;
use crate::{
    packet::{Packet, deep::Deep, slice::Frame},
    testing::{
        frame::{Build, Ip, checksum},
        headers::Dress,
    },
};

const PSH: u8 = 8;

/// A segment: ports, sequence numbers, flags, four words of options or none, data.
#[derive(Clone, Debug)]
struct Segment {
    ports: (u16, u16),
    numbers: (u32, u32),
    flags: u8,
    options: bool,
    data: Vec<u8>,
}

impl Segment {
    fn new(numbers: (u32, u32), flags: u8, data: &[u8]) -> Self {
        Self { ports: (4000, 443), numbers, flags, options: false, data: data.to_vec() }
    }

    fn bytes(&self) -> Vec<u8> {
        let mut bytes = [self.ports.0.to_be_bytes(), self.ports.1.to_be_bytes()].concat();
        bytes.extend(self.numbers.0.to_be_bytes());
        bytes.extend(self.numbers.1.to_be_bytes());
        bytes.extend([if self.options { 9 << 4 } else { 5 << 4 }, self.flags, 0x72, 0x10, 0, 0, 0, 9]);
        bytes.extend(if self.options { &[1; 16][..] } else { &[] });
        bytes.extend(&self.data);
        bytes
    }
}

/// Ports, sequence and acknowledgement number, and flags of the RST with which the frame's segment is answered; all the rest of
/// the answer is checked.
fn answered<F: Resetting + Deep + Build>(mut frame: Vec<u8>) -> ((u16, u16), (u32, u32), u8) {
    let frame = Frame::new(&mut frame);
    let packet = F::deep(&frame).unwrap();
    let segment: Tcp = frame.read(packet.l4).unwrap();
    let reset = F::rst(&packet.dst, &packet.src, &segment, packet.l4_len());
    let mut made = Ip::<F>::new(packet.dst, packet.src, proto::TCP).frame(&[])[..14].to_vec();
    made.resize(14 + size_of::<F::Reset>(), 0);
    Frame::new(&mut made).write(14, reset).unwrap();

    let tcp = &made[14 + F::HEADER as usize..];
    let word = |at: usize| u32::from_be_bytes(tcp[at..at + 4].try_into().unwrap());
    let ports = (word(0) >> 16, word(0) & 0xffff);
    let found = ((ports.0 as u16, ports.1 as u16), (word(4), word(8)), tcp[13]);
    let header = [&tcp[..12], &[5 << 4, found.2, 0, 0, 0, 0, 0, 0]].concat();
    let mut want = Ip::<F>::new(packet.dst, packet.src, proto::TCP).sealed(header, Some(16));
    if F::V6 {
        // No flow label.
        want[16..18].fill(0);
    } else {
        // No identification where nobody may fragment (RFC 6864 §4.1).
        want[18..20].fill(0);
        want[24..26].fill(0);
        let sum = checksum(&want[14..34]);
        want[24..26].copy_from_slice(&sum.to_be_bytes());
    }
    assert_eq!(made, want);
    assert_eq!(made.len(), 14 + F::HEADER as usize + 20);
    found
}

/// RFC 9293 §3.10.7.1.
fn wanted(segment: &Segment) -> ((u32, u32), u8) {
    if segment.flags & ACK != 0 {
        return ((segment.numbers.1, 0), RST);
    }
    let length = segment.data.len() as u32 + u32::from(segment.flags & SYN != 0) + u32::from(segment.flags & FIN != 0);
    ((0, segment.numbers.0.wrapping_add(length)), RST | ACK)
}

#[test]
fn what_it_says() {
    for (segment, want) in [
        (Segment::new((1000, 2000), ACK, b""), ((2000, 0), RST)),
        (Segment::new((1000, 2000), ACK | PSH, b"data"), ((2000, 0), RST)),
        (Segment::new((1000, 2000), ACK | SYN, b""), ((2000, 0), RST)),
        (Segment::new((1000, 2000), 0, b""), ((0, 1000), RST | ACK)),
        (Segment::new((1000, 2000), FIN, b"data"), ((0, 1005), RST | ACK)),
        (Segment::new((u32::MAX, 2000), SYN | FIN, b"12"), ((0, 3), RST | ACK)),
    ] {
        assert_eq!(wanted(&segment), want);
        let ip = Ip::<V4>::any(proto::TCP);
        assert_eq!(answered::<V4>(ip.sealed(segment.bytes(), Some(16))), ((443, 4000), want.0, want.1), "{segment:?}");
        let ip = Ip::<V6>::any(proto::TCP);
        assert_eq!(answered::<V6>(ip.sealed(segment.bytes(), Some(16))), ((443, 4000), want.0, want.1), "{segment:?}");
    }
}

proptest! {
    /// Whatever headers stand before it.
    #[test]
    fn equals_one_built_anew(
        ends: ([u8; 16], [u8; 16]),
        seeds in proptest::collection::vec(any::<u8>(), 0..8),
        (ports, numbers, flags, options) in any::<((u16, u16), (u32, u32), u8, bool)>(),
        data in proptest::collection::vec(any::<u8>(), 0..100),
    ) {
        fn check<F: Resetting + Deep + Dress>(ends: ([u8; 16], [u8; 16]), seeds: &[u8], segment: &Segment) {
            let ip = F::dressed(Ip::new(F::addr(ends.0), F::addr(ends.1), proto::TCP), seeds);
            let found = answered::<F>(ip.sealed(segment.bytes(), Some(16)));
            let (numbers, flags) = wanted(segment);
            assert_eq!(found, ((segment.ports.1, segment.ports.0), numbers, flags));
        }
        let segment = Segment { ports, numbers, flags: flags & !RST, options, data };
        check::<V4>(ends, &seeds, &segment);
        check::<V6>(ends, &seeds, &segment);
    }
}

/// Sums at the edge of ones-complement.
#[test]
fn both_zeros() {
    for byte in [0, 0xff] {
        for numbers in [(0, 0), (u32::MAX, u32::MAX), (1, u32::MAX - 1)] {
            let segment = Segment { ports: (u16::MAX, u16::MAX), ..Segment::new(numbers, ACK, b"") };
            let ip = Ip::<V4>::new([byte; 4], [byte; 4], proto::TCP);
            answered::<V4>(ip.sealed(segment.bytes(), Some(16)));
            let ip = Ip::<V6>::new(V6::addr([byte; 16]), V6::addr([byte; 16]), proto::TCP);
            answered::<V6>(ip.sealed(segment.bytes(), Some(16)));
        }
    }
}
