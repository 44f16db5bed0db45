//! The two Subnets of a gateway.

use std::net::IpAddr;

use ipnet::IpNet;
use serde_json::Value;

use crate::{
    k8s::api::{DEFAULT_VPC, Subnet, Vpc, VpcEgressGatewaySpec},
    spec::{
        addr::{Dual, Family, cidr, dual, first_host, ip},
        objects::{Located, Objects, Place, list},
        report::{At, Report},
    },
};

/// A Subnet with its fields read.
pub(super) struct SubnetView<'a> {
    pub(super) name: &'a str,
    nets: Dual<Option<IpNet>>,
    gateways: Dual<Option<IpAddr>>,
}

impl SubnetView<'_> {
    pub(super) fn net(&self, family: Family) -> Option<IpNet> {
        self.nets[family]
    }

    pub(super) fn gateways(&self) -> impl Iterator<Item = IpAddr> {
        Family::ALL.into_iter().filter_map(|family| self.gateways[family])
    }

    pub(super) fn nets(&self) -> impl Iterator<Item = IpNet> {
        Family::ALL.into_iter().filter_map(|family| self.net(family))
    }

    pub(super) fn contains(&self, addr: IpAddr) -> bool {
        self.nets().any(|net| net.contains(&addr))
    }

    /// For messages: `Subnet ovn-default (10.16.0.0/16)`.
    pub(super) fn describe(&self) -> String {
        let nets: Vec<String> = self.nets().map(|net| net.to_string()).collect();
        format!("Subnet {} ({})", self.name, nets.join(","))
    }
}

/// `spec.internalSubnet`, else the default of the Vpc.
pub(super) fn internal<'a>(
    objects: &'a Objects,
    spec: &'a VpcEgressGatewaySpec,
    at: &At,
    report: &mut Report,
) -> Option<SubnetView<'a>> {
    let field = "spec.internalSubnet";
    let vpc = vpc_name(spec);
    let found = objects.vpcs.get(vpc);
    let place = objects.place;
    if found.is_none() && !spec.vpc.is_empty() {
        let known = list(objects.vpcs.keys());
        report.error(at, "spec.vpc", format!("Vpc {vpc} is not {place}; known: {known}"));
    }
    let name = match (spec.internal_subnet.as_str(), found) {
        ("", None) if !spec.vpc.is_empty() => return None,
        ("", None) => {
            let or = if place == Place::Files { " or give a file with the Vpc" } else { "" };
            let reason = format!("is empty and Vpc {vpc} is not {place}; name the Subnet{or}");
            report.error(at, field, reason);
            return None;
        }
        ("", Some(found)) => {
            let Some(name) = default_subnet(found) else {
                let reason = format!(
                    "is empty and Vpc {vpc} has no default Subnet (status.defaultLogicalSwitch); set spec.internalSubnet to a Subnet of {vpc}"
                );
                report.error(at, field, reason);
                return None;
            };
            name
        }
        (name, _) => name,
    };
    let subnet = lookup(objects, name, at, field, report)?;
    let theirs = vpc_of(subnet);
    if theirs != vpc {
        report.error(
            at,
            field,
            format!("Subnet {name} belongs to Vpc {theirs}, the gateway to {vpc}; name a Subnet of {vpc}"),
        );
    }
    view(name, subnet, report)
}

fn default_subnet(vpc: &Located<Vpc>) -> Option<&str> {
    let status = vpc.object.status.as_ref()?;
    Some(status.default_logical_switch.as_str()).filter(|name| !name.is_empty())
}

/// The name of the internal Subnet, if it can be known.
pub(crate) fn internal_name<'a>(objects: &'a Objects, spec: &'a VpcEgressGatewaySpec) -> Option<&'a str> {
    match spec.internal_subnet.as_str() {
        "" => default_subnet(objects.vpcs.get(vpc_name(spec))?),
        name => Some(name),
    }
}

/// `spec.externalSubnet`, with its NetworkAttachmentDefinition checked.
pub(super) fn external<'a>(
    objects: &'a Objects,
    spec: &'a VpcEgressGatewaySpec,
    at: &At,
    report: &mut Report,
) -> Option<SubnetView<'a>> {
    let field = "spec.externalSubnet";
    let name = spec.external_subnet.as_str();
    if name.is_empty() {
        report.error(at, field, "is missing; name the Subnet of the external network");
        return None;
    }
    let subnet = lookup(objects, name, at, field, report)?;
    attachment(objects, subnet, report);
    view(name, subnet, report)
}

/// The Vpc of a gateway.
pub(crate) fn vpc_name(spec: &VpcEgressGatewaySpec) -> &str {
    if spec.vpc.is_empty() { DEFAULT_VPC } else { &spec.vpc }
}

/// The Vpc of a Subnet.
pub(super) fn vpc_of(subnet: &Located<Subnet>) -> &str {
    let vpc = subnet.object.spec.vpc.as_str();
    if vpc.is_empty() { DEFAULT_VPC } else { vpc }
}

