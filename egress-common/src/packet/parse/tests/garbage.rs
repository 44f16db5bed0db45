//! Whatever bytes come, parsing ends, and what lies behind the packet has no say.

use proptest::prelude::*;
use std::vec::Vec;

use crate::{
    abi::family::{V4, V6},
    packet::{
        header::proto,
        parse::{Kind, Parse},
    },
    testing::{
        frame::{Build, Ip},
        watched::Watched,
    },
    verdict::Drop,
};

/// What a packet was found to be: kind, ports, TCP flags, lengths.
type Found = (Kind, (u16, u16), u8, (u32, u32));

fn outcome<F: Parse>(bytes: &[u8], gso_size: u32) -> Result<Found, Drop> {
    let mut bytes = bytes.to_vec();
    let len = bytes.len();
    let watched = Watched::new(&mut bytes, gso_size);
    let outcome = F::parse(&watched).map(|p| (p.kind, (p.sport, p.dport), p.seen, (p.len, p.wire_len)));
    assert!(watched.reached() <= len.min(14 + 40 + 20), "headers only: that is how far an skb is made readable");
    if let Ok((.., (packet, _))) = outcome {
        assert!(packet >= F::HEADER && packet as usize + 14 <= len);
    }
    outcome
}

fn with_header<F: Parse + Build>(proto: u8, payload: &[u8], lie: i16, tail: (&[u8], &[u8])) {
    let ip = Ip::<F>::any(proto);
    let mut frame = ip.frame(payload);
    let at = if F::V6 { 18 } else { 16 };
    let said = u16::from_be_bytes([frame[at], frame[at + 1]]).saturating_add_signed(lie);
    frame[at..at + 2].copy_from_slice(&said.to_be_bytes());
    let first = outcome::<F>(&[&frame, tail.0].concat(), 0);
    let ends = usize::from(said) + if F::V6 { 54 } else { 14 };
    if ends < 14 + F::HEADER as usize {
        assert!(first.is_err(), "shorter than its header: {first:?}");
    } else if ends <= frame.len() {
        assert_eq!(first, outcome::<F>(&[&frame[..ends], tail.1].concat(), 0), "bytes behind the packet matter");
    }
}

proptest! {
    #[test]
    fn any_bytes(bytes in proptest::collection::vec(any::<u8>(), 0..120), gso in prop_oneof![Just(0_u32), any::<u32>()]) {
        let _ = outcome::<V4>(&bytes, gso);
        let _ = outcome::<V6>(&bytes, gso);
    }

    /// A right IP header, anything behind it, a length field that may lie.
    #[test]
    fn any_payload(
        proto in prop_oneof![Just(proto::TCP), Just(proto::UDP), Just(proto::ICMP), Just(proto::ICMPV6), Just(0), any::<u8>()],
        mut payload in proptest::collection::vec(any::<u8>(), 0..60),
        offset in 0_u8..16,
        lie in -60_i16..60,
        tail: ([u8; 24], [u8; 24]),
    ) {
        if let Some(byte) = payload.get_mut(12) {
            *byte = offset << 4;
        }
        let short: Vec<u8> = tail.1[..usize::from(offset)].to_vec();
        with_header::<V4>(proto, &payload, lie, (&tail.0, &short));
        with_header::<V6>(proto, &payload, lie, (&tail.0, &short));
    }
}
