//! Both gateways as managed neighbours: the kernel keeps asking for their link-layer address, also while no agent runs
//! and no packet of the stack uses them (`NTF_EXT_MANAGED`, Linux 5.16; `neigh_managed_work` in net/core/neighbour.c).
//!
//! Losing the carrier clears them like any other entry (`neigh_carrier_down`): set them again when [`super::watch()`]
//! signals.

use std::net::IpAddr;

use nix::errno::Errno;
use rtnetlink::{
    packet_core::{NLM_F_CREATE, NLM_F_REPLACE},
    packet_route::{
        AddressFamily, RouteNetlinkMessage,
        neighbour::{
            NeighbourAddress, NeighbourAttribute, NeighbourExtFlags, NeighbourFlags, NeighbourMessage, NeighbourState,
        },
        route::RouteProtocol,
    },
};

use super::{Action, Error, Family, Netlink, PROTOCOL, Step, nl::collect, step::Change};
use crate::spec::{desired::Desired, observed::Observed};

#[cfg(test)]
mod tests;

/// One entry of the neighbour table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Neighbour {
    /// Its address.
    pub addr: IpAddr,
    /// `ifindex` of the interface.
    pub index: u32,
    /// Name of the interface, where known.
    pub interface: String,
    /// What the kernel knows of it.
    pub state: State,
    /// The kernel keeps asking for it.
    pub managed: bool,
    /// Who set it (`NDA_PROTOCOL`); 0 for entries that the kernel made.
    pub protocol: u8,
}

/// `NUD_*`, as far as it matters here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Its link-layer address is known (reachable, stale, delay, probe).
    Known,
    /// Set by hand (permanent, noarp).
    Fixed,
    /// Being asked for.
    Asked,
    /// It did not answer.
    Failed,
}

impl From<NeighbourState> for State {
    fn from(state: NeighbourState) -> Self {
        match state {
            NeighbourState::Permanent | NeighbourState::Noarp => Self::Fixed,
            NeighbourState::Failed => Self::Failed,
            NeighbourState::Incomplete | NeighbourState::None => Self::Asked,
            _ => Self::Known,
        }
    }
}

impl Neighbour {
    fn same_place(&self, other: &Self) -> bool {
        (self.addr, self.index) == (other.addr, other.index)
    }

    fn command(&self, change: Change) -> String {
        let (addr, interface) = (self.addr, &self.interface);
        match change {
            Change::Delete => format!("ip neigh del {addr} dev {interface}"),
            // `replace` keeps what the kernel knows of an entry that it has made by itself.
            Change::Add | Change::Replace => {
                format!("ip neigh replace {addr} dev {interface} managed protocol {PROTOCOL}")
            }
        }
    }

    fn step(&self, ok: bool, detail: &str, change: Option<Change>) -> Step {
        Step {
            name: format!("neighbour {} {}", self.addr, self.interface),
            ok,
            required: false,
            detail: detail.to_owned(),
            fix: self.command(change.unwrap_or(Change::Add)),
            action: change.map(|c| Action::Neighbour(c, self.clone())),
        }
    }
}

/// The gateways of both sides, per family that has both.
#[must_use]
pub fn wanted(desired: &Desired, observed: &Observed) -> Vec<Neighbour> {
    let mut out = Vec::new();
    for (_, internal, external) in Family::routed(desired) {
        for (side, addr) in [(&desired.internal, internal), (&desired.external, external)] {
            if let Some(link) = observed.link(&side.interface) {
                let interface = link.name.clone();
                let (state, managed, protocol) = (State::Asked, true, PROTOCOL);
                out.push(Neighbour { addr, index: link.index, interface, state, managed, protocol });
            }
        }
    }
    out
}

/// What lacks and which of our entries are left over. An entry with a fixed address is left alone: it needs no asking,
/// and making it managed would forget that it is fixed (`__neigh_update`).
#[must_use]
pub fn steps(wanted: &[Neighbour], found: &[Neighbour]) -> Vec<Step> {
    let mut steps: Vec<Step> = wanted.iter().map(|neighbour| check(neighbour, found)).collect();
    for old in found.iter().filter(|f| f.protocol == PROTOCOL && f.managed) {
        if !wanted.iter().any(|w| w.same_place(old)) {
            steps.push(old.step(false, "is left over: no gateway any more", Some(Change::Delete)));
        }
    }
    steps
}

