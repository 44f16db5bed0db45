use std::{vec, vec::Vec};

use proptest::prelude::*;

use super::*;
use crate::{
    packet::slice::Frame,
    testing::headers::{Extension, chained, fragment, padding, routing},
};

/// The chain of these headers before eight bytes of UDP, and how long it is.
fn walk(headers: &[Extension]) -> (Result<Chain, Drop>, u32) {
    let (first, mut bytes) = chained(headers, proto::UDP);
    let len = bytes.len() as u32;
    bytes.extend([0; 8]);
    (chain(&Frame::new(&mut bytes), first, 0, len + 8), len)
}

fn leads_to_udp(headers: &[Extension]) -> Chain {
    let (found, len) = walk(headers);
    let found = found.unwrap();
    assert_eq!((found.proto, found.l4), (proto::UDP, len), "{headers:?}");
    found
}

#[test]
fn none() {
    assert_eq!(leads_to_udp(&[]), Chain { proto: 17, l4: 0, piece: Piece::default(), refused: false });
}

/// Which headers are walked: no other number, such as AH (RFC 4302), which goes by words, or ESP.
#[test]
fn every_number() {
    for number in 0..=255 {
        let (_, mut bytes) = chained(&[padding(number, 1)], proto::UDP);
        bytes[2..4].fill(0);
        bytes[2] = 4;
        bytes.extend([0; 8]);
        let found = chain(&Frame::new(&mut bytes), number, 0, 16).unwrap();
        let want = if [0, 43, 44, 60].contains(&number) { (proto::UDP, 8) } else { (number, 0) };
        assert_eq!((found.proto, found.l4), want, "{number}");
    }
}

#[test]
fn lengths() {
    for eights in 1..=255 {
        assert!(!leads_to_udp(&[padding(proto::DESTINATION, eights)]).refused);
        assert!(!leads_to_udp(&[padding(proto::HOP_BY_HOP, eights), padding(proto::DESTINATION, 1)]).refused);
    }
    // A fragment header's second byte is reserved, whatever it says.
    let mut odd = fragment(1, 0, false);
    odd.1[1] = 200;
    assert_eq!(leads_to_udp(&[odd]).l4, 8);
}

/// A header that does not end with the packet is malformed, also where the frame has bytes behind it.
#[test]
fn beyond_the_end() {
    let (first, mut bytes) = chained(&[padding(proto::DESTINATION, 2), fragment(1, 0, true)], proto::UDP);
    bytes.extend([0; 80]);
    for end in 0..24 {
        assert_eq!(chain(&Frame::new(&mut bytes), first, 0, end), Err(Drop::Malformed), "{end}");
        let mut cut = bytes[..end as usize].to_vec();
        assert_eq!(chain(&Frame::new(&mut cut), first, 0, end), Err(Drop::Malformed), "{end}");
    }
    assert_eq!(chain(&Frame::new(&mut bytes), first, 0, 24).unwrap().l4, 24, "nothing behind it is for others to find");
}

/// RFC 5095 and spent routing headers: the type counts, then whether somebody is still to be visited.
#[test]
fn routing_headers() {
    for kind in 0..=255 {
        for left in [0, 1, 2, 255] {
            let found = leads_to_udp(&[routing(kind, left), padding(proto::DESTINATION, 1)]);
            assert_eq!(found.refused, kind == 0 || left != 0, "type {kind}, {left} left");
        }
    }
}

#[test]
fn hop_by_hop_comes_first_or_never() {
    let (hop, other) = (padding(proto::HOP_BY_HOP, 1), padding(proto::DESTINATION, 1));
    assert!(!leads_to_udp(&[hop.clone(), other.clone()]).refused);
    assert!(leads_to_udp(&[other.clone(), hop.clone()]).refused);
    assert!(leads_to_udp(&[hop.clone(), hop.clone()]).refused);
    assert!(leads_to_udp(&[other.clone(), other, hop]).refused);
}

#[test]
fn how_many() {
    for n in 0..=MOST_HEADERS as usize {
        assert!(!leads_to_udp(&vec![padding(proto::DESTINATION, 1); n]).refused, "{n}");
    }
    for n in 9..12 {
        assert!(walk(&vec![padding(proto::DESTINATION, 1); n]).0.unwrap().refused, "{n}");
    }
}

