//! What shortcuts have carried and the flow table was not told yet, see `egress_common::abi::shortcut`.

use std::{
    collections::{HashMap, HashSet},
    hash::Hash,
    os::fd::{AsFd, OwnedFd},
};

use anyhow::{Context, Result};
use aya::Pod;
use egress_common::abi::{
    flow::{FlowKey, FlowValue},
    shortcut::{Seal, Shortcut, slot},
};

use super::{
    flows::{BATCH, Readable},
    pins::Pins,
    sys::{Batches, open_pin, read},
};

/// Packets and IP bytes of one direction.
pub type Totals = (u64, u64);

/// A slot that is another at every look is one whose packets do not end: the last look counts.
const LOOKS: u32 = 8;

/// The halves that have a slot.
pub fn keys<F>(pins: &Pins) -> Result<HashSet<FlowKey<F::Addr>>>
where
    F: Readable,
    FlowKey<F::Addr>: Pod + Hash + Eq,
    Shortcut<F>: Pod,
{
    let mut keys = HashSet::new();
    let mut batches = Batches::<u32, Shortcut<F>>::new(open(pins, F::SHORTCUTS)?, BATCH);
    while let Some((_, slots)) = batches.next_batch().with_context(|| format!("read map {}", F::SHORTCUTS))? {
        keys.extend(slots.iter().filter(|slot| slot.seal != 0).map(|slot| slot.key));
    }
    Ok(keys)
}

/// What these halves have carried in all, if they are in the table.
pub fn totals<F>(pins: &Pins, keys: HashSet<FlowKey<F::Addr>>) -> Result<HashMap<FlowKey<F::Addr>, Totals>>
where
    F: Readable,
    FlowKey<F::Addr>: Pod + Hash + Eq,
    FlowValue<F>: Pod,
    Shortcut<F>: Pod,
{
    let (slots, flows) = (open(pins, F::SHORTCUTS)?, open(pins, F::MAP)?);
    let mut totals = HashMap::with_capacity(keys.len());
    for key in keys {
        let index = slot(&key);
        for look in 1..=LOOKS {
            let Some(before) = read::<_, Shortcut<F>>(slots.as_fd(), &index)? else { break };
            let Some(half) = read::<_, FlowValue<F>>(flows.as_fd(), &key)? else { break };
            let after = read::<_, Shortcut<F>>(slots.as_fd(), &index)?;
            // Every change of a slot shows in its seal: nothing went from it to the table between the two looks.
            let at_rest = Seal(before.seal).at_rest();
            let same = at_rest && after.is_some_and(|after| after.seal == before.seal);
            if same || look == LOOKS {
                let untold = if at_rest && before.key == key { (before.packets, before.bytes) } else { (0, 0) };
                totals.insert(key, (half.packets + untold.0, half.bytes + untold.1));
                break;
            }
        }
    }
    Ok(totals)
}

fn open(pins: &Pins, name: &str) -> Result<OwnedFd> {
    let path = pins.map(name);
    open_pin(&path).with_context(|| format!("open {}", path.display()))
}
