//! Of kube-ovn-controller: gives out addresses, writes Kube-OVN's annotations and keeps switches, routers and ports.

use std::collections::{BTreeMap, BTreeSet};
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
use super::listing::{Kind, Listing};
use super::nb::Northbound;
use super::objects::{DEFAULT_SUBNET, PodWish, Pools, Subnet, Vpc, choices, machine_of};
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

impl Object {
    /// By what it is known: a Pod's name may be another Pod's tomorrow.
    fn key(&self) -> String {
        match self {
            Self::Vpc(object) | Self::Subnet(object) => object.name_any(),
            Self::Node(node) => node.name_any(),
            Self::Pod(pod) => pod.uid().unwrap_or_default(),
        }
    }
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
    listing: Listing,
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
            listing: Listing::default(),
            swept: false,
        }
    }

    /// A kind of Kube-OVN's.
    fn api(&self, kind: &str, plural: &str) -> Api<DynamicObject> {
        let kind = GroupVersionKind::gvk("kubeovn.io", "v1", kind);
        Api::all_with(self.client.clone(), &ApiResource::from_gvk_with_plural(&kind, plural))
    }

    async fn watch(&mut self) -> Result<()> {
        let boxed = |object: Pod| Object::Pod(Box::new(object));
        let mut events = stream::select_all([
            stream_of(Kind::Vpc, self.api("Vpc", "vpcs"), Object::Vpc),
            stream_of(Kind::Subnet, self.api("Subnet", "subnets"), Object::Subnet),
            stream_of(Kind::Node, Api::all(self.client.clone()), |node: Node| Object::Node(Box::new(node))),
            stream_of(Kind::Pod, Api::all(self.client.clone()), boxed),
        ]);
        let mut failed = false;
        loop {
            let next =
                tokio::time::timeout(if failed { RETRY } else { Duration::from_secs(3600) }, events.next()).await;
            match next {
                Ok(Some(Ok((kind, event)))) => self.take(kind, event),
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

    fn take(&mut self, kind: Kind, event: Event<Object>) {
        match event {
            Event::Apply(object) => self.add(object),
            Event::Delete(object) => self.remove(kind, &object.key()),
            Event::Init => self.listing.begin(kind),
            Event::InitApply(object) => {
                self.listing.has(kind, object.key());
                self.add(object);
            }
            Event::InitDone => {
                let gone = self.listing.end(kind, self.known(kind));
                gone.iter().for_each(|key| self.remove(kind, key));
            }
        }
    }

    fn known(&self, kind: Kind) -> BTreeSet<String> {
        match kind {
            Kind::Vpc => self.world.vpcs.keys().cloned().collect(),
            Kind::Subnet => self.world.subnets.keys().cloned().collect(),
            Kind::Node => self.world.nodes.keys().cloned().collect(),
            Kind::Pod => self.wishes.keys().cloned().collect(),
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

    fn remove(&mut self, kind: Kind, key: &str) {
        match kind {
            Kind::Vpc => drop(self.world.vpcs.remove(key)),
            Kind::Subnet => drop(self.world.subnets.remove(key)),
            Kind::Node => drop(self.world.nodes.remove(key)),
            Kind::Pod => self.release(key),
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
            let served = self.pools(&wish).await.and_then(|pools| self.serve(&wish, &pools));
            match served {
                Ok(annotations) => self.unwritten.push((wish, annotations)),
                Err(error) => {
                    self.addresses.release(&wish.uid);
                    println!("{error:#}");
                }
            }
        }
        self.nb.apply(rows(&self.world))?;
        if !self.swept && self.listing.is_complete() {
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
        let api = self.api("Vpc", "vpcs");
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

    /// The IPPools that a Pod names, as they are now.
    async fn pools(&self, wish: &PodWish) -> Result<Pools> {
        let api = self.api("IPPool", "ippools");
        let mut pools = Pools::new();
        for name in wish.pools() {
            let of = || format!("{}/{}: IPPool {name}", wish.namespace, wish.name);
            let pool = api.get(name).await.with_context(of)?;
            pools.insert(name.to_owned(), choices(&pool.data["spec"]["ips"]).with_context(of)?);
        }
        Ok(pools)
    }

    /// Addresses for a Pod: its annotations.
    fn serve(&mut self, wish: &PodWish, pools: &Pools) -> Result<BTreeMap<String, String>> {
        let name = format!("{}/{}", wish.namespace, wish.name);
        let subnets = &self.world.subnets;
        let named = value(&wish.annotations, OVN, "logical_switch").map(ToOwned::to_owned);
        let bound = || subnets.values().find(|it| it.namespaces.contains(&wish.namespace)).map(|it| it.name.clone());
        let subnet = named.or_else(bound).unwrap_or_else(|| DEFAULT_SUBNET.to_owned());
        let subnet = subnets.get(&subnet).with_context(|| format!("{name}: no Subnet {subnet}"))?.clone();
        anyhow::ensure!(self.world.nodes.contains_key(&wish.node), "{name}: Node {} is not known yet", wish.node);
        let mut annotations = BTreeMap::new();
        let addresses = self.give(wish, pools, OVN, &subnet, &mut annotations)?;
        for attachment in attachments(&wish.annotations, &wish.namespace)? {
            let provider = format!("{}.{}", attachment.name, attachment.namespace);
            let both = [provider.clone(), format!("{provider}.ovn")];
            let serving = self.world.subnets.values().filter(|it| both.contains(&it.provider));
            let wanted = |it: &&Subnet| {
                value(&wish.annotations, &it.provider, "logical_switch").is_none_or(|name| name == it.name)
            };
            // A network that no Subnet serves is its plugin's own business.
            if let Some(serving) = serving.clone().find(wanted).cloned() {
                self.give(wish, pools, &serving.provider.clone(), &serving, &mut annotations)?;
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
        pools: &Pools,
        provider: &str,
        subnet: &Subnet,
        into: &mut BTreeMap<String, String>,
    ) -> Result<Vec<std::net::IpAddr>> {
        let taken = self.addresses.take(subnet, &wish.uid, &wish.wanted(provider, pools));
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

type Events = stream::BoxStream<'static, Result<(Kind, Event<Object>), watcher::Error>>;

fn stream_of<K>(kind: Kind, api: Api<K>, wrap: impl Fn(K) -> Object + Copy + Send + 'static) -> Events
where
    K: Resource + Clone + Debug + DeserializeOwned + Send + 'static,
{
    let events = watcher(api, watcher::Config::default());
    events
        .map_ok(move |event| {
            let event = match event {
                Event::Apply(object) => Event::Apply(wrap(object)),
                Event::Delete(object) => Event::Delete(wrap(object)),
                Event::InitApply(object) => Event::InitApply(wrap(object)),
                Event::Init => Event::Init,
                Event::InitDone => Event::InitDone,
            };
            (kind, event)
        })
        .boxed()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(uid: &str) -> Object {
        let pod = json!({"metadata": {"namespace": "ns1", "name": uid, "uid": uid}, "spec": {"nodeName": "node1", "containers": []}});
        Object::Pod(Box::new(serde_json::from_value(pod).unwrap()))
    }

    fn node(name: &str, address: &str) -> Object {
        let status = json!({"addresses": [{"type": "InternalIP", "address": address}]});
        Object::Node(Box::new(serde_json::from_value(json!({"metadata": {"name": name}, "status": status})).unwrap()))
    }

    fn subnet(name: &str) -> Object {
        let subnet = json!({
            "apiVersion": "kubeovn.io/v1", "kind": "Subnet", "metadata": {"name": name},
            "spec": {"cidrBlock": "10.16.0.0/29", "gateway": "10.16.0.1"},
        });
        Object::Subnet(serde_json::from_value(subnet).unwrap())
    }

    fn list(controller: &mut Controller, kind: Kind, objects: Vec<Object>) {
        controller.take(kind, Event::Init);
        objects.into_iter().for_each(|object| controller.take(kind, Event::InitApply(object)));
        controller.take(kind, Event::InitDone);
    }

    #[test]
    fn what_went_while_nobody_watched_is_not_in_the_next_list() {
        super::super::block_on(async {
            let config = kube::Config::new("http://127.0.0.1:1".parse()?);
            let mut controller = Controller::new(Client::try_from(config)?, Northbound::default());
            list(&mut controller, Kind::Subnet, vec![subnet(DEFAULT_SUBNET)]);
            list(&mut controller, Kind::Node, vec![node("node1", "10.99.0.11"), node("node2", "10.99.0.12")]);
            list(&mut controller, Kind::Pod, vec![pod("a"), pod("b")]);
            assert!(!controller.listing.is_complete(), "no Vpc was listed yet");
            list(&mut controller, Kind::Vpc, Vec::new());
            assert!(controller.listing.is_complete());
            for wish in controller.wishes.values().cloned().collect::<Vec<_>>() {
                controller.serve(&wish, &Pools::new())?;
            }
            let address = |controller: &Controller, uid: &str| controller.world.pods[uid].addresses[0].to_string();
            assert_eq!(address(&controller, "b"), "10.16.0.3");

            list(&mut controller, Kind::Pod, vec![pod("a")]);
            list(&mut controller, Kind::Node, vec![node("node2", "10.99.0.12")]);
            assert_eq!(controller.wishes.keys().collect::<Vec<_>>(), ["a"]);
            assert_eq!(controller.world.pods.keys().collect::<Vec<_>>(), ["a"]);
            assert_eq!(controller.world.nodes.keys().collect::<Vec<_>>(), ["node2"]);
            assert_eq!(controller.world.subnets.len(), 1, "a list of one kind says nothing of another");
            // One that is told of between lists is not gone because it was in none.
            controller.take(Kind::Node, Event::Apply(node("node1", "10.99.0.11")));
            list(&mut controller, Kind::Pod, vec![pod("a"), pod("c")]);
            let wish = controller.wishes["c"].clone();
            controller.serve(&wish, &Pools::new())?;
            // b's address is free again, but rests.
            for (uid, wanted) in [("c", "10.16.0.4"), ("a", "10.16.0.2")] {
                assert_eq!(address(&controller, uid), wanted);
            }
            assert!(controller.world.nodes.contains_key("node1"));
            Ok(())
        })
        .unwrap();
    }
}
