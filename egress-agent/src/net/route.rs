//! Routes: a default into the overlay (table 1000), one out of it (main), and policy CIDRs through the internal
//! gateway.

use std::{collections::BTreeMap, fmt, net::IpAddr};

use ipnet::IpNet;

use super::{
    Action, Error, Failure, Family, Netlink, PROTOCOL, Step, TABLE_INTERNAL, TABLE_MAIN, apply as act, step::Change,
};
use crate::spec::{desired::Desired, observed::Observed};

#[cfg(test)]
mod tests;
mod wire;

pub(super) use wire::apply;
pub use wire::list;

/// One unicast route, or one that refuses (no hops).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// Table number.
    pub table: u32,
    /// Destination.
    pub destination: IpNet,
    /// Next hops; several for a multipath route.
    pub hops: Vec<Hop>,
    /// Metric: the lowest wins.
    pub metric: u32,
    /// Who set it (`rtm_protocol`).
    pub protocol: u8,
}

/// A next hop.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hop {
    /// Gateway; `None` on-link.
    pub via: Option<IpAddr>,
    /// `ifindex` of the interface.
    pub index: u32,
    /// Name of the interface, where known.
    pub interface: String,
}

impl Hop {
    fn same(&self, other: &Self) -> bool {
        (self.via, self.index) == (other.via, other.index)
    }
}

impl Route {
    fn ours(&self) -> bool {
        self.protocol == PROTOCOL
    }

    fn is_default(&self) -> bool {
        self.destination.prefix_len() == 0
    }

    fn goes(&self, hop: &Hop) -> bool {
        matches!(&self.hops[..], [only] if only.same(hop))
    }

    fn command(&self, change: Change) -> String {
        let family = Family::of(self.destination.addr());
        format!("ip {} route {} {self}", family.flag(), change.verb())
    }
}

impl fmt::Display for Route {
    /// As `ip route` takes it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_default() {
            f.write_str("default")?
        } else {
            write!(f, "{}", self.destination)?
        }
        for hop in &self.hops {
            if self.hops.len() > 1 {
                f.write_str(" nexthop")?;
            }
            if let Some(via) = hop.via {
                write!(f, " via {via}")?;
            }
            if hop.interface.is_empty() {
                write!(f, " dev if{}", hop.index)?
            } else {
                write!(f, " dev {}", hop.interface)?
            }
        }
        if self.table != TABLE_MAIN {
            write!(f, " table {}", self.table)?;
        }
        write!(f, " proto {}", self.protocol)
    }
}

/// Default routes that a gateway needs: its replies' way in, and everything else's way out. Nothing while an interface
/// is missing: its routes are gone with it.
#[must_use]
pub fn default_steps(desired: &Desired, observed: &Observed, found: &[Route]) -> Vec<Step> {
    let mut wanted = BTreeMap::new();
    for (family, internal, external) in Family::routed(desired) {
        for (table, side, gateway) in
            [(TABLE_INTERNAL, &desired.internal, internal), (TABLE_MAIN, &desired.external, external)]
        {
            let Some(hop) = hop(observed, &side.interface, gateway) else { return Vec::new() };
            wanted.insert((table, family.default_route()), hop);
        }
    }
    difference(&wanted, found, |route| route.is_default())
}

/// Routes of policy CIDRs, through the internal gateway. A default route among the policies is none: the way out is it.
/// Nothing while the internal interface is missing: its routes are gone with it.
#[must_use]
pub fn policy_steps(desired: &Desired, observed: &Observed, found: &[Route]) -> Vec<Step> {
    let mut wanted = BTreeMap::new();
    let mut refused = Vec::new();
    for (family, gateway, _) in Family::routed(desired) {
        let Some(hop) = hop(observed, &desired.internal.interface, gateway) else { return Vec::new() };
        for cidr in desired.routes.iter().map(IpNet::trunc).filter(|c| Family::of(c.addr()) == family) {
            if cidr.prefix_len() == 0 {
                refused.push(Step {
                    name: format!("route {cidr}"),
                    ok: false,
                    required: false,
                    detail: "a policy names every address; the default route stays the external one".into(),
                    fix: format!("name the CIDRs behind {} instead of {cidr} in the policy", hop.interface),
                    action: None,
                });
            } else {
                wanted.insert((TABLE_MAIN, cidr), hop.clone());
            }
        }
    }
    refused.extend(difference(&wanted, found, |route| route.table == TABLE_MAIN && !route.is_default()));
    refused
}

fn hop(observed: &Observed, interface: &str, gateway: IpAddr) -> Option<Hop> {
    let link = observed.link(interface)?;
    Some(Hop { via: Some(gateway), index: link.index, interface: link.name.clone() })
}

/// What lacks and which of our routes within `scope` are left over. Routes of others are never touched: an equal one is
/// taken as it is, one that goes elsewhere is reported.
fn difference(wanted: &BTreeMap<(u32, IpNet), Hop>, found: &[Route], scope: impl Fn(&Route) -> bool) -> Vec<Step> {
    let mut steps = Vec::new();
    for ((table, destination), hop) in wanted {
        let route =
            Route { table: *table, destination: *destination, hops: vec![hop.clone()], metric: 0, protocol: PROTOCOL };
        steps.push(check(&route, hop, found));
    }
    for route in found.iter().filter(|r| r.ours() && scope(r)) {
        if !wanted.contains_key(&(route.table, route.destination)) {
            steps.push(step(route, false, "is left over from an earlier configuration".into(), Some(Change::Delete)));
        }
    }
    steps
}

fn check(route: &Route, hop: &Hop, found: &[Route]) -> Step {
    let there = found.iter().filter(|f| (f.table, f.destination) == (route.table, route.destination));
    // The first of the lowest metric is the one that the kernel uses.
    match there.min_by_key(|f| f.metric) {
        None => step(route, false, "is missing".into(), Some(Change::Add)),
        Some(f) if f.goes(hop) => step(route, true, format!("is set ({f})"), None),
        Some(f) if f.ours() => {
            let route = Route { metric: f.metric, ..route.clone() };
            step(&route, false, format!("goes elsewhere ({f})"), Some(Change::Replace))
        }
        Some(f) => Step {
            fix: route.command(Change::Replace),
            ..step(route, false, format!("`{f}` is in its place; it is not ours and left alone"), None)
        },
    }
}

fn step(route: &Route, ok: bool, detail: String, change: Option<Change>) -> Step {
    let table = if route.table == TABLE_MAIN { String::new() } else { format!(" table {}", route.table) };
    Step {
        name: format!("route {}{table}", route.destination),
        ok,
        required: true,
        detail,
        fix: route.command(change.unwrap_or(Change::Add)),
        action: change.map(|c| Action::Route(c, route.clone())),
    }
}

/// Bring the routes of policy CIDRs in line: set what lacks, remove ours that no policy names any more.
///
/// Returns the steps as they stand afterwards and what failed.
///
/// # Errors
/// The kernel refuses the dump of routes.
pub async fn sync(nl: &Netlink, desired: &Desired, observed: &Observed) -> Result<(Vec<Step>, Vec<Failure>), Error> {
    let steps = policy_steps(desired, observed, &list(nl, observed).await?);
    if steps.iter().all(|s| s.action.is_none()) {
        return Ok((steps, Vec::new()));
    }
    let failures = act(nl, &steps).await;
    Ok((policy_steps(desired, observed, &list(nl, observed).await?), failures))
}
