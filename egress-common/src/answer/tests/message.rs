//! Every message is held against one built from scratch.

use std::vec::Vec;

use proptest::prelude::*;

use super::super::*;
use crate::{
    abi::flow::IN,
    packet::{Packet, deep::Deep, quote::Quoted, slice::Frame},
    testing::{
        frame::{Ip, checksum, udp},
        headers::Dress,
        protocols::{each, number, payload},
    },
};

/// A family of which it is known how its errors look.
trait Expected: Answering + Quoted + Deep + Dress {
    /// Longest message.
    const LONGEST: usize;
    /// Type and code.
    fn number(answer: Answer) -> [u8; 2];
    /// What the builder of other tests' packets does not vary.
    fn touch_up(frame: &mut [u8]);
}

impl Expected for V4 {
    /// RFC 1812 §4.3.2.3.
    const LONGEST: usize = 576;

    fn number(answer: Answer) -> [u8; 2] {
        if answer == Answer::Expired { [11, 0] } else { [3, 4] }
    }

    fn touch_up(frame: &mut [u8]) {
        // RFC 1812 §4.3.2.5: precedence 6. RFC 6864 §4.1: no identification where nobody may fragment.
        frame[15] = 0xc0;
        frame[18..20].fill(0);
        frame[24..26].fill(0);
        let sum = checksum(&frame[14..34]);
        frame[24..26].copy_from_slice(&sum.to_be_bytes());
    }
}

impl Expected for V6 {
    /// RFC 4443 §2.4 c: the least MTU.
    const LONGEST: usize = 1280;

    fn number(answer: Answer) -> [u8; 2] {
        if answer == Answer::Expired { [3, 0] } else { [2, 0] }
    }

    fn touch_up(frame: &mut [u8]) {
        frame[16..18].fill(0);
    }
}

/// The message that the code under test begins.
fn made<F: Expected>(answer: Answer, ends: (&F::Addr, &F::Addr), quote: &[u8]) -> Vec<u8> {
    // The sum in memory order, by other code.
    let sum = u32::from((!checksum(quote)).to_be());
    let head = F::head(answer, ends.0, ends.1, quote.len() as u32, sum);
    let mut frame = Ip::<F>::any(F::ICMP).frame(b"")[..14].to_vec();
    frame.resize(14 + size_of::<F::Head>(), 0);
    Frame::new(&mut frame).write(14, head).unwrap();
    frame.extend(quote);
    frame
}

fn check<F: Expected>(answer: Answer, from: [u8; 16], to: [u8; 16], quote: &[u8]) {
    let (from, to) = (F::addr(from), F::addr(to));
    let [kind, code] = F::number(answer);
    let mtu = match answer {
        Answer::Expired => 0,
        Answer::TooBig(mtu) => mtu,
    };
    let message = [&[kind, code, 0, 0][..], &mtu.to_be_bytes(), quote].concat();
    let mut want = Ip::<F>::new(from, to, F::ICMP).sealed(message, Some(2));
    F::touch_up(&mut want);
    assert_eq!(made::<F>(answer, (&from, &to), quote), want);
}

fn answers() -> impl Strategy<Value = Answer> {
    prop_oneof![Just(Answer::Expired), (68_u32..=65535).prop_map(Answer::TooBig)]
}

proptest! {
    #[test]
    fn equals_one_built_anew(
        answer in answers(),
        ends: ([u8; 16], [u8; 16]),
        quote in proptest::collection::vec(any::<u8>(), 0..1300),
    ) {
        check::<V4>(answer, ends.0, ends.1, &quote[..quote.len().min(V4::QUOTE as usize)]);
        check::<V6>(answer, ends.0, ends.1, &quote[..quote.len().min(V6::QUOTE as usize)]);
    }

    /// Its receiver reads it as an error about the packet that it sent.
    #[test]
    fn tells_whose_packet_it_was(
        answer in answers(),
        each in each(),
        ports: (u16, u16),
        seeds in proptest::collection::vec(any::<u8>(), 0..8),
        data in proptest::collection::vec(any::<u8>(), 0..1400),
    ) {
        fn read<F: Expected>(answer: Answer, each: u8, ports: (u16, u16), seeds: &[u8], data: &[u8]) {
            let (server, egress) = (F::addr([7; 16]), F::addr([9; 16]));
            let ip = F::dressed(Ip::new(server, egress, number::<F>(each)), seeds);
            let (payload, at) = payload::<F>(each, ports, false, data);
            let mut packet = ip.sealed(payload, at);
            let sent = F::deep(&Frame::new(&mut packet)).unwrap();
            assert!(answerable(&sent));
            let quote = &packet[14..][..(packet.len() - 14).min(F::QUOTE as usize)];
            let mut frame = made::<F>(answer, (&egress, &server), quote);
            assert!(frame.len() - 14 <= F::LONGEST);
            let frame = Frame::new(&mut frame);
            let error = F::deep(&frame).unwrap();
            assert_eq!((error.kind, error.src, error.dst), (Kind::Error, egress, server));
            assert!(!answerable(&error));
            let quote = F::quote(&frame, &error).unwrap();
            // The quote's key names the way back.
            let (back, there) = (quote.key(IN), sent.key(IN));
            assert_eq!((back.saddr, back.daddr, back.proto), (there.daddr, there.saddr, there.proto));
            assert_eq!((back.sport, back.dport), (there.dport, there.sport));
        }
        read::<V4>(answer, each, ports, &seeds, &data);
        read::<V6>(answer, each, ports, &seeds, &data);
    }
}

/// All lengths, odd ones too, up to the longest.
#[test]
fn every_length() {
    let quote: Vec<u8> = (0..1232_u32).map(|i| (i * 7 + 1) as u8).collect();
    for len in 0..=quote.len() {
        check::<V6>(Answer::TooBig(1400), [3; 16], [4; 16], &quote[..len]);
        if len <= 548 {
            check::<V4>(Answer::TooBig(1400), [3; 16], [4; 16], &quote[..len]);
        }
    }
    assert_eq!((V4::QUOTE + 28, V6::QUOTE + 48), (576, 1280));
}

/// Every MTU in its place (RFC 1191 §4, RFC 4443 §3.2).
#[test]
fn every_mtu() {
    let quote = &Ip::<V4>::any(proto::UDP).frame(&udp(1, 2, b"data"))[14..];
    for mtu in 68..=65535 {
        check::<V4>(Answer::TooBig(mtu), [3; 16], [4; 16], quote);
        check::<V6>(Answer::TooBig(mtu), [3; 16], [4; 16], quote);
    }
}

/// Sums at the edge of ones-complement: quotes that add up to either zero.
#[test]
fn both_zeros() {
    for quote in [&[][..], &[0; 8], &[0xff; 8], &[0xff, 0xfe, 0, 1], &[0xff]] {
        for answer in [Answer::Expired, Answer::TooBig(1280)] {
            check::<V4>(answer, [0; 16], [0xff; 16], quote);
            check::<V6>(answer, [0; 16], [0xff; 16], quote);
        }
    }
}
