//! The flow tables of a running gateway, by their pins.

use std::collections::{BTreeMap, HashMap as Map};
use std::fmt::Debug;
use std::hash::Hash;
use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use aya::Pod;
use aya::maps::{Array, HashMap, MapData};
use egress_common::abi::config::Config;
use egress_common::abi::family::{Address, Family, V4, V6};
use egress_common::abi::flow::{FlowKey, FlowValue, IN, OUT};
use egress_common::abi::layout;

use super::pins;
use crate::Lab;

/// The pin of a map.
pub fn map(lab: &Lab, name: &str) -> Result<PathBuf> {
    Ok(pins(lab)?.join(format!("maps/{:016x}/{name}", layout::hash())))
}

/// A family's table.
pub trait Table: Family<Addr: Address + Debug + Hash> {
    /// Its map.
    const MAP: &'static str;

    /// Opens it.
    fn open(lab: &Lab) -> Result<HashMap<MapData, FlowKey<Self::Addr>, FlowValue<Self>>>
    where
        FlowKey<Self::Addr>: Pod,
        FlowValue<Self>: Pod,
    {
        Ok(aya::maps::Map::HashMap(MapData::from_pin(map(lab, Self::MAP)?)?).try_into()?)
    }
}

impl Table for V4 {
    const MAP: &'static str = "FLOWS4";
}

impl Table for V6 {
    const MAP: &'static str = "FLOWS6";
}

/// Checks that forward and reply entries are a bijection, to the last half: nothing may be going on. Flows by remote port.
pub fn bijection<F: Table>(lab: &Lab) -> Result<BTreeMap<u16, u64>>
where
    FlowKey<F::Addr>: Pod,
    FlowValue<F>: Pod,
{
    let entries: Map<_, _> = F::open(lab)?.iter().collect::<Result<_, _>>()?;
    let (mut flows, mut replies) = (BTreeMap::new(), 0);
    for (key, value) in &entries {
        let other = if key.dir == OUT {
            *flows.entry(key.dport).or_default() += 1;
            key.reply(value.nat_addr, value.word.port)
        } else {
            ensure!(key.dir == IN, "{key:?}");
            replies += 1;
            key.original(value.nat_addr, value.word.port)
        };
        ensure!(!value.word.dying(), "{key:?} is marked and nobody removes it");
        let back = entries.get(&other).with_context(|| format!("{key:?} has no other half {other:?}"))?;
        let own = if key.dir == OUT { (key.saddr, key.sport) } else { (key.daddr, key.dport) };
        ensure!((back.nat_addr, back.word.port) == own, "{other:?} belongs to another than {key:?}");
    }
    ensure!(flows.values().sum::<u64>() == replies, "{replies} replies of {flows:?}");
    Ok(flows)
}

/// Entries of both tables, halves counted one by one.
pub fn entries(lab: &Lab) -> Result<usize> {
    Ok(V4::open(lab)?.keys().count() + V6::open(lab)?.keys().count())
}

/// Changes both slots of the configuration.
pub fn change_config(lab: &Lab, change: impl Fn(&mut Config)) -> Result<()> {
    let mut slots: Array<_, Config> = aya::maps::Map::Array(MapData::from_pin(map(lab, "CONFIG")?)?).try_into()?;
    for slot in 0..2 {
        let mut config = slots.get(&slot, 0)?;
        change(&mut config);
        slots.set(slot, config, 0)?;
    }
    Ok(())
}
