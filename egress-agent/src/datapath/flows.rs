//! The flow table as people read it.

use std::{
    collections::HashMap,
    hash::Hash,
    net::{IpAddr, Ipv4Addr},
};

use anyhow::{Context, Result};
use aya::Pod;
use egress_common::{
    abi::{
        family::{Addr6, Family, V4, V6},
        flow::{FlowKey, FlowValue, OUT},
        shortcut::Shortcut,
    },
    conntrack::state::State,
    packet::{
        header::proto,
        transport::{Layout, layout},
    },
};
use serde::Serialize;

use super::{
    pins::Pins,
    shortcuts::{keys, totals},
    sys::{Batches, open_pin},
};

/// Entries read by one system call.
pub const BATCH: usize = 4096;

/// One flow.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Flow {
    /// `tcp`, `udp`, `icmp`, `gre`, another name of `/etc/protocols`, or a number.
    pub protocol: String,
    /// Address of the Pod.
    pub inside: IpAddr,
    /// Its port, or the identifier of an ICMP query; none where only addresses are translated.
    pub inside_port: Option<u16>,
    /// Egress address.
    pub egress: IpAddr,
    /// Egress port, or the identifier outside; likewise.
    pub egress_port: Option<u16>,
    /// The other end.
    pub remote: IpAddr,
    /// Its port; none where there are no ports.
    pub remote_port: Option<u16>,
    /// See [`State::name`].
    pub state: &'static str,
    /// Seconds since the flow began.
    pub age_seconds: u32,
    /// Seconds since its last packet.
    pub idle_seconds: u32,
    /// Packets in both directions.
    pub packets: Directions,
    /// IP bytes in both directions.
    pub bytes: Directions,
}

/// Numbers of both directions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Directions {
    /// From the Pod.
    pub out: u64,
    /// To the Pod.
    #[serde(rename = "in")]
    pub inward: u64,
}

/// A family whose table user space reads.
pub trait Readable: Family {
    /// Name of the map.
    const MAP: &'static str;
    /// Name of the map of shortcuts past it.
    const SHORTCUTS: &'static str;
    /// The address for people.
    fn ip(addr: Self::Addr) -> IpAddr;
}

impl Readable for V4 {
    const MAP: &'static str = "FLOWS4";
    const SHORTCUTS: &'static str = "SHORTCUTS4";

    fn ip(addr: [u8; 4]) -> IpAddr {
        Ipv4Addr::from(addr).into()
    }
}

impl Readable for V6 {
    const MAP: &'static str = "FLOWS6";
    const SHORTCUTS: &'static str = "SHORTCUTS6";

    fn ip(addr: Addr6) -> IpAddr {
        addr.into()
    }
}

/// A way through a family's table that may be gone in parts.
pub struct Walk<F: Readable>(Batches<FlowKey<F::Addr>, FlowValue<F>>);

impl<F> Walk<F>
where
    F: Readable,
    FlowKey<F::Addr>: Pod,
    FlowValue<F>: Pod,
{
    /// At the table's beginning.
    pub fn open(pins: &Pins) -> Result<Self> {
        let path = pins.map(F::MAP);
        let fd = open_pin(&path).with_context(|| format!("open {}", path.display()))?;
        Ok(Self(Batches::new(fd, BATCH)))
    }

    /// Calls `each` for the next batch of entries, at most [`BATCH`] as a rule; false at the table's end, and what comes then is
    /// its beginning again.
    pub fn batch(&mut self, mut each: impl FnMut(&FlowKey<F::Addr>, &FlowValue<F>)) -> Result<bool> {
        let batch = self.0.next_batch().with_context(|| format!("read map {}", F::MAP))?;
        let Some((keys, values)) = batch else { return Ok(false) };
        for (key, value) in keys.iter().zip(values) {
            each(key, value);
        }
        Ok(true)
    }
}

/// Calls `each` for every entry of a family's table.
pub fn walk<F>(pins: &Pins, mut each: impl FnMut(&FlowKey<F::Addr>, &FlowValue<F>)) -> Result<()>
where
    F: Readable,
    FlowKey<F::Addr>: Pod,
    FlowValue<F>: Pod,
{
    let mut walk = Walk::<F>::open(pins)?;
    while walk.batch(&mut each)? {}
    Ok(())
}

