//! Of kube-ovn-controller: gives out addresses, writes Kube-OVN's annotations and keeps switches, routers and ports.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::time::Duration;

use anyhow::{Context, Result};
use futures_util::{StreamExt, TryStreamExt, stream};
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::api::{Api, ApiResource, DynamicObject, Patch, PatchParams};
use kube::core::GroupVersionKind;
use kube::runtime::watcher::{self, Event, watcher};
use kube::{Client, Resource, ResourceExt};
use serde::de::DeserializeOwned;
use serde_json::json;

use super::address::Addresses;
use super::annotations::{OVN, attachments, key, value};
use super::nb::Northbound;
use super::objects::{DEFAULT_SUBNET, PodWish, Subnet, Vpc, machine_of};
use super::plan::{ServedPod, World, rows, vpc_status};
use crate::cluster::layout::mac_of;

/// How long until what failed is tried again.
const RETRY: Duration = Duration::from_millis(500);

/// An object, by kind.
#[derive(Debug, Clone)]
enum Object {
    Vpc(DynamicObject),
    Subnet(DynamicObject),
    Node(Box<Node>),
    Pod(Box<Pod>),
}

/// Runs until the machine ends.
pub fn run(kubeconfig: &str) -> Result<()> {
    super::block_on(async {
        let client = super::client(kubeconfig).await?;
        Controller::new(client, Northbound::open()?).watch().await
    })
}

struct Controller {
    client: Client,
    nb: Northbound,
    world: World,
    addresses: Addresses,
    /// Pods that need addresses, by UID; also those that have them.
    wishes: BTreeMap<String, PodWish>,
    /// Annotations that are to be written once the database has the Pod's port.
    unwritten: Vec<(PodWish, BTreeMap<String, String>)>,
    /// What the Vpcs' status says, as it was written last.
    told: BTreeMap<String, serde_json::Value>,
    swept: bool,
}

impl Controller {
    fn new(client: Client, nb: Northbound) -> Self {
        Self {
            client,
            nb,
            world: World::default(),
            addresses: Addresses::default(),
            wishes: BTreeMap::new(),
            unwritten: Vec::new(),
            told: BTreeMap::new(),
            swept: false,
        }
    }

    async fn watch(&mut self) -> Result<()> {
        let kind = |kind: &str, plural: &str| {
            let kind = GroupVersionKind::gvk("kubeovn.io", "v1", kind);
            Api::all_with(self.client.clone(), &ApiResource::from_gvk_with_plural(&kind, plural))
        };
        let boxed = |object: Pod| Object::Pod(Box::new(object));
        let mut events = stream::select_all([
            stream_of(kind("Vpc", "vpcs"), Object::Vpc),
            stream_of(kind("Subnet", "subnets"), Object::Subnet),
            stream_of(Api::all(self.client.clone()), |node: Node| Object::Node(Box::new(node))),
            stream_of(Api::all(self.client.clone()), boxed),
        ]);
        let mut failed = false;
        loop {
            let next =
                tokio::time::timeout(if failed { RETRY } else { Duration::from_secs(3600) }, events.next()).await;
            match next {
                Ok(Some(Ok(event))) => self.take(event),
                // Until the kinds are defined, or while the API server is away.
                Ok(Some(Err(error))) => {
                    println!("watch: {error}");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                    continue;
                }
                Ok(None) => anyhow::bail!("a watch ended"),
                Err(_) => {}
            }
            let result = self.settle().await;
            failed = result.is_err() || self.wishes.len() > self.world.pods.len();
            if let Err(error) = result {
                println!("{error:#}");
            }
        }
    }

    fn take(&mut self, event: Event<Object>) {
        match event {
            Event::Apply(object) | Event::InitApply(object) => self.add(object),
            Event::Delete(object) => self.remove(&object),
            Event::Init | Event::InitDone => {}
        }
    }

