//! A VpcEgressGateway against the objects of a cluster, before there is any gateway Pod.

use std::{collections::BTreeSet, net::IpAddr};

use ipnet::IpNet;

use super::{
    Families, SubnetView, choose_profile, egress, families, fields, labels, pods, policies, pools, subnets, tolerations,
};
use crate::{
    k8s::api::{VpcEgressGateway, VpcEgressGatewaySpec},
    spec::{
        addr::{Dual, Family, dual, ip},
        objects::{Located, Objects, list},
        profile::Profile,
        report::{At, Problem, Report, SpecErrors},
    },
};

/// What a VpcEgressGateway comes to.
#[derive(Clone, Debug)]
pub(crate) struct Resolved {
    /// Name of its Vpc.
    pub(crate) vpc: String,
    /// Its Subnet in the overlay.
    pub(crate) internal: Network,
    /// Its Subnet outside.
    pub(crate) external: Network,
    /// Families in which its Pods get an address outside.
    pub(crate) outside: Vec<Family>,
    /// Why a family has no gateway.
    pub(crate) missing: Dual<Option<String>>,
    /// Provider of the external Subnet.
    pub(crate) provider: String,
    /// `namespace/name` of its NetworkAttachmentDefinition.
    pub(crate) attachment: String,
    /// Where OVN probes from, if it does.
    pub(crate) bfd_peers: Vec<IpAddr>,
    /// CIDRs of the policies that the internal gateway leads to.
    pub(crate) routes: BTreeSet<IpNet>,
    /// Its profile.
    pub(crate) profile: Profile,
    /// What is no mistake, but worth knowing.
    pub(crate) warnings: Vec<Problem>,
}

impl Resolved {
    /// Whether its Pods have addresses of the family on both sides.
    pub(crate) fn serves(&self, family: Family) -> bool {
        self.missing[family].is_none()
    }
}

/// A Subnet's name and gateways.
#[derive(Clone, Debug)]
pub(crate) struct Network {
    /// Name.
    pub(crate) name: String,
    /// Gateway of each family.
    pub(crate) gateways: Dual<Option<IpAddr>>,
}

impl Network {
    fn of(view: &SubnetView<'_>) -> Self {
        let mut gateways = Dual::default();
        for gateway in view.gateways() {
            gateways[Family::of(gateway)] = Some(gateway);
        }
        Self { name: view.name.to_owned(), gateways }
    }
}

impl Network {
    /// Its gateways as Kube-OVN writes them.
    pub(crate) fn gateway(&self) -> String {
        let gateways = Family::ALL.into_iter().filter_map(|family| self.gateways[family]);
        gateways.map(|gateway| gateway.to_string()).collect::<Vec<_>>().join(",")
    }
}

/// Reads and checks everything that a gateway of this spec depends on.
pub(crate) fn resolve(objects: &Objects, gateway: &Located<VpcEgressGateway>) -> Result<Resolved, SpecErrors> {
    let mut report = Report::default();
    let resolved = read(objects, gateway, &mut report);
    let (mut resolved, warnings) = report.finish(resolved)?;
    resolved.warnings = warnings;
    Ok(resolved)
}