/// Every flow of both families at `now` (seconds of the datapath's clock), IPv4 first, by inside address and port.
pub fn list(pins: &Pins, now: u32) -> Result<Vec<Flow>> {
    let mut flows = family::<V4>(pins, now)?;
    flows.extend(family::<V6>(pins, now)?);
    flows.sort_by(|a, b| {
        let key = |f: &Flow| (f.inside, f.inside_port, f.remote, f.remote_port, f.protocol.clone());
        key(a).cmp(&key(b))
    });
    Ok(flows)
}

/// An outbound half with its key, and the reply half if that is there.
pub type Pair<F> = (FlowKey<<F as Family>::Addr>, FlowValue<F>, Option<FlowValue<F>>);

/// Every flow of a family that is not being removed.
pub fn pairs<F>(pins: &Pins) -> Result<impl Iterator<Item = Pair<F>> + use<F>>
where
    F: Readable,
    FlowKey<F::Addr>: Pod + Hash + Eq,
    FlowValue<F>: Pod,
    Shortcut<F>: Pod,
{
    let mut short = keys::<F>(pins)?;
    let mut out = Vec::new();
    let mut back = HashMap::new();
    walk::<F>(pins, |key, value| {
        if value.word.dying() {
        } else if key.dir == OUT {
            out.push((*key, *value));
        } else {
            back.insert(*key, *value);
        }
    })?;
    // What had a slot before may have lost it, what has one now may have got it: the table was told since it was read.
    short.extend(keys::<F>(pins)?);
    let totals = totals::<F>(pins, short)?;
    for (key, half) in out.iter_mut().map(|(key, half)| (&*key, half)).chain(&mut back) {
        if let Some((packets, bytes)) = totals.get(key) {
            (half.packets, half.bytes) = (*packets, *bytes);
        }
    }
    Ok(out.into_iter().map(move |(key, out)| (key, out, back.get(&key.reply(out.nat_addr, out.word.port)).copied())))
}

fn family<F>(pins: &Pins, now: u32) -> Result<Vec<Flow>>
where
    F: Readable,
    FlowKey<F::Addr>: Pod + Hash + Eq,
    FlowValue<F>: Pod,
    Shortcut<F>: Pod,
{
    Ok(pairs::<F>(pins)?.map(|(key, out, back)| flow(&key, &out, back.as_ref(), now)).collect())
}

fn flow<F: Readable>(key: &FlowKey<F::Addr>, out: &FlowValue<F>, back: Option<&FlowValue<F>>, now: u32) -> Flow {
    let layout = layout::<F>(key.proto, 0);
    let own_port = !matches!(layout, Layout::Bare);
    let remote_port = own_port && !matches!(layout, Layout::Id(_));
    let last = back.map_or(out.last_seen, |back| back.last_seen.max(out.last_seen));
    let state = State::of(key.proto, out.word.seen, back.map_or(0, |back| back.word.seen));
    Flow {
        protocol: protocol(key.proto),
        inside: F::ip(key.saddr),
        inside_port: own_port.then_some(key.sport),
        egress: F::ip(out.nat_addr),
        egress_port: own_port.then_some(out.word.port),
        remote: F::ip(key.daddr),
        remote_port: remote_port.then_some(key.dport),
        state: state.name(),
        age_seconds: now.saturating_sub(out.created),
        idle_seconds: now.saturating_sub(last),
        packets: Directions { out: out.packets, inward: back.map_or(0, |back| back.packets) },
        bytes: Directions { out: out.bytes, inward: back.map_or(0, |back| back.bytes) },
    }
}

/// A protocol's name, or its number.
pub(super) fn protocol(number: u8) -> String {
    let name = match number {
        proto::ICMP => "icmp",
        proto::TCP => "tcp",
        proto::UDP => "udp",
        proto::ICMPV6 => "icmpv6",
        proto::SCTP => "sctp",
        proto::DCCP => "dccp",
        proto::UDP_LITE => "udplite",
        4 => "ipip",
        41 => "ipv6",
        47 => "gre",
        50 => "esp",
        other => return other.to_string(),
    };
    name.to_owned()
}
