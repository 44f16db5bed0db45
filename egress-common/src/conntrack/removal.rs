//! Removing both halves of a flow while packets of it may pass on other CPUs.
//!
//! Both words are set to `dying` by compare-and-swap, then `last_seen` is read again: a packet writes `last_seen` before it
//! reads the word a second time, so one of the two sides always notices the other. The forward half goes first: as long as
//! the reply half exists nobody else can claim its port.

use super::state::State;
use crate::{
    abi::{
        config::Timeouts,
        family::Family,
        flow::{FlowKey, Word, seen, state},
    },
    nat::store::{FlowStore, Half},
};

/// How long a reply half may stand without its forward half: a claim is between two inserts for microseconds.
pub const CLAIM_GRACE: u32 = 2;

/// How long a closed flow keeps its port from the allocator.
pub const RECLAIM_AFTER: u32 = 5;

/// Why a flow is to be removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why<'a> {
    /// If it was idle for longer than its state allows.
    Idle(&'a Timeouts),
    /// If it is closed and idle for [`RECLAIM_AFTER`]: a new flow wants its port.
    Reclaim,
    /// In any case: its egress address is gone or its policy flipped.
    Revoked,
}

/// What became of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Still needed, or somebody else is at it.
    Kept,
    /// Both halves are gone.
    Removed,
    /// There was none.
    Absent,
}

/// Removes the flow with this outbound key if `why` holds at `now` (seconds of the datapath's clock).
#[inline(always)]
pub fn remove<F: Family, S: FlowStore<F>>(store: &mut S, key: &FlowKey<F::Addr>, now: u32, why: Why<'_>) -> Outcome {
    let Some(out) = store.get(key) else { return Outcome::Absent };
    let reply = key.reply(out.nat_addr, out.word.port);
    let back = store.get(&reply).filter(|back| belongs::<F>(back, key));
    let (back_seen, last) = match back {
        Some(back) => (back.word.seen, later(out.last_seen, back.last_seen)),
        None => (0, out.last_seen),
    };
    let idle = now.wrapping_sub(last);
    let state = State::of(key.proto, out.word.seen, back_seen);
    let ends = match why {
        _ if back.is_none() => now.wrapping_sub(out.created) >= CLAIM_GRACE,
        Why::Idle(timeouts) => idle >= state.timeout(key.proto, timeouts),
        Why::Reclaim => matches!(state, State::Closed) && idle >= RECLAIM_AFTER,
        Why::Revoked => true,
    };
    if !ends || out.word.dying() {
        return Outcome::Kept;
    }
    if !store.swap_word(key, out.word, dying(out.word)) {
        return Outcome::Kept;
    }
    if let Some(back) = back {
        if !store.swap_word(&reply, back.word, dying(back.word)) {
            store.swap_word(key, dying(out.word), out.word);
            return Outcome::Kept;
        }
        let spoke = spoke(store, key, out.last_seen) || spoke(store, &reply, back.last_seen);
        if spoke && !matches!(why, Why::Revoked) {
            store.swap_word(&reply, dying(back.word), back.word);
            store.swap_word(key, dying(out.word), out.word);
            return Outcome::Kept;
        }
        store.remove(key);
        store.remove(&reply);
    } else {
        store.remove(key);
    }
    Outcome::Removed
}

/// Removes a reply half whose forward half does not exist; `key` is an inbound key.
#[inline(always)]
pub fn remove_orphan<F: Family, S: FlowStore<F>>(store: &mut S, key: &FlowKey<F::Addr>, now: u32) -> Outcome {
    let Some(back) = store.get(key) else { return Outcome::Absent };
    let original = key.original(back.nat_addr, back.word.port);
    let paired = store.get(&original).is_some_and(|out| out.nat_addr == key.daddr && out.word.port == key.dport);
    if paired || back.word.dying() || now.wrapping_sub(back.created) < CLAIM_GRACE {
        return Outcome::Kept;
    }
    if !store.swap_word(key, back.word, dying(back.word)) {
        return Outcome::Kept;
    }
    store.remove(key);
    Outcome::Removed
}

/// A SYN on a flow that had ended: what was seen belongs to the connection before (RFC 9293 §3.6.1).
#[inline(always)]
pub fn restart<F: Family, S: FlowStore<F>>(store: &mut S, key: &FlowKey<F::Addr>) {
    let Some(out) = store.get(key) else { return };
    let reply = key.reply(out.nat_addr, out.word.port);
    let ended = seen::FIN | seen::RST;
    if let Some(back) = store.get(&reply)
        && back.word.seen & ended != 0
    {
        store.swap_word(&reply, back.word, Word { seen: 0, ..back.word });
    }
    if out.word.seen & ended != 0 {
        store.swap_word(key, out.word, Word { seen: seen::SYN, ..out.word });
    }
}

#[inline(always)]
fn belongs<F: Family>(back: &Half<F>, key: &FlowKey<F::Addr>) -> bool {
    back.nat_addr == key.saddr && back.word.port == key.sport
}

#[inline(always)]
fn spoke<F: Family, S: FlowStore<F>>(store: &S, key: &FlowKey<F::Addr>, before: u32) -> bool {
    store.get(key).is_some_and(|half| half.last_seen != before)
}

#[inline(always)]
const fn dying(word: Word) -> Word {
    Word { state: word.state | state::DYING, ..word }
}

#[inline(always)]
const fn later(a: u32, b: u32) -> u32 {
    if b.wrapping_sub(a) < u32::MAX / 2 { b } else { a }
}

#[cfg(test)]
mod tests;
