//! From maps of another layout to ours without losing a packet or a flow.
//!
//! The new programs are attached behind the old ones, and these then pass on what belongs to no flow of theirs: from then on
//! they open none, so that all of theirs can be copied, and every packet finds its flow in one of the two tables. What is done
//! can be done again from any point: links beside the old ones have a pin, `<link>-new`.

use std::{collections::HashMap, hash::Hash, thread::sleep};

use anyhow::{Context, Result};
use egress_common::abi::{
    config::{Config, flags},
    family::{Address, Family},
    flow::FlowKey,
    order::{Carried, Wide},
};
use tracing::{info, warn};

use super::{
    attach::{Attach, Place, attach, attach_behind, put_in_place},
    import::{Became, Flows, GRACE, LOOKS, import, settle},
    load::Programs,
    old::Old,
    pins::{Pins, remove_tree},
    xdp,
};
use crate::net::Netlink;

/// What is in force here until the flows of `old` are taken over. Before, it may have given a port to a flow that is not copied
/// yet, and answers come to it first: until all are, it opens flows in one half of its ports and we in the rest, and neither
/// gives away the port of a flow that has ended.
pub fn begin(old: &[Old], config: Config) -> Result<Config> {
    let mut held = Config { flags: config.flags | flags::HOLD_PORTS, ..config };
    for old in old {
        if let Some(theirs) = old.narrow()? {
            (held.port_min, held.port_max) = rest((held.port_min, held.port_max), theirs);
        }
    }
    sleep(GRACE);
    Ok(held)
}

/// The longer part of a range of ports that is outside of another one; all of it if there is none.
fn rest((min, max): (u16, u16), theirs: (u16, u16)) -> (u16, u16) {
    let below = theirs.0.checked_sub(1).map(|last| (min, max.min(last)));
    let above = theirs.1.checked_add(1).map(|first| (min.max(first), max));
    let parts = below.into_iter().chain(above).filter(|(min, max)| min <= max);
    parts.max_by_key(|(min, max)| max - min).unwrap_or((min, max))
}

