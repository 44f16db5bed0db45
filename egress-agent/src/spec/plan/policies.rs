//! `spec.policies`: what is not translated and what is routed to the inside.

use std::{collections::BTreeSet, net::IpAddr};

use ipnet::IpNet;

use super::{Families, SubnetView, subnets};
use crate::{
    k8s::api::{Policy, VpcEgressGatewaySpec},
    spec::{
        addr::{Family, cidr},
        objects::Objects,
        report::{At, Report},
    },
};

/// CIDRs of the policies.
#[derive(Default)]
pub(super) struct Policies {
    /// Of `snat: false` policies.
    pub(super) no_snat: BTreeSet<IpNet>,
    /// Those that the internal gateway leads to.
    pub(super) routes: BTreeSet<IpNet>,
}

/// A CIDR of a policy and where it stands.
struct Entry {
    field: String,
    snat: bool,
    net: IpNet,
}

struct Reader<'a> {
    objects: &'a Objects,
    vpc: &'a str,
    families: Option<&'a Families>,
    at: &'a At,
    report: &'a mut Report,
    entries: Vec<Entry>,
}

/// Reads the policies. CIDRs of a family without a gateway: an `ipBlocks` entry is a mistake, one of several CIDRs of a
/// Subnet is only passed over, because its Pods have the other family.
pub(super) fn read(
    objects: &Objects,
    spec: &VpcEgressGatewaySpec,
    internal: Option<&SubnetView<'_>>,
    external: Option<&SubnetView<'_>>,
    families: Option<&Families>,
    at: &At,
    report: &mut Report,
) -> Policies {
    let vpc = subnets::vpc_name(spec);
    let mut reader = Reader { objects, vpc, families, at, report, entries: Vec::new() };
    for (i, policy) in spec.policies.iter().enumerate() {
        reader.policy(&format!("spec.policies[{i}]"), policy);
    }
    let entries = reader.entries;
    contradictions(&entries, at, report);
    Policies {
        no_snat: entries.iter().filter(|entry| !entry.snat).map(|entry| entry.net).collect(),
        routes: routes(&entries, internal, external, at, report),
    }
}

impl Reader<'_> {
    fn policy(&mut self, path: &str, policy: &Policy) {
        if policy.ip_blocks.is_empty() && policy.subnets.is_empty() {
            self.report.error(self.at, path, "has neither ipBlocks nor subnets; give at least one of them");
        }
        for (i, text) in policy.ip_blocks.iter().enumerate() {
            self.ip_block(format!("{path}.ipBlocks[{i}]"), text, policy.snat);
        }
        for (i, name) in policy.subnets.iter().enumerate() {
            self.subnet(&format!("{path}.subnets[{i}]"), name, policy.snat);
        }
    }

    fn ip_block(&mut self, field: String, text: &str, snat: bool) {
        // Kube-OVN documents single addresses too and routes them as /32 and /128.
        let net = match text.parse::<IpAddr>().map_or_else(|_| cidr(text), |addr| Ok(addr.into())) {
            Ok(net) => net,
            Err(reason) => return self.report.error(self.at, &field, reason),
        };
        let family = Family::of_net(net);
        if let Some(why) = self.families.and_then(|families| families.missing(family)) {
            let reason =
                format!("{net} is {family}, a family with no gateway: {why}; remove it or give the gateway {family}");
            return self.report.error(self.at, &field, reason);
        }
        if let Some(why) = self.families.and_then(|families| families.waiting(family)) {
            self.report.warn(self.at, &field, format!("{net} is not served yet: {why}"));
        }
        self.entries.push(Entry { field, snat, net });
    }

    fn subnet(&mut self, field: &str, name: &str, snat: bool) {
        let Some(subnet) = subnets::lookup(self.objects, name, self.at, field, self.report) else { return };
        let Some(nets) = subnets::cidrs(subnet, self.report) else { return };
        let theirs = subnets::vpc_of(subnet);
        if theirs != self.vpc {
            let reason =
                format!("Subnet {name} belongs to Vpc {theirs}, whose Pods do not reach a gateway of {}", self.vpc);
            self.report.warn(self.at, field, reason);
        }
        let nets: Vec<IpNet> = Family::ALL.into_iter().filter_map(|family| nets[family]).collect();
        let missing = |net: &IpNet| self.families.and_then(|families| families.missing(Family::of_net(*net)));
        let without = nets.iter().filter_map(|net| missing(net).map(|why| (net, why)));
        let nothing_served = nets.iter().all(|net| missing(net).is_some());
        for (net, why) in without {
            let reason = format!("{net} of Subnet {name} is of a family with no gateway: {why}");
            if nothing_served {
                self.report.error(
                    self.at,
                    field,
                    format!("{reason}; name another Subnet or give the gateway that family"),
                );
            } else {
                self.report.warn(self.at, field, format!("{reason}; it is not served"));
            }
        }
        let served: Vec<IpNet> = nets.iter().filter(|net| missing(net).is_none()).copied().collect();
        self.entries.extend(served.into_iter().map(|net| Entry { field: field.to_owned(), snat, net }));
    }
}

/// `snat: false` wins, as Kube-OVN's RETURN rules stand before its MASQUERADE.
fn contradictions(entries: &[Entry], at: &At, report: &mut Report) {
    for entry in entries.iter().filter(|entry| entry.snat) {
        if let Some(other) = entries.iter().find(|other| !other.snat && other.net.contains(&entry.net)) {
            let reason = format!("{} is not translated: {} in {} says snat: false", entry.net, other.net, other.field);
            report.warn(at, &entry.field, reason);
        }
    }
}

/// Policy CIDRs that are not in the internal Subnet. The external network and everything (`0.0.0.0/0`) are left out:
/// such a route would take the place of the one that leads to the external network.
fn routes(
    entries: &[Entry],
    internal: Option<&SubnetView<'_>>,
    external: Option<&SubnetView<'_>>,
    at: &At,
    report: &mut Report,
) -> BTreeSet<IpNet> {
    let within = |subnet: Option<&SubnetView<'_>>, net: IpNet| {
        subnet.and_then(|subnet| subnet.net(Family::of_net(net))).is_some_and(|theirs| theirs.contains(&net))
    };
    let mut routes = BTreeSet::new();
    for Entry { field, net, .. } in entries {
        if within(external, *net) || net.prefix_len() == 0 {
            let reason =
                format!("{net} leads to the external network; no route through the internal gateway is set for it");
            report.warn(at, field, reason);
        } else if !within(internal, *net) {
            routes.insert(*net);
        }
    }
    routes
}
