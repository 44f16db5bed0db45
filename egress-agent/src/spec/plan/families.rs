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

    /// As far as Subnets and lists of addresses say it, for a gateway whose Pods are still to be.
    pub(super) fn of_spec(spec: &VpcEgressGatewaySpec, internal: &SubnetView<'_>, external: &SubnetView<'_>) -> Self {
        let side = |side: &str, subnet: &SubnetView<'_>, list: &str, addresses: &[String], family| {
            if subnet.net(family).is_none() {
                return Some(format!("{side} Subnet {} has no {family} CIDR", subnet.name));
            }
            let lists = |entry: &String| dual(entry, ip, Family::of).is_ok_and(|pair| pair[family].is_some());
            let without = !addresses.is_empty() && !addresses.iter().any(lists);
            without.then(|| format!("{list} lists no {family} address"))
        };
        Self(Dual::new(|family| {
            side("internal", internal, "internalIPs", &spec.internal_ips, family)
                .or_else(|| side("external", external, "externalIPs", &spec.external_ips, family))
                .map_or(Service::Served, Service::Missing)
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
