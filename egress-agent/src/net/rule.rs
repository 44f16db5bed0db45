//! Policy routing rules 1001 to 1004: which way a packet looks for its route, by the interface it came in by. Numbers
//! and shapes are Kube-OVN's, so that rules its init container has set are found and kept.

use std::{fmt, net::IpAddr};

use ipnet::IpNet;
use nix::errno::Errno;
use rtnetlink::{
    IpVersion,
    packet_core::{NLM_F_CREATE, NLM_F_EXCL, Nla},
    packet_route::{
        AddressFamily, RouteNetlinkMessage,
        route::RouteProtocol,
        rule::{RuleAction, RuleAttribute, RuleFlags, RuleMessage},
    },
};

use super::{Action, Error, Family, Netlink, PROTOCOL, Step, TABLE_DEFAULT, TABLE_INTERNAL, nl::collect, step::Change};
use crate::spec::{desired::Desired, observed::Observed};

#[cfg(test)]
mod tests;

const LOOPBACK: &str = "lo";

/// One rule that sends a lookup to a table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// Address family.
    pub family: Family,
    /// Priority: lower ones come first.
    pub priority: u32,
    /// Interface that the packet came in by; `lo` for packets made here.
    pub iif: Option<String>,
    /// Source prefix.
    pub source: Option<IpNet>,
    /// Table to look in.
    pub table: u32,
    /// Who set it (`FRA_PROTOCOL`).
    pub protocol: u8,
    /// It has selectors beside these, or does something else than a lookup.
    pub special: bool,
}

impl Rule {
    /// Same selectors at the same priority.
    fn same_place(&self, other: &Self) -> bool {
        (self.family, self.priority, &self.iif, self.source, self.special)
            == (other.family, other.priority, &other.iif, other.source, other.special)
    }

    /// Set by this agent: our mark, one of the priorities, and the shape that belongs to it.
    fn ours(&self) -> bool {
        let shape = match self.priority {
            1001 | 1002 => self.iif.is_some() && self.source.is_none(),
            1003 | 1004 => self.iif.as_deref() == Some(LOOPBACK) && self.source.is_some(),
            _ => false,
        };
        shape && !self.special && self.protocol == PROTOCOL
    }

    fn name(&self) -> String {
        let by = match (&self.iif, self.source) {
            (_, Some(source)) => format!("from {}", source.addr()),
            (Some(iif), None) => format!("iif {iif}"),
            (None, None) => String::new(),
        };
        format!("rule {} {} {by}", self.priority, self.family)
    }

    fn command(&self, change: Change) -> String {
        format!("ip {} rule {} {self}", self.family.flag(), change.verb())
    }

    fn step(&self, ok: bool, detail: String, change: Option<Change>) -> Step {
        Step {
            name: self.name(),
            ok,
            required: true,
            detail,
            fix: self.command(change.unwrap_or(Change::Add)),
            action: change.map(|c| Action::Rule(c, self.clone())),
        }
    }
}

impl fmt::Display for Rule {
    /// As `ip rule` takes it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "priority {}", self.priority)?;
        if let Some(source) = self.source {
            write!(f, " from {source}")?;
        }
        if let Some(iif) = &self.iif {
            write!(f, " iif {iif}")?;
        }
        match self.table {
            TABLE_DEFAULT => f.write_str(" lookup default"),
            table => write!(f, " lookup {table}"),
        }?;
        if self.protocol == 0 { Ok(()) } else { write!(f, " protocol {}", self.protocol) }
    }
}

/// Rules that a gateway needs: per family that has both gateways; those of own addresses for every address there is.
#[must_use]
pub fn wanted(desired: &Desired, observed: &Observed) -> Vec<Rule> {
    let (internal, external) = (&desired.internal.interface, &desired.external.interface);
    let mut out = Vec::new();
    for (family, _, _) in Family::routed(desired) {
        let mut add = |priority, iif: &str, source: Option<IpAddr>, table| {
            out.push(Rule {
                family,
                priority,
                iif: Some(iif.to_owned()),
                source: source.map(IpNet::from),
                table,
                protocol: PROTOCOL,
                special: false,
            });
        };
        let addresses = |name: &str| {
            let links = observed.link(name).into_iter();
            links
                .flat_map(|l| &l.addresses)
                .filter(|a| a.global)
                .map(|a| a.net.addr())
                .filter(|a| Family::of(*a) == family)
        };
        add(1001, internal, None, TABLE_DEFAULT);
        add(1002, external, None, TABLE_INTERNAL);
        addresses(internal).for_each(|addr| add(1003, LOOPBACK, Some(addr), TABLE_INTERNAL));
        addresses(external).for_each(|addr| add(1004, LOOPBACK, Some(addr), TABLE_DEFAULT));
    }
    out
}

