//! Which address families a gateway serves.

use super::{SubnetView, egress::Egress};
use crate::{
    k8s::api::VpcEgressGatewaySpec,
    spec::{
        addr::{Dual, Family, dual, ip},
        observed::{Address, Link},
    },
};

/// Whether a gateway can carry traffic of a family.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Service {
    /// Both sides have an address.
    Served,
    /// An address is there but not usable yet; it is no mistake of the manifest.
    Waiting(String),
    /// One side has none, and why.
    Missing(String),
}

/// Service of both families.
pub(super) struct Families(Dual<Service>);

impl Families {
    /// A family needs an address in the internal Subnet and an egress address.
    pub(super) fn new(internal: &SubnetView<'_>, inside: &Link, egress: &Egress) -> Self {
        Self(Dual::new(|family| {
            let (inside, outside) = (inner(internal, inside, family), egress.service[family].clone());
            match (internal.net(family), &inside, &outside) {
                (None, ..) | (_, _, Service::Served) => inside,
                (_, _, Service::Missing(_)) | (_, Service::Served, _) => outside,
                _ => inside,
            }
        }))
    }

    /// As far as Subnets and the list of egress addresses say it, for a gateway whose Pods are still to be.
    pub(super) fn of_spec(spec: &VpcEgressGatewaySpec, internal: &SubnetView<'_>, external: &SubnetView<'_>) -> Self {
        let inside = |family| internal.net(family).is_none().then(|| no_cidr("internal", internal, family));
        Self(Dual::new(|family| {
            inside(family).or_else(|| outside(spec, external, family)).map_or(Service::Served, Service::Missing)
        }))
    }

    /// Why the family has no gateway.
    pub(super) fn missing(&self, family: Family) -> Option<&str> {
        match &self.0[family] {
            Service::Missing(reason) => Some(reason),
            _ => None,
        }
    }

    /// What the family waits for.
    pub(super) fn waiting(&self, family: Family) -> Option<&str> {
        match &self.0[family] {
            Service::Waiting(reason) => Some(reason),
            _ => None,
        }
    }
}

/// Why Pods that are still to be get no egress address of the family. Where only addresses of the other one are listed, Kube-OVN
/// gives them a random one: that is none to rely on.
pub(super) fn outside(spec: &VpcEgressGatewaySpec, subnet: &SubnetView<'_>, family: Family) -> Option<String> {
    if subnet.net(family).is_none() {
        return Some(no_cidr("external", subnet, family));
    }
    let lists = |entry: &String| dual(entry, ip, Family::of).is_ok_and(|pair| pair[family].is_some());
    let without = !spec.external_ips.is_empty() && !spec.external_ips.iter().any(lists);
    without.then(|| format!("externalIPs lists no {family} address"))
}

fn no_cidr(side: &str, subnet: &SubnetView<'_>, family: Family) -> String {
    format!("{side} Subnet {} has no {family} CIDR", subnet.name)
}

fn inner(subnet: &SubnetView<'_>, link: &Link, family: Family) -> Service {
    let Some(net) = subnet.net(family) else {
        return Service::Missing(format!("internal Subnet {} has no {family} CIDR", subnet.name));
    };
    let addresses: Vec<&Address> = link.addresses.iter().filter(|a| net.contains(&a.net.addr())).collect();
    match addresses.first() {
        None => Service::Missing(format!("{} has no address in {net}", link.name)),
        Some(first) if addresses.iter().all(|a| a.tentative) => {
            Service::Waiting(format!("{} of {} is tentative", first.net.addr(), link.name))
        }
        Some(_) => Service::Served,
    }
}
