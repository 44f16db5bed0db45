//! What shortcuts have carried and the flow table was not told yet, see `egress_common::abi::shortcut`.

use std::{collections::HashMap, hash::Hash, os::fd::AsFd};

use anyhow::{Context, Result};
use aya::Pod;
use egress_common::abi::{
    flow::{FlowKey, FlowValue},
    shortcut::Shortcut,
};

use super::{
    flows::{BATCH, Readable},
    pins::Pins,
    sys::{Batches, open_pin, read},
};

/// Packets and IP bytes of one direction.
pub type Totals = (u64, u64);

/// A slot that the table is told of at every look is one whose packets do not end: the last look counts.
const LOOKS: u32 = 8;

/// What the halves that have shortcuts have carried in all. All others' totals are those of the table.
pub fn totals<F>(pins: &Pins) -> Result<HashMap<FlowKey<F::Addr>, Totals>>
where
    F: Readable,
    FlowKey<F::Addr>: Pod + Hash + Eq,
    FlowValue<F>: Pod,
    Shortcut<F>: Pod,
{
    let open = |name| {
        let path = pins.map(name);
        open_pin(&path).with_context(|| format!("open {}", path.display()))
    };
    let (slots, flows) = (open(F::SHORTCUTS)?, open(F::MAP)?);
    let mut busy = Vec::new();
    let mut batches = Batches::<u32, Shortcut<F>>::new(open(F::SHORTCUTS)?, BATCH);
    while let Some((indices, values)) = batches.next_batch().with_context(|| format!("read map {}", F::SHORTCUTS))? {
        busy.extend(indices.iter().zip(values).filter(|(_, slot)| slot.packets != 0).map(|(index, _)| *index));
    }
    let mut totals = HashMap::with_capacity(busy.len());
    for index in busy {
        for _ in 0..LOOKS {
            let Some(before) = read::<_, Shortcut<F>>(slots.as_fd(), &index)? else { break };
            let Some(half) = read::<_, FlowValue<F>>(flows.as_fd(), &before.key)? else { break };
            let after = read::<_, Shortcut<F>>(slots.as_fd(), &index)?;
            totals.insert(before.key, (half.packets + before.packets, half.bytes + before.bytes));
            // Every change of a slot shows in its seal: nothing went from it to the table between the two looks.
            if after.is_some_and(|after| after.seal == before.seal) {
                break;
            }
        }
    }
    Ok(totals)
}
