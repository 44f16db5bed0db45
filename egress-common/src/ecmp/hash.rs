//! SipHash (Aumasson, Bernstein 2012) over 64-bit words, for what an attacker must not predict, and a cheap mixer for what
//! only has to spread.

use crate::abi::family::Address;

/// The four words of SipHash's state.
#[derive(Clone, Copy)]
struct State(u64, u64, u64, u64);

impl State {
    #[inline(always)]
    const fn round(self) -> Self {
        let Self(mut v0, mut v1, mut v2, mut v3) = self;
        v0 = v0.wrapping_add(v1);
        v1 = v1.rotate_left(13) ^ v0;
        v0 = v0.rotate_left(32);
        v2 = v2.wrapping_add(v3);
        v3 = v3.rotate_left(16) ^ v2;
        v0 = v0.wrapping_add(v3);
        v3 = v3.rotate_left(21) ^ v0;
        v2 = v2.wrapping_add(v1);
        v1 = v1.rotate_left(17) ^ v2;
        v2 = v2.rotate_left(32);
        Self(v0, v1, v2, v3)
    }

    #[inline(always)]
    fn absorb<const C: usize>(mut self, word: u64) -> Self {
        self.3 ^= word;
        for _ in 0..C {
            self = self.round();
        }
        self.0 ^= word;
        self
    }
}

/// SipHash-C-D, fed word by word: `Hasher::<2, 4>` is the published function for little-endian inputs of whole words.
#[derive(Clone, Copy)]
pub struct Hasher<const C: usize, const D: usize> {
    state: State,
    words: u64,
}

impl<const C: usize, const D: usize> Hasher<C, D> {
    /// With this key.
    #[inline(always)]
    #[must_use]
    pub const fn new(key: &[u64; 2]) -> Self {
        let state = State(
            key[0] ^ 0x736f_6d65_7073_6575,
            key[1] ^ 0x646f_7261_6e64_6f6d,
            key[0] ^ 0x6c79_6765_6e65_7261,
            key[1] ^ 0x7465_6462_7974_6573,
        );
        Self { state, words: 0 }
    }

    /// Goes on with a word.
    #[inline(always)]
    #[must_use]
    pub fn word(self, word: u64) -> Self {
        Self { state: self.state.absorb::<C>(word), words: self.words + 1 }
    }

    /// Goes on with an address: one word, or two.
    #[inline(always)]
    #[must_use]
    pub fn address<A: Address>(self, address: &A) -> Self {
        let (first, second) = address.lanes();
        if size_of::<A>() == 4 { self.word(first) } else { self.word(first).word(second) }
    }

    /// Goes on with two addresses: one word, or four.
    #[inline(always)]
    #[must_use]
    pub fn addresses<A: Address>(self, one: &A, other: &A) -> Self {
        if size_of::<A>() == 4 {
            self.word(one.lanes().0 | other.lanes().0 << 32)
        } else {
            self.address(one).address(other)
        }
    }

    /// The hash.
    #[inline(always)]
    #[must_use]
    pub fn finish(self) -> u64 {
        let mut state = self.state.absorb::<C>((self.words * 8) << 56);
        state.2 ^= 0xff;
        for _ in 0..D {
            state = state.round();
        }
        state.0 ^ state.1 ^ state.2 ^ state.3
    }
}

/// Finaliser of SplitMix64 (Steele, Lea, Flood 2014).
#[inline(always)]
#[must_use]
pub const fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Vectors of the reference implementation: key 00..0f, input 00..(8n-1).
    #[test]
    fn published_vectors() {
        let hasher = Hasher::<2, 4>::new(&[0x0706_0504_0302_0100, 0x0f0e_0d0c_0b0a_0908]);
        assert_eq!(hasher.finish(), 0x726f_db47_dd0e_0e31);
        assert_eq!(hasher.word(0x0706_0504_0302_0100).finish(), 0x93f5_f579_9a93_2462);
    }
}
