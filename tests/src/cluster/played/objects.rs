//! What is read of Vpcs, Subnets, Nodes and Pods.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};

use anyhow::{Context, Result};
use ipnet::IpNet;
use k8s_openapi::api::core::v1::{Node, Pod};
use serde_json::Value;

use super::annotations::{self, Annotations, OVN, list};
use crate::cluster::layout::Machine;

/// The Vpc that every cluster has.
pub(super) const DEFAULT_VPC: &str = "ovn-cluster";
/// The Subnet of Pods that name none.
pub(super) const DEFAULT_SUBNET: &str = "ovn-default";
/// The Subnet of the Nodes' own ports.
pub(super) const JOIN_SUBNET: &str = "join";

/// A Vpc: destinations and next hops of its static routes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Vpc {
    pub(super) routes: Vec<(String, String)>,
}

impl Vpc {
    pub(super) fn read(spec: &Value) -> Self {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let routes = spec["staticRoutes"].as_array().into_iter().flatten();
        Self { routes: routes.map(|route| (text(&route["cidr"]), text(&route["nextHopIP"]))).collect() }
    }
}

/// A Subnet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Subnet {
    pub(super) name: String,
    pub(super) vpc: String,
    pub(super) provider: String,
    pub(super) namespaces: Vec<String>,
    /// It has a switch in OVN; else it only gives out addresses of a network outside.
    pub(super) overlay: bool,
    pub(super) networks: Vec<IpNet>,
    pub(super) gateways: Vec<IpAddr>,
    excluded: Vec<(IpAddr, IpAddr)>,
}

impl Subnet {
    pub(super) fn read(name: &str, spec: &Value) -> Result<Self> {
        let text = |field: &str| spec[field].as_str().filter(|text| !text.is_empty());
        let texts = |field: &str| {
            let items = spec[field].as_array().into_iter().flatten();
            items.filter_map(Value::as_str).map(ToOwned::to_owned).collect::<Vec<_>>()
        };
        let wrong = |field: &str| format!("Subnet {name}: spec.{field}");
        let provider = text("provider").unwrap_or(OVN).to_owned();
        let networks: Vec<IpNet> =
            parse(&list(text("cidrBlock").unwrap_or_default())).with_context(|| wrong("cidrBlock"))?;
        let mut gateways = parse(&list(text("gateway").unwrap_or_default())).with_context(|| wrong("gateway"))?;
        if gateways.is_empty() {
            gateways = networks.iter().filter_map(|network| network.hosts().next()).collect();
        }
        let excluded = texts("excludeIps").iter().map(|text| range(text)).collect::<Result<_>>();
        Ok(Self {
            name: name.to_owned(),
            vpc: text("vpc").unwrap_or(DEFAULT_VPC).to_owned(),
            overlay: (provider == OVN || provider.ends_with(".ovn")) && text("vlan").is_none(),
            provider,
            namespaces: texts("namespaces"),
            networks,
            gateways,
            excluded: excluded.with_context(|| wrong("excludeIps"))?,
        })
    }

    pub(super) fn excludes(&self, address: IpAddr) -> bool {
        self.excluded
            .iter()
            .any(|(first, last)| first.is_ipv4() == address.is_ipv4() && (*first..=*last).contains(&address))
    }

    pub(super) fn gateway_of(&self, address: IpAddr) -> Option<IpAddr> {
        self.gateways.iter().copied().find(|gateway| gateway.is_ipv4() == address.is_ipv4())
    }

    pub(super) fn network_of(&self, address: IpAddr) -> Option<IpNet> {
        self.networks.iter().copied().find(|network| network.contains(&address))
    }
}

/// `a..b`, or one address.
fn range(text: &str) -> Result<(IpAddr, IpAddr)> {
    let (first, last) = text.split_once("..").unwrap_or((text, text));
    let one = |address: &str| address.parse().with_context(|| text.to_owned());
    Ok((one(first)?, one(last)?))
}

fn parse<T: std::str::FromStr<Err: std::error::Error + Send + Sync + 'static>>(items: &[&str]) -> Result<Vec<T>> {
    items.iter().map(|item| item.parse().with_context(|| (*item).to_owned())).collect()
}

/// A Node's address on the management network, by which its machine is known.
pub(super) fn node_address(node: &Node) -> Option<Ipv4Addr> {
    let addresses = node.status.as_ref()?.addresses.as_ref()?;
    addresses.iter().filter(|it| it.type_ == "InternalIP").find_map(|it| it.address.parse().ok())
}

/// The machine of a Node.
pub(super) fn machine_of(node: &Node) -> Option<Machine> {
    let address = node_address(node)?;
    Machine::all().into_iter().find(|machine| machine.management().0 == address)
}

/// What IPPools offer, by name: a choice has an address of each family.
pub(super) type Pools = BTreeMap<String, Vec<Vec<IpAddr>>>;

