//! Everything that the controller has seen of the cluster, and which gateways a change may concern. Pure: changes come in
//! one by one, whoever brings them.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Debug,
};

use k8s_openapi::api::{
    apps::v1::Deployment,
    core::v1::{ConfigMap, Namespace, Pod},
};
use kube::Resource;
use serde::de::DeserializeOwned;

use super::{
    Input, Settings, names,
    select::{Changed, Index},
};
use crate::{
    k8s::api::{
        BgpConf, EgressGatewayProfile, EvpnConf, GATEWAY_LABEL, IPPool, NetworkAttachmentDefinition, Subnet, Vpc,
        VpcEgressGateway,
    },
    spec::{
        Located, Objects, Origin,
        objects::{Place, key},
    },
};

/// The cluster as far as it is seen.
#[derive(Default)]
pub struct State {
    objects: Objects,
    index: Index,
    deployments: BTreeMap<String, Deployment>,
    configs: BTreeMap<String, ConfigMap>,
    /// Gateway Pods by the value of their label, `namespace/value`, then by name.
    pods: BTreeMap<String, BTreeMap<String, Pod>>,
    /// Why the last writes of a gateway failed.
    failures: BTreeMap<String, String>,
    dirty: BTreeSet<String>,
}

/// A kind that the controller watches.
pub trait Watched: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + 'static {
    /// It came, or changed.
    fn put(self, state: &mut State);
    /// It is gone.
    fn remove(key: &str, state: &mut State);
    /// All that there are, by `namespace/name`.
    fn keys(state: &State) -> BTreeSet<String>;
}

impl State {
    /// Nothing seen yet.
    #[must_use]
    pub fn new() -> Self {
        Self { objects: Objects { place: Place::Cluster, ..Objects::default() }, ..Self::default() }
    }

    /// Gateways that something may have to be written for, by `namespace/name`; each is named once.
    pub fn take_dirty(&mut self) -> BTreeSet<String> {
        std::mem::take(&mut self.dirty)
    }

    /// Looks at a gateway again.
    pub fn again(&mut self, gateway: &str) {
        self.dirty.insert(gateway.to_owned());
    }

    /// Looks at every gateway again.
    pub fn all_again(&mut self) {
        self.dirty.extend(self.objects.gateways.keys().cloned());
    }

    /// What the last writes of a gateway failed by; none: they did not.
    pub fn failed(&mut self, gateway: &str, failure: Option<String>) {
        let before = match failure {
            Some(failure) => self.failures.insert(gateway.to_owned(), failure.clone()) == Some(failure),
            None => self.failures.remove(gateway).is_none(),
        };
        if !before {
            self.again(gateway);
        }
    }

    /// The gateway, if it is there and is not being deleted.
    #[must_use]
    pub fn gateway(&self, key: &str) -> Option<&VpcEgressGateway> {
        let found = self.objects.gateways.get(key).map(|gateway| &gateway.object);
        found.filter(|gateway| gateway.metadata.deletion_timestamp.is_none())
    }

    /// Calls `plan` with what is known of a gateway.
    pub fn with_input<T>(
        &self,
        key: &str,
        settings: &Settings,
        now: &str,
        plan: impl FnOnce(&Input<'_>) -> T,
    ) -> Option<T> {
        self.gateway(key)?;
        let gateway = self.objects.gateways.get(key)?;
        let owned = |deployment: &&Deployment| {
            deployment.metadata.owner_references.iter().flatten().any(|owner| {
                owner.kind == "VpcEgressGateway" && Some(&owner.uid) == gateway.object.metadata.uid.as_ref()
            })
        };
        let deployments: Vec<&Deployment> = self.deployments.values().filter(owned).collect();
        let namespace = names::namespace(&gateway.object);
        let label = format!("{namespace}/{}", names::label_value(names::name(&gateway.object)));
        let pods: Vec<&Pod> = self.pods.get(&label).into_iter().flat_map(BTreeMap::values).collect();
        Some(plan(&Input {
            objects: &self.objects,
            gateway,
            selected: self.index.selected(key),
            lost: self.index.lost(key),
            deployments: &deployments,
            config: self.configs.get(&format!("{namespace}/{}", names::config(&gateway.object))),
            pods: &pods,
            failure: self.failures.get(key).map(String::as_str),
            settings,
            now,
        }))
    }

    fn changed(&mut self, gateways: Changed) {
        self.dirty.extend(gateways);
    }

    /// Gateways that an object with the label belongs to.
    fn owners<T: Resource>(&mut self, object: &T) {
        let meta = object.meta();
        let label = meta.labels.as_ref().and_then(|labels| labels.get(GATEWAY_LABEL)).cloned().unwrap_or_default();
        let namespace = meta.namespace.clone().unwrap_or_default();
        let direct = format!("{namespace}/{label}");
        if self.objects.gateways.contains_key(&direct) {
            self.dirty.insert(direct);
            return;
        }
        // The name may be too long for a label.
        let of = |gateway: &VpcEgressGateway| {
            names::namespace(gateway) == namespace && names::label_value(names::name(gateway)) == label
        };
        let found: Vec<String> =
            self.objects.gateways.iter().filter(|(_, g)| of(&g.object)).map(|(key, _)| key.clone()).collect();
        self.dirty.extend(found);
    }
}

fn located<T>(object: T) -> Located<T> {
    Located { origin: Origin::default(), object }
}

impl Watched for VpcEgressGateway {
    fn put(self, state: &mut State) {
        let changed = state.index.gateway(&self);
        state.changed(changed);
        state.again(&key(&self));
        state.objects.gateways.insert(key(&self), located(self));
    }