/// Offset, flag and identification, whatever the reserved bits say (RFC 8200 §4.5).
#[test]
fn fragment_header() {
    for at in (0..=65528).step_by(8) {
        for (more, reserved) in [(false, 0), (true, 0), (true, 6)] {
            let mut header = fragment(0x89ab_cdef, at, more);
            header.1[3] |= reserved;
            let found = leads_to_udp(&[padding(proto::HOP_BY_HOP, 1), header]);
            assert_eq!((found.piece.at, found.piece.more, found.piece.id), (at.into(), more, 0x89ab_cdef));
            assert!(!found.refused);
        }
    }
}

/// Behind a later fragment's header there are no headers, only data that may look like them.
#[test]
fn data_is_no_header() {
    let (first, mut bytes) = chained(&[fragment(1, 8, true)], proto::DESTINATION);
    bytes.extend([proto::ROUTING, 255, 0, 3]);
    let found = chain(&Frame::new(&mut bytes), first, 0, 12).unwrap();
    assert_eq!((found.proto, found.l4, found.refused), (proto::DESTINATION, 8, false));
}

#[test]
fn two_fragment_headers() {
    for (a, b) in [(false, false), (true, false), (false, true), (true, true)] {
        assert!(leads_to_udp(&[fragment(1, 0, a), padding(proto::DESTINATION, 1), fragment(2, 0, b)]).refused);
    }
}

fn header() -> impl Strategy<Value = Extension> {
    prop_oneof![
        (1_u8..4).prop_map(|eights| padding(proto::HOP_BY_HOP, eights)),
        (1_u8..4).prop_map(|eights| padding(proto::DESTINATION, eights)),
        (0_u8..4, 0_u8..2).prop_map(|(kind, left)| routing(kind, left)),
        (any::<u32>(), prop_oneof![2 => Just(0), 1 => 0_u16..3], any::<bool>())
            .prop_map(|(id, eights, more)| fragment(id, eights * 8, more)),
    ]
}

proptest! {
    /// Every order and number of headers, against the rules one by one.
    #[test]
    fn any_order(headers in proptest::collection::vec(header(), 0..11)) {
        // What a later fragment's header ends.
        let tail = headers.iter().position(|(number, header)| {
            *number == proto::FRAGMENT && u16::from_be_bytes([header[2], header[3]]) & !7 != 0
        });
        let seen = &headers[..tail.map_or(headers.len(), |at| at + 1)];
        let (found, len) = walk(&headers);
        let found = found.unwrap();
        let within = &seen[..seen.len().min(8)];
        let fragments: Vec<_> = within.iter().filter(|(number, _)| *number == proto::FRAGMENT).collect();
        let refused = seen.len() > 8
            || fragments.len() > 1
            || within.iter().skip(1).any(|(number, _)| *number == proto::HOP_BY_HOP)
            || within.iter().any(|(number, header)| *number == proto::ROUTING && (header[2] == 0 || header[3] != 0));
        prop_assert_eq!(found.refused, refused, "{:?}", headers);
        if seen.len() <= 8 {
            let to = seen.iter().map(|(_, header)| header.len() as u32).sum::<u32>();
            let next = headers.get(seen.len()).map_or(proto::UDP, |header| header.0);
            prop_assert_eq!((found.l4, found.proto), (to, next));
            prop_assert!(found.l4 <= len);
        }
        if let [.., last] = fragments[..] {
            let header: [u8; 8] = last.1[..].try_into().unwrap();
            let [_, _, a, b, id @ ..] = header;
            let field = u16::from_be_bytes([a, b]);
            let (at, more) = (u32::from(field & !7), field & 1 != 0);
            let want = Piece { id: u32::from_be_bytes(id), at, more, ..found.piece };
            prop_assert_eq!(found.piece, want);
        } else {
            prop_assert_eq!(found.piece, Piece::default());
        }
    }

    #[test]
    fn any_bytes(
        mut bytes in proptest::collection::vec(
            prop_oneof![0_u8..3, Just(43), Just(44), Just(60), any::<u8>()],
            0..100,
        ),
        first: u8,
        at in 0_u32..20,
    ) {
        let end = bytes.len() as u32;
        if let Ok(found) = chain(&Frame::new(&mut bytes), first, at, end) {
            prop_assert!(found.l4 == at || found.l4 <= end);
        }
    }
}