    fn add(&mut self, object: Object) {
        match object {
            Object::Vpc(vpc) => {
                self.world.vpcs.insert(vpc.name_any(), Vpc::read(&vpc.data["spec"]));
            }
            Object::Subnet(subnet) => match Subnet::read(&subnet.name_any(), &subnet.data["spec"]) {
                Ok(read) => drop(self.world.subnets.insert(read.name.clone(), read)),
                Err(error) => println!("{error:#}"),
            },
            Object::Node(node) => {
                if let Some(machine) = machine_of(&node) {
                    self.world.nodes.insert(node.name_any(), machine);
                }
            }
            Object::Pod(pod) => {
                let uid = pod.uid().unwrap_or_default();
                match PodWish::read(&pod) {
                    Some(wish) => drop(self.wishes.insert(uid, wish)),
                    None => self.release(&uid),
                }
            }
        }
    }

    fn remove(&mut self, object: &Object) {
        match object {
            Object::Vpc(vpc) => drop(self.world.vpcs.remove(&vpc.name_any())),
            Object::Subnet(subnet) => drop(self.world.subnets.remove(&subnet.name_any())),
            Object::Node(node) => drop(self.world.nodes.remove(&node.name_any())),
            Object::Pod(pod) => self.release(&pod.uid().unwrap_or_default()),
        }
    }

    fn release(&mut self, uid: &str) {
        self.wishes.remove(uid);
        if let Some(pod) = self.world.pods.remove(uid) {
            println!("released {}", pod.key);
        }
        self.addresses.release(uid);
    }

    /// Brings database and annotations to what the objects say.
    async fn settle(&mut self) -> Result<()> {
        let new: Vec<_> =
            self.wishes.values().filter(|wish| !self.world.pods.contains_key(&wish.uid)).cloned().collect();
        for wish in new {
            match self.serve(&wish) {
                Ok(annotations) => self.unwritten.push((wish, annotations)),
                Err(error) => {
                    self.addresses.release(&wish.uid);
                    println!("{error:#}");
                }
            }
        }
        self.nb.apply(rows(&self.world))?;
        if !self.swept && self.world.nodes.len() > 1 {
            self.nb.sweep()?;
            self.swept = true;
        }
        self.tell_vpcs().await?;
        for (wish, annotations) in std::mem::take(&mut self.unwritten) {
            if annotations.iter().any(|(key, value)| wish.annotations.get(key) != Some(value)) {
                let pods: Api<Pod> = Api::namespaced(self.client.clone(), &wish.namespace);
                let patch = Patch::Merge(json!({"metadata": {"uid": wish.uid, "annotations": annotations}}));
                let result = pods.patch(&wish.name, &PatchParams::default(), &patch).await;
                if let Err(error) = result {
                    // A Pod that has gone meanwhile is told by the watch.
                    println!("annotations of {}/{}: {error}", wish.namespace, wish.name);
                }
            }
            println!("served {}/{} {annotations:?}", wish.namespace, wish.name);
        }
        Ok(())
    }

    /// Writes the status of Vpcs where it changed.
    async fn tell_vpcs(&mut self) -> Result<()> {
        let kind = ApiResource::from_gvk_with_plural(&GroupVersionKind::gvk("kubeovn.io", "v1", "Vpc"), "vpcs");
        let api: Api<DynamicObject> = Api::all_with(self.client.clone(), &kind);
        self.told.retain(|name, _| self.world.vpcs.contains_key(name));
        for name in self.world.vpcs.keys() {
            let status = vpc_status(&self.world, name);
            if self.told.get(name) != Some(&status) {
                let patch = Patch::Merge(json!({"status": status}));
                api.patch_status(name, &PatchParams::default(), &patch).await.with_context(|| format!("Vpc {name}"))?;
                self.told.insert(name.clone(), status);
            }
        }
        Ok(())
    }

