//! The gateways' own Pods.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::core::v1::Pod;

use super::names;
use crate::{k8s::api::GATEWAY_LABEL, spec::objects::key};

/// Pods by `namespace/value of the gateway's label`.
#[derive(Default)]
pub(super) struct Members {
    pods: BTreeMap<String, BTreeMap<String, Pod>>,
    places: BTreeMap<String, String>,
}

impl Members {
    /// A Pod that came or changed: the places that it is in or was in.
    pub(super) fn put(&mut self, pod: Pod) -> BTreeSet<String> {
        let key = key(&pod);
        let mut changed: BTreeSet<String> = self.remove(&key).into_iter().collect();
        if let Some(place) = place(&pod) {
            self.places.insert(key.clone(), place.clone());
            self.pods.entry(place.clone()).or_default().insert(key, pod);
            changed.insert(place);
        }
        changed
    }

    /// A Pod that is gone: the place that it was in.
    pub(super) fn remove(&mut self, key: &str) -> Option<String> {
        let place = self.places.remove(key)?;
        if let Some(pods) = self.pods.get_mut(&place) {
            pods.remove(key);
            if pods.is_empty() {
                self.pods.remove(&place);
            }
        }
        Some(place)
    }

    pub(super) fn of(&self, place: &str) -> Vec<&Pod> {
        self.pods.get(place).into_iter().flat_map(BTreeMap::values).collect()
    }

    /// The places with a Pod on the Node.
    pub(super) fn on(&self, node: &str) -> BTreeSet<String> {
        let here = |pod: &Pod| pod.spec.as_ref().is_some_and(|spec| spec.node_name.as_deref() == Some(node));
        self.pods.iter().filter(|(_, pods)| pods.values().any(here)).map(|(place, _)| place.clone()).collect()
    }

    pub(super) fn keys(&self) -> impl Iterator<Item = String> {
        self.places.keys().cloned()
    }
}

/// With both labels: they are the Deployment's selector.
fn place(pod: &Pod) -> Option<String> {
    let labels = pod.metadata.labels.as_ref()?;
    let gateway = labels.get(GATEWAY_LABEL).filter(|_| labels.get("app").is_some_and(|app| app == names::APP))?;
    Some(format!("{}/{gateway}", pod.metadata.namespace.as_deref().unwrap_or_default()))
}
