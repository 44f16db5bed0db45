//! The maps of a gateway, opened by their pins: with and without a running agent.

use anyhow::{Context, Result};
use aya::maps::{Array, HashMap, Map, MapData, PerCpuArray, lpm_trie::LpmTrie};
use egress_common::{
    abi::{
        config::Config,
        family::{V4, V6},
        flow::{FlowKey4, FlowKey6, FlowValue},
        usage::Cell,
    },
    nat::fair::{ALL, pressed},
    verdict::{Counters, Drops},
};

use super::pins::Pins;

/// Typed maps. Names are those of the object.
pub struct Tables {
    /// Both halves of every IPv4 flow.
    pub flows4: HashMap<MapData, FlowKey4, FlowValue<V4>>,
    /// Both halves of every IPv6 flow.
    pub flows6: HashMap<MapData, FlowKey6, FlowValue<V6>>,
    /// Two configurations.
    pub config: Array<MapData, Config>,
    /// Which of them is in use.
    pub active: Array<MapData, u32>,
    /// `snat: false` CIDRs.
    pub no_snat4: LpmTrie<MapData, [u8; 4], u32>,
    /// `snat: false` CIDRs.
    pub no_snat6: LpmTrie<MapData, [u8; 16], u32>,
    /// Addresses of selected Pods.
    pub selected4: HashMap<MapData, [u8; 4], u32>,
    /// Addresses of selected Pods.
    pub selected6: HashMap<MapData, [u8; 16], u32>,
    /// Own addresses.
    pub local4: HashMap<MapData, [u8; 4], u32>,
    /// Own addresses.
    pub local6: HashMap<MapData, [u8; 16], u32>,
    /// How much is used by whom, see `egress_common::nat::fair`; IPv4 and IPv6.
    pub used: [Array<MapData, Cell>; 2],
    /// Drops by reason.
    pub drops: PerCpuArray<MapData, Drops>,
    /// Everything else that is counted.
    pub counters: PerCpuArray<MapData, Counters>,
}

/// Names of all maps of the object that are pinned.
pub const PINNED: [&str; 28] = [
    "FLOWS4",
    "FLOWS6",
    "CONFIG",
    "ACTIVE",
    "NO_SNAT4",
    "NO_SNAT6",
    "SELECTED4",
    "SELECTED6",
    "LOCAL4",
    "LOCAL6",
    "EXHAUSTED4",
    "EXHAUSTED6",
    "HOPS4",
    "HOPS6",
    "SHORTCUTS4",
    "SHORTCUTS6",
    "FRAGS4",
    "FRAGS6",
    "EARLY4",
    "EARLY6",
    "HELD4",
    "HELD6",
    "USE4",
    "USE6",
    "PACE",
    "DROPS",
    "COUNTERS",
    "EVENTS",
];

impl Tables {
    /// Opens the maps of a gateway.
    pub fn open(pins: &Pins) -> Result<Self> {
        macro_rules! table {
            ($name:literal, $kind:ident) => {
                Map::$kind(data(pins, $name)?).try_into().with_context(|| format!("map {}", $name))?
            };
        }
        Ok(Self {
            flows4: table!("FLOWS4", HashMap),
            flows6: table!("FLOWS6", HashMap),
            config: table!("CONFIG", Array),
            active: table!("ACTIVE", Array),
            no_snat4: table!("NO_SNAT4", LpmTrie),
            no_snat6: table!("NO_SNAT6", LpmTrie),
            selected4: table!("SELECTED4", HashMap),
            selected6: table!("SELECTED6", HashMap),
            local4: table!("LOCAL4", HashMap),
            local6: table!("LOCAL6", HashMap),
            used: [table!("USE4", Array), table!("USE6", Array)],
            drops: table!("DROPS", PerCpuArray),
            counters: table!("COUNTERS", PerCpuArray),
        })
    }

    /// The configuration in use, once there is one.
    pub fn config(&self) -> Result<Config> {
        let slot = self.active.get(&0, 0).context("read map ACTIVE")?;
        self.config.get(&slot, 0).context("read map CONFIG")
    }

    /// Whether a family's table is so full that the largest sources are limited; IPv4 and IPv6.
    pub fn pressed(&self, config: &Config) -> Result<[bool; 2]> {
        let mut pressed_ones = [false; 2];
        for (used, is) in self.used.iter().zip(&mut pressed_ones) {
            let all = used.get(&ALL, 0).context("read map USE4 or USE6")?.first;
            *is = pressed(all, config.capacity, config.fair_from);
        }
        Ok(pressed_ones)
    }

    /// Flows that each family's table holds.
    pub fn capacity(&self, pins: &Pins) -> Result<u32> {
        Ok(data(pins, "FLOWS4")?.info().context("map FLOWS4")?.max_entries() / 2)
    }
}

fn data(pins: &Pins, name: &str) -> Result<MapData> {
    let path = pins.map(name);
    MapData::from_pin(&path).with_context(|| format!("open {}", path.display()))
}
