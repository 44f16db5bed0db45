//! Rendezvous hashing (Thaler, Ravishankar 1998): each source ranks all addresses by hash and takes the first. A changed pool
//! moves only the sources whose first choice changed.

use super::hash::mix;
use crate::abi::{config::MAX_EGRESS, family::Address};

/// Index of the address among the first `len` of `pool` that `src` ranks highest, without `not`.
///
/// The rank needs no secret: it must be the same after a restart. `blur` is the identity; a verifier that follows every path
/// through the loop must not know the value any more (see [`crate::packet::Packet::blur`]).
#[inline(always)]
pub fn choose<A: Address>(
    src: &A,
    pool: &[A; MAX_EGRESS],
    len: u32,
    not: Option<u32>,
    blur: impl Fn(u64) -> u64,
) -> Option<u32> {
    let (high, low) = src.lanes();
    let seed = mix(high ^ mix(low));
    let not = u64::from(not.unwrap_or(u32::MAX));
    // Rank and index as one number: one value goes through the loop.
    let mut best = 0;
    for (i, addr) in pool.iter().enumerate() {
        let i = i as u32;
        if i >= len {
            break;
        }
        let (high, low) = addr.lanes();
        let rank = mix(seed ^ mix(high ^ mix(low).rotate_left(1))) & !INDEX | u64::from(i + 1);
        if rank > best && blur(not) != u64::from(i) {
            best = rank;
        }
        best = blur(best);
    }
    ((best & INDEX) as u32).checked_sub(1)
}

/// Bits of the index, counted from 1, in a rank.
const INDEX: u64 = 0x3f;

const _: () = assert!(MAX_EGRESS < INDEX as usize);

#[cfg(test)]
mod tests {
    use core::convert::identity;

    use super::*;

    fn pool(addrs: &[u8]) -> [[u8; 4]; MAX_EGRESS] {
        let mut pool = [[0; 4]; MAX_EGRESS];
        for (slot, last) in pool.iter_mut().zip(addrs) {
            *slot = [172, 17, 0, *last];
        }
        pool
    }

    #[test]
    fn stable_even_and_minimal() {
        let (before, after) = (pool(&[11, 12, 13, 14]), pool(&[14, 11, 13]));
        let mut used = [0u32; 256];
        for i in 0..4096u16 {
            let src = [10, 17, (i >> 8) as u8, i as u8];
            let index = choose(&src, &before, 4, None, identity).unwrap();
            let old = before[index as usize];
            let new = after[choose(&src, &after, 3, None, identity).unwrap() as usize];
            used[old[3] as usize] += 1;
            if old[3] != 12 {
                assert_eq!(old, new, "only sources of the removed address move");
            }
            assert_ne!(choose(&src, &before, 4, Some(index), identity), Some(index));
        }
        for (last, count) in used.iter().enumerate().skip(11).take(4) {
            assert!((850..1200).contains(count), "{last}: {count}");
        }
        assert_eq!(choose(&[10, 0, 0, 1], &before, 0, None, identity), None);
    }
}
