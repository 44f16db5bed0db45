//! SipHash (Aumasson, Bernstein 2012) over 64-bit words, for what an attacker must not predict, and a cheap mixer for what
//! only has to spread.

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

/// SipHash-C-D of little-endian words: `siphash::<2, 4>` is the published function for inputs of whole words.
#[inline(always)]
#[must_use]
pub fn siphash<const C: usize, const D: usize>(key: &[u64; 2], words: &[u64]) -> u64 {
    let mut state = State(
        key[0] ^ 0x736f_6d65_7073_6575,
        key[1] ^ 0x646f_7261_6e64_6f6d,
        key[0] ^ 0x6c79_6765_6e65_7261,
        key[1] ^ 0x7465_6462_7974_6573,
    );
    for word in words {
        state = state.absorb::<C>(*word);
    }
    state = state.absorb::<C>(((words.len() * 8) as u64) << 56);
    state.2 ^= 0xff;
    for _ in 0..D {
        state = state.round();
    }
    state.0 ^ state.1 ^ state.2 ^ state.3
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
        let key = [0x0706_0504_0302_0100, 0x0f0e_0d0c_0b0a_0908];
        assert_eq!(siphash::<2, 4>(&key, &[]), 0x726f_db47_dd0e_0e31);
        assert_eq!(siphash::<2, 4>(&key, &[0x0706_0504_0302_0100]), 0x93f5_f579_9a93_2462);
    }
}
