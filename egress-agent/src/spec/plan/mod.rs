//! Objects and interfaces to the desired state of one gateway.
//!
//! Each module reads one part of a VpcEgressGateway and goes on after a mistake where it can, so that a user sees all
//! of them at once.

pub(crate) mod cluster;
mod egress;
mod families;
pub(crate) mod fields;
mod interfaces;
mod labels;
pub(crate) mod pods;
mod policies;
mod pools;
pub(crate) mod subnets;
mod tolerations;

use std::net::IpAddr;

use super::{
    addr::Family,
    desired::{Desired, Side},
    objects::{Located, Objects, key, list},
    observed::{Link, Observed},
    profile::{self, Forward, Profile},
    report::{At, Report, SpecErrors},
};
use crate::k8s::api::{PROFILE_ANNOTATION, VpcEgressGateway};

use families::Families;
use subnets::SubnetView;

/// What the command line overrides.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Flags {
    /// Interface of the overlay.
    pub internal: Option<String>,
    /// Interface of the external network.
    pub external: Option<String>,
    /// How translated packets leave.
    pub forward: Option<Forward>,
}

/// The desired state of the gateway `choice` (`namespace/name`), or of the only one that there is.
pub fn plan(
    objects: &Objects,
    choice: Option<&str>,
    observed: &Observed,
    flags: &Flags,
) -> Result<Desired, SpecErrors> {
    let mut report = Report { warnings: objects.warnings.clone(), ..Report::default() };
    let desired = choose(objects, choice, &mut report)
        .and_then(|gateway| desired(objects, gateway, observed, flags, &mut report));
    let (mut desired, warnings) = report.finish(desired)?;
    desired.warnings = warnings.iter().map(ToString::to_string).collect();
    Ok(desired)
}

fn choose<'a>(
    objects: &'a Objects,
    choice: Option<&str>,
    report: &mut Report,
) -> Option<&'a Located<VpcEgressGateway>> {
    let gateways = &objects.gateways;
    let reason = match (choice, gateways.len()) {
        (Some(choice), _) => {
            let found = gateways.get(choice);
            if found.is_some() {
                return found;
            }
            format!("VpcEgressGateway {choice} is not in the files; known: {}", list(gateways.keys()))
        }
        (None, 1) => return gateways.values().next(),
        (None, 0) => "the files hold no VpcEgressGateway (kubeovn.io/v1); give one with --file".to_owned(),
        (None, _) => {
            let places: Vec<String> = gateways.iter().map(|(key, g)| format!("{key} ({})", g.origin)).collect();
            format!("the files hold several VpcEgressGateways; choose one of {}", places.join(", "))
        }
    };
    report.error(&At::nothing(), if choice.is_some() || gateways.len() > 1 { "--veg" } else { "" }, reason);
    None
}

fn desired(
    objects: &Objects,
    gateway: &Located<VpcEgressGateway>,
    observed: &Observed,
    flags: &Flags,
    report: &mut Report,
) -> Option<Desired> {
    let at = gateway.at();
    let spec = &gateway.object.spec;
    fields::check(spec, &at, report);
    fields::warn_not_served(spec, &at, report);
    let mut profile = choose_profile(objects, gateway, report);
    profile.forward = flags.forward.unwrap_or(profile.forward);

    let internal = subnets::internal(objects, spec, &at, report);
    let external = subnets::external(objects, spec, &at, report);
    let (inside, outside) =
        interfaces::find(internal.as_ref().zip(external.as_ref()), observed, flags, &at, report).unzip();
    let egress = egress::addresses(spec, internal.as_ref(), external.as_ref(), outside, &at, report);
    let families = match (&internal, inside, &egress) {
        (Some(internal), Some(inside), Some(egress)) => Some(Families::new(internal, inside, egress)),
        _ => None,
    };
    let policies = policies::read(objects, spec, internal.as_ref(), external.as_ref(), families.as_ref(), &at, report);
    let selected = pods::selected(objects, spec, families.as_ref(), &at, report);

    let served = families?;
    Some(Desired {
        gateway: key(&gateway.object),
        internal: side(inside?, &internal?, |_| true),
        // The Subnet may have a family in which nothing leaves: its default route is not ours.
        external: side(outside?, &external?, |family| served.missing(family).is_none()),
        egress: egress?.addresses,
        no_snat: policies.no_snat,
        selected,
        routes: policies.routes,
        profile,
        warnings: Vec::new(),
    })
}

/// With the Subnet's next hops of these families.
fn side(link: &Link, subnet: &SubnetView<'_>, of: impl Fn(Family) -> bool) -> Side {
    let mut side = Side { interface: link.name.clone(), gateway4: None, gateway6: None };
    for addr in subnet.gateways().filter(|addr| of(Family::of(*addr))) {
        match addr {
            IpAddr::V4(addr) => side.gateway4 = Some(addr),
            IpAddr::V6(addr) => side.gateway6 = Some(addr),
        }
    }
    side
}

/// The profile that the annotation names, else `default` of the gateway's namespace, else the built-in defaults.
fn choose_profile(objects: &Objects, gateway: &Located<VpcEgressGateway>, report: &mut Report) -> Profile {
    let meta = &gateway.object.metadata;
    let namespace = meta.namespace.as_deref().unwrap_or_default();
    let named = meta.annotations.as_ref().and_then(|annotations| annotations.get(PROFILE_ANNOTATION));
    let name = named.map_or("default", String::as_str);
    let name = if name.contains('/') { name.to_owned() } else { format!("{namespace}/{name}") };
    match objects.profiles.get(&name) {
        Some(found) => profile::resolve(&name, &found.object.spec, &found.at(), report),
        None => {
            if named.is_some() {
                let (known, place) = (list(objects.profiles.keys()), objects.place);
                let reason = format!("EgressGatewayProfile {name} is not {place}; known: {known}");
                report.error(&gateway.at(), &format!("metadata.annotations[{PROFILE_ANNOTATION}]"), reason);
            }
            Profile::default()
        }
    }
}
