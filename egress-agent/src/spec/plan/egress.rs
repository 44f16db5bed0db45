//! Egress addresses, and the lists of addresses in a VpcEgressGateway.

use std::net::IpAddr;

use egress_common::abi::config::MAX_EGRESS;
use ipnet::IpNet;

use super::{SubnetView, families::Service};
use crate::{
    k8s::api::VpcEgressGatewaySpec,
    spec::{
        addr::{Dual, Family, dual, ip},
        observed::{Address, Link},
        report::{At, Report},
    },
};

/// The egress addresses, and for each family whether there is one.
pub(super) struct Egress {
    pub(super) addresses: Vec<IpAddr>,
    pub(super) service: Dual<Service>,
}

/// Checks both lists of addresses and finds the egress addresses on the external interface.
pub(super) fn addresses(
    spec: &VpcEgressGatewaySpec,
    internal: Option<&SubnetView<'_>>,
    external: Option<&SubnetView<'_>>,
    outside: Option<&Link>,
    at: &At,
    report: &mut Report,
) -> Option<Egress> {
    let before = report.errors.len();
    listed("spec.internalIPs", &spec.internal_ips, internal, at, report);
    let wanted = listed("spec.externalIPs", &spec.external_ips, external, at, report);
    let (subnet, link) = external.zip(outside)?;
    let egress = if spec.external_ips.is_empty() { first(subnet, link) } else { present(&wanted, subnet, link) };
    if report.errors.len() > before {
        return None;
    }
    for family in Family::ALL {
        let many = egress.addresses.iter().filter(|addr| Family::of(**addr) == family).count();
        if many > MAX_EGRESS {
            let reason = format!("{many} {family} addresses are on {}; a gateway uses {MAX_EGRESS} at most", link.name);
            report.error(at, "spec.externalIPs", reason);
        }
        match &egress.service[family] {
            Service::Missing(reason) | Service::Waiting(reason)
                if !egress.addresses.is_empty() && subnet.net(family).is_some() =>
            {
                report.warn(at, "spec.externalIPs", format!("no {family} egress address: {reason}"));
            }
            _ => {}
        }
    }
    if egress.addresses.is_empty() {
        let reasons: Vec<&str> = Family::ALL
            .into_iter()
            .filter(|family| subnet.net(*family).is_some())
            .filter_map(|family| match &egress.service[family] {
                Service::Missing(reason) | Service::Waiting(reason) => Some(reason.as_str()),
                Service::Served => None,
            })
            .collect();
        report.error(at, "spec.externalIPs", format!("there is no egress address: {}", reasons.join("; ")));
        return None;
    }
    Some(egress)
}

/// Checks both lists of addresses, where there are no interfaces yet.
pub(super) fn lists(
    spec: &VpcEgressGatewaySpec,
    internal: &SubnetView<'_>,
    external: &SubnetView<'_>,
    at: &At,
    report: &mut Report,
) {
    listed("spec.internalIPs", &spec.internal_ips, Some(internal), at, report);
    listed("spec.externalIPs", &spec.external_ips, Some(external), at, report);
    alike("spec.internalIPs", &spec.internal_ips, at, report);
    alike("spec.externalIPs", &spec.external_ips, at, report);
}

/// Each Pod gets an entry: those with a family less would have no way out in it, and get packets of it all the same.
fn alike(field: &str, entries: &[String], at: &At, report: &mut Report) {
    let families = |entry: &str| dual(entry, ip, Family::of).ok().map(|pair| Family::ALL.map(|it| pair[it].is_some()));
    let Some(first) = entries.first() else { return };
    for (i, entry) in entries.iter().enumerate().skip(1) {
        if let (Some(one), Some(other)) = (families(first), families(entry))
            && one != other
        {
            let reason = format!(
                "{entry} has other address families than {first}; give every entry the same, such as \
                 172.17.0.11,fd00:172:17::11 for both"
            );
            report.error(at, &format!("{field}[{i}]"), reason);
        }
    }
}