fn read(objects: &Objects, gateway: &Located<VpcEgressGateway>, report: &mut Report) -> Option<Resolved> {
    let at = gateway.at();
    let spec = &gateway.object.spec;
    fields::check(spec, &at, report);
    labels::node_terms(&spec.node_selector, &at, report);
    tolerations::check(&spec.tolerations, &at, report);
    references(objects, spec, &at, report);
    pods::compile_all(spec, &at, report);
    let profile = choose_profile(objects, gateway, report);
    let internal = subnets::internal(objects, spec, &at, report);
    let external = subnets::external(objects, spec, &at, report);
    if let (Some(internal), Some(external)) = (&internal, &external) {
        if internal.name == external.name {
            let reason = format!("Subnet {} is the internal one too; they must differ", external.name);
            report.error(&at, "spec.externalSubnet", reason);
        }
        egress::lists(spec, internal, external, &at, report);
        pools::check(objects, spec, internal, external, &at, report);
    }
    let families = internal.as_ref().zip(external.as_ref()).map(|(i, e)| Families::of_spec(spec, i, e));
    if let Some(families) = &families
        && let (Some(v4), Some(v6)) = (families.missing(Family::V4), families.missing(Family::V6))
    {
        report.error(&at, "spec.externalSubnet", format!("no address family has a gateway: {v4}; {v6}"));
    }
    let policies = policies::read(objects, spec, internal.as_ref(), external.as_ref(), families.as_ref(), &at, report);
    let bfd_peers = bfd_peers(objects, spec, families.as_ref(), &at, report);
    let provider = objects.subnets.get(&spec.external_subnet)?.object.spec.provider.clone();
    let external = external?;
    let lacks = |family: &Family| families::outside(spec, &external, *family).is_some();
    let missing = |family| families.as_ref().and_then(|families| families.missing(family)).map(str::to_owned);
    Some(Resolved {
        missing: Dual::new(missing),
        outside: Family::ALL.into_iter().filter(|family| !lacks(family)).collect(),
        vpc: subnets::vpc_name(spec).to_owned(),
        internal: Network::of(&internal?),
        external: Network::of(&external),
        attachment: subnets::attachment_of(&provider)?,
        provider,
        bfd_peers,
        routes: policies.routes,
        profile,
        warnings: Vec::new(),
    })
}

fn references(objects: &Objects, spec: &VpcEgressGatewaySpec, at: &At, report: &mut Report) {
    let place = objects.place;
    if !spec.bgp_conf.is_empty() && !objects.bgp.contains_key(&spec.bgp_conf) {
        let known = list(objects.bgp.keys());
        report.error(at, "spec.bgpConf", format!("BgpConf {} is not {place}; known: {known}", spec.bgp_conf));
    }
    // Without a bgpConf nobody reads it, also not Kube-OVN.
    if !spec.bgp_conf.is_empty() && !spec.evpn_conf.is_empty() && !objects.evpn.contains_key(&spec.evpn_conf) {
        let known = list(objects.evpn.keys());
        report.error(at, "spec.evpnConf", format!("EvpnConf {} is not {place}; known: {known}", spec.evpn_conf));
    }
}

/// Addresses of the Vpc's BFD port, in families that the gateway serves.
fn bfd_peers(
    objects: &Objects,
    spec: &VpcEgressGatewaySpec,
    families: Option<&Families>,
    at: &At,
    report: &mut Report,
) -> Vec<IpAddr> {
    let field = "spec.bfd";
    let Some(bfd) = spec.bfd.as_ref().filter(|bfd| bfd.enabled) else { return Vec::new() };
    let bounds =
        [("minRX", bfd.min_rx, 3_600_000), ("minTX", bfd.min_tx, 3_600_000), ("multiplier", bfd.multiplier, 255)];
    for (name, value, most) in bounds {
        if value.is_some_and(|value| !(1..=most).contains(&value)) {
            report.error(at, &format!("{field}.{name}"), format!("must be 1 to {most}"));
        }
    }
    let vpc = subnets::vpc_name(spec);
    let Some(found) = objects.vpcs.get(vpc) else {
        report.error(at, field, format!("needs the BFD port of Vpc {vpc}, which is not {}", objects.place));
        return Vec::new();
    };
    // The port as it is, else as it shall be: `render` has no status.
    let port = found.object.status.as_ref().and_then(|status| status.bfd_port.as_ref()).map(|port| port.ip.as_str());
    let asked = found.object.spec.bfd_port.as_ref().filter(|port| port.enabled).map(|port| port.ip.as_str());
    let Some(text) = [port, asked].into_iter().flatten().find(|text| !text.is_empty()) else {
        report.error(at, field, format!("{NO_BFD_PORT} {vpc}: set its spec.bfdPort"));
        return Vec::new();
    };
    match dual(text, ip, Family::of) {
        Ok(peers) => Family::ALL
            .into_iter()
            .filter(|family| families.is_none_or(|families| families.missing(*family).is_none()))
            .filter_map(|family| peers[family])
            .collect(),
        Err(reason) => {
            report.error(&found.at(), "spec.bfdPort.ip", reason);
            Vec::new()
        }
    }
}

/// How the message about a missing BFD port begins: Kube-OVN has a condition of its own for it.
pub(crate) const NO_BFD_PORT: &str = "BFD is not enabled on Vpc";