/// Takes over the flows of `old` and attaches the programs of all places in the place of theirs; how they are attached. XDP
/// programs that are there are replaced, too, if they are `wanted`.
pub async fn run(
    programs: &mut Programs,
    pins: &Pins,
    nl: &Netlink,
    places: &[Place<'_>],
    how: Attach,
    old: &[Old],
    xdp_wanted: bool,
) -> Result<Attach> {
    let (behind, mut attached) = (|place: &&Place<'_>| !place.egress, how);
    for guard in places.iter().filter(|place| place.egress) {
        attached = attach(programs, pins, guard, how)?;
    }
    let mut last = read(old)?;
    let first = copy(programs, &last, false)?;
    let mut beside = Vec::new();
    for place in places.iter().filter(behind) {
        let there = place.find(pins, nl).await?;
        beside.push(attach_behind(programs, pins, place, how, there)?);
    }
    for old in old {
        old.pass_on()?;
    }
    let became = settle(LOOKS, || {
        let now = read(old)?;
        last = Flows { v4: not_less(now.v4, &last.v4), v6: not_less(now.v6, &last.v6) };
        copy(programs, &last, false)
    })?;
    for (place, beside) in places.iter().filter(behind).zip(beside) {
        attached = put_in_place(programs, pins, place, how, beside)?;
    }
    // Until here those before them carried flows of the old table.
    xdp::renew(programs, pins, xdp_wanted)?;
    // What the old programs did between the last look and their end.
    sleep(GRACE);
    let end = read(old)?;
    let rest = Flows { v4: since(end.v4, &last.v4), v6: since(end.v6, &last.v6) };
    copy(programs, &rest, true)?;
    forget(pins)?;
    info!(
        flows = first.new + became.new,
        "took over the flows of another layout of the maps; counters and drops begin at zero"
    );
    if became.refused > 0 || became.full > 0 {
        warn!(refused = became.refused, no_room = became.full, "flows that could not be taken over");
    }
    Ok(attached)
}

/// Removes the maps of other layouts, once no program runs on them.
pub fn forget(pins: &Pins) -> Result<()> {
    pins.other_maps().context("list the folders of maps")?.iter().try_for_each(|maps| remove_tree(maps))
}

fn read(old: &[Old]) -> Result<Flows> {
    let mut flows = Flows::default();
    for old in old {
        let more = old.flows()?;
        flows.v4.extend(more.v4);
        flows.v6.extend(more.v6);
    }
    Ok(flows)
}

fn copy(programs: &mut Programs, flows: &Flows, add: bool) -> Result<Became> {
    import(programs.get("import")?, flows, add)
}

fn by_key<F: Family>(flows: &[Carried<F>]) -> HashMap<FlowKey<F::Addr>, &Carried<F>>
where
    F::Addr: Address + Hash,
{
    flows.iter().map(|flow| (flow.key, flow)).collect()
}

/// Both directions of `one` with those of `other`.
fn each(one: [Wide; 2], other: [Wide; 2], both: fn(u64, u64) -> u64) -> [Wide; 2] {
    [0, 1].map(|side| Wide::from(both(one[side].get(), other[side].get())))
}

/// What was read now, no flow with less than before: a look misses what shortcuts tell their table in the middle of it, and what was
/// copied stays.
fn not_less<F: Family>(mut now: Vec<Carried<F>>, before: &[Carried<F>]) -> Vec<Carried<F>>
where
    F::Addr: Address + Hash,
{
    let before = by_key(before);
    for flow in &mut now {
        if let Some(before) = before.get(&flow.key) {
            flow.packets = each(flow.packets, before.packets, u64::max);
            flow.bytes = each(flow.bytes, before.bytes, u64::max);
        }
    }
    now
}

/// What flows carried since they were read before.
fn since<F: Family>(now: Vec<Carried<F>>, before: &[Carried<F>]) -> Vec<Carried<F>>
where
    F::Addr: Address + Hash,
{
    let before = by_key(before);
    let changed = |flow: Carried<F>| {
        let before = before.get(&flow.key)?;
        let rest = Carried {
            packets: each(flow.packets, before.packets, u64::saturating_sub),
            bytes: each(flow.bytes, before.bytes, u64::saturating_sub),
            ..flow
        };
        (rest.packets != [Wide::default(); 2] || flow.seen != before.seen).then_some(rest)
    };
    now.into_iter().filter_map(changed).collect()
}

#[cfg(test)]
mod tests {
    use egress_common::abi::family::V4;

    use super::*;

    fn flow(sport: u16, packets: [u64; 2]) -> Carried<V4> {
        let key = FlowKey { saddr: [10, 0, 0, 9], daddr: [1, 1, 1, 1], sport, dport: 443, proto: 6, dir: 0, zone: 0 };
        Carried {
            key,
            nat_addr: [172, 17, 0, 11],
            port: 40_000,
            seen: [9, 9],
            created: 1,
            last_seen: [2, 3],
            packets: packets.map(Wide::from),
            bytes: packets.map(|packets| Wide::from(packets * 100)),
        }
    }

    #[test]
    fn what_is_outside_of_a_range() {
        let whole = (1024, 65_535);
        for (mine, theirs, want) in [
            (whole, (1024, 33_279), (33_280, 65_535)),
            (whole, (40_000, 50_000), (1024, 39_999)),
            (whole, (2000, 2100), (2101, 65_535)),
            ((2000, 3000), (4000, 5000), (2000, 3000)),
            ((2000, 3000), (1024, 1999), (2000, 3000)),
            ((2000, 3000), (2500, 5000), (2000, 2499)),
            ((2000, 3000), (1024, 5000), (2000, 3000)),
            ((0, 65_535), (0, 65_535), (0, 65_535)),
            ((0, 10), (0, 5), (6, 10)),
        ] {
            assert_eq!(rest(mine, theirs), want, "{mine:?} {theirs:?}");
        }
    }

    #[test]
    fn a_look_that_missed_something_takes_nothing_back() {
        let before = [flow(1, [5, 6]), flow(2, [5, 6])];
        let now = not_less(vec![flow(1, [4, 9]), flow(3, [1, 1])], &before);
        let all = now.iter().map(|it| (it.key.sport, it.packets.map(Wide::get), it.bytes[0].get()));
        assert_eq!(all.collect::<Vec<_>>(), [(1, [5, 9], 500), (3, [1, 1], 100)]);
    }

    #[test]
    fn only_what_changed_and_by_how_much() {
        let before = [flow(1, [5, 6]), flow(2, [5, 6])];
        let rest = since(vec![flow(1, [5, 6]), flow(2, [7, 6]), flow(3, [1, 1])], &before);
        assert_eq!(rest.len(), 1, "flow 3 was not copied before: it is not there");
        assert_eq!((rest[0].key.sport, rest[0].packets[0].get(), rest[0].bytes[0].get()), (2, 2, 200));
        assert_eq!(rest[0].packets[1].get(), 0);
        let closed = Carried { seen: [11, 9], ..flow(1, [5, 6]) };
        assert_eq!(since(vec![closed], &before).len(), 1, "a FIN whose packet was counted before");
    }
}
