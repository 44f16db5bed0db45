//! Fairness between sources, by dynamic thresholds (Choudhury, Hahne 1998): a source may open a flow as long as it has fewer
//! than α times what is free. With α = from / (100 − from) nobody is limited below `from` per cent of use, then the largest
//! sources first; n greedy ones always leave 1 / (1 + αn) free for others.
//!
//! This holds for the table and for the ports of an egress address towards one destination (a group). Flows are counted in
//! count-min sketches (Cormode, Muthukrishnan 2005): of constant size and never too low. Each flow is in one cell of each row,
//! chosen by a keyed hash: nobody can aim at the cells of another.

use crate::{
    abi::{config::Config, family::Address, flow::FlowKey, usage::WIDTH},
    ecmp::hash::{Hasher, mix},
    nat::port::{TRIES, has_ports, range},
};

/// What is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Flows of a source.
    Source = 0,
    /// Flows of an egress address towards one destination.
    Group = 1,
    /// Flows of a source in a group.
    Pair = 2,
}

/// Element of the number of all flows.
pub const ALL: u32 = 3 * WIDTH;

/// One cell of each row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// Element whose [`crate::abi::usage::Cell::first`] it is.
    pub first: u32,
    /// Element whose [`crate::abi::usage::Cell::second`] it is.
    pub second: u32,
}

/// The hashes of a flow.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Account {
    source: u64,
    /// 0: it takes no port, so it has no group.
    group: u64,
}

impl Account {
    /// Of the flow with this outbound key and egress address.
    #[inline(always)]
    pub fn new<A: Address>(secret: &[u64; 2], key: &FlowKey<A>, egress: &A) -> Self {
        let ports = has_ports(key.proto);
        let towards = u64::from(key.dport) | u64::from(key.proto) << 16;
        let source = Hasher::<1, 3>::new(secret).address(&key.saddr).finish();
        let group = Hasher::<1, 3>::new(secret).addresses(&key.daddr, egress).word(towards).finish();
        Self { source, group: if ports { group.max(1) } else { 0 } }
    }

    /// Whether it takes a port, so that it has a group.
    #[inline(always)]
    #[must_use]
    pub const fn ports(&self) -> bool {
        self.group != 0
    }

    /// Where it is counted.
    #[inline(always)]
    #[must_use]
    pub const fn place(&self, kind: Kind) -> Place {
        let hash = match kind {
            Kind::Source => self.source,
            Kind::Group => self.group,
            Kind::Pair => mix(self.source.wrapping_add(mix(self.group))),
        };
        let base = kind as u32 * WIDTH;
        #[expect(clippy::cast_possible_truncation, reason = "parts of the hash")]
        let (low, high) = (hash as u32, (hash >> 32) as u32);
        Place { first: base + (low & (WIDTH - 1)), second: base + (high & (WIDTH - 1)) }
    }
}

/// Counts as they are at a moment. Negative ones may be seen while a flow ends just as it began.
pub trait Counts {
    /// All flows of the family.
    fn all(&self) -> i32;
    /// The lower one of a place's two cells.
    fn at(&self, place: Place) -> i32;
}

/// What a new flow may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admission {
    /// Any port.
    Open,
    /// Only the port of a flow that is closed: its source has its share of the free ones.
    Closed,
    /// Only one that no flow has: those that are closed keep theirs for now.
    Unused,
    /// Nothing: its source has its share of the table, or was limited by number or pace.
    Refused,
}

/// Decides about a flow. `pace` says whether its source may open one more by [`Config::source_rate`] and charges it; it is
/// asked only under pressure.
#[inline(always)]
pub fn admit<A: Address>(
    config: &Config,
    key: &FlowKey<A>,
    account: &Account,
    counts: &impl Counts,
    pace: impl FnOnce() -> bool,
) -> Admission {
    let from = config.fair_from;
    if from >= 100 {
        return Admission::Open;
    }
    let full = pressed(counts.all(), config.capacity, from);
    let (min, max) = range(config, key.proto);
    let span = max.saturating_sub(min) + 1;
    let group = if account.ports() { counts.at(account.place(Kind::Group)) } else { 0 };
    let crowded = account.ports() && pressed(group, span, from);
    if !full && !crowded {
        return Admission::Open;
    }
    let own = counts.at(account.place(Kind::Source));
    if full && exceeds(own, free(counts.all(), config.capacity), from) {
        return Admission::Refused;
    }
    if config.source_flows != 0 && known(own) >= config.source_flows {
        return Admission::Refused;
    }
    if config.source_rate != 0 && !pace() {
        return Admission::Refused;
    }
    if crowded && exceeds(counts.at(account.place(Kind::Pair)), free(group, span), from) {
        return Admission::Closed;
    }
    Admission::Open
}

/// Whether so few ports of a group are free that less than one of those that are tried for a flow can be expected to be: then
/// a search that found none is worth remembering. With more of them the next one may well find one.
#[inline(always)]
pub fn spent<A: Address>(config: &Config, key: &FlowKey<A>, account: &Account, counts: &impl Counts) -> bool {
    let (min, max) = range(config, key.proto);
    let span = max.saturating_sub(min) + 1;
    !account.ports() || free(counts.at(account.place(Kind::Group)), span) <= span / TRIES
}

/// Whether so many of `room` are `from` per cent or more. 100: never.
#[inline(always)]
#[must_use]
pub const fn pressed(used: i32, room: u32, from: u32) -> bool {
    from < 100 && known(used) as u64 * 100 >= room as u64 * from as u64
}

/// Whether a source has its share. Where nothing is free nobody is to blame: the search says what lacks.
#[inline(always)]
const fn exceeds(own: i32, free: u32, from: u32) -> bool {
    free != 0 && known(own) as u64 * (100 - from as u64) >= free as u64 * from as u64
}

#[inline(always)]
const fn free(used: i32, room: u32) -> u32 {
    room.saturating_sub(known(used))
}

#[inline(always)]
const fn known(count: i32) -> u32 {
    if count < 0 { 0 } else { count as u32 }
}

const SECOND: u64 = 1_000_000_000;

/// The generic cell rate algorithm (ITU-T I.371) with a burst of one second's worth: until when the source's flows are paid
/// for after one more, or none if it has to wait. `rate` is not 0.
#[inline(always)]
#[must_use]
pub const fn charge(paid_until: u64, now: u64, rate: u32) -> Option<u64> {
    let each = SECOND / rate as u64;
    let ahead = paid_until.wrapping_sub(now);
    // More than a second ahead is what a clock left that was set back, or a time that is past.
    let ahead = if ahead > SECOND { 0 } else { ahead };
    if ahead > SECOND - each { None } else { Some(now + ahead + each) }
}

/// The key under which a search for closed flows is remembered as vain: the reply key with the source's hash for port and
/// zone. The zone is never 0, so it is never the key of all sources.
#[inline(always)]
#[must_use]
pub fn vain<A: Address>(reply: &FlowKey<A>, source: &A) -> FlowKey<A> {
    let (s0, s1) = source.lanes();
    let hash = mix(s0 ^ mix(s1));
    #[expect(clippy::cast_possible_truncation, reason = "parts of the hash")]
    let (dport, zone) = (hash as u16, (hash >> 16) as u16 | 1);
    FlowKey { dport, zone, ..*reply }
}

#[cfg(test)]
mod tests;
