//! Removing both halves of a flow while packets of it may pass on other CPUs.
//!
//! Both words are set to `dying` by compare-and-swap, then `last_seen` is read again: a packet writes `last_seen` before it
//! reads the word a second time, so one of the two sides always notices the other. The forward half goes first: as long as
//! the reply half exists nobody else can claim its port. Only who set `dying` may take it back or remove the half. The mark
//! carries a time, so that a half whose remover never came to the end (the kernel refused a delete) is taken over.

use super::state::State;
use crate::{
    abi::{
        config::Timeouts,
        event::why,
        family::Family,
        flow::{FlowKey, Word, seen, state},
    },
    nat::store::{FlowStore, Half},
};

/// How long a reply half may stand without its forward half: a claim is between two inserts for microseconds, on a virtual
/// CPU that loses its core for longer.
pub const CLAIM_GRACE: u32 = 10;

/// How long a closed flow keeps its port from the allocator.
pub const RECLAIM_AFTER: u32 = 5;

/// Age of a `dying` mark from which its maker is believed gone. The mark counts seconds modulo 64.
pub const ABANDONED_AFTER: u32 = 3;

/// Why a flow is to be removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why<'a> {
    /// If it was idle for longer than its state allows.
    Idle(&'a Timeouts),
    /// If it is closed, [`State::over`] and idle for [`RECLAIM_AFTER`]: a new flow wants its port.
    Reclaim,
    /// In any case: its egress address is gone or its policy flipped.
    Revoked,
}

impl Why<'_> {
    /// As events have it.
    #[inline(always)]
    const fn number(&self) -> u8 {
        match self {
            Self::Idle(_) => why::IDLE,
            Self::Reclaim => why::RECLAIMED,
            Self::Revoked => why::REVOKED,
        }
    }
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
    match store.get(&reply) {
        Some(back) if belongs::<F>(&back, key) => remove_pair(store, key, &out, &reply, &back, now, why),
        _ => remove_half(store, key, &out, now),
    }
}

#[inline(always)]
fn remove_pair<F: Family, S: FlowStore<F>>(
    store: &mut S,
    key: &FlowKey<F::Addr>,
    out: &Half<F>,
    reply: &FlowKey<F::Addr>,
    back: &Half<F>,
    now: u32,
    why: Why<'_>,
) -> Outcome {
    let taken_over = out.word.dying();
    if !taken_over && !ends(key.proto, out, back, now, why) {
        return Outcome::Kept;
    }
    if !mark(store, key, out, now) {
        return Outcome::Kept;
    }
    let marked = mark(store, reply, back, now);
    let spoke = spoke(store, key, out) || spoke(store, reply, back);
    if !marked || (spoke && !taken_over && !matches!(why, Why::Revoked)) {
        if marked {
            revive(store, reply);
        }
        if !taken_over {
            revive(store, key);
        }
        return Outcome::Kept;
    }
    // Whoever marked both has told of it: it fell silent before it removed them. Who marked one alone has not.
    if !taken_over || !back.word.dying() {
        store.ending(key, reply, why.number());
    }
    store.remove(key);
    if !cfg!(feature = "broken-pair") {
        store.remove(reply);
    }
    Outcome::Removed
}

/// A forward half alone: replies do not find it, so it goes however busy it is.
#[inline(always)]
fn remove_half<F: Family, S: FlowStore<F>>(store: &mut S, key: &FlowKey<F::Addr>, out: &Half<F>, now: u32) -> Outcome {
    let taken_over = out.word.dying();
    if !taken_over && since(now, out.created) < CLAIM_GRACE || !mark(store, key, out, now) {
        return Outcome::Kept;
    }
    store.remove(key);
    Outcome::Removed
}

/// Removes a reply half whose forward half does not exist; `key` is an inbound key.
#[inline(always)]
pub fn remove_orphan<F: Family, S: FlowStore<F>>(store: &mut S, key: &FlowKey<F::Addr>, now: u32) -> Outcome {
    let Some(back) = store.get(key) else { return Outcome::Absent };
    let original = key.original(back.nat_addr, back.word.port);
    let paired = store.get(&original).is_some_and(|out| out.nat_addr == key.daddr && out.word.port == key.dport);
    if paired || since(now, back.created) < CLAIM_GRACE || !mark(store, key, &back, now) {
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
    let back = store.get(&reply).filter(|back| belongs::<F>(back, key));
    let both = out.word.seen | back.map_or(0, |back| back.word.seen);
    if both & (seen::FIN | seen::RST) == 0 {
        return;
    }
    if back.is_some() {
        store.clear(&reply, Word { seen: u8::MAX, ..Word::default() });
    }
    store.clear(key, Word { seen: !seen::SYN, ..Word::default() });
}

#[inline(always)]
fn ends<F: Family>(protocol: u8, out: &Half<F>, back: &Half<F>, now: u32, why: Why<'_>) -> bool {
    let state = State::of(protocol, out.word.seen, back.word.seen);
    let idle = since(now, later(out.last_seen, back.last_seen));
    match why {
        Why::Idle(_) if cfg!(feature = "broken-expiry") => true,
        Why::Idle(timeouts) => idle >= state.timeout(protocol, timeouts),
        Why::Reclaim => {
            matches!(state, State::Closed) && State::over(out.word.seen, back.word.seen) && idle >= RECLAIM_AFTER
        }
        Why::Revoked => true,
    }
}

/// Whether a reply half is that of the flow with this outbound key.
#[inline(always)]
pub(crate) fn belongs<F: Family>(back: &Half<F>, key: &FlowKey<F::Addr>) -> bool {
    back.nat_addr == key.saddr && back.word.port == key.sport
}

#[inline(always)]
fn spoke<F: Family, S: FlowStore<F>>(store: &S, key: &FlowKey<F::Addr>, before: &Half<F>) -> bool {
    store.get(key).is_some_and(|half| half.last_seen != before.last_seen)
}

/// Sets `dying` if the word still is what was read; a mark that somebody else made must be abandoned.
#[inline(always)]
fn mark<F: Family, S: FlowStore<F>>(store: &mut S, key: &FlowKey<F::Addr>, half: &Half<F>, now: u32) -> bool {
    if half.word.dying() && !abandoned(half.word, now) {
        return false;
    }
    #[expect(clippy::cast_possible_truncation, reason = "seconds modulo 64")]
    let since = now as u8 & state::SINCE;
    let state = half.word.state & state::REPLY | state::DYING | since;
    store.swap_word(key, half.word, Word { state, ..half.word })
}

/// Takes our mark back, with what packets wrote into the word meanwhile left in it.
#[inline(always)]
fn revive<F: Family, S: FlowStore<F>>(store: &mut S, key: &FlowKey<F::Addr>) {
    store.clear(key, Word { state: state::DYING | state::SINCE, ..Word::default() });
}

/// Ages near 64 are those of a mark that a CPU whose second began a little earlier has just made.
#[inline(always)]
const fn abandoned(word: Word, now: u32) -> bool {
    let age = now.wrapping_sub(word.state as u32) & state::SINCE as u32;
    age >= ABANDONED_AFTER && age <= state::SINCE as u32 - ABANDONED_AFTER
}

/// Seconds since `then`; 0 if another CPU, whose second began a little earlier, wrote it.
#[inline(always)]
const fn since(now: u32, then: u32) -> u32 {
    let age = now.wrapping_sub(then);
    if age > u32::MAX / 2 { 0 } else { age }
}

#[inline(always)]
const fn later(a: u32, b: u32) -> u32 {
    if b.wrapping_sub(a) < u32::MAX / 2 { b } else { a }
}

#[cfg(test)]
mod tests;
