//! Bounds that the verifier sees: the compiler leaves out a check of what it knows already, and the verifier does not know it.

/// A length between 1 and `N`, a power of two; `len` itself if it is one.
#[inline(always)]
pub(crate) fn within<const N: usize>(len: u32) -> u32 {
    const { assert!(N.is_power_of_two()) };
    (volatile(len.wrapping_sub(1)) & (N as u32 - 1)) + 1
}

/// The value, as if it could be anything.
#[inline(always)]
pub(crate) fn volatile(value: u32) -> u32 {
    // SAFETY: a local.
    unsafe { (&raw const value).read_volatile() }
}
