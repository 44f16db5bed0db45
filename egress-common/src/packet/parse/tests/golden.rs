//! Frames written out by hand, so that the builder of the other tests has something to be held against.

use std::vec::Vec;

use crate::{
    abi::{
        family::{V4, V6},
        flow::seen,
    },
    packet::{
        parse::{Kind, Parse},
        slice::Frame,
    },
};

fn bytes(hex: &str) -> Vec<u8> {
    let digits: Vec<u8> = hex.bytes().filter(u8::is_ascii_hexdigit).collect();
    digits.chunks(2).map(|two| u8::from_str_radix(std::str::from_utf8(two).unwrap(), 16).unwrap()).collect()
}

/// 10.16.0.9:43210 → 172.17.0.1:80, SYN, options MSS, SACK permitted, timestamps, window scale.
#[test]
fn tcp_syn() {
    let mut frame = bytes(
        "02 00 00 00 00 01 02 00 00 00 00 02 08 00
         45 00 00 3c 1c 46 40 00 40 06 66 57 0a 10 00 09 ac 11 00 01
         a8 ca 00 50 00 00 00 01 00 00 00 00 a0 02 fa f0 00 00 00 00
         02 04 05 b4 04 02 08 0a 00 00 00 01 00 00 00 00 01 03 03 07",
    );
    let packet = V4::parse(&Frame::new(&mut frame)).unwrap();
    assert_eq!((packet.src, packet.dst), ([10, 16, 0, 9], [172, 17, 0, 1]));
    assert_eq!((packet.sport, packet.dport, packet.proto), (43210, 80, 6));
    assert_eq!((packet.kind, packet.seen, packet.ttl), (Kind::Ports, seen::SYN, 64));
    assert_eq!((packet.len, packet.wire_len, packet.may_fragment), (60, 60, false));
}

/// fd00::9 → 2001:db8::1, echo request with identifier 0x4d2, hop limit 63.
#[test]
fn echo_request6() {
    let mut frame = bytes(
        "02 00 00 00 00 01 02 00 00 00 00 02 86 dd
         60 0a bc de 00 10 3a 3f fd 00 00 00 00 00 00 00 00 00 00 00 00 00 00 09
         20 01 0d b8 00 00 00 00 00 00 00 00 00 00 00 01
         80 00 11 22 04 d2 00 01 61 62 63 64 65 66 67 68",
    );
    let packet = V6::parse(&Frame::new(&mut frame)).unwrap();
    assert_eq!(packet.src.octets[..2], [0xfd, 0]);
    assert_eq!(packet.dst.octets[..4], [0x20, 1, 0xd, 0xb8]);
    assert_eq!((packet.sport, packet.dport, packet.proto), (1234, 0, 58));
    assert_eq!((packet.kind, packet.seen, packet.ttl), (Kind::Query, seen::ACK, 63));
    assert_eq!((packet.len, packet.wire_len, packet.may_fragment), (56, 56, false));
}

/// A DNS answer of 41 bytes and the Ethernet padding of a 60-byte frame behind it.
#[test]
fn padded_udp() {
    let mut frame = bytes(
        "02 00 00 00 00 01 02 00 00 00 00 02 08 00
         45 00 00 29 00 00 00 00 3f 11 00 00 08 08 08 08 ac 11 00 0b
         00 35 d4 31 00 15 00 00 61 62 63 64 65 66 67 68 69 6a 6b 6c 6d
         00 00 00 00 00",
    );
    assert_eq!(frame.len(), 60);
    let packet = V4::parse(&Frame::new(&mut frame)).unwrap();
    assert_eq!((packet.sport, packet.dport, packet.kind), (53, 54321, Kind::Ports));
    assert_eq!((packet.len, packet.wire_len, packet.may_fragment), (41, 41, true));
}
