//! The flow table as the algorithms see it: BPF maps in the kernel, a plain map in tests.

use super::{
    claim::{Pool, claim_port, search},
    fair::Admission,
};
use crate::{
    abi::{
        config::Config,
        family::Family,
        flow::{FlowKey, Word},
    },
    ecmp::rendezvous::choose,
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
    /// See [`crate::abi::flow::FlowValue::nat_addr`].
    pub nat_addr: F::Addr,
    /// See [`crate::abi::flow::FlowValue::word`].
    pub word: Word,
    /// See [`crate::abi::flow::FlowValue::last_seen`].
    pub last_seen: u32,
    /// See [`crate::abi::flow::FlowValue::created`].
    pub created: u32,
}

/// A table of flow halves. Every operation is atomic by itself.
pub trait FlowStore<F: Family> {
    /// Reads a half.
    fn get(&self, key: &FlowKey<F::Addr>) -> Option<Half<F>>;
    /// Inserts a half that begins `now` if the key is free (`BPF_NOEXIST`).
    fn insert_new(&mut self, key: &FlowKey<F::Addr>, nat_addr: F::Addr, word: Word, now: u32) -> Insert;
    /// Replaces the word if it still is `from`.
    fn swap_word(&mut self, key: &FlowKey<F::Addr>, from: Word, to: Word) -> bool;
    /// Takes bits out of the word, whatever else of it changes at the same time.
    fn clear(&mut self, key: &FlowKey<F::Addr>, bits: Word);
    /// Removes a half.
    fn remove(&mut self, key: &FlowKey<F::Addr>);
    /// Index of the egress address that `src` ranks highest, without `not`; the kernel's store does it out of line.
    fn choose(&self, config: &Config, src: &F::Addr, not: Option<u32>) -> Option<u32>
    where
        F: Pool,
    {
        let (pool, len) = F::egress(config);
        choose(src, pool, len, not, core::convert::identity)
    }
    /// [`search`]; the kernel's store does it out of line.
    fn search(
        &mut self,
        config: &Config,
        reply: &mut FlowKey<F::Addr>,
        key: &FlowKey<F::Addr>,
        admission: Admission,
        now: u32,
    ) -> (Insert, u32)
    where
        Self: Sized,
    {
        search(self, config, reply, key, admission, now)
    }
    /// [`claim_port`]; the kernel's store does it out of line.
    fn claim(&mut self, reply: &FlowKey<F::Addr>, key: &FlowKey<F::Addr>, admission: Admission, now: u32) -> Insert
    where
        Self: Sized,
    {
        claim_port(self, reply, key, admission, now)
    }
    /// What the flow with the outbound `key` may take at the egress address in `reply`, see [`super::fair::admit`]; its source
    /// is charged for the `first` address only.
    fn admit(&mut self, config: &Config, reply: &FlowKey<F::Addr>, key: &FlowKey<F::Addr>, first: bool) -> Admission;
    /// The flow got nothing by this admission; `reply` has port 0. Tells of a source that is limited, and remembers a search for
    /// [`super::claim::EXHAUSTED_NS`] if the next would be in vain too, see [`super::fair::spent`] and [`super::fair::vain`];
    /// whether it did.
    fn in_vain(
        &mut self,
        config: &Config,
        reply: &FlowKey<F::Addr>,
        key: &FlowKey<F::Addr>,
        admission: Admission,
    ) -> bool;
    /// A flow begins: both halves are in the table.
    fn begun(&mut self, key: &FlowKey<F::Addr>, reply: &FlowKey<F::Addr>);
    /// A flow ends, for one of the reasons in [`crate::abi::event::why`]: both halves are marked and about to be removed. Once
    /// for each flow that began.
    fn ending(&mut self, key: &FlowKey<F::Addr>, reply: &FlowKey<F::Addr>, why: u8);
    /// Removes the closed flow that holds this reply key, see [`crate::conntrack::removal::Why::Reclaim`].
    fn reclaim(&mut self, reply: &FlowKey<F::Addr>, now: u32) -> bool;
    /// Whether all ports of an egress address towards a destination were found taken a moment ago; `reply` has port 0.
    fn exhausted(&self, reply: &FlowKey<F::Addr>) -> bool;
}
