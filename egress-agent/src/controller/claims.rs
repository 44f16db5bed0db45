//! What one gateway only can have: the name of its objects (prefix and name of two may add up to one) and the addresses that it lists.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use super::{names, wires};
use crate::{
    k8s::api::VpcEgressGateway,
    spec::{
        addr::{Family, dual, ip},
        objects::{Objects, key},
        plan::subnets::internal_name,
    },
};

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Claim {
    /// `namespace/name` of its Deployment.
    Object(String),
    /// An address of an external Subnet; whether two Subnets are one network the cluster may have to say.
    Outside(IpAddr),
    /// An address of an internal Subnet; which one the cluster may have to say.
    Inside(IpAddr),
}

/// Addresses that another gateway lists, too, by the field that lists them, with that one.
pub(super) type Shared = BTreeMap<(&'static str, IpAddr), Other>;

/// Another gateway that lists an address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Other {
    pub(super) gateway: String,
    /// The external Subnet in which it lists the address, if that is another one.
    pub(super) subnet: Option<String>,
}

/// What a gateway claims.
#[derive(PartialEq, Eq)]
struct Claimed {
    claims: BTreeSet<Claim>,
    /// Its Vpc and internal Subnet as it names them.
    inside: (String, String),
    outside: String,
}

/// Who claims what.
#[derive(Default)]
pub(super) struct Claims {
    by: BTreeMap<Claim, BTreeSet<String>>,
    of: BTreeMap<String, Claimed>,
}

impl Claims {
    /// A gateway that came or changed. Returns those that claim something which it has now or no more.
    pub(super) fn put(&mut self, gateway: &VpcEgressGateway) -> BTreeSet<String> {
        let key = key(gateway);
        let inside = (gateway.spec.vpc.clone(), gateway.spec.internal_subnet.clone());
        let claimed = Claimed { claims: claims(gateway), inside, outside: gateway.spec.external_subnet.clone() };
        if self.of.get(&key) == Some(&claimed) {
            return BTreeSet::new();
        }
        let mut concerned = self.remove(&key);
        for claim in &claimed.claims {
            let rivals = self.by.entry(claim.clone()).or_default();
            concerned.extend(rivals.iter().cloned());
            rivals.insert(key.clone());
        }
        self.of.insert(key, claimed);
        concerned
    }

    /// A gateway that is gone. Returns those that claim something which it had.
    pub(super) fn remove(&mut self, gateway: &str) -> BTreeSet<String> {
        let concerned = self.rivals(gateway);
        for claim in self.of.remove(gateway).into_iter().flat_map(|claimed| claimed.claims) {
            if let Some(all) = self.by.get_mut(&claim) {
                all.remove(gateway);
                if all.is_empty() {
                    self.by.remove(&claim);
                }
            }
        }
        concerned
    }

    /// Those that claim something which a gateway claims.
    fn rivals(&self, gateway: &str) -> BTreeSet<String> {
        let all = self.claims(gateway).filter_map(|claim| self.by.get(claim)).flatten();
        all.filter(|rival| *rival != gateway).cloned().collect()
    }

    /// All that claim the name of an object.
    pub(super) fn to(&self, object: &str) -> impl Iterator<Item = &String> {
        self.by.get(&Claim::Object(object.to_owned())).into_iter().flatten()
    }

    fn claims(&self, gateway: &str) -> impl Iterator<Item = &Claim> {
        self.of.get(gateway).into_iter().flat_map(|claimed| &claimed.claims)
    }

    /// Addresses that others list, too, with the first of these.
    pub(super) fn shared(&self, gateway: &str, objects: &Objects) -> Shared {
        let subnet = |key: &str| Some(internal_name(objects, &objects.gateways.get(key)?.object.spec)?.to_owned());
        let own = subnet(gateway);
        let shared = self.claims(gateway).filter_map(|claim| {
            let mut others = self.by.get(claim)?.iter().filter(|other| *other != gateway);
            match claim {
                Claim::Object(_) => None,
                Claim::Outside(ip) => {
                    Some((("spec.externalIPs", *ip), self.outside(gateway, &others.collect::<Vec<_>>(), *ip, objects)?))
                }
                // Subnets of two Vpcs may have one CIDR.
                Claim::Inside(ip) => {
                    let other = others.find(|other| own.is_some() && subnet(other) == own)?;
                    Some((("spec.internalIPs", *ip), Other { gateway: other.clone(), subnet: None }))
                }
            }
        });
        shared.collect()
    }

    /// The first that lists the address in the same external Subnet, else in another that may be the same network.
    fn outside(&self, gateway: &str, others: &[&String], ip: IpAddr, objects: &Objects) -> Option<Other> {
        let subnet = |key: &str| self.of.get(key).map(|claimed| claimed.outside.as_str());
        let own = subnet(gateway)?;
        if let Some(other) = others.iter().find(|other| subnet(other) == Some(own)) {
            return Some(Other { gateway: (*other).clone(), subnet: None });
        }
        others.iter().find_map(|other| {
            let theirs = subnet(other).filter(|theirs| wires::meet(objects, [own, theirs], ip))?;
            Some(Other { gateway: (*other).clone(), subnet: Some(theirs.to_owned()) })
        })
    }
}

/// `namespace/name` of the gateway's Deployment.
pub(super) fn object(gateway: &VpcEgressGateway) -> String {
    format!("{}/{}", names::namespace(gateway), names::deployment(gateway))
}

/// What is no address is told where the spec is checked.
fn claims(gateway: &VpcEgressGateway) -> BTreeSet<Claim> {
    let spec = &gateway.spec;
    let listed = |entries: &[String]| -> Vec<IpAddr> {
        let pairs = entries.iter().filter_map(|entry| dual(entry, ip, Family::of).ok());
        pairs.flat_map(|pair| Family::ALL.into_iter().filter_map(move |family| pair[family])).collect()
    };
    let outside = listed(&spec.external_ips).into_iter().map(Claim::Outside);
    let inside = listed(&spec.internal_ips).into_iter().map(Claim::Inside);
    outside.chain(inside).chain([Claim::Object(object(gateway))]).collect()
}
