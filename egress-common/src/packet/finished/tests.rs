use std::vec::Vec;

use proptest::prelude::*;

use super::*;
use crate::{
    abi::family::{V4, V6},
    packet::{parse::Parse, slice::Frame},
    testing::frame::{Build, Ip, checksum, icmp, tcp, udp},
};

fn says<F: Parse>(mut frame: Vec<u8>) -> bool {
    let frame = Frame::new(&mut frame);
    finished(&frame, &F::parse(&frame).unwrap())
}

/// The sum over the pseudo header, not complemented, as a socket leaves it.
fn unfinished<F: Build>(ip: &Ip<F>, mut payload: Vec<u8>, at: usize) -> Vec<u8> {
    let mut covered = [F::wire(&ip.src), F::wire(&ip.dst)].concat();
    covered.extend((payload.len() as u32).to_be_bytes());
    covered.extend(u32::from(ip.proto).to_be_bytes());
    payload[at..at + 2].copy_from_slice(&(!checksum(&covered)).to_be_bytes());
    ip.frame(&payload)
}

fn both<F: Build + Parse>(src: [u8; 16], dst: [u8; 16], ports: (u16, u16), data: &[u8]) {
    for (proto, at, payload) in [
        (proto::TCP, 16, tcp(ports.0, ports.1, 0x18, data)),
        (proto::UDP, 6, udp(ports.0, if TUNNELS.contains(&ports.1) { 53 } else { ports.1 }, data)),
    ] {
        let ip = Ip::<F>::new(F::addr(src), F::addr(dst), proto);
        assert!(!says::<F>(unfinished(&ip, payload.clone(), at)));
        let whole = ip.sealed(payload.clone(), Some(at));
        // By chance the data may sum up to nothing.
        assert_eq!(says::<F>(whole.clone()), whole != unfinished(&ip, payload, at));
    }
}

proptest! {
    #[test]
    fn told_apart(src: [u8; 16], dst: [u8; 16], ports: (u16, u16), data in proptest::collection::vec(any::<u8>(), 0..1400)) {
        both::<V4>(src, dst, ports, &data);
        both::<V6>(src, dst, ports, &data);
    }
}

/// Ones-complement has two zeros, and a field that was changed on its way may hold either.
#[test]
fn both_zeros() {
    // 0.0.0.20 to 255.255.255.203: 20 + 255.255 + 255.203 + 6 + 20 bytes is 0xffff.
    let ip = Ip::<V4>::new([0, 0, 0, 20], [255, 255, 255, 209], proto::TCP);
    let segment = tcp(1, 2, 0x10, &[]);
    let with = |field: [u8; 2]| ip.frame(&[&segment[..16], &field, &segment[18..]].concat());
    assert_eq!(&unfinished(&ip, segment.clone(), 16)[14 + 36..14 + 38], [255, 255]);
    assert!(!says::<V4>(with([255, 255])) && !says::<V4>(with([0, 0])));
    assert!(says::<V4>(with([0, 1])));
}

#[test]
fn what_may_hold_an_unfinished_packet() {
    let ip = Ip::<V6>::any(proto::UDP);
    assert!(says::<V6>(ip.sealed(udp(4789, 443, b"data"), Some(6))));
    assert!(!says::<V6>(ip.sealed(udp(443, 443, b"data"), None)), "without a sum of its own");
    for port in TUNNELS {
        assert!(!says::<V6>(ip.sealed(udp(4789, port, b"data"), Some(6))), "{port}");
    }
    // TCP has no such ports.
    assert!(says::<V6>(Ip::<V6>::any(proto::TCP).sealed(tcp(1, 4789, 0x10, b"data"), Some(16))));
}

/// Interfaces leave no sum of ICMP open.
#[test]
fn icmp_is() {
    assert!(says::<V4>(Ip::<V4>::any(proto::ICMP).frame(&icmp(8, 7, &[0; 8]))));
    assert!(says::<V6>(Ip::<V6>::any(proto::ICMPV6).frame(&icmp(128, 7, &[0; 8]))));
}
