//! Keys, values and events of the BPF maps.
//!
//! Addresses are byte arrays in network order, ports are host-endian numbers: what `bpftool map dump` prints is what
//! people read. Every struct is `repr(C)` without hidden padding, because the verifier and the hash both see padding.

pub mod config;
pub mod event;
pub mod family;
pub mod flow;
pub mod fragment;
pub mod hop;
pub mod layout;
pub mod order;
pub mod policy;
pub mod shortcut;
pub mod target;
pub mod usage;

#[cfg(feature = "user")]
mod pod;