fn check(wanted: &Neighbour, found: &[Neighbour]) -> Step {
    let Some(found) = found.iter().find(|f| f.same_place(wanted)) else {
        return wanted.step(false, "the kernel does not keep asking for this gateway", Some(Change::Add));
    };
    match (found.state, found.managed) {
        (State::Fixed, _) => wanted.step(true, "has a fixed link-layer address", None),
        (_, false) => wanted.step(false, "the kernel forgets this gateway when idle", Some(Change::Add)),
        (State::Known, true) => wanted.step(true, "is managed, its link-layer address is known", None),
        // The kernel begins to ask anew whenever it got no answer: in between, a dead one looks like one that is about to answer.
        (State::Asked, true) => silent(wanted, "is managed and has not answered yet"),
        (State::Failed, true) => silent(wanted, "is managed but does not answer"),
    }
}

/// Nothing gets out or in by it.
fn silent(gateway: &Neighbour, detail: &str) -> Step {
    let Neighbour { addr, interface, .. } = gateway;
    let fix = format!("check that {addr} answers on {interface}: ip neigh show {addr}");
    Step { required: true, fix, ..gateway.step(false, detail, None) }
}

/// Neighbours of both families.
///
/// # Errors
/// The kernel refuses the dump.
pub async fn list(nl: &Netlink, observed: &Observed) -> Result<Vec<Neighbour>, Error> {
    let dump = collect("listing neighbours", nl.handle().neighbours().get().execute()).await?;
    Ok(dump.iter().filter_map(|message| decode(message, observed)).collect())
}

fn decode(message: &NeighbourMessage, observed: &Observed) -> Option<Neighbour> {
    let header = &message.header;
    if header.flags.contains(NeighbourFlags::Proxy) {
        return None;
    }
    let (mut addr, mut managed, mut protocol) = (None, false, 0);
    for attribute in &message.attributes {
        match attribute {
            NeighbourAttribute::Destination(NeighbourAddress::Inet(a)) => addr = Some(IpAddr::V4(*a)),
            NeighbourAttribute::Destination(NeighbourAddress::Inet6(a)) => addr = Some(IpAddr::V6(*a)),
            NeighbourAttribute::ExtFlags(flags) => managed = flags.contains(NeighbourExtFlags::Managed),
            NeighbourAttribute::Protocol(p) => protocol = u8::from(*p),
            _ => {}
        }
    }
    let index = header.ifindex;
    let interface = observed.links.iter().find(|l| l.index == index).map(|l| l.name.clone()).unwrap_or_default();
    Some(Neighbour { addr: addr?, index, interface, state: header.state.into(), managed, protocol })
}

/// No state and no address: the kernel keeps what it knows and starts asking if it knows nothing.
fn encode(neighbour: &Neighbour) -> NeighbourMessage {
    let mut message = NeighbourMessage::default();
    message.header.family = match Family::of(neighbour.addr) {
        Family::V4 => AddressFamily::Inet,
        Family::V6 => AddressFamily::Inet6,
    };
    message.header.ifindex = neighbour.index;
    message.header.state = NeighbourState::None;
    message.attributes = vec![
        NeighbourAttribute::Destination(neighbour.addr.into()),
        NeighbourAttribute::Protocol(RouteProtocol::from(PROTOCOL)),
        NeighbourAttribute::ExtFlags(NeighbourExtFlags::Managed),
    ];
    message
}

pub(super) async fn apply(nl: &Netlink, change: Change, neighbour: &Neighbour) -> Result<(), Error> {
    let what = neighbour.command(change);
    let message = encode(neighbour);
    match change {
        Change::Add | Change::Replace => {
            nl.change(&what, RouteNetlinkMessage::NewNeighbour(message), NLM_F_CREATE | NLM_F_REPLACE).await
        }
        Change::Delete => match nl.change(&what, RouteNetlinkMessage::DelNeighbour(message), 0).await {
            Err(e) if e.is(Errno::ENOENT) => Ok(()),
            result => result,
        },
    }
}
