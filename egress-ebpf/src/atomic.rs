//! Atomic operations on map values. `core::sync::atomic` has none for this target.

use core::intrinsics::{AtomicOrdering, atomic_and, atomic_cxchg, atomic_or, atomic_xadd, atomic_xchg};

/// What BPF swaps in one instruction.
pub(crate) trait Word: Copy {}

impl Word for u32 {}
impl Word for u64 {}

/// Adds without asking for the old value.
///
/// # Safety
/// `at` is an aligned word of a map value that stays mapped.
#[inline(always)]
pub(crate) unsafe fn add(at: *mut u64, amount: u64) {
    // SAFETY: as promised by the caller.
    unsafe { atomic_xadd::<u64, u64, { AtomicOrdering::Relaxed }>(at, amount) };
}

/// Adds to a signed word without asking for the old value.
///
/// # Safety
/// As for [`add`].
#[inline(always)]
pub(crate) unsafe fn shift(at: *mut i32, amount: i32) {
    // SAFETY: as promised by the caller.
    unsafe { atomic_xadd::<i32, i32, { AtomicOrdering::Relaxed }>(at, amount) };
}

/// Adds one; the old value. Sequentially consistent, because of a relaxed one the compiler makes an instruction that does not
/// fetch, and takes the addend for the old value.
///
/// # Safety
/// As for [`add`].
#[inline(always)]
pub(crate) unsafe fn next(at: *mut u32) -> u32 {
    // SAFETY: as promised by the caller.
    unsafe { atomic_xadd::<u32, u32, { AtomicOrdering::SeqCst }>(at, 1) }
}

/// Sets bits.
///
/// # Safety
/// As for [`add`].
#[inline(always)]
pub(crate) unsafe fn or(at: *mut u32, bits: u32) {
    // SAFETY: as promised by the caller.
    unsafe { atomic_or::<u32, u32, { AtomicOrdering::Relaxed }>(at, bits) };
}

/// Keeps only these bits.
///
/// # Safety
/// As for [`add`].
#[inline(always)]
pub(crate) unsafe fn and(at: *mut u32, bits: u32) {
    // SAFETY: as promised by the caller.
    unsafe { atomic_and::<u32, u32, { AtomicOrdering::Relaxed }>(at, bits) };
}

/// Replaces; a full barrier.
///
/// # Safety
/// As for [`add`].
#[inline(always)]
pub(crate) unsafe fn swap<T: Word>(at: *mut T, new: T) -> T {
    // SAFETY: as promised by the caller.
    unsafe { atomic_xchg::<T, { AtomicOrdering::SeqCst }>(at, new) }
}

/// Replaces `old` by `new`; whether it did. A full barrier.
///
/// # Safety
/// As for [`add`].
#[inline(always)]
pub(crate) unsafe fn compare_swap<T: Word>(at: *mut T, old: T, new: T) -> bool {
    // SAFETY: as promised by the caller.
    unsafe { atomic_cxchg::<T, { AtomicOrdering::SeqCst }, { AtomicOrdering::SeqCst }>(at, old, new).1 }
}

/// Reads a wide word. A full barrier.
///
/// # Safety
/// As for [`add`].
#[inline(always)]
pub(crate) unsafe fn read_wide(at: *mut u64) -> u64 {
    // SAFETY: as promised by the caller.
    unsafe { atomic_xadd::<u64, u64, { AtomicOrdering::SeqCst }>(at, 0) }
}
