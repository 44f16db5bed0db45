//! Values of the policy maps. `NO_SNAT*` is a `BPF_MAP_TYPE_LPM_TRIE` (prefix length in bits, then the network address),
//! `SELECTED*` and `LOCAL*` have the address as key.

/// Bits of the value of `LOCAL4`/`LOCAL6`.
pub mod local {
    /// The address is on the external interface: packets may leave from it.
    pub const EXTERNAL: u32 = 1;
}

/// Room for `snat: false` CIDRs of a family.
pub const MAX_PREFIXES: usize = 4096;
/// Room for selected Pods' addresses of a family.
pub const MAX_PODS: usize = 65536;
/// Room for own addresses of a family.
pub const MAX_LOCAL: usize = 256;