/// The Subnet of this name; a missing one is a mistake of the object that names it.
pub(super) fn lookup<'a>(
    objects: &'a Objects,
    name: &str,
    at: &At,
    field: &str,
    report: &mut Report,
) -> Option<&'a Located<Subnet>> {
    let found = objects.subnets.get(name);
    if found.is_none() {
        let (known, place) = (list(objects.subnets.keys()), objects.place);
        report.error(at, field, format!("Subnet {name:?} is not {place}; known: {known}"));
    }
    if let Some(why) = found.and_then(|subnet| subnet.object.refused()) {
        report.error(at, field, format!("Subnet {name} is not valid: {why}; correct it, or name another"));
    }
    found
}

/// The CIDRs of a Subnet.
pub(super) fn cidrs(subnet: &Located<Subnet>, report: &mut Report) -> Option<Dual<Option<IpNet>>> {
    dual(&subnet.object.spec.cidr_block, cidr, Family::of_net)
        .map_err(|reason| report.error(&subnet.at(), "spec.cidrBlock", reason))
        .ok()
}

fn view<'a>(name: &'a str, subnet: &'a Located<Subnet>, report: &mut Report) -> Option<SubnetView<'a>> {
    let at = subnet.at();
    let field = "spec.gateway";
    let nets = cidrs(subnet, report)?;
    let mut gateways = match subnet.object.spec.gateway.as_str() {
        "" => Dual::default(),
        text => dual(text, ip, Family::of).map_err(|reason| report.error(&at, field, reason)).ok()?,
    };
    for family in Family::ALL {
        match (nets[family], gateways[family]) {
            (Some(net), None) => {
                let first = first_host(net);
                report.warn(&at, field, format!("has no {family} gateway; {first} is taken, as Kube-OVN does"));
                gateways[family] = Some(first);
            }
            (Some(net), Some(gateway)) if !net.contains(&gateway) => {
                report.error(&at, field, format!("{gateway} is outside {net}; it must be an address of the Subnet"));
            }
            (None, Some(gateway)) => {
                report.error(&at, field, format!("{gateway} is {family}, but cidrBlock has no {family} CIDR"));
            }
            _ => {}
        }
    }
    Some(SubnetView { name, nets, gateways })
}

/// `namespace/name` of the NetworkAttachmentDefinition that a provider `<name>.<namespace>[.ovn]` names.
pub(crate) fn attachment_of(provider: &str) -> Option<String> {
    let parts: Vec<&str> = provider.split('.').collect();
    match parts.as_slice() {
        [name, namespace] | [name, namespace, "ovn"] if !name.is_empty() && !namespace.is_empty() => {
            Some(format!("{namespace}/{name}"))
        }
        _ => None,
    }
}

/// `spec.provider` is `<attachment>.<namespace>[.ovn]`, and that attachment exists.
fn attachment(objects: &Objects, subnet: &Located<Subnet>, report: &mut Report) {
    let at = subnet.at();
    let field = "spec.provider";
    let provider = subnet.object.spec.provider.as_str();
    let Some(key) = attachment_of(provider) else {
        let reason = "names no NetworkAttachmentDefinition; write <name>.<namespace> or <name>.<namespace>.ovn";
        return report.error(&at, field, format!("{provider:?} {reason}"));
    };
    let Some(found) = objects.attachments.get(&key) else {
        let (known, place) = (list(objects.attachments.keys()), objects.place);
        let reason = format!("{provider}: NetworkAttachmentDefinition {key} is not {place}; known: {known}");
        return report.error(&at, field, reason);
    };
    match providers(&found.object.spec.config) {
        Ok(theirs) if theirs.is_empty() || theirs.iter().any(|theirs| theirs == provider) => {}
        Ok(theirs) => {
            let reason = format!(
                "has provider {}, Subnet {} has {provider}; they must be equal",
                list(&theirs),
                found_name(subnet)
            );
            report.warn(&found.at(), "spec.config", reason);
        }
        Err(error) => report.warn(&found.at(), "spec.config", format!("is no JSON: {error}")),
    }
}

fn found_name(subnet: &Located<Subnet>) -> &str {
    subnet.object.metadata.name.as_deref().unwrap_or_default()
}

/// Every `provider` that a CNI configuration names: of a plugin or of its IPAM.
fn providers(config: &str) -> Result<Vec<String>, serde_json::Error> {
    if config.trim().is_empty() {
        return Ok(Vec::new());
    }
    let config: Value = serde_json::from_str(config)?;
    let plugins =
        config.get("plugins").and_then(Value::as_array).map_or_else(Vec::new, |plugins| plugins.iter().collect());
    let providers = [&config].into_iter().chain(plugins).flat_map(|plugin| {
        let ipam = plugin.get("ipam").and_then(|ipam| ipam.get("provider"));
        plugin.get("provider").into_iter().chain(ipam)
    });
    Ok(providers.filter_map(Value::as_str).map(str::to_owned).collect())
}
