use proptest::prelude::*;
use std::vec::Vec;

use super::*;
use crate::testing::protocols::crc32c;

/// RFC 3720 B.4.
#[test]
fn published_vectors() {
    assert_eq!(crc32c(&[0; 32]), 0x8a91_36aa);
    assert_eq!(crc32c(b"123456789"), 0xe306_9283);
}

proptest! {
    #[test]
    fn equals_a_crc_computed_anew(
        mut bytes in proptest::collection::vec(any::<u8>(), 2..2000),
        at: prop::sample::Index,
        to: [u8; 2],
    ) {
        let at = at.index(bytes.len() - 1);
        let before = crc32c(&bytes);
        let from = [bytes[at], bytes[at + 1]];
        bytes[at..at + 2].copy_from_slice(&to);
        let behind = (bytes.len() - at - 2) as u32;
        prop_assert_eq!(before ^ diff(from, to, behind), crc32c(&bytes));
    }
}

#[test]
fn longest_packet() {
    let mut bytes: Vec<u8> = (0..65535 + 2_u32).map(|i| (i * 7) as u8).collect();
    let before = crc32c(&bytes);
    let from = [bytes[0], bytes[1]];
    bytes[..2].copy_from_slice(&[0xab, 0xcd]);
    assert_eq!(before ^ diff(from, [0xab, 0xcd], 65535), crc32c(&bytes));
    assert_eq!(diff(from, from, 9), 0);
}
