//! The flow table as the algorithms see it: BPF maps in the kernel, a plain map in tests.

use crate::abi::{
    family::Family,
    flow::{FlowKey, FlowValue, Word},
};

/// Outcome of an insert that must not replace anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Insert {
    /// The entry is ours.
    Done,
    /// The key was taken.
    Exists,
    /// No room.
    Full,
}

/// One half of a flow, as it was at the moment of reading.
#[derive(Clone, Copy, Debug)]
pub struct Half<F: Family> {
    /// See [`FlowValue::nat_addr`].
    pub nat_addr: F::Addr,
    /// See [`FlowValue::word`].
    pub word: Word,
    /// See [`FlowValue::last_seen`].
    pub last_seen: u32,
    /// See [`FlowValue::created`].
    pub created: u32,
}

/// A table of flow halves. Every operation is atomic by itself.
pub trait FlowStore<F: Family> {
    /// Reads a half.
    fn get(&self, key: &FlowKey<F::Addr>) -> Option<Half<F>>;
    /// Inserts if the key is free (`BPF_NOEXIST`).
    fn insert_new(&mut self, key: &FlowKey<F::Addr>, value: &FlowValue<F>) -> Insert;
    /// Replaces the word if it still is `from`.
    fn swap_word(&mut self, key: &FlowKey<F::Addr>, from: Word, to: Word) -> bool;
    /// Removes a half.
    fn remove(&mut self, key: &FlowKey<F::Addr>);
    /// Removes the closed flow that holds this reply key, see [`crate::conntrack::removal::Why::Reclaim`].
    fn reclaim(&mut self, reply: &FlowKey<F::Addr>, now: u32) -> bool;
    /// Whether all ports of `egress` towards the destination of `key` were found taken a moment ago.
    fn exhausted(&self, key: &FlowKey<F::Addr>, egress: &F::Addr) -> bool;
    /// Remembers that for [`super::claim::EXHAUSTED_NS`].
    fn remember_exhausted(&mut self, key: &FlowKey<F::Addr>, egress: &F::Addr);
}
