//! What one gateway only can have: the name of its objects (prefix and name of two may add up to one) and the addresses outside that it lists.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use super::names;
use crate::{
    k8s::api::VpcEgressGateway,
    spec::{
        addr::{Family, dual, ip},
        objects::key,
    },
};

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Claim {
    /// `namespace/name` of its Deployment.
    Object(String),
    /// An address of an external Subnet.
    Address(String, IpAddr),
}

/// Who claims what.
#[derive(Default)]
pub(super) struct Claims {
    by: BTreeMap<Claim, BTreeSet<String>>,
    of: BTreeMap<String, BTreeSet<Claim>>,
}

impl Claims {
    /// A gateway that came or changed. Returns those that claim something which it has now or no more.
    pub(super) fn put(&mut self, gateway: &VpcEgressGateway) -> BTreeSet<String> {
        let (key, claims) = (key(gateway), claims(gateway));
        if self.of.get(&key) == Some(&claims) {
            return BTreeSet::new();
        }
        let mut concerned = self.remove(&key);
        for claim in &claims {
            let rivals = self.by.entry(claim.clone()).or_default();
            concerned.extend(rivals.iter().cloned());
            rivals.insert(key.clone());
        }
        self.of.insert(key, claims);
        concerned
    }

    /// A gateway that is gone. Returns those that claim something which it had.
    pub(super) fn remove(&mut self, gateway: &str) -> BTreeSet<String> {
        let concerned = self.rivals(gateway);
        for claim in self.of.remove(gateway).into_iter().flatten() {
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
        let claims = self.of.get(gateway).into_iter().flatten();
        let all = claims.filter_map(|claim| self.by.get(claim)).flatten();
        all.filter(|rival| *rival != gateway).cloned().collect()
    }

    /// All that claim the name of an object.
    pub(super) fn to(&self, object: &str) -> impl Iterator<Item = &String> {
        self.by.get(&Claim::Object(object.to_owned())).into_iter().flatten()
    }

    /// Addresses that others list, too, with the first of these.
    pub(super) fn shared(&self, gateway: &str) -> BTreeMap<IpAddr, String> {
        let claims = self.of.get(gateway).into_iter().flatten();
        let shared = claims.filter_map(|claim| {
            let Claim::Address(_, ip) = claim else { return None };
            let other = self.by.get(claim)?.iter().find(|other| *other != gateway)?;
            Some((*ip, other.clone()))
        });
        shared.collect()
    }
}

/// `namespace/name` of the gateway's Deployment.
pub(super) fn object(gateway: &VpcEgressGateway) -> String {
    format!("{}/{}", names::namespace(gateway), names::deployment(gateway))
}

/// What is no address is told where the spec is checked.
fn claims(gateway: &VpcEgressGateway) -> BTreeSet<Claim> {
    let spec = &gateway.spec;
    let pairs = spec.external_ips.iter().filter_map(|entry| dual(entry, ip, Family::of).ok());
    let addresses = pairs.flat_map(|pair| Family::ALL.into_iter().filter_map(move |family| pair[family]));
    let addresses = addresses.map(|ip| Claim::Address(spec.external_subnet.clone(), ip));
    addresses.chain([Claim::Object(object(gateway))]).collect()
}
