//! Lengths that do not fit each other.

use std::vec::Vec;

use crate::{
    abi::family::{V4, V6},
    packet::{
        header::proto,
        parse::{Kind, Parse},
        slice::Frame,
    },
    testing::frame::{Build, Ip, icmp, tcp, udp},
    verdict::Drop,
};

fn parse<F: Parse>(frame: &[u8], gso_size: u32) -> Result<(Kind, u32, u32), Drop> {
    let mut bytes = frame.to_vec();
    F::parse(&Frame { bytes: &mut bytes, gso_size }).map(|packet| (packet.kind, packet.len, packet.wire_len))
}

/// No prefix of a packet is a packet: its IP length says that something is missing.
fn cut<F: Parse + Build>() {
    for (number, payload) in [(proto::TCP, tcp(1, 2, 2, b"ab")), (proto::UDP, udp(1, 2, b"ab"))] {
        let frame = Ip::<F>::any(number).frame(&payload);
        for len in 0..frame.len() {
            assert_eq!(parse::<F>(&frame[..len], 0), Err(Drop::Malformed), "{len} bytes");
        }
        assert!(parse::<F>(&frame, 0).is_ok());
    }
}

/// An IP length that ends within the L4 header is malformed, whatever bytes the frame has behind it.
fn short<F: Parse + Build>(set: fn(&mut [u8], u16)) {
    for (number, payload, least) in
        [(proto::TCP, tcp(1, 2, 2, &[0; 40]), 20), (proto::UDP, udp(1, 2, b""), 8), (F::ICMP, icmp(8, 2, &[0; 40]), 8)]
    {
        let mut frame = Ip::<F>::any(number).frame(&payload);
        frame.extend([0; 60]);
        for len in 0..60 {
            set(&mut frame, len);
            let got = parse::<F>(&frame, 0);
            if len < least {
                assert_eq!(got, Err(Drop::Malformed), "protocol {number}, {len} bytes");
            } else {
                let len = u32::from(len) + F::HEADER;
                assert_eq!(got.map(|(_, len, wire)| (len, wire)), Ok((len, len)), "protocol {number}");
            }
        }
    }
}

fn set4(frame: &mut [u8], payload: u16) {
    frame[16..18].copy_from_slice(&(payload + 20).to_be_bytes());
}

fn set6(frame: &mut [u8], payload: u16) {
    frame[18..20].copy_from_slice(&payload.to_be_bytes());
}

#[test]
fn cut_frames() {
    cut::<V4>();
    cut::<V6>();
}

#[test]
fn short_packets_in_long_frames() {
    short::<V4>(set4);
    short::<V6>(set6);
}

/// RFC 791 §3.1: at least five words, and not more than the packet.
#[test]
fn header_length() {
    let good = Ip::<V4>::any(proto::UDP).frame(&udp(1, 2, &[0; 32]));
    for ihl in 0..16 {
        let mut frame = good.clone();
        frame[14] = 0x40 | ihl;
        let want = match ihl {
            0..5 => Err(Drop::Malformed),
            5 => Ok((Kind::Ports, 60, 60)),
            _ => Ok((Kind::Deep, 60, 60)),
        };
        assert_eq!(parse::<V4>(&frame, 0), want, "{ihl}");
        set4(&mut frame, 16);
        let want = if ihl == 5 { Ok(36) } else { Err(Drop::Malformed) };
        if !(6..=9).contains(&ihl) {
            frame[38..40].copy_from_slice(&16_u16.to_be_bytes());
            assert_eq!(parse::<V4>(&frame, 0).map(|(_, len, _)| len), want, "{ihl} in 36 bytes");
        }
    }
    for total in 0..20 {
        let mut frame = good.clone();
        frame[16..18].copy_from_slice(&u16::to_be_bytes(total));
        assert_eq!(parse::<V4>(&frame, 0), Err(Drop::Malformed), "{total}");
    }
}

#[test]
fn version() {
    let (mut four, mut six) = (Ip::<V4>::any(17).frame(&udp(1, 2, b"")), Ip::<V6>::any(17).frame(&udp(1, 2, b"")));
    for version in 0..16 {
        four[14] = version << 4 | 5;
        six[14] = version << 4;
        assert_eq!(parse::<V4>(&four, 0).is_ok(), version == 4);
        assert_eq!(parse::<V6>(&six, 0).is_ok(), version == 6);
    }
}

/// RFC 9293 §3.1: at least five words, and not more than the segment.
#[test]
fn tcp_data_offset() {
    let good = Ip::<V6>::any(proto::TCP).frame(&tcp(1, 2, 2, &[1; 12]));
    for words in 0..16 {
        let mut frame = good.clone();
        frame[14 + 40 + 12] = words << 4;
        let want = if (5..=8).contains(&words) { Ok(Kind::Ports) } else { Err(Drop::Malformed) };
        assert_eq!(parse::<V6>(&frame, 0).map(|(kind, ..)| kind), want, "{words}");
    }
}

/// RFC 768: at least eight; more than there is cannot be, less is for the receiver to judge.
#[test]
fn udp_length() {
    let good = Ip::<V4>::any(proto::UDP).frame(&udp(1, 2, &[0; 12]));
    for len in 0..64_u16 {
        let mut frame = good.clone();
        frame[38..40].copy_from_slice(&len.to_be_bytes());
        let want = if (8..=20).contains(&len) { Ok(Kind::Ports) } else { Err(Drop::Malformed) };
        assert_eq!(parse::<V4>(&frame, 0).map(|(kind, ..)| kind), want, "{len}");
        assert!(parse::<V4>(&frame, 10).is_ok(), "a super-packet's field may be of one datagram");
    }
}

/// What follows the packet (Ethernet padding, trailers) changes nothing.
#[test]
fn padding() {
    let frame = Ip::<V4>::any(proto::TCP).frame(&tcp(1, 2, 0x10, b""));
    assert_eq!(frame.len(), 54);
    for pad in 0..100 {
        let padded: Vec<u8> = frame.iter().copied().chain(std::iter::repeat_n(0xff, pad)).collect();
        assert_eq!(parse::<V4>(&padded, 0), Ok((Kind::Ports, 40, 40)));
    }
}

/// Of a super-packet `len` is the whole and `wire_len` one segment; beyond 64 KiB the length field is 0.
#[test]
fn super_packets() {
    let tcp_options = |data: usize| {
        let mut segment = tcp(1, 2, 0x10, &std::vec![0; 12 + data]);
        segment[12] = 0x80;
        segment
    };
    for big in [3000, 70_000] {
        let frame = Ip::<V4>::any(proto::TCP).frame(&tcp_options(big));
        let len = frame.len() as u32 - 14;
        assert_eq!(parse::<V4>(&frame, 1448), Ok((Kind::Ports, len, 20 + 32 + 1448)));
        let mut unsaid = frame.clone();
        unsaid[16..18].fill(0);
        assert_eq!(parse::<V4>(&unsaid, 1448), Ok((Kind::Ports, len, 20 + 32 + 1448)));
        assert_eq!(parse::<V4>(&unsaid, 0), Err(Drop::Malformed));
        let mut six = Ip::<V6>::any(proto::UDP).frame(&udp(1, 2, &std::vec![0; big]));
        six[18..20].fill(0);
        let len = six.len() as u32 - 14;
        assert_eq!(parse::<V6>(&six, 1200), Ok((Kind::Ports, len, 40 + 8 + 1200)));
        assert_eq!(parse::<V6>(&six, 0), Err(Drop::Malformed));
    }
}