    /// Addresses for a Pod: its annotations.
    fn serve(&mut self, wish: &PodWish) -> Result<BTreeMap<String, String>> {
        let name = format!("{}/{}", wish.namespace, wish.name);
        let subnets = &self.world.subnets;
        let named = value(&wish.annotations, OVN, "logical_switch").map(ToOwned::to_owned);
        let bound = || subnets.values().find(|it| it.namespaces.contains(&wish.namespace)).map(|it| it.name.clone());
        let subnet = named.or_else(bound).unwrap_or_else(|| DEFAULT_SUBNET.to_owned());
        let subnet = subnets.get(&subnet).with_context(|| format!("{name}: no Subnet {subnet}"))?.clone();
        anyhow::ensure!(self.world.nodes.contains_key(&wish.node), "{name}: Node {} is not known yet", wish.node);
        let mut annotations = BTreeMap::new();
        let addresses = self.give(wish, OVN, &subnet, &mut annotations)?;
        for attachment in attachments(&wish.annotations, &wish.namespace)? {
            let provider = format!("{}.{}", attachment.name, attachment.namespace);
            let both = [provider.clone(), format!("{provider}.ovn")];
            let serving = self.world.subnets.values().filter(|it| both.contains(&it.provider));
            let wanted = |it: &&Subnet| {
                value(&wish.annotations, &it.provider, "logical_switch").is_none_or(|name| name == it.name)
            };
            // A network that no Subnet serves is its plugin's own business.
            if let Some(serving) = serving.clone().find(wanted).cloned() {
                self.give(wish, &serving.provider.clone(), &serving, &mut annotations)?;
            }
        }
        let v4 = addresses.iter().find_map(|it| if let std::net::IpAddr::V4(v4) = it { Some(*v4) } else { None });
        let mac = value(&wish.annotations, OVN, "mac_address").map(ToOwned::to_owned);
        let mac = mac.unwrap_or_else(|| mac_of(v4.unwrap_or(std::net::Ipv4Addr::new(10, 0, 0, 2))));
        let own = [
            ("mac_address", mac.as_str()),
            ("logical_router", &subnet.vpc),
            ("pod_nic_type", "veth-pair"),
            ("routed", "true"),
        ];
        annotations.extend(own.map(|(name, value)| (key(OVN, name), value.to_owned())));
        let pod =
            ServedPod { port: wish.port(), key: name, node: wish.node.clone(), subnet: subnet.name, mac, addresses };
        self.world.pods.insert(wish.uid.clone(), pod);
        Ok(annotations)
    }

    fn give(
        &mut self,
        wish: &PodWish,
        provider: &str,
        subnet: &Subnet,
        into: &mut BTreeMap<String, String>,
    ) -> Result<Vec<std::net::IpAddr>> {
        let taken = self.addresses.take(subnet, &wish.uid, &wish.wanted(provider));
        let taken = taken.with_context(|| {
            format!("{}/{}: no address is free in Subnet {}", wish.namespace, wish.name, subnet.name)
        })?;
        let join = |texts: Vec<String>| texts.join(",");
        let addresses = join(taken.iter().map(ToString::to_string).collect());
        let networks = join(taken.iter().filter_map(|it| subnet.network_of(*it)).map(|it| it.to_string()).collect());
        let gateways = join(taken.iter().filter_map(|it| subnet.gateway_of(*it)).map(|it| it.to_string()).collect());
        let values = [
            ("allocated", "true"),
            ("ip_address", &addresses),
            ("cidr", &networks),
            ("gateway", &gateways),
            ("logical_switch", &subnet.name),
        ];
        into.extend(values.map(|(name, value)| (key(provider, name), value.to_owned())));
        Ok(taken)
    }
}

type Events = stream::BoxStream<'static, Result<Event<Object>, watcher::Error>>;

fn stream_of<K>(api: Api<K>, wrap: impl Fn(K) -> Object + Copy + Send + 'static) -> Events
where
    K: Resource + Clone + Debug + DeserializeOwned + Send + 'static,
{
    let events = watcher(api, watcher::Config::default());
    events
        .map_ok(move |event| match event {
            Event::Apply(object) => Event::Apply(wrap(object)),
            Event::Delete(object) => Event::Delete(wrap(object)),
            Event::InitApply(object) => Event::InitApply(wrap(object)),
            Event::Init => Event::Init,
            Event::InitDone => Event::InitDone,
        })
        .boxed()
}
