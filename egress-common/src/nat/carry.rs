//! Taking over a flow that another table holds: one of another layout, or the kernel's conntrack. What the other side of the
//! connection knows is the mapping, so that is kept whatever happened here meanwhile.

use super::store::{FlowStore, Insert};
use crate::{
    abi::{
        family::Family,
        flow::{FlowKey, Word, state},
        order::{Carried, Taken},
    },
    conntrack::{removal::belongs, state::State},
};

/// One half of a flow that is taken over.
#[derive(Clone, Copy, Debug)]
pub struct Part<F: Family> {
    /// Address that this direction is rewritten to.
    pub nat_addr: F::Addr,
    /// Port, and what was seen.
    pub word: Word,
    /// When the flow began.
    pub created: u32,
    /// When this direction last carried a packet.
    pub last_seen: u32,
    /// Packets of this direction.
    pub packets: u64,
    /// IP bytes of this direction.
    pub bytes: u64,
}

/// A table that takes flows over.
pub trait Import<F: Family>: FlowStore<F> {
    /// Inserts a half if the key is free.
    fn insert_part(&mut self, key: &FlowKey<F::Addr>, part: &Part<F>) -> Insert;
    /// Adds what was seen and carried to a half that is there; with `add` the totals are added, else they become at least
    /// these.
    fn join(&mut self, key: &FlowKey<F::Addr>, part: &Part<F>, add: bool);
    /// Cuts the flow with this outbound key.
    fn cut(&mut self, key: &FlowKey<F::Addr>);
}

/// Takes over one flow.
#[inline(always)]
pub fn take<F: Family, S: Import<F>>(store: &mut S, flow: &Carried<F>, add: bool) -> Taken {
    let reply = flow.key.reply(flow.nat_addr, flow.port);
    let old = store.get(&flow.key);
    let same = old.is_some_and(|old| old.nat_addr == flow.nat_addr && old.word.port == flow.port);
    if same && old.is_some_and(|old| old.word.dying()) {
        return Taken::Refused;
    }
    // What has ended cuts nothing: its port, given away here since, may be a living flow's.
    let ended = matches!(State::of(flow.key.proto, flow.seen[0], flow.seen[1]), State::Closed);
    if ended && !same && old.is_some() {
        return Taken::Known;
    }
    let out = part(flow, 0);
    let back = part(flow, 1);
    let mut claimed = store.insert_part(&reply, &back);
    if let (Insert::Exists, Some(holder)) = (claimed, store.get(&reply))
        && !belongs::<F>(&holder, &flow.key)
    {
        if ended {
            return Taken::Known;
        }
        // There the port is this flow's: the holder has ended there, or was opened here a moment ago.
        store.cut(&reply.original(holder.nat_addr, holder.word.port));
        claimed = store.insert_part(&reply, &back);
    }
    match claimed {
        Insert::Done if same => return Taken::Known,
        Insert::Done => {}
        Insert::Full => return Taken::Full,
        Insert::Exists if same && store.get(&reply).is_some_and(|half| belongs::<F>(&half, &flow.key)) => {
            store.join(&flow.key, &out, add);
            store.join(&reply, &back, add);
            return Taken::Known;
        }
        Insert::Exists => return Taken::Refused,
    }
    // Opened here a moment ago, under a port that the other side does not know.
    if old.is_some() {
        store.cut(&flow.key);
    }
    match store.insert_part(&flow.key, &out) {
        Insert::Done => {
            store.begun(&flow.key, &reply);
            Taken::New
        }
        Insert::Full => {
            store.remove(&reply);
            Taken::Full
        }
        Insert::Exists => {
            store.remove(&reply);
            Taken::Refused
        }
    }
}

/// The half of a direction.
#[inline(always)]
fn part<F: Family>(flow: &Carried<F>, side: usize) -> Part<F> {
    let (nat_addr, port, state) =
        if side == 0 { (flow.nat_addr, flow.port, 0) } else { (flow.key.saddr, flow.key.sport, state::REPLY) };
    Part {
        nat_addr,
        word: Word { port, seen: flow.seen[side], state },
        created: flow.created,
        last_seen: flow.last_seen[side],
        packets: flow.packets[side].get(),
        bytes: flow.bytes[side].get(),
    }
}

#[cfg(test)]
mod tests;
