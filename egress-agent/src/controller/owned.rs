//! Objects by name and by the gateway that owns them.

use std::collections::{BTreeMap, BTreeSet};

use kube::Resource;

use crate::spec::objects::key;

/// Objects of one kind.
pub(super) struct Owned<T> {
    all: BTreeMap<String, T>,
    /// Names by the UID of their owners.
    by: BTreeMap<String, BTreeSet<String>>,
}

impl<T> Default for Owned<T> {
    fn default() -> Self {
        Self { all: BTreeMap::new(), by: BTreeMap::new() }
    }
}

impl<T: Resource> Owned<T> {
    pub(super) fn put(&mut self, object: T) {
        let key = key(&object);
        self.remove(&key);
        for uid in owners(&object) {
            self.by.entry(uid).or_default().insert(key.clone());
        }
        self.all.insert(key, object);
    }

    pub(super) fn remove(&mut self, key: &str) -> Option<T> {
        let gone = self.all.remove(key)?;
        for uid in owners(&gone) {
            if let Some(names) = self.by.get_mut(&uid) {
                names.remove(key);
                if names.is_empty() {
                    self.by.remove(&uid);
                }
            }
        }
        Some(gone)
    }

    pub(super) fn get(&self, key: &str) -> Option<&T> {
        self.all.get(key)
    }

    /// Those of the gateway with this UID.
    pub(super) fn of(&self, uid: &str) -> Vec<&T> {
        self.by.get(uid).into_iter().flatten().filter_map(|key| self.all.get(key)).collect()
    }

    pub(super) fn keys(&self) -> BTreeSet<String> {
        self.all.keys().cloned().collect()
    }
}

fn owners<T: Resource>(object: &T) -> Vec<String> {
    let all = object.meta().owner_references.iter().flatten();
    all.filter(|owner| owner.kind == "VpcEgressGateway").map(|owner| owner.uid.clone()).collect()
}
