//! Which address families a gateway serves.

use super::{SubnetView, egress::Egress};
use crate::spec::{
    addr::{Dual, Family},
    observed::{Address, Link},
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
