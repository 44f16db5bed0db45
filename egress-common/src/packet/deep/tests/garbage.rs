//! Whatever bytes come, parsing ends with something known, and what lies behind the packet has no say.

use std::{format, string::String, vec::Vec};

use proptest::prelude::*;

use super::super::*;
use crate::testing::{
    frame::{Build, Ip},
    watched::Watched,
};

fn outcome<F: Deep + Build>(bytes: &[u8], gso_size: u32) -> Result<String, Drop> {
    let mut bytes = bytes.to_vec();
    let len = bytes.len();
    let watched = Watched::new(&mut bytes, gso_size);
    let outcome = F::deep(&watched);
    assert!(watched.reached() <= len);
    let packet = outcome?;
    assert_ne!(packet.kind, Kind::Deep);
    assert!(packet.len >= F::HEADER && packet.len as usize + 14 <= len);
    assert!(packet.l4 >= 14 + F::HEADER);
    if !matches!(packet.kind, Kind::Other(_)) {
        assert!(packet.l4 <= 14 + packet.len, "{packet:?}");
        let least = match packet.kind {
            Kind::Ports if packet.proto == proto::TCP => 20,
            Kind::Ports | Kind::Query | Kind::Answer | Kind::Error => 8,
            _ => 0,
        };
        assert!(packet.l4_len() >= least, "{packet:?}");
        assert!(!packet.piece.is_fragment() || packet.piece.at + packet.l4_len() <= 65535);
    }
    Ok(format!("{packet:?}"))
}

fn with_header<F: Deep + Build>(ip: &Ip<F>, payload: &[u8], lie: i16, tails: (&[u8], &[u8])) {
    let mut frame = ip.frame(payload);
    let at = if F::V6 { 18 } else { 16 };
    let said = u16::from_be_bytes([frame[at], frame[at + 1]]).saturating_add_signed(lie);
    frame[at..at + 2].copy_from_slice(&said.to_be_bytes());
    let first = outcome::<F>(&[&frame, tails.0].concat(), 0);
    let ends = usize::from(said) + if F::V6 { 54 } else { 14 };
    if ends < 14 + F::HEADER as usize {
        assert!(first.is_err(), "shorter than its header: {first:?}");
    } else if ends <= frame.len() {
        assert_eq!(first, outcome::<F>(&[&frame[..ends], tails.1].concat(), 0), "bytes behind the packet matter");
    }
}

/// Bytes that often are the number of a header.
fn likely() -> impl Strategy<Value = u8> {
    prop_oneof![
        2 => 0_u8..3,
        3 => proptest::sample::select(&[0_u8, 43, 44, 60, 6, 17, 1, 58, 132, 33, 136, 51, 47][..]),
        1 => any::<u8>(),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn any_bytes(bytes in proptest::collection::vec(any::<u8>(), 0..160), gso in prop_oneof![Just(0_u32), any::<u32>()]) {
        let _ = outcome::<V4>(&bytes, gso);
        let _ = outcome::<V6>(&bytes, gso);
        let mut bytes = bytes;
        if let Some(byte) = bytes.get_mut(14) {
            *byte = 0x40 | *byte & 15;
            let _ = outcome::<V4>(&bytes, 1000);
            bytes[14] = 0x60;
            let _ = outcome::<V6>(&bytes, 1000);
        }
    }

    /// A right IP header, anything behind it, a length field that may lie.
    #[test]
    fn any_payload(
        number in likely(),
        payload in proptest::collection::vec(likely(), 0..120),
        options in proptest::collection::vec(any::<u8>(), 0..=10),
        frag in prop_oneof![2 => Just(0_u16), 1 => 0_u16..4, 1 => any::<u16>()],
        lie in prop_oneof![1 => Just(0_i16), 1 => -90_i16..60],
        tails: ([u8; 24], [u8; 24]),
        short in 0_usize..24,
    ) {
        let extra: Vec<u8> = options.iter().flat_map(|byte| [*byte, 4, 0, 1]).collect();
        with_header(&Ip { frag, extra, ..Ip::<V4>::any(number) }, &payload, lie, (&tails.0, &tails.1[..short]));
        with_header(&Ip::<V6>::any(number), &payload, lie, (&tails.0, &tails.1[..short]));
    }
}
