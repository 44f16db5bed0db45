//! Keys and values of the maps that decide who is translated, and of the gateway's own addresses.

/// Key of `NO_SNAT4`/`NO_SNAT6`, as `BPF_MAP_TYPE_LPM_TRIE` wants it.
#[repr(C, align(4))]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Prefix<A> {
    /// Prefix length in bits.
    pub len: u32,
    /// Network address, host bits zero.
    pub addr: A,
}

/// Bits of the value of `LOCAL4`/`LOCAL6`.
pub mod local {
    /// The address is on the external interface: packets may leave from it.
    pub const EXTERNAL: u32 = 1;
}

const _: () = {
    assert!(size_of::<Prefix<[u8; 4]>>() == 8);
    assert!(size_of::<Prefix<[u8; 16]>>() == 20);
};
