//! What a list says by leaving out: a watch that was away for too long begins anew with one, and tells of no object that went meanwhile.

use std::collections::{BTreeMap, BTreeSet};

/// A kind that is watched.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    Vpc,
    Subnet,
    Node,
    Pod,
}

impl Kind {
    pub(super) const ALL: [Self; 4] = [Self::Vpc, Self::Subnet, Self::Node, Self::Pod];
}

/// The lists that are going on, and the kinds that were listed.
#[derive(Debug, Default)]
pub(super) struct Listing {
    seen: BTreeMap<Kind, BTreeSet<String>>,
    listed: BTreeSet<Kind>,
}

impl Listing {
    /// A list begins.
    pub(super) fn begin(&mut self, kind: Kind) {
        self.seen.insert(kind, BTreeSet::new());
    }

    /// It has this object.
    pub(super) fn has(&mut self, kind: Kind, key: String) {
        self.seen.entry(kind).or_default().insert(key);
    }

    /// It has ended: those of the known objects that were not in it.
    pub(super) fn end(&mut self, kind: Kind, mut known: BTreeSet<String>) -> BTreeSet<String> {
        self.listed.insert(kind);
        let seen = self.seen.remove(&kind).unwrap_or_default();
        known.retain(|key| !seen.contains(key));
        known
    }

    /// Whether every kind was listed.
    pub(super) fn is_complete(&self) -> bool {
        self.listed.len() == Kind::ALL.len()
    }
}
