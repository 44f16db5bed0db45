//! Internet checksum arithmetic (RFC 1071), incremental (RFC 1624). Sums are of 16-bit words in memory order, kept in 32 bits.

/// Ones-complement addition.
#[inline(always)]
#[must_use]
pub const fn fold_add(a: u32, b: u32) -> u32 {
    let sum = a as u64 + b as u64;
    #[expect(clippy::cast_possible_truncation, reason = "the carry is added back")]
    let folded = sum as u32 + (sum >> 32) as u32;
    folded
}

/// What must be added to a sum that covers `from` so that it covers `to`.
#[inline(always)]
#[must_use]
pub const fn diff(from: u32, to: u32) -> u32 {
    fold_add(!from, to)
}

/// Folds a sum to 16 bits.
#[inline(always)]
#[must_use]
pub const fn fold(sum: u32) -> u16 {
    let sum = (sum & 0xffff) + (sum >> 16);
    #[expect(clippy::cast_possible_truncation, reason = "at most 17 bits, the carry is added back")]
    let folded = ((sum & 0xffff) + (sum >> 16)) as u16;
    folded
}

/// New value of a checksum field after a change of covered words: HC' = ~(~HC + diff) (RFC 1624 equation 3).
#[inline(always)]
#[must_use]
pub const fn apply(field: u16, diff: u32) -> u16 {
    !fold(fold_add(!field as u32 & 0xffff, diff))
}

/// The same for a checksum that may be left out: `udp` as in [`super::L4Sum::udp`].
#[inline(always)]
#[must_use]
pub const fn mend(field: u16, udp: bool, diff: u32) -> u16 {
    if udp && field == 0 {
        return 0;
    }
    let new = apply(field, diff);
    if udp && new == 0 { u16::MAX } else { new }
}

/// Sum over bytes, for tests and for packets that we build.
#[must_use]
pub fn sum(bytes: &[u8]) -> u32 {
    let mut total = 0;
    let mut words = bytes.chunks_exact(2);
    for pair in &mut words {
        total = fold_add(total, u32::from(u16::from_ne_bytes([pair[0], pair[1]])));
    }
    if let [last] = words.remainder() {
        total = fold_add(total, u32::from(u16::from_ne_bytes([*last, 0])));
    }
    total
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::vec::Vec;

    #[test]
    fn rfc1071_example() {
        let bytes = [0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7];
        assert_eq!(fold(sum(&bytes)), u16::from_be(0xddf2));
    }

    proptest! {
        /// An incremental update equals a full computation, up to the two zeros of ones-complement.
        #[test]
        fn incremental_equals_full(mut bytes in proptest::collection::vec(any::<u8>(), 8..64), to: u32) {
            bytes.truncate(bytes.len() & !3);
            let field = !fold(sum(&bytes));
            let from = u32::from_ne_bytes([bytes[4], bytes[5], bytes[6], bytes[7]]);
            let updated = apply(field, diff(from, to));
            let mut changed: Vec<u8> = bytes.clone();
            changed[4..8].copy_from_slice(&to.to_ne_bytes());
            let full = !fold(sum(&changed));
            prop_assert!(updated == full || (updated ^ full) == 0xffff && (full == 0 || full == 0xffff));
        }
    }
}
