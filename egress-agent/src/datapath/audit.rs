//! Proves that the flow table is one of whole flows: each half has its other half, which points back. As keys are unique, no two
//! flows can then share a reply key.
//!
//! The table is read while packets change it. What looks wrong is read again for a while: a flow between its two inserts or its two
//! deletes is neither for long.

use std::{fmt::Debug, thread, time::Duration};

use anyhow::{Context, Result};
use aya::{
    Pod,
    maps::{HashMap, Map, MapData},
};
use egress_common::{
    abi::{
        family::{V4, V6},
        flow::{FlowKey, FlowValue, IN, OUT, state},
    },
    conntrack::removal::CLAIM_GRACE,
};

use super::{
    flows::{Readable, Walk},
    pins::Pins,
};

/// Entries of each family that are looked at; of a larger table those that come first.
const MOST: usize = 131_072;

/// Wrong halves of each family after which the rest is not looked at.
const MOST_WRONG: usize = 1000;

/// How often and how long apart what looks wrong is read again.
const AGAIN: (u32, Duration) = (10, Duration::from_millis(100));

/// Outcome of a look at the table.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Audit {
    /// Halves that were looked at.
    pub entries: usize,
    /// Some were not.
    pub partly: bool,
    /// What is wrong, a line for each half.
    pub wrong: Vec<String>,
}

/// Looks at both tables at `now` (seconds of the datapath's clock).
pub fn audit(pins: &Pins, now: u32) -> Result<Audit> {
    let mut audit = Audit::default();
    family::<V4>(pins, now, &mut audit)?;
    family::<V6>(pins, now, &mut audit)?;
    Ok(audit)
}

fn family<F>(pins: &Pins, now: u32, audit: &mut Audit) -> Result<()>
where
    F: Readable,
    F::Addr: Debug,
    FlowKey<F::Addr>: Pod,
    FlowValue<F>: Pod,
{
    let path = pins.map(F::MAP);
    let data = MapData::from_pin(&path).with_context(|| format!("open {}", path.display()))?;
    let table: HashMap<_, FlowKey<F::Addr>, FlowValue<F>> =
        Map::HashMap(data).try_into().with_context(|| format!("map {}", F::MAP))?;
    let wrong = |key: &FlowKey<F::Addr>, value: &FlowValue<F>| {
        let other = table.get(&other::<F>(key, value), 0).ok();
        wrong::<F>(key, value, other.as_ref(), now)
    };
    let (mut walk, mut seen, mut suspects) = (Walk::<F>::open(pins)?, 0, Vec::new());
    let mut more = true;
    while more && seen < MOST && suspects.len() < MOST_WRONG {
        more = walk.batch(|key, value| {
            seen += 1;
            if wrong(key, value).is_some() {
                suspects.push((*key, value.created));
            }
        })?;
    }
    for _ in 0..AGAIN.0 {
        if suspects.is_empty() {
            break;
        }
        thread::sleep(AGAIN.1);
        suspects.retain(|(key, created)| {
            table.get(key, 0).is_ok_and(|value| value.created == *created && wrong(key, &value).is_some())
        });
    }
    audit.entries += seen;
    audit.partly |= more;
    for (key, _) in suspects {
        let Ok(value) = table.get(&key, 0) else { continue };
        if let Some(what) = wrong(&key, &value) {
            audit.wrong.push(format!("{key:?} {what}"));
        }
    }
    Ok(())
}

/// Key of the other half.
fn other<F: Readable>(key: &FlowKey<F::Addr>, value: &FlowValue<F>) -> FlowKey<F::Addr> {
    let (addr, port) = (value.nat_addr, value.word.port);
    if key.dir == OUT { key.reply(addr, port) } else { key.original(addr, port) }
}

