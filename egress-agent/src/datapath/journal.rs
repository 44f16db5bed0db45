//! Events as people and programs read them: a line of JSON, or of the agent's log. docs/events.md has the fields.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use egress_common::{
    abi::{
        event::{Event, kind, why},
        family::{Family, V4, V6},
        flow::{FlowKey, FlowValue},
    },
    packet::transport::{Layout, layout},
};
use k8s_openapi::jiff::{SignedDuration, Timestamp};
use serde::Serialize;

use super::flows::{Directions, Readable, protocol};

/// One moment on both clocks.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    /// Nanoseconds of the datapath's.
    pub datapath_ns: u64,
    /// The wall's.
    pub wall: Timestamp,
}

impl Clock {
    /// What the wall's clock showed when the datapath's showed `ns`, as far as it was not set meanwhile.
    fn wall(&self, ns: u64) -> String {
        let ago = i128::from(self.datapath_ns) - i128::from(ns);
        let ago = SignedDuration::from_nanos_i128(ago);
        let time = self.wall.checked_sub(ago).unwrap_or(self.wall);
        format!("{time:.3}")
    }

    fn seconds(&self, seconds: u32) -> String {
        self.wall(u64::from(seconds) * 1_000_000_000)
    }
}

/// A line of the flow log. Fields that an event has no use for are left out.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Line {
    /// RFC 3339, UTC.
    pub time: String,
    /// `start`, `end`, `exhausted`, `limited`, `lost` or `table`.
    pub event: &'static str,
    /// Whose it is.
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    pub who: Option<Who>,
    /// A `start` that was not told when the flow began, but found in the table afterwards.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub from_table: bool,
    /// When the flow that ended began.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub began: Option<String>,
    /// Why it ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<&'static str>,
    /// Packets that it carried.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub packets: Option<Directions>,
    /// IP bytes that it carried.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bytes: Option<Directions>,
    /// `lost`: how many records; `table`: how many flows it held.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub count: Option<u64>,
    /// `table`: when the look at it began.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub since: Option<String>,
}

/// The ends of a flow, as in `flows`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Who {
    protocol: String,
    inside: IpAddr,
    #[serde(skip_serializing_if = "Option::is_none")]
    inside_port: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    egress: Option<IpAddr>,
    #[serde(skip_serializing_if = "Option::is_none")]
    egress_port: Option<u16>,
    remote: IpAddr,
    #[serde(skip_serializing_if = "Option::is_none")]
    remote_port: Option<u16>,
}

impl Line {
    /// An event that concerns no single flow.
    #[must_use]
    pub fn plain(event: &'static str, clock: &Clock) -> Self {
        Self { time: clock.wall(clock.datapath_ns), event, ..Self::default() }
    }

    /// A look at the table has come to its end.
    #[must_use]
    pub fn table(clock: &Clock, since_ns: u64, flows: u64) -> Self {
        Self { count: Some(flows), since: Some(clock.wall(since_ns)), ..Self::plain("table", clock) }
    }

    /// A record of the ring buffer; none if its kind is unknown.
    #[must_use]
    pub fn of(event: &Event, clock: &Clock) -> Option<Self> {
        let who = if event.af == V4::AF { who::<V4>(event) } else { who::<V6>(event) };
        let line = Self { time: clock.wall(event.at_ns), who: Some(who), ..Self::default() };
        Some(match event.kind {
            kind::FLOW_START => Self { event: "start", ..line },
            kind::FLOW_END => Self {
                event: "end",
                began: Some(clock.seconds(event.began)),
                reason: Some(match event.why {
                    why::IDLE => "idle",
                    why::RECLAIMED => "reclaimed",
                    why::REVOKED => "revoked",
                    _ => "other",
                }),
                packets: Some(Directions { out: event.out_packets, inward: event.in_packets }),
                bytes: Some(Directions { out: event.out_bytes, inward: event.in_bytes }),
                ..line
            },
            kind::EXHAUSTED => Self { event: "exhausted", ..line },
            kind::LIMITED => Self { event: "limited", ..line },
            _ => return None,
        })
    }

    /// A flow that the table holds, by its outbound half.
    #[must_use]
    pub fn found<F: Readable>(key: &FlowKey<F::Addr>, value: &FlowValue<F>, clock: &Clock) -> Self {
        let who = named::<F>(
            key.proto,
            (F::ip(key.saddr), key.sport),
            Some((F::ip(value.nat_addr), value.word.port)),
            (F::ip(key.daddr), key.dport),
        );
        let time = clock.seconds(value.created);
        Self { time, event: "start", who: Some(who), from_table: true, ..Self::default() }
    }
}

fn who<F: Family>(event: &Event) -> Who {
    let ip = |bytes: [u8; 16]| -> IpAddr {
        if F::V6 { Ipv6Addr::from(bytes).into() } else { Ipv4Addr::new(bytes[0], bytes[1], bytes[2], bytes[3]).into() }
    };
    let flow = matches!(event.kind, kind::FLOW_START | kind::FLOW_END);
    named::<F>(
        event.proto,
        (ip(event.inside), event.inside_port),
        flow.then(|| (ip(event.egress), event.egress_port)),
        (ip(event.remote), event.remote_port),
    )
}

fn named<F: Family>(number: u8, inside: (IpAddr, u16), egress: Option<(IpAddr, u16)>, remote: (IpAddr, u16)) -> Who {
    let layout = layout::<F>(number, 0);
    let own_port = !matches!(layout, Layout::Bare);
    let remote_port = own_port && !matches!(layout, Layout::Id(_));
    Who {
        protocol: protocol(number),
        inside: inside.0,
        inside_port: own_port.then_some(inside.1),
        egress: egress.map(|(ip, _)| ip),
        egress_port: egress.filter(|_| own_port).map(|(_, port)| port),
        remote: remote.0,
        remote_port: remote_port.then_some(remote.1),
    }
}

/// What the agent's log says of a record; nothing about flows that begin and end.
#[must_use]
pub fn warning(event: &Event) -> Option<String> {
    let what = match event.kind {
        kind::EXHAUSTED => "no port left for",
        kind::LIMITED => "source_limited (spec.fairness), no new flow for",
        _ => return None,
    };
    let who = if event.af == V4::AF { who::<V4>(event) } else { who::<V6>(event) };
    Some(format!("{what} {} to {} port {} (protocol {})", who.inside, who.remote, event.remote_port, event.proto))
}

#[cfg(test)]
mod tests;
