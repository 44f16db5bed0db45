//! Which Pods leave by which gateway, kept up to date object by object: a change of a Pod costs a look at the gateways, a
//! change of a Namespace at its Pods, a change of a gateway's selectors at all Pods once. No other change looks at Pods.
//!
//! Where several gateways select one Pod, the oldest that serves has it (`metadata.creationTimestamp`), of equals the first by
//! `namespace/name`: a new gateway never takes Pods away from one that works, and one that was never valid from nobody.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use k8s_openapi::{
    api::core::v1::{Namespace, Pod},
    apimachinery::pkg::apis::meta::v1::Time,
};

use crate::{
    k8s::api::{
        DEFAULT_VPC, GATEWAY_LABEL, LOGICAL_ROUTER_ANNOTATION, NAMESPACE_NAME_LABEL, Selector, VpcEgressGateway,
    },
    spec::{
        objects::key,
        plan::{
            pods::{Compiled, Labels, addresses, annotation, compile_all},
            subnets::vpc_name,
        },
        report::{At, Report},
    },
};

/// Addresses of Pods, by `namespace/name`.
pub type Selected = BTreeMap<String, Vec<IpAddr>>;

/// A gateway's place among those that select a Pod: those that cannot serve last, then by age, then by name.
type Rank = (bool, Option<Time>, String);

struct Selecting {
    vpc: String,
    rank: Rank,
    /// `spec.selectors`
    given: Vec<Selector>,
    selectors: Vec<Compiled>,
}

impl Selecting {
    fn selects(&self, pod: &Member, namespace: &Labels) -> bool {
        self.vpc == pod.vpc && self.selectors.iter().any(|entry| entry.matches(namespace, &pod.labels))
    }

    /// Whether both select the same.
    fn says(&self, other: &Self) -> bool {
        (&self.vpc, &self.rank, &self.given) == (&other.vpc, &other.rank, &other.given)
    }
}

struct Member {
    namespace: String,
    labels: Labels,
    vpc: String,
    addresses: Vec<IpAddr>,
    /// Who select it, the one that has it first.
    by: Vec<String>,
}

/// Everything that decides about a selection.
#[derive(Default)]
pub struct Index {
    gateways: BTreeMap<String, Selecting>,
    /// Gateways that cannot serve: never valid.
    idle: BTreeSet<String>,
    namespaces: BTreeMap<String, Labels>,
    pods: BTreeMap<String, Member>,
    /// Pods by Namespace.
    inside: BTreeMap<String, BTreeSet<String>>,
    /// Pods by the gateway that has them.
    won: BTreeMap<String, Selected>,
    /// Pods that a gateway selects and another has, with that one.
    lost: BTreeMap<String, BTreeMap<String, String>>,
}

/// Gateways whose Pods are others now.
pub type Changed = BTreeSet<String>;

impl Index {
    /// The Pods that leave by a gateway.
    #[must_use]
    pub fn selected(&self, gateway: &str) -> Selected {
        self.won.get(gateway).cloned().unwrap_or_default()
    }

    /// The Pods that a gateway selects and another has, with that one.
    #[must_use]
    pub fn lost(&self, gateway: &str) -> BTreeMap<String, String> {
        self.lost.get(gateway).cloned().unwrap_or_default()
    }

    /// All Namespaces.
    pub(super) fn namespaces(&self) -> BTreeSet<String> {
        self.namespaces.keys().cloned().collect()
    }

    /// All Pods that may be selected.
    pub(super) fn pods(&self) -> impl Iterator<Item = String> {
        self.pods.keys().cloned()
    }

    /// A gateway that came or changed. Selectors that cannot be read leave those before in force.
    pub fn gateway(&mut self, gateway: &VpcEgressGateway) -> Changed {
        let key = key(gateway);
        let mut report = Report::default();
        let selectors = compile_all(&gateway.spec, &At::nothing(), &mut report);
        if !report.errors.is_empty() {
            return Changed::new();
        }
        let vpc = vpc_name(&gateway.spec).to_owned();
        let rank = (self.idle.contains(&key), gateway.metadata.creation_timestamp.clone(), key.clone());
        let new = Selecting { vpc, rank, given: gateway.spec.selectors.clone(), selectors };
        // Most changes of a gateway are of its status.
        if self.gateways.get(&key).is_some_and(|old| old.says(&new)) {
            return Changed::new();
        }
        self.gateways.insert(key.clone(), new);
        self.again_for(&key)
    }

    /// Whether a gateway serves the Pods that it has: it is valid, or its last valid state runs.
    pub fn serves(&mut self, key: &str, serves: bool) -> Changed {
        let moved = if serves { self.idle.remove(key) } else { self.idle.insert(key.to_owned()) };
        if !moved {
            return Changed::new();
        }
        if let Some(gateway) = self.gateways.get_mut(key) {
            gateway.rank.0 = !serves;
        }
        self.again_for(key)
    }

    /// A gateway that is gone.
    pub fn without_gateway(&mut self, key: &str) -> Changed {
        self.idle.remove(key);
        self.gateways.remove(key);
        self.again_for(key)
    }

