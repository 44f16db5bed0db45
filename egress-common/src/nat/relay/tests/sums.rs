//! Quoted checksums of every value.

use super::super::*;
use crate::{
    abi::family::V4,
    packet::{deep::Deep, header::proto, quote::Quoted, slice::Frame},
    testing::frame::{Ip, checksum, icmp, udp},
};

/// An error about a UDP packet whose checksum field has this value.
fn error(sum: u16, port: u16) -> std::vec::Vec<u8> {
    let mut datagram = udp(port, 53, b"question");
    datagram[6..8].copy_from_slice(&sum.to_be_bytes());
    let quoted = Ip::<V4>::new([172, 17, 0, 11], [8; 4], proto::UDP).frame(&datagram);
    Ip::<V4>::new([9; 4], [172, 17, 0, 11], proto::ICMP).sealed(icmp(3, 0, &quoted[14..]), Some(2))
}

/// 0 says "no checksum" and stays; no other value becomes 0; and whichever it was, the error's own sum is right afterwards and
/// the way back leads to where it began.
#[test]
fn every_value_of_a_udp_sum() {
    for sum in 0..=u16::MAX {
        let mut bytes = error(sum, 4000);
        let original = bytes.clone();
        for (addr, port) in [([10, 16, 0, 9], 40000), ([172, 17, 0, 11], 4000)] {
            let mut frame = Frame::new(&mut bytes);
            let error = V4::deep(&frame).unwrap();
            let quote = V4::quote(&frame, &error).unwrap();
            relay(&mut frame, &error, &quote, End::Destination, (&addr, port), None).unwrap();
            assert_eq!(bytes[68..70] == [0, 0], sum == 0, "{sum:#x}");
            assert_eq!(checksum(&bytes[34..]), 0, "{sum:#x}");
            assert_eq!(checksum(&bytes[14..34]), 0);
        }
        assert_eq!(bytes, original, "{sum:#x}");
    }
}

/// A packet that ends before what is to be changed is refused.
#[test]
fn cut_frames() {
    let whole = error(0x1234, 4000);
    let mut bytes = whole.clone();
    let frame = Frame::new(&mut bytes);
    let about = V4::deep(&frame).unwrap();
    let quote = V4::quote(&frame, &about).unwrap();
    for len in 0..70 {
        let mut cut = whole[..len].to_vec();
        let got = relay(&mut Frame::new(&mut cut), &about, &quote, End::Destination, (&[1; 4], 7), None);
        assert_eq!(got, Err(Failed), "{len}");
    }
}