/// The choices that the `spec.ips` of an IPPool leave: addresses, ranges (`a..b`) and CIDRs.
pub(super) fn choices(ips: &Value) -> Result<Vec<Vec<IpAddr>>> {
    let (mut v4, mut v6) = (Vec::new(), Vec::new());
    let all = ips.as_array().into_iter().flatten().filter_map(Value::as_str);
    for text in all.flat_map(list) {
        if text.contains('/') {
            let hosts = text.parse::<IpNet>().with_context(|| text.to_owned())?.hosts().take(MOST);
            hosts.for_each(|it| if it.is_ipv4() { v4.push(it) } else { v6.push(it) });
            continue;
        }
        match range(text)? {
            (IpAddr::V4(first), IpAddr::V4(last)) => {
                v4.extend((u32::from(first)..=u32::from(last)).map(|it| IpAddr::V4(it.into())).take(MOST));
            }
            (IpAddr::V6(first), IpAddr::V6(last)) => {
                v6.extend((u128::from(first)..=u128::from(last)).map(|it| IpAddr::V6(it.into())).take(MOST));
            }
            _ => anyhow::bail!("{text}: two families"),
        }
    }
    let one = |list: &[IpAddr]| list.iter().map(|it| vec![*it]).collect();
    Ok(match (v4.as_slice(), v6.as_slice()) {
        ([], only) | (only, []) => one(only),
        (v4, v6) => v4.iter().zip(v6).map(|(v4, v6)| vec![*v4, *v6]).collect(),
    })
}

/// Addresses of one line that are looked at.
const MOST: usize = 1024;

/// What a Pod asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct PodWish {
    pub(super) namespace: String,
    pub(super) name: String,
    pub(super) uid: String,
    pub(super) node: String,
    pub(super) annotations: Annotations,
}

impl PodWish {
    /// `None`: it needs no addresses, or none any more.
    pub(super) fn read(pod: &Pod) -> Option<Self> {
        let (meta, spec) = (&pod.metadata, pod.spec.as_ref()?);
        let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
        if spec.host_network == Some(true) || matches!(phase, Some("Succeeded" | "Failed")) {
            return None;
        }
        Some(Self {
            namespace: meta.namespace.clone()?,
            name: meta.name.clone()?,
            uid: meta.uid.clone()?,
            node: spec.node_name.clone()?,
            annotations: meta.annotations.clone().unwrap_or_default(),
        })
    }

    /// Of its port in OVN.
    pub(super) fn port(&self) -> String {
        format!("{}.{}", self.name, self.namespace)
    }

    /// The IPPools that it names.
    pub(super) fn pools(&self) -> impl Iterator<Item = &str> {
        let named = self.annotations.iter().filter(|(key, _)| key.ends_with("/ip_pool")).map(|(_, value)| value.trim());
        named.filter(|value| !value.is_empty() && !value.contains([',', ';', '.', ':']))
    }

    /// The addresses it wants of a provider, in order of preference: one that it has, else those of `ip_pool`, which may be one of
    /// `pools`.
    pub(super) fn wanted(&self, provider: &str, pools: &Pools) -> Vec<Vec<IpAddr>> {
        let both = |text: &str| list(text).iter().filter_map(|it| it.parse().ok()).collect::<Vec<IpAddr>>();
        if let Some(fixed) = annotations::value(&self.annotations, provider, "ip_address") {
            return vec![both(fixed)];
        }
        let Some(pool) = annotations::value(&self.annotations, provider, "ip_pool") else { return Vec::new() };
        if let Some(choices) = pools.get(pool.trim()) {
            return choices.clone();
        }
        if pool.contains(';') {
            return pool.split(';').map(both).filter(|it| !it.is_empty()).collect();
        }
        match both(pool).as_slice() {
            // One of each family is one choice, not two.
            pair @ [a, b] if a.is_ipv4() != b.is_ipv4() => vec![pair.to_vec()],
            single => single.iter().map(|address| vec![*address]).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(ips: &Value) -> Vec<String> {
        let join = |choice: &Vec<IpAddr>| choice.iter().map(ToString::to_string).collect::<Vec<_>>().join(",");
        choices(ips).unwrap().iter().map(join).collect()
    }

    #[test]
    fn pools_of_one_family_and_of_two() {
        let v4 = serde_json::json!(["10.16.0.200..10.16.0.201", "10.16.1.0/30", "10.16.0.9"]);
        assert_eq!(texts(&v4), ["10.16.0.200", "10.16.0.201", "10.16.1.1", "10.16.1.2", "10.16.0.9"]);
        let both = serde_json::json!(["10.16.0.200", "10.16.0.201", "fd00::200..fd00::201"]);
        assert_eq!(texts(&both), ["10.16.0.200,fd00::200", "10.16.0.201,fd00::201"]);
        assert!(choices(&serde_json::json!(["10.16.0.1..fd00::1"])).is_err());
    }
}
