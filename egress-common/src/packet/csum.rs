//! Internet checksum arithmetic (RFC 1071), incremental (RFC 1624). Sums are of 16-bit words in memory order, kept in 32 bits.

/// Ones-complement addition.
#[inline(always)]
#[must_use]
pub const fn fold_add(a: u32, b: u32) -> u32 {
    // The upper half of the product is the sum of both halves. Written with shifts it becomes a jump on the carry, which on
    // real data no CPU foresees.
    ((a as u64 + b as u64).wrapping_mul((1 << 32) + 1) >> 32) as u32
}

/// Whether a sum that is not 0 folds to 0xffff, which is the other zero: it is a multiple of that number. One multiplication by
/// its inverse tells.
#[inline(always)]
#[must_use]
pub const fn is_zero(sum: u64) -> bool {
    sum.wrapping_mul(INVERSE) <= u64::MAX / 0xffff
}

const INVERSE: u64 = 0xfffe_fffe_fffe_ffff;
const _: () = assert!(INVERSE.wrapping_mul(0xffff) == 1);

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
        /// Ones-complement addition keeps the remainder modulo 2^32 - 1.
        #[test]
        fn addition(a: u32, b: u32, words in proptest::collection::vec(any::<u32>(), 0..20)) {
            let modulus = u64::from(u32::MAX);
            prop_assert_eq!(u64::from(fold_add(a, b)) % modulus, (u64::from(a) + u64::from(b)) % modulus);
            prop_assert_eq!(fold_add(a, b) == 0, a == 0 && b == 0);
            let wide: u64 = words.iter().map(|word| u64::from(*word)).sum();
            prop_assert_eq!(wide != 0 && is_zero(wide), fold(words.into_iter().fold(0, fold_add)) == u16::MAX);
            let rest = wide % 0xffff;
            prop_assert!(is_zero(wide - rest) && (rest == 0 || !is_zero(wide)));
        }

        /// A checksum that is there is mended, one that is left out stays so, and none becomes another's sign.
        #[test]
        fn mended(field: u16, udp: bool, diff: u32) {
            let new = mend(field, udp, diff);
            if udp && field == 0 {
                prop_assert_eq!(new, 0);
            } else {
                let plain = apply(field, diff);
                prop_assert_eq!(new, if udp && plain == 0 { u16::MAX } else { plain });
            }
        }

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