/// The addresses of a list, each inside the Subnet and named once.
fn listed(
    field: &str,
    entries: &[String],
    subnet: Option<&SubnetView<'_>>,
    at: &At,
    report: &mut Report,
) -> Vec<IpAddr> {
    let mut addresses: Vec<IpAddr> = Vec::new();
    for (i, entry) in entries.iter().enumerate() {
        let field = format!("{field}[{i}]");
        let pair = match dual(entry, ip, Family::of) {
            Ok(pair) => pair,
            Err(reason) => {
                report.error(at, &field, reason);
                continue;
            }
        };
        for addr in Family::ALL.into_iter().filter_map(|family| pair[family]) {
            if let Some(subnet) = subnet.filter(|subnet| !subnet.contains(addr)) {
                let reason = format!("{addr} is outside {}; name an address of that Subnet", subnet.describe());
                report.error(at, &field, reason);
            } else if let Some(subnet) = subnet.filter(|subnet| subnet.gateways().any(|gateway| gateway == addr)) {
                let reason = format!("{addr} is the gateway of {}; name an address that is free", subnet.describe());
                report.error(at, &field, reason);
            } else if subnet.and_then(|subnet| subnet.net(Family::of(addr))).is_some_and(|net| is_reserved(&net, addr))
            {
                report.error(
                    at,
                    &field,
                    format!("{addr} is the network or broadcast address of its Subnet; name another"),
                );
            } else if addresses.contains(&addr) {
                report.error(at, &field, format!("{addr} is listed twice; each address is listed once"));
            } else {
                addresses.push(addr);
            }
        }
    }
    addresses
}

/// The first and the last address of an IPv4 network are nobody's (RFC 1122 §3.2.1.3), but for two of a /31 (RFC 3021).
fn is_reserved(net: &IpNet, addr: IpAddr) -> bool {
    addr.is_ipv4() && net.prefix_len() < 31 && (addr == net.network() || addr == net.broadcast())
}

/// Those of the listed addresses that the interface has and may use, in the order of the list.
fn present(wanted: &[IpAddr], subnet: &SubnetView<'_>, link: &Link) -> Egress {
    let usable = |addr: &IpAddr| link.addresses.iter().any(|a| a.net.addr() == *addr && !a.tentative);
    let addresses: Vec<IpAddr> = wanted.iter().copied().filter(usable).collect();
    let service = Dual::new(|family| {
        let ours: Vec<&IpAddr> = wanted.iter().filter(|addr| Family::of(**addr) == family).collect();
        let names = || ours.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        if addresses.iter().any(|addr| Family::of(*addr) == family) {
            Service::Served
        } else if subnet.net(family).is_none() {
            Service::Missing(format!("external Subnet {} has no {family} CIDR", subnet.name))
        } else if ours.is_empty() {
            Service::Missing(format!("externalIPs lists no {family} address"))
        } else if ours.iter().any(|addr| link.has(**addr)) {
            Service::Waiting(format!("{} of {} is tentative", names(), link.name))
        } else {
            Service::Missing(format!("{} has none of {}", link.name, names()))
        }
    });
    Egress { addresses, service }
}

/// The first permanent global address of each family inside the Subnet.
fn first(subnet: &SubnetView<'_>, link: &Link) -> Egress {
    let candidates = |family| {
        let net = subnet.net(family);
        let inside = move |a: &&Address| net.is_some_and(|net| net.contains(&a.net.addr())) && a.permanent && a.global;
        link.addresses.iter().filter(inside)
    };
    let usable = |family| candidates(family).find(|a| !a.tentative).map(|a| a.net.addr());
    let service = Dual::new(|family| match (subnet.net(family), usable(family), candidates(family).next()) {
        (None, ..) => Service::Missing(format!("external Subnet {} has no {family} CIDR", subnet.name)),
        (_, Some(_), _) => Service::Served,
        (_, None, Some(a)) => Service::Waiting(format!("{} of {} is tentative", a.net.addr(), link.name)),
        (Some(net), None, None) => Service::Missing(format!("{} has no permanent global address in {net}", link.name)),
    });
    Egress { addresses: Family::ALL.into_iter().filter_map(usable).collect(), service }
}
