//! Who uses most: ports of an egress address towards one destination, and flows of a source. Counted by looking through the
//! table when asked; nothing is kept for it per packet.

use std::{cmp::Reverse, collections::HashMap, hash::Hash, net::IpAddr};

use egress_common::{
    abi::{
        config::Config,
        family::Address,
        flow::{FlowKey, FlowValue, OUT},
    },
    nat::port::{has_ports, range},
    packet::transport::{Layout, layout},
};
use serde::Serialize;

use super::flows::{Readable, protocol};

/// The largest users.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Top {
    /// By ports used of an egress address.
    pub destinations: Ranked<Destination>,
    /// By flows.
    pub sources: Ranked<Source>,
}

/// The first of a ranking.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Ranked<T> {
    /// How many there are in all.
    pub total: usize,
    /// The largest, in order.
    pub largest: Vec<T>,
}

impl<T> Default for Ranked<T> {
    fn default() -> Self {
        Self { total: 0, largest: Vec::new() }
    }
}

/// Ports of an egress address towards one destination.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Destination {
    /// Egress address.
    pub egress: IpAddr,
    /// As in `flows`.
    pub protocol: String,
    /// The other end.
    pub remote: IpAddr,
    /// Its port; none for ICMP.
    pub remote_port: Option<u16>,
    /// Ports or identifiers in use.
    pub used: u32,
    /// Of so many.
    pub of: u32,
}

/// Flows of a source.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Source {
    /// Address of the Pod.
    pub inside: IpAddr,
    /// Its flows.
    pub flows: u32,
}

/// Counts one family's flows.
#[derive(Debug)]
pub(super) struct Tally<F: Readable> {
    groups: HashMap<(F::Addr, F::Addr, u16, u8), u32>,
    sources: HashMap<F::Addr, u32>,
}

impl<F: Readable> Default for Tally<F> {
    fn default() -> Self {
        Self { groups: HashMap::new(), sources: HashMap::new() }
    }
}

impl<F: Readable> Tally<F>
where
    F::Addr: Address + Hash,
{
    /// Counts the half if it is a flow's first.
    pub(super) fn add(&mut self, key: &FlowKey<F::Addr>, value: &FlowValue<F>) {
        if key.dir != OUT || value.word.dying() {
            return;
        }
        *self.sources.entry(key.saddr).or_default() += 1;
        if has_ports(key.proto) {
            *self.groups.entry((value.nat_addr, key.daddr, key.dport, key.proto)).or_default() += 1;
        }
    }

    /// Adds the family's largest to a ranking of so many.
    pub(super) fn rank(self, config: &Config, most: usize, top: &mut Top) {
        let destinations = self.groups.into_iter().map(|((egress, remote, port, proto), used)| {
            let (min, max) = range(config, proto);
            let remote_port = (!matches!(layout::<F>(proto, 0), Layout::Id(_))).then_some(port);
            Destination {
                egress: F::ip(egress),
                protocol: protocol(proto),
                remote: F::ip(remote),
                remote_port,
                used,
                of: max.saturating_sub(min) + 1,
            }
        });
        let by = |it: &Destination| (Reverse(it.used), it.remote, it.remote_port, it.egress, it.protocol.clone());
        top.destinations.take(destinations, most, by);
        let sources = self.sources.into_iter().map(|(inside, flows)| Source { inside: F::ip(inside), flows });
        top.sources.take(sources, most, |it| (Reverse(it.flows), it.inside));
    }
}

impl<T> Ranked<T> {
    /// Keeps the first of both by `by`, without holding all of them as what people read.
    fn take<K: Ord>(&mut self, more: impl Iterator<Item = T>, most: usize, by: impl Fn(&T) -> K) {
        for one in more {
            self.total += 1;
            self.largest.push(one);
            if self.largest.len() > 2 * most + 64 {
                self.largest.sort_by_cached_key(&by);
                self.largest.truncate(most);
            }
        }
        self.largest.sort_by_cached_key(&by);
        self.largest.truncate(most);
    }
}

#[cfg(test)]
mod tests;
