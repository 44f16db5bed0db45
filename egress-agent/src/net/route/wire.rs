//! Routes as rtnetlink messages.

use std::net::IpAddr;

use ipnet::IpNet;
use nix::errno::Errno;
use rtnetlink::{
    packet_core::{NLM_F_CREATE, NLM_F_EXCL, NLM_F_REPLACE},
    packet_route::{
        AddressFamily, RouteNetlinkMessage,
        route::{
            RouteAddress, RouteAttribute, RouteFlags, RouteMessage, RouteNextHop, RouteProtocol, RouteScope, RouteType,
            RouteVia,
        },
    },
};

use super::{Hop, Route};
use crate::{
    net::{Error, Family, Netlink, TABLE_INTERNAL, TABLE_MAIN, nl::collect, step::Change},
    spec::observed::Observed,
};

/// Routes of both families in the tables `main` and 1000, in the kernel's order.
///
/// # Errors
/// The kernel refuses the dump.
pub async fn list(nl: &Netlink, observed: &Observed) -> Result<Vec<Route>, Error> {
    let mut routes = Vec::new();
    for family in Family::ALL {
        let mut filter = RouteMessage::default();
        filter.header.address_family = address_family(family);
        let dump = collect("listing routes", nl.handle().route().get(filter).execute()).await?;
        routes.extend(dump.iter().filter_map(|message| decode(family, message, observed)));
    }
    Ok(routes)
}

const fn address_family(family: Family) -> AddressFamily {
    match family {
        Family::V4 => AddressFamily::Inet,
        Family::V6 => AddressFamily::Inet6,
    }
}

/// `None` for what no gateway route can meet: other tables, local and broadcast routes, cached ones, those for one
/// source or type of service.
pub(super) fn decode(family: Family, message: &RouteMessage, observed: &Observed) -> Option<Route> {
    let header = &message.header;
    let hops_follow = match header.kind {
        RouteType::Unicast => true,
        RouteType::BlackHole | RouteType::Unreachable | RouteType::Prohibit | RouteType::Throw => false,
        _ => return None,
    };
    if header.tos != 0 || header.source_prefix_length != 0 || header.flags.contains(RouteFlags::Cloned) {
        return None;
    }
    let mut destination = None;
    let mut table = u32::from(header.table);
    let mut metric = 0;
    let mut multipath = None;
    for attribute in &message.attributes {
        match attribute {
            RouteAttribute::Destination(addr) => {
                destination = Some(IpNet::new(ip(addr)?, header.destination_prefix_length).ok()?);
            }
            RouteAttribute::Table(number) => table = *number,
            RouteAttribute::Priority(number) => metric = *number,
            RouteAttribute::MultiPath(hops) => multipath = Some(hops),
            _ => {}
        }
    }
    if ![TABLE_MAIN, TABLE_INTERNAL].contains(&table) {
        return None;
    }
    let hops = match multipath {
        _ if !hops_follow => Vec::new(),
        Some(hops) => hops.iter().map(|h: &RouteNextHop| hop(&h.attributes, h.interface_index, observed)).collect(),
        None => vec![hop(&message.attributes, 0, observed)],
    };
    let destination = destination.unwrap_or_else(|| family.default_route());
    Some(Route { table, destination, hops, metric, protocol: u8::from(header.protocol) })
}

fn hop(attributes: &[RouteAttribute], mut index: u32, observed: &Observed) -> Hop {
    let mut via = None;
    for attribute in attributes {
        match attribute {
            RouteAttribute::Gateway(addr) => via = ip(addr),
            RouteAttribute::Via(RouteVia::Inet(addr)) => via = Some(IpAddr::V4(*addr)),
            RouteAttribute::Via(RouteVia::Inet6(addr)) => via = Some(IpAddr::V6(*addr)),
            RouteAttribute::Oif(oif) => index = *oif,
            _ => {}
        }
    }
    let interface = observed.links.iter().find(|l| l.index == index).map(|l| l.name.clone()).unwrap_or_default();
    Hop { via, index, interface }
}

const fn ip(addr: &RouteAddress) -> Option<IpAddr> {
    match addr {
        RouteAddress::Inet(addr) => Some(IpAddr::V4(*addr)),
        RouteAddress::Inet6(addr) => Some(IpAddr::V6(*addr)),
        _ => None,
    }
}

pub(super) fn encode(route: &Route) -> RouteMessage {
    let mut message = RouteMessage::default();
    let header = &mut message.header;
    header.address_family = address_family(Family::of(route.destination.addr()));
    header.destination_prefix_length = route.destination.prefix_len();
    header.protocol = RouteProtocol::from(route.protocol);
    header.scope = RouteScope::Universe;
    header.kind = RouteType::Unicast;
    message.attributes.push(RouteAttribute::Table(route.table));
    if route.destination.prefix_len() > 0 {
        message.attributes.push(RouteAttribute::Destination(route.destination.addr().into()));
    }
    // Without a metric the kernel takes its default: 0 for IPv4, 1024 for IPv6.
    if route.metric != 0 {
        message.attributes.push(RouteAttribute::Priority(route.metric));
    }
    if let [hop] = &route.hops[..] {
        message.attributes.push(RouteAttribute::Oif(hop.index));
        if let Some(via) = hop.via {
            message.attributes.push(RouteAttribute::Gateway(via.into()));
        }
    }
    message
}

/// Change one route. One that is there already (somebody was faster) or gone already is no mistake.
pub(in crate::net) async fn apply(nl: &Netlink, change: Change, route: &Route) -> Result<(), Error> {
    let what = route.command(change);
    let message = encode(route);
    let (message, flags, done) = match change {
        Change::Add => (RouteNetlinkMessage::NewRoute(message), NLM_F_CREATE | NLM_F_EXCL, Errno::EEXIST),
        Change::Replace => (RouteNetlinkMessage::NewRoute(message), NLM_F_CREATE | NLM_F_REPLACE, Errno::EEXIST),
        Change::Delete => (RouteNetlinkMessage::DelRoute(message), 0, Errno::ESRCH),
    };
    match nl.change(&what, message, flags).await {
        Err(e) if e.is(done) => Ok(()),
        Err(e) if e.is(Errno::ENETUNREACH) || e.is(Errno::EHOSTUNREACH) => {
            let why =
                "the gateway is in no network of the interface (wrong gateway, or the interface lacks its address)";
            Err(Error::new(format!("{}: {why}", e.what), e.source))
        }
        result => result,
    }
}