    /// Asks anew for the Pods that a gateway selects or did select.
    fn again_for(&mut self, key: &str) -> Changed {
        let gateway = self.gateways.get(key);
        let concerned = |pod: &Member| {
            pod.by.iter().any(|by| by == key)
                || gateway.is_some_and(|gateway| gateway.selects(pod, &self.namespace_of(pod)))
        };
        let pods: Vec<String> =
            self.pods.iter().filter(|(_, pod)| concerned(pod)).map(|(key, _)| key.clone()).collect();
        pods.iter().flat_map(|pod| self.again(pod)).collect()
    }

    fn namespace_of(&self, pod: &Member) -> Labels {
        let mut labels = self.namespaces.get(&pod.namespace).cloned().unwrap_or_default();
        labels.insert(NAMESPACE_NAME_LABEL.to_owned(), pod.namespace.clone());
        labels
    }

    /// A Namespace that came or changed.
    pub fn namespace(&mut self, namespace: &Namespace) -> Changed {
        let name = namespace.metadata.name.clone().unwrap_or_default();
        let labels = namespace.metadata.labels.clone().unwrap_or_default();
        if self.namespaces.insert(name.clone(), labels.clone()) == Some(labels) {
            return Changed::new();
        }
        let pods: Vec<String> = self.inside.get(&name).into_iter().flatten().cloned().collect();
        pods.iter().flat_map(|pod| self.again(pod)).collect()
    }

    /// A Namespace that is gone; its Pods go one by one.
    pub fn without_namespace(&mut self, name: &str) {
        self.namespaces.remove(name);
    }

    /// A Pod that came or changed.
    pub fn pod(&mut self, pod: &Pod) -> Changed {
        let key = key(pod);
        let labels = pod.metadata.labels.clone().unwrap_or_default();
        // What is being deleted still talks until it is gone. A gateway that steered its own packets to itself would loop.
        let addresses = addresses(pod, &At::nothing(), &mut Report::default());
        if labels.contains_key(GATEWAY_LABEL) || addresses.is_empty() {
            return self.without_pod(&key);
        }
        let namespace = pod.metadata.namespace.clone().unwrap_or_default();
        let vpc = annotation(pod, LOGICAL_ROUTER_ANNOTATION).unwrap_or(DEFAULT_VPC).to_owned();
        let mut changed = Changed::new();
        let by = match self.pods.get(&key) {
            Some(old) if old.addresses != addresses => {
                changed.extend(old.by.first().cloned());
                old.by.clone()
            }
            Some(old) => old.by.clone(),
            None => Vec::new(),
        };
        if let Some(first) = by.first().filter(|_| !changed.is_empty()) {
            self.won.entry(first.clone()).or_default().insert(key.clone(), addresses.clone());
        }
        self.inside.entry(namespace.clone()).or_default().insert(key.clone());
        self.pods.insert(key.clone(), Member { namespace, labels, vpc, addresses, by });
        changed.extend(self.again(&key));
        changed
    }

    /// A Pod that is gone.
    pub fn without_pod(&mut self, key: &str) -> Changed {
        let Some(member) = self.pods.remove(key) else { return Changed::new() };
        if let Some(inside) = self.inside.get_mut(&member.namespace) {
            inside.remove(key);
        }
        self.move_pod(key, &member.by, &[], &[])
    }

    /// Asks anew who selects a Pod.
    fn again(&mut self, key: &str) -> Changed {
        let Some(pod) = self.pods.get(key) else { return Changed::new() };
        let namespace = self.namespace_of(pod);
        let mut by: Vec<&Rank> =
            self.gateways.values().filter(|of| of.selects(pod, &namespace)).map(|of| &of.rank).collect();
        by.sort();
        let by: Vec<String> = by.into_iter().map(|(_, _, key)| key.clone()).collect();
        if by == pod.by {
            return Changed::new();
        }
        let (old, addresses) = (pod.by.clone(), pod.addresses.clone());
        if let Some(pod) = self.pods.get_mut(key) {
            pod.by.clone_from(&by);
        }
        self.move_pod(key, &old, &by, &addresses)
    }

    fn move_pod(&mut self, key: &str, old: &[String], new: &[String], addresses: &[IpAddr]) -> Changed {
        if let Some(gateway) = old.first() {
            remove(&mut self.won, gateway, key);
        }
        for gateway in old.iter().skip(1) {
            remove(&mut self.lost, gateway, key);
        }
        if let Some((winner, losers)) = new.split_first() {
            self.won.entry(winner.clone()).or_default().insert(key.to_owned(), addresses.to_vec());
            for loser in losers {
                self.lost.entry(loser.clone()).or_default().insert(key.to_owned(), winner.clone());
            }
        }
        old.iter().chain(new).cloned().collect()
    }
}

fn remove<T>(map: &mut BTreeMap<String, BTreeMap<String, T>>, gateway: &str, pod: &str) {
    if let Some(pods) = map.get_mut(gateway) {
        pods.remove(pod);
        if pods.is_empty() {
            map.remove(gateway);
        }
    }
}
