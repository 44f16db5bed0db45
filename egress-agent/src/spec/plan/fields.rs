//! Rules of a VpcEgressGateway that need no other object, and its fields that are not served yet.

use crate::{
    k8s::api::{IntOrText, Observability, VpcEgressGatewaySpec, mbps},
    spec::report::{At, Report},
};

/// Kube-OVN's own validation, which not every release has in its CRD.
pub(super) fn check(spec: &VpcEgressGatewaySpec, at: &At, report: &mut Report) {
    let replicas = spec.replicas.unwrap_or(1);
    if replicas < 0 {
        report.error(at, "spec.replicas", format!("{replicas} gateway Pods cannot be; write 0 or more"));
    }
    let lists = [
        ("internalIPs", &spec.internal_ips, "internalIPPool", &spec.internal_ip_pool),
        ("externalIPs", &spec.external_ips, "externalIPPool", &spec.external_ip_pool),
    ];
    for (list, entries, pool, name) in lists {
        let field = format!("spec.{list}");
        if !entries.is_empty() && i64::try_from(entries.len()).is_ok_and(|entries| entries < replicas) {
            let reason =
                format!("{} for {replicas} replicas; give at least one for each, better one more", entries.len());
            report.error(at, &field, reason);
        }
        if !entries.is_empty() && !name.is_empty() {
            report.error(at, &format!("spec.{pool}"), format!("{list} is given too; give one of the two"));
        }
    }
    if spec.policies.is_empty() && spec.selectors.is_empty() {
        report.error(at, "spec", "has neither policies nor selectors; give at least one of them");
    }
    if !matches!(spec.traffic_policy.as_str(), "" | "Cluster" | "Local") {
        let reason = format!("{:?} is unknown; write Cluster or Local", spec.traffic_policy);
        report.error(at, "spec.trafficPolicy", reason);
    }
    if !matches!(spec.pod_anti_affinity.as_str(), "" | "Required" | "Preferred") {
        let reason = format!("{:?} is unknown; write Required or Preferred", spec.pod_anti_affinity);
        report.error(at, "spec.podAntiAffinity", reason);
    }
    if let Some(bandwidth) = &spec.bandwidth {
        for (name, rate) in [("ingress", &bandwidth.ingress), ("egress", &bandwidth.egress)] {
            if let Some(Err(reason)) = rate.as_ref().map(mbps) {
                report.error(at, &format!("spec.bandwidth.{name}"), reason);
            }
        }
    }
}

/// Who reads a VpcEgressGateway.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reader {
    /// A gateway, from files.
    Gateway,
    /// The controller; Kube-OVN gives its Pods addresses and rates.
    Controller,
}

/// Fields that are set but not served yet, with what that means.
pub(crate) fn not_served(spec: &VpcEgressGatewaySpec, reader: Reader) -> Vec<(&'static str, &'static str)> {
    let rate = |rate: Option<&IntOrText>| rate.is_some_and(|rate| mbps(rate) != Ok(0));
    let bandwidth = spec.bandwidth.as_ref();
    let own = reader == Reader::Gateway;
    let fields = [
        ("spec.bfd", spec.bfd.as_ref().is_some_and(|bfd| bfd.enabled), "OVN's probes are not answered"),
        ("spec.bgpConf", !spec.bgp_conf.is_empty(), "nothing is announced, and traffic is translated all the same"),
        ("spec.evpnConf", !spec.evpn_conf.is_empty(), "nothing is announced"),
        ("spec.bandwidth.ingress", own && rate(bandwidth.and_then(|b| b.ingress.as_ref())), "the rate is not limited"),
        ("spec.bandwidth.egress", own && rate(bandwidth.and_then(|b| b.egress.as_ref())), "the rate is not limited"),
        ("spec.observability", spec.observability.as_ref().is_some_and(Observability::wanted), "nothing is exported"),
        ("spec.trafficPolicy", spec.traffic_policy == "Local", "OVN decides which gateway a Pod uses"),
        (
            "spec.internalIPPool",
            own && !spec.internal_ip_pool.is_empty(),
            "the address that the interface has is taken",
        ),
        (
            "spec.externalIPPool",
            own && !spec.external_ip_pool.is_empty(),
            "the addresses that the interface has are taken",
        ),
    ];
    fields.into_iter().filter(|(_, given, _)| *given).map(|(field, _, meaning)| (field, meaning)).collect()
}

/// The same as warnings.
pub(super) fn warn_not_served(spec: &VpcEgressGatewaySpec, at: &At, report: &mut Report) {
    for (field, meaning) in not_served(spec, Reader::Gateway) {
        report.warn(at, field, format!("is not served yet: {meaning}"));
    }
}
