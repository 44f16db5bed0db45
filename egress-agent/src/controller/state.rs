//! Everything that the controller has seen of the cluster, and which gateways a change may concern. Pure: changes come in
//! one by one, whoever brings them.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::{
    apps::v1::Deployment,
    core::v1::{ConfigMap, Namespace, Node, Pod},
};
use kube::Resource;

use super::{
    Failure, Input, Settings,
    claims::{self, Claims},
    members::Members,
    names,
    owned::Owned,
    plan::check,
    select::{Changed, Index},
    workload::Nodes,
};
use crate::{
    k8s::{
        api::{
            BgpConf, EgressGatewayProfile, EvpnConf, GATEWAY_LABEL, IPPool, NetworkAttachmentDefinition, Subnet, Vpc,
            VpcEgressGateway, owned_by,
        },
        watch::Watched,
        write::taken,
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
    claims: Claims,
    deployments: Owned<Deployment>,
    configs: Owned<ConfigMap>,
    members: Members,
    nodes: Nodes,
    /// Why the last writes of a gateway failed.
    failures: BTreeMap<String, Failure>,
    /// Gateways whose Pods changed: before the others, which may be very many.
    urgent: BTreeSet<String>,
    dirty: BTreeSet<String>,
    /// Of those, the ones that were asked whether they can serve.
    asked: BTreeSet<String>,
}

impl State {
    /// Nothing seen yet.
    #[must_use]
    pub fn new() -> Self {
        Self { objects: Objects { place: Place::Cluster, ..Objects::default() }, ..Self::default() }
    }

    /// All gateways that something may have to be written for, by `namespace/name`; each is named once.
    pub fn take_dirty(&mut self) -> BTreeSet<String> {
        self.take_some(usize::MAX)
    }

    /// Whether there are any.
    #[must_use]
    pub fn is_dirty(&self) -> bool {
        !self.urgent.is_empty() || !self.dirty.is_empty()
    }

    /// Those whose Pods changed, and so many of the others.
    pub fn take_some(&mut self, most: usize) -> BTreeSet<String> {
        // Who has which Pods depends on who can serve, so that is asked first, for all.
        let asked: Vec<String> = self.dirty.iter().filter(|key| !self.asked.contains(*key)).cloned().collect();
        for key in asked {
            let Some(serves) = self.serves(&key) else { continue };
            let changed = self.index.serves(&key, serves);
            self.changed(changed);
            self.asked.insert(key);
        }
        let mut some = std::mem::take(&mut self.urgent);
        some.extend(self.dirty.iter().take(most).cloned());
        for key in &some {
            self.dirty.remove(key);
            self.asked.remove(key);
        }
        some
    }

    /// Whether a gateway is valid, or its last valid state runs.
    fn serves(&self, key: &str) -> Option<bool> {
        let gateway = self.objects.gateways.get(key)?;
        let uid = gateway.object.metadata.uid.as_deref().unwrap_or_default();
        let runs = || !self.configs.of(uid).is_empty();
        let taken = || self.taken(key).is_some() || self.failures.get(key).is_some_and(|failure| failure.taken);
        Some(runs() || !taken() && check(&self.objects, gateway).is_ok())
    }

    /// Looks at a gateway again.
    pub fn again(&mut self, gateway: &str) {
        self.asked.remove(gateway);
        self.dirty.insert(gateway.to_owned());
    }

    /// Looks at every gateway again.
    pub fn all_again(&mut self) {
        self.asked.clear();
        self.dirty.extend(self.objects.gateways.keys().cloned());
    }

    /// What the last writes of a gateway failed by; none: they did not. That is told when it is tried again; that it is over, at
    /// once.
    pub fn failed(&mut self, gateway: &str, failure: Option<Failure>) {
        match failure {
            Some(failure) => drop(self.failures.insert(gateway.to_owned(), failure)),
            None if self.failures.remove(gateway).is_some() => self.again(gateway),
            None => {}
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
        let uid = gateway.object.metadata.uid.as_deref().unwrap_or_default();
        let namespace = names::namespace(&gateway.object);
        let config = self.configs.get(&format!("{namespace}/{}", names::config(&gateway.object)));
        Some(plan(&Input {
            objects: &self.objects,
            gateway,
            selected: self.index.selected(key),
            lost: self.index.lost(key),
            shared: self.claims.shared(key, &self.objects),
            taken: self.taken(key),
            deployments: &self.deployments.of(uid),
            config: config.filter(|config| owned_by(&config.metadata, uid)),
            pods: &self.members.of(&format!("{namespace}/{}", names::label_value(names::name(&gateway.object)))),
            nodes: &self.nodes,
            failure: self.failures.get(key),
            settings,
            now,
        }))
    }

    /// Why the name of a gateway's objects is another's: whose object has it already, else the older gateway.
    fn taken(&self, key: &str) -> Option<String> {
        let gateway = self.gateway(key)?;
        let uid = gateway.metadata.uid.as_deref().unwrap_or_default();
        let name = claims::object(gateway);
        let config = format!("{}/{}", names::namespace(gateway), names::config(gateway));
        let deployment = self.deployments.get(&name).map(|deployment| ("Deployment", &name, &deployment.metadata));
        let config = self.configs.get(&config).map(|found| ("ConfigMap", &config, &found.metadata));
        let found: Vec<_> = [deployment, config].into_iter().flatten().collect();
        if let Some((kind, name, meta)) = found.iter().find(|(_, _, meta)| !owned_by(meta, uid)) {
            let owner = meta.owner_references.iter().flatten().next();
            let earlier =
                owner.is_some_and(|owner| owner.kind == "VpcEgressGateway" && owner.name == names::name(gateway));
            return Some(if earlier {
                format!("{kind} {name} is of an earlier gateway of this name, and goes with it")
            } else {
                taken(&format!("{kind} {name}"), owner)
            });
        }
        if !found.is_empty() {
            return None;
        }
        let age = |gateway: &VpcEgressGateway| (gateway.metadata.creation_timestamp.clone(), self::key(gateway));
        let rivals = self.claims.to(&name).filter(|rival| *rival != key).filter_map(|rival| self.gateway(rival));
        let first = rivals.min_by_key(|rival| age(rival)).filter(|rival| age(rival) < age(gateway))?;
        Some(format!(
            "Deployment {name} would be that of VpcEgressGateway {}, which is older: give this one another name or prefix",
            self::key(first)
        ))
    }

    fn changed(&mut self, gateways: Changed) {
        self.urgent.extend(gateways);
    }

    /// Something changed about an object that belongs to a gateway, or has the name of one that would.
    fn owners<T: Resource>(&mut self, object: &T) {
        let meta = object.meta();
        let label = meta.labels.as_ref().and_then(|labels| labels.get(GATEWAY_LABEL)).cloned().unwrap_or_default();
        self.labelled(&format!("{}/{label}", meta.namespace.as_deref().unwrap_or_default()));
        let key = key(object);
        // A ConfigMap is called after the Deployment.
        let name = key.strip_suffix(names::CONFIG).unwrap_or(&key);
        let rivals: Vec<String> = self.claims.to(&key).chain(self.claims.to(name)).cloned().collect();
        rivals.iter().for_each(|rival| self.again(rival));
    }

    /// Gateways that objects with this `namespace/label` belong to.
    fn labelled(&mut self, place: &str) {
        if self.objects.gateways.contains_key(place) {
            return self.again(place);
        }
        // The name may be too long for a label.
        let of = |gateway: &VpcEgressGateway| {
            place == format!("{}/{}", names::namespace(gateway), names::label_value(names::name(gateway)))
        };
        let found: Vec<String> =
            self.objects.gateways.iter().filter(|(_, g)| of(&g.object)).map(|(key, _)| key.clone()).collect();
        found.iter().for_each(|key| self.again(key));
    }
}

fn located<T>(object: T) -> Located<T> {
    Located { origin: Origin::default(), object }
}

impl Watched<State> for VpcEgressGateway {
    fn put(self, state: &mut State) {
        let changed = state.index.gateway(&self);
        state.changed(changed);
        let rivals = state.claims.put(&self);
        rivals.iter().for_each(|rival| state.again(rival));
        state.again(&key(&self));
        state.objects.gateways.insert(key(&self), located(self));
    }

    fn remove(key: &str, state: &mut State) {
        state.objects.gateways.remove(key);
        state.failures.remove(key);
        let changed = state.index.without_gateway(key);
        state.changed(changed);
        let rivals = state.claims.remove(key);
        rivals.iter().for_each(|rival| state.again(rival));
    }

    fn keys(state: &State) -> BTreeSet<String> {
        state.objects.gateways.keys().cloned().collect()
    }
}

/// Kinds that any gateway may read: all are looked at again, if what is read changed. Counters in a status change often.
macro_rules! read_by_all {
    ($kind:ty, $field:ident, $read:expr) => {
        impl Watched<State> for $kind {
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

read_by_all!(Subnet, subnets, |subnet| (subnet.spec.clone(), subnet.refused().map(ToOwned::to_owned)));
read_by_all!(Vpc, vpcs, |vpc| (vpc.spec.clone(), vpc.status.clone()));
read_by_all!(NetworkAttachmentDefinition, attachments, |attachment| attachment.spec.clone());
read_by_all!(EgressGatewayProfile, profiles, |profile| profile.spec.clone());
read_by_all!(IPPool, pools, |pool| pool.spec.clone());
read_by_all!(BgpConf, bgp, |bgp| bgp.spec.clone());
read_by_all!(EvpnConf, evpn, |evpn| evpn.spec.clone());

impl Watched<State> for Namespace {
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

impl Watched<State> for Pod {
    fn put(self, state: &mut State) {
        let changed = state.index.pod(&self);
        state.changed(changed);
        let places = state.members.put(self);
        places.iter().for_each(|place| state.labelled(place));
    }

    fn remove(key: &str, state: &mut State) {
        let changed = state.index.without_pod(key);
        state.changed(changed);
        if let Some(place) = state.members.remove(key) {
            state.labelled(&place);
        }
    }

    fn keys(state: &State) -> BTreeSet<String> {
        state.index.pods().chain(state.members.keys()).collect()
    }
}

/// Of a Node only whether it works is read: its heartbeats concern nobody.
impl Watched<State> for Node {
    fn put(self, state: &mut State) {
        let conditions = self.status.iter().filter_map(|status| status.conditions.as_ref()).flatten();
        let works = conditions.into_iter().filter(|it| it.type_ == "Ready").all(|it| it.status == "True");
        let name = key(&self);
        if state.nodes.insert(name.clone(), works) != Some(works) {
            state.members.on(&name).iter().for_each(|place| state.labelled(place));
        }
    }

    fn remove(key: &str, state: &mut State) {
        if state.nodes.remove(key).is_some() {
            state.members.on(key).iter().for_each(|place| state.labelled(place));
        }
    }

    fn keys(state: &State) -> BTreeSet<String> {
        state.nodes.keys().cloned().collect()
    }
}

/// Kinds of objects that belong to a gateway.
macro_rules! belongs {
    ($kind:ty, $field:ident) => {
        impl Watched<State> for $kind {
            fn put(self, state: &mut State) {
                state.owners(&self);
                state.$field.put(self);
            }

            fn remove(key: &str, state: &mut State) {
                if let Some(gone) = state.$field.remove(key) {
                    state.owners(&gone);
                }
            }

            fn keys(state: &State) -> BTreeSet<String> {
                state.$field.keys()
            }
        }
    };
}

belongs!(Deployment, deployments);
belongs!(ConfigMap, configs);
