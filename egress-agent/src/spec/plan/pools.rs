//! IPPools: whether the Pods of a gateway can get their addresses from one.

use std::net::IpAddr;

use ipnet::IpNet;

use super::SubnetView;
use crate::{
    k8s::api::VpcEgressGatewaySpec,
    spec::{
        addr::{Dual, Family, ip},
        objects::{Objects, list},
        report::{At, Report},
    },
};

/// A pool is one of the Subnet that its addresses are used in, and has one of each of its families for every Pod: as Kube-OVN's IPAM
/// (`pkg/ipam`, `getDualRandomAddress`) gives both or none. What it names outside of the Subnet does nothing there.
pub(super) fn check(
    objects: &Objects,
    spec: &VpcEgressGatewaySpec,
    internal: &SubnetView<'_>,
    external: &SubnetView<'_>,
    at: &At,
    report: &mut Report,
) {
    for (side, name, subnet) in
        [("internal", &spec.internal_ip_pool, internal), ("external", &spec.external_ip_pool, external)]
    {
        if name.is_empty() {
            continue;
        }
        let field = format!("spec.{side}IPPool");
        let Some(pool) = objects.pools.get(name) else {
            let (known, place) = (list(objects.pools.keys()), objects.place);
            report.error(at, &field, format!("IPPool {name} is not {place}; known: {known}"));
            continue;
        };
        if pool.object.spec.subnet != subnet.name {
            let reason = format!(
                "subnet {:?} of {side} IPPool {name:?} does not match {side} subnet {:?}",
                pool.object.spec.subnet, subnet.name
            );
            report.error(at, &field, reason);
            continue;
        }
        let mut named = Dual::<Vec<(IpAddr, IpAddr)>>::default();
        for (i, entry) in pool.object.spec.ips.iter().enumerate() {
            let field = format!("spec.ips[{i}]");
            let (first, last) = match range(entry) {
                Ok(ends) => ends,
                Err(reason) => {
                    report.error(&pool.at(), &field, reason);
                    continue;
                }
            };
            let family = Family::of(first);
            let within = subnet.net(family).map(|net| (first.max(net.network()), last.min(net.broadcast())));
            if within != Some((first, last)) {
                let reason = format!("{entry} is not all in {}; what is outside is not used", subnet.describe());
                report.warn(&pool.at(), &field, reason);
            }
            named[family].extend(within);
        }
        let has = Dual::new(|family| count(&named[family]));
        let replicas = spec.replicas.unwrap_or(1);
        for family in Family::ALL.into_iter().filter(|family| subnet.net(*family).is_some()) {
            if has[family] < u128::try_from(replicas).unwrap_or(0) {
                let reason = format!(
                    "IPPool {name} has {} {family} addresses of {} for {replicas} replicas; each Pod gets one of every \
                     family that the Subnet has",
                    has[family],
                    subnet.describe()
                );
                report.error(at, &field, reason);
            }
        }
    }
}

/// First and last address of an entry: an address, `first..last` or a CIDR.
fn range(entry: &str) -> Result<(IpAddr, IpAddr), String> {
    let wrong =
        || format!("{entry:?} is no address, range or CIDR; write 10.16.0.5, 10.16.0.5..10.16.0.9 or 10.16.0.8/29");
    let entry = entry.trim();
    if let Some((first, last)) = entry.split_once("..") {
        let pair = (ip(first).map_err(|_| wrong())?, ip(last).map_err(|_| wrong())?);
        return if Family::of(pair.0) == Family::of(pair.1) && pair.0 <= pair.1 { Ok(pair) } else { Err(wrong()) };
    }
    if entry.contains('/') {
        let net: IpNet = entry.parse().map_err(|_| wrong())?;
        return Ok((net.network(), net.broadcast()));
    }
    ip(entry).map(|ip| (ip, ip)).map_err(|_| wrong())
}

/// How many addresses there are in ranges that may overlap; some may be reserved.
fn count(ranges: &[(IpAddr, IpAddr)]) -> u128 {
    let number = |ip| match ip {
        IpAddr::V4(ip) => u128::from(ip.to_bits()),
        IpAddr::V6(ip) => ip.to_bits(),
    };
    let mut ranges: Vec<_> = ranges.iter().map(|(first, last)| (number(*first), number(*last))).collect();
    ranges.sort_unstable();
    let (mut count, mut from) = (0_u128, 0);
    for (first, last) in ranges {
        let first = first.max(from);
        if first <= last {
            count = count.saturating_add((last - first).saturating_add(1));
            from = last.saturating_add(1);
        }
    }
    count
}
