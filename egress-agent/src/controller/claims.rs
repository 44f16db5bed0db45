//! Which gateways would give their objects the same name: prefix and name of two may add up to one.

use std::collections::{BTreeMap, BTreeSet};

use super::names;
use crate::{k8s::api::VpcEgressGateway, spec::objects::key};

/// Gateways by `namespace/name` of their Deployments.
#[derive(Default)]
pub(super) struct Claims {
    by: BTreeMap<String, BTreeSet<String>>,
    of: BTreeMap<String, String>,
}

impl Claims {
    /// A gateway that came or changed. Returns those that claim a name which it has now or no more.
    pub(super) fn put(&mut self, gateway: &VpcEgressGateway) -> BTreeSet<String> {
        let (key, name) = (key(gateway), object(gateway));
        if self.of.get(&key) == Some(&name) {
            return BTreeSet::new();
        }
        let mut concerned = self.remove(&key);
        let rivals = self.by.entry(name.clone()).or_default();
        concerned.extend(rivals.iter().cloned());
        rivals.insert(key.clone());
        self.of.insert(key, name);
        concerned
    }

    /// A gateway that is gone. Returns those that claim the name that it had.
    pub(super) fn remove(&mut self, gateway: &str) -> BTreeSet<String> {
        let Some(name) = self.of.remove(gateway) else { return BTreeSet::new() };
        let Some(all) = self.by.get_mut(&name) else { return BTreeSet::new() };
        all.remove(gateway);
        let rest = all.clone();
        if rest.is_empty() {
            self.by.remove(&name);
        }
        rest
    }

    /// All that claim the name of an object.
    pub(super) fn to(&self, object: &str) -> impl Iterator<Item = &String> {
        self.by.get(object).into_iter().flatten()
    }
}

/// `namespace/name` of the gateway's Deployment.
pub(super) fn object(gateway: &VpcEgressGateway) -> String {
    format!("{}/{}", names::namespace(gateway), names::deployment(gateway))
}