/// What is wrong with a half, given the half that its value names.
fn wrong<F: Readable>(
    key: &FlowKey<F::Addr>,
    value: &FlowValue<F>,
    other: Option<&FlowValue<F>>,
    now: u32,
) -> Option<&'static str> {
    if value.word.dying() {
        let age = now.wrapping_sub(u32::from(value.word.state)) & u32::from(state::SINCE);
        let left = age >= CLAIM_GRACE && age <= u32::from(state::SINCE) - CLAIM_GRACE;
        return left.then_some("was to be removed and is still there");
    }
    if !value.word.carries(key.dir) || key.dir > IN {
        return Some("has the mark of the other direction");
    }
    let age = now.wrapping_sub(value.created);
    if !(CLAIM_GRACE..=u32::MAX / 2).contains(&age) {
        return None;
    }
    let own = if key.dir == OUT { (key.saddr, key.sport) } else { (key.daddr, key.dport) };
    match other {
        None => Some("has no other half"),
        Some(other) if (other.nat_addr, other.word.port) != own => Some("has lost its other half to another flow"),
        Some(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use egress_common::abi::flow::Word;

    use super::*;

    const NOW: u32 = 1000;

    type Half = (FlowKey<[u8; 4]>, FlowValue<V4>);

    fn flow() -> (Half, Half) {
        let key =
            FlowKey { saddr: [10, 0, 0, 1], daddr: [9, 9, 9, 9], sport: 11, dport: 443, proto: 6, dir: OUT, zone: 0 };
        let out = FlowValue::new([8, 8, 8, 8], Word { port: 2000, seen: 0, state: 0 }, 900);
        let back = FlowValue::new([10, 0, 0, 1], Word { port: 11, seen: 0, state: state::REPLY }, 900);
        ((key, out), (key.reply([8, 8, 8, 8], 2000), back))
    }

    #[test]
    fn whole_flows_are_right() {
        let ((key, out), (reply, back)) = flow();
        assert_eq!((other::<V4>(&key, &out), other::<V4>(&reply, &back)), (reply, key));
        assert_eq!(wrong::<V4>(&key, &out, Some(&back), NOW), None);
        assert_eq!(wrong::<V4>(&reply, &back, Some(&out), NOW), None);
    }

    #[test]
    fn halves_are_wrong_once_they_are_old() {
        let ((key, out), (reply, back)) = flow();
        for (key, value) in [(&key, &out), (&reply, &back)] {
            assert!(wrong::<V4>(key, value, None, NOW).is_some());
            assert_eq!(wrong::<V4>(key, value, None, 900 + CLAIM_GRACE - 1), None, "it is being opened");
            assert_eq!(wrong::<V4>(key, value, None, 899), None, "another CPU's second began earlier");
        }
    }

    #[test]
    fn two_flows_with_one_reply_are_wrong() {
        let ((key, out), (_, back)) = flow();
        let second = FlowKey { saddr: [10, 0, 0, 2], ..key };
        assert_eq!(wrong::<V4>(&second, &out, Some(&back), NOW), Some("has lost its other half to another flow"));
        let port = FlowKey { sport: 12, ..key };
        assert!(wrong::<V4>(&port, &out, Some(&back), NOW).is_some());
    }

    #[test]
    fn marks_that_nobody_carries_out_are_wrong() {
        let ((key, _), _) = flow();
        let with = |state: u8| FlowValue::<V4>::new([8, 8, 8, 8], Word { port: 2000, seen: 0, state }, 900);
        let marked = |second: u32| with(state::DYING | second as u8 & state::SINCE);
        assert_eq!(wrong::<V4>(&key, &marked(NOW), None, NOW), None);
        assert_eq!(wrong::<V4>(&key, &marked(NOW + 1), None, NOW), None);
        assert!(wrong::<V4>(&key, &marked(NOW - CLAIM_GRACE), None, NOW).is_some());
        assert_eq!(wrong::<V4>(&key, &with(state::REPLY), None, NOW), Some("has the mark of the other direction"));
    }
}
