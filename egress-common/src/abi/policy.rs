//! Values of the policy maps. `NO_SNAT*` is a `BPF_MAP_TYPE_LPM_TRIE` (prefix length in bits, then the network address),
//! `SELECTED*` and `LOCAL*` have the address as key.

/// Bits of the value of `LOCAL4`/`LOCAL6`.
pub mod local {
    /// The address is on the external interface: packets may leave from it.
    pub const EXTERNAL: u32 = 1;
}
