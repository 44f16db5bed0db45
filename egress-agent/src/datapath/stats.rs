//! Counters, summed over CPUs.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use egress_common::{
    abi::family::{V4, V6},
    abi::flow::OUT,
    verdict::{COUNTERS, Counter, Counters, DROPS, Drop, Drops},
};
use serde::Serialize;

use super::{
    flows::walk,
    pins::Pins,
    tables::Tables,
    top::{Tally, Top},
};

/// Everything that is counted about a gateway.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Stats {
    /// Gateway id.
    pub id: String,
    /// By [`Counter::name`].
    pub counters: BTreeMap<&'static str, u64>,
    /// By [`Drop::name`], also zeros.
    pub drops: BTreeMap<&'static str, u64>,
    /// Use of the flow table.
    pub table: Table,
    /// The largest users, if they are asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub top: Option<Top>,
}

/// Use of the flow table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Table {
    /// Flows of both families.
    pub flows: u64,
    /// Of those, IPv4; for `doctor`.
    #[serde(skip)]
    pub ipv4: u64,
    /// Of those, IPv6.
    #[serde(skip)]
    pub ipv6: u64,
    /// Flows that each family has room for.
    pub capacity: u32,
}

/// Reads the counters of a gateway, and so many of its largest users.
pub fn read(pins: &Pins, top: Option<usize>) -> Result<Stats> {
    let tables = Tables::open(pins)?;
    let mut drops = [0; DROPS];
    for cpu in tables.drops.get(&0, 0).context("read map DROPS")?.iter() {
        add(&mut drops, words::<Drops, DROPS>(cpu));
    }
    let mut counters = [0; COUNTERS];
    for cpu in tables.counters.get(&0, 0).context("read map COUNTERS")?.iter() {
        add(&mut counters, words::<Counters, COUNTERS>(cpu));
    }
    let (mut ipv4, mut ipv6) = (0, 0);
    let (mut tally4, mut tally6) = (Tally::<V4>::default(), Tally::<V6>::default());
    walk::<V4>(pins, |key, value| {
        ipv4 += u64::from(key.dir == OUT);
        if top.is_some() {
            tally4.add(key, value);
        }
    })?;
    walk::<V6>(pins, |key, value| {
        ipv6 += u64::from(key.dir == OUT);
        if top.is_some() {
            tally6.add(key, value);
        }
    })?;
    let top = match top {
        Some(most) => {
            let (config, mut top) = (tables.config()?, Top::default());
            tally4.rank(&config, most, &mut top);
            tally6.rank(&config, most, &mut top);
            Some(top)
        }
        None => None,
    };
    Ok(Stats {
        id: pins.id.clone(),
        counters: Counter::ALL.iter().map(|c| c.name()).zip(counters).collect(),
        drops: Drop::ALL.iter().map(|d| d.name()).zip(drops).collect(),
        table: Table { flows: ipv4 + ipv6, ipv4, ipv6, capacity: tables.capacity(pins)? },
        top,
    })
}

/// One counter, summed over CPUs.
pub fn counter(tables: &Tables, counter: Counter) -> Result<u64> {
    let cpus = tables.counters.get(&0, 0).context("read map COUNTERS")?;
    Ok(cpus.iter().map(|cpu| words::<Counters, COUNTERS>(cpu)[counter as usize]).sum())
}

/// One number per enum value, as the programs index them.
fn words<T, const N: usize>(totals: &T) -> &[u64; N] {
    const { assert!(size_of::<T>() == N * 8) };
    // SAFETY: both are N words of the same alignment.
    unsafe { &*std::ptr::from_ref(totals).cast() }
}

fn add<const N: usize>(sum: &mut [u64; N], cpu: &[u64; N]) {
    for (sum, one) in sum.iter_mut().zip(cpu) {
        *sum += one;
    }
}

#[cfg(test)]
mod tests;
