//! What the plain parser knows, this one sees alike; what stands between the headers changes nothing but where they are.

use std::{format, vec::Vec};

use proptest::prelude::*;

use super::super::*;
use crate::{
    packet::slice::Frame,
    testing::{
        frame::{Build, Ip},
        headers::Dress,
        protocols::{each, number, payload},
    },
};

fn agree<F: Deep + Build>(bytes: &[u8], gso_size: u32) {
    let mut bytes = bytes.to_vec();
    let frame = Frame { bytes: &mut bytes, gso_size };
    let (plain, deep) = (F::parse(&frame), F::deep(&frame));
    match plain {
        Ok(plain) if plain.kind == Kind::Deep => {}
        Ok(plain) => assert_eq!(format!("{plain:?}"), format!("{:?}", deep.unwrap())),
        Err(reason) => assert_eq!(deep.unwrap_err(), reason),
    }
}

/// A dressed packet against the plain one: the same but for what the dress makes longer. Returns how much that is.
fn as_undressed<F: Deep + Dress>(ip: Ip<F>, payload: &[u8], seeds: &[u8], gso: u32) {
    let read = |ip: &Ip<F>| {
        let mut bytes = ip.frame(payload);
        F::deep(&Frame { bytes: &mut bytes, gso_size: gso }).unwrap()
    };
    let plain = read(&ip);
    let ip = F::dressed(ip, seeds);
    let dressed = read(&ip);
    let more = ip.extra.len() as u32;
    assert_eq!(dressed.l4 as usize, ip.l4());
    assert_eq!((dressed.len, dressed.wire_len, dressed.l4), (plain.len + more, plain.wire_len + more, plain.l4 + more));
    assert_eq!(dressed.l4_len(), payload.len() as u32);
    assert!(!dressed.piece.is_fragment() && !dressed.piece.is_first());
    let dressed = Parsed { l4: plain.l4, len: plain.len, wire_len: plain.wire_len, piece: plain.piece, ..dressed };
    assert_eq!(format!("{dressed:?}"), format!("{plain:?}"));
}

fn each_dress<F: Deep + Dress>(protocol: u8, ports: (u16, u16), asks: bool, data: &[u8], seeds: &[u8], gso: u32) {
    let ip = Ip::<F>::any(number::<F>(protocol));
    let (payload, _) = payload::<F>(protocol, ports, asks, data);
    as_undressed(ip, &payload, seeds, 0);
    if matches!(protocol, proto::TCP | proto::UDP) {
        as_undressed(Ip::<F>::any(protocol), &payload, seeds, gso);
    }
}

proptest! {
    #[test]
    fn any_bytes(mut bytes in proptest::collection::vec(any::<u8>(), 0..120), gso in prop_oneof![Just(0_u32), any::<u32>()]) {
        agree::<V4>(&bytes, gso);
        agree::<V6>(&bytes, gso);
        if let Some(byte) = bytes.get_mut(14) {
            *byte = 0x45;
        }
        agree::<V4>(&bytes, gso);
    }

    #[test]
    fn any_payload(
        number in prop_oneof![Just(proto::TCP), Just(proto::UDP), Just(proto::ICMP), Just(proto::ICMPV6), any::<u8>()],
        payload in proptest::collection::vec(any::<u8>(), 0..60),
        frag in prop_oneof![3 => Just(0x4000_u16), 1 => any::<u16>()],
        words in prop_oneof![3 => Just(5_u8), 1 => 0_u8..16],
        gso in prop_oneof![3 => Just(0_u32), 1 => 1_u32..3000],
    ) {
        let mut payload: Vec<u8> = payload;
        if let Some(byte) = payload.get_mut(12) {
            *byte = words << 4;
        }
        agree::<V4>(&Ip { frag, ..Ip::<V4>::any(number) }.frame(&payload), gso);
        agree::<V6>(&Ip::<V6>::any(number).frame(&payload), gso);
    }

    #[test]
    fn valid_packets(
        protocol in each(),
        ports: (u16, u16),
        asks: bool,
        data in proptest::collection::vec(any::<u8>(), 0..40),
        seeds in proptest::collection::vec(any::<u8>(), 0..8),
        gso in 1_u32..1500,
    ) {
        fn plain<F: Deep + Build>(protocol: u8, payload: (Vec<u8>, Option<usize>)) {
            agree::<F>(&Ip::<F>::any(number::<F>(protocol)).sealed(payload.0, payload.1), 0);
        }
        plain::<V4>(protocol, payload::<V4>(protocol, ports, asks, &data));
        plain::<V6>(protocol, payload::<V6>(protocol, ports, asks, &data));
        each_dress::<V4>(protocol, ports, asks, &data, &seeds, gso);
        each_dress::<V6>(protocol, ports, asks, &data, &seeds, gso);
    }
}