    fn remove(key: &str, state: &mut State) {
        state.objects.gateways.remove(key);
        state.failures.remove(key);
        let changed = state.index.without_gateway(key);
        state.changed(changed);
    }

    fn keys(state: &State) -> BTreeSet<String> {
        state.objects.gateways.keys().cloned().collect()
    }
}

/// Kinds that any gateway may read: all are looked at again, if what is read changed. Counters in a status change often.
macro_rules! read_by_all {
    ($kind:ty, $field:ident, $read:expr) => {
        impl Watched for $kind {
            fn put(self, state: &mut State) {
                let read: fn(&$kind) -> _ = $read;
                let key = key(&self);
                let old = state.objects.$field.insert(key.clone(), located(self));
                let new = state.objects.$field.get(&key);
                if old.as_ref().map(|old| read(&old.object)) != new.map(|new| read(&new.object)) {
                    state.all_again();
                }
            }

            fn remove(key: &str, state: &mut State) {
                if state.objects.$field.remove(key).is_some() {
                    state.all_again();
                }
            }

            fn keys(state: &State) -> BTreeSet<String> {
                state.objects.$field.keys().cloned().collect()
            }
        }
    };
}

read_by_all!(Subnet, subnets, |subnet| subnet.spec.clone());
read_by_all!(Vpc, vpcs, |vpc| (vpc.spec.clone(), vpc.status.clone()));
read_by_all!(NetworkAttachmentDefinition, attachments, |attachment| attachment.spec.clone());
read_by_all!(EgressGatewayProfile, profiles, |profile| profile.spec.clone());
read_by_all!(IPPool, pools, |pool| pool.spec.clone());
read_by_all!(BgpConf, bgp, |bgp| bgp.spec.clone());
read_by_all!(EvpnConf, evpn, |evpn| evpn.spec.clone());

impl Watched for Namespace {
    fn put(self, state: &mut State) {
        let changed = state.index.namespace(&self);
        state.changed(changed);
    }

    fn remove(key: &str, state: &mut State) {
        state.index.without_namespace(key);
    }

    fn keys(state: &State) -> BTreeSet<String> {
        state.index.namespaces()
    }
}

impl Watched for Pod {
    fn put(self, state: &mut State) {
        let changed = state.index.pod(&self);
        state.changed(changed);
        if let Some(label) = self.metadata.labels.as_ref().and_then(|labels| labels.get(GATEWAY_LABEL)) {
            let place = format!("{}/{label}", self.metadata.namespace.as_deref().unwrap_or_default());
            state.owners(&self);
            state.pods.entry(place).or_default().insert(key(&self), self);
        }
    }

    fn remove(key: &str, state: &mut State) {
        let changed = state.index.without_pod(key);
        state.changed(changed);
        let gone: Vec<Self> = state.pods.values_mut().filter_map(|pods| pods.remove(key)).collect();
        gone.iter().for_each(|pod| state.owners(pod));
        state.pods.retain(|_, pods| !pods.is_empty());
    }

    fn keys(state: &State) -> BTreeSet<String> {
        state.index.pods().chain(state.pods.values().flat_map(|pods| pods.keys().cloned())).collect()
    }
}

impl Watched for Deployment {
    fn put(self, state: &mut State) {
        state.owners(&self);
        state.deployments.insert(key(&self), self);
    }

    fn remove(key: &str, state: &mut State) {
        if let Some(gone) = state.deployments.remove(key) {
            state.owners(&gone);
        }
    }

    fn keys(state: &State) -> BTreeSet<String> {
        state.deployments.keys().cloned().collect()
    }
}

impl Watched for ConfigMap {
    fn put(self, state: &mut State) {
        state.owners(&self);
        state.configs.insert(key(&self), self);
    }

    fn remove(key: &str, state: &mut State) {
        if let Some(gone) = state.configs.remove(key) {
            state.owners(&gone);
        }
    }

    fn keys(state: &State) -> BTreeSet<String> {
        state.configs.keys().cloned().collect()
    }
}
