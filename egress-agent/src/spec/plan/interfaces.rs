//! Which interface is which side.

use super::{Flags, SubnetView};
use crate::spec::{
    observed::{Link, Observed},
    report::{At, Report},
};

/// The internal and the external interface: those with an address inside their Subnet, or those that the flags name.
pub(super) fn find<'a>(
    subnets: Option<(&SubnetView<'_>, &SubnetView<'_>)>,
    observed: &'a Observed,
    flags: &Flags,
    at: &At,
    report: &mut Report,
) -> Option<(&'a Link, &'a Link)> {
    let (internal, external) = subnets?;
    if internal.name == external.name {
        let reason = format!("Subnet {} is the internal one too; they must differ", external.name);
        report.error(at, "spec.externalSubnet", reason);
        return None;
    }
    let inside = one(&Wanted::internal(internal, flags), observed, at, report);
    let outside = one(&Wanted::external(external, flags), observed, at, report);
    let (inside, outside) = inside.zip(outside)?;
    if inside.index == outside.index {
        let reason = format!(
            "{} has addresses in {} and in {}; a gateway needs two interfaces",
            inside.name,
            internal.describe(),
            external.describe()
        );
        report.error(at, "spec.externalSubnet", reason);
        return None;
    }
    Some((inside, outside))
}

struct Wanted<'a> {
    subnet: &'a SubnetView<'a>,
    field: &'static str,
    flag: &'static str,
    name: Option<&'a str>,
}

impl<'a> Wanted<'a> {
    fn internal(subnet: &'a SubnetView<'_>, flags: &'a Flags) -> Self {
        Self { subnet, field: "spec.internalSubnet", flag: "--internal", name: flags.internal.as_deref() }
    }

    fn external(subnet: &'a SubnetView<'_>, flags: &'a Flags) -> Self {
        Self { subnet, field: "spec.externalSubnet", flag: "--external", name: flags.external.as_deref() }
    }
}

fn one<'a>(wanted: &Wanted<'_>, observed: &'a Observed, at: &At, report: &mut Report) -> Option<&'a Link> {
    let subnet = wanted.subnet.describe();
    let inside = |link: &Link| link.addresses.iter().any(|a| wanted.subnet.contains(a.net.addr()));
    if let Some(name) = wanted.name {
        let Some(link) = observed.link(name) else {
            let reason = format!("there is no interface {name}; seen: {}", seen(&observed.links));
            report.error(&At::nothing(), wanted.flag, reason);
            return None;
        };
        if !inside(link) {
            let reason = format!("{name} has no address in {subnet}; seen: {}", seen([link]));
            report.error(&At::nothing(), wanted.flag, reason);
            return None;
        }
        return Some(link);
    }
    let found: Vec<&Link> = observed.links.iter().filter(|link| inside(link)).collect();
    match found.as_slice() {
        [link] => Some(link),
        [] => {
            let reason = format!("no interface has an address in {subnet}; seen: {}", seen(&observed.links));
            report.error(at, wanted.field, reason);
            None
        }
        links => {
            let (flag, links) = (wanted.flag, seen(links.iter().copied()));
            let reason = format!("several interfaces have an address in {subnet}: {links}; choose one with {flag}");
            report.error(at, wanted.field, reason);
            None
        }
    }
}

fn seen<'a>(links: impl IntoIterator<Item = &'a Link>) -> String {
    let links: Vec<String> = links
        .into_iter()
        .map(|link| {
            let addresses: Vec<String> = link.addresses.iter().map(|a| a.net.to_string()).collect();
            let addresses = if addresses.is_empty() { "no address".to_owned() } else { addresses.join(" ") };
            format!("{} {addresses}", link.name)
        })
        .collect();
    if links.is_empty() { "no interface".to_owned() } else { links.join(", ") }
}
