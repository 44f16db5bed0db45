//! Namespaces, processes and what has to be cleaned up after them.

pub(crate) mod bpffs;
pub mod cleanup;
mod counters;
pub mod name;
pub mod netns;
mod offload;
pub mod process;
pub mod setting;

pub use counters::Counters;
pub use netns::Netns;
pub use offload::{switch_gro, switch_off_tx_checksums};

use std::sync::{Mutex, MutexGuard, PoisonError};

/// Locks also after a panic elsewhere: cleaning up must go on.
pub(crate) fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