/// What lacks and what is left over. Rules of others are never touched; an equal one is taken as it is.
#[must_use]
pub fn steps(wanted: &[Rule], found: &[Rule]) -> Vec<Step> {
    let mut steps: Vec<Step> = wanted.iter().map(|rule| check(rule, found)).collect();
    for rule in found.iter().filter(|r| r.ours()) {
        if !wanted.iter().any(|w| w.same_place(rule) && w.table == rule.table) {
            steps.push(rule.step(false, "is left over from an earlier configuration".into(), Some(Change::Delete)));
        }
    }
    steps
}

fn check(rule: &Rule, found: &[Rule]) -> Step {
    // The kernel takes the first of equal priority.
    match found.iter().find(|f| f.same_place(rule) && (f.table == rule.table || !f.ours())) {
        None => rule.step(false, "is missing".into(), Some(Change::Add)),
        Some(f) if f.table == rule.table => rule.step(true, format!("is set ({f})"), None),
        Some(f) => Step {
            fix: f.command(Change::Delete),
            ..rule.step(false, format!("`{f}` is in its place; it is not ours and left alone"), None)
        },
    }
}

/// All rules of both families, in the kernel's order.
///
/// # Errors
/// The kernel refuses the dump.
pub async fn list(nl: &Netlink) -> Result<Vec<Rule>, Error> {
    let mut rules = Vec::new();
    for (family, version) in [(Family::V4, IpVersion::V4), (Family::V6, IpVersion::V6)] {
        let dump = collect("listing rules", nl.handle().rule().get(version).execute()).await?;
        rules.extend(dump.iter().map(|message| decode(family, message)));
    }
    Ok(rules)
}

fn decode(family: Family, message: &RuleMessage) -> Rule {
    let header = &message.header;
    let mut rule = Rule {
        family,
        priority: 0,
        iif: None,
        source: None,
        table: header.table.into(),
        protocol: 0,
        special: header.action != RuleAction::ToTable || header.tos != 0 || header.flags.contains(RuleFlags::Invert),
    };
    for attribute in &message.attributes {
        match attribute {
            RuleAttribute::Priority(priority) => rule.priority = *priority,
            RuleAttribute::Iifname(name) => rule.iif = Some(name.clone()),
            RuleAttribute::Source(addr) => rule.source = IpNet::new(*addr, header.src_len).ok(),
            RuleAttribute::Table(table) => rule.table = *table,
            RuleAttribute::Protocol(protocol) => rule.protocol = u8::from(*protocol),
            // The kernel always says these; the values mean "none".
            RuleAttribute::SuppressPrefixLen(u32::MAX) | RuleAttribute::SuppressIfGroup(u32::MAX) => {}
            RuleAttribute::L3MDev(false) => {}
            // FRA_PAD
            RuleAttribute::Other(nla) if nla.kind() == 18 => {}
            _ => rule.special = true,
        }
    }
    rule
}

fn encode(rule: &Rule) -> RuleMessage {
    let mut message = RuleMessage::default();
    message.header.family = match rule.family {
        Family::V4 => AddressFamily::Inet,
        Family::V6 => AddressFamily::Inet6,
    };
    message.header.action = RuleAction::ToTable;
    message.attributes.extend([
        RuleAttribute::Priority(rule.priority),
        RuleAttribute::Table(rule.table),
        RuleAttribute::Protocol(RouteProtocol::from(rule.protocol)),
    ]);
    if let Some(iif) = &rule.iif {
        message.attributes.push(RuleAttribute::Iifname(iif.clone()));
    }
    if let Some(source) = rule.source {
        message.header.src_len = source.prefix_len();
        message.attributes.push(RuleAttribute::Source(source.addr()));
    }
    message
}

pub(super) async fn apply(nl: &Netlink, change: Change, rule: &Rule) -> Result<(), Error> {
    let what = rule.command(change);
    let message = encode(rule);
    let (message, flags, done) = match change {
        Change::Delete => (RouteNetlinkMessage::DelRule(message), 0, Errno::ENOENT),
        // fib_nl_newrule knows no replacing; a rule is its selectors.
        Change::Add | Change::Replace => {
            (RouteNetlinkMessage::NewRule(message), NLM_F_CREATE | NLM_F_EXCL, Errno::EEXIST)
        }
    };
    match nl.change(&what, message, flags).await {
        Err(e) if e.is(done) => Ok(()),
        result => result,
    }
}
