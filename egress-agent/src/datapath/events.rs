//! What the programs report through their ring buffer.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use anyhow::{Context, Result};
use aya::maps::{Map, MapData, RingBuf};
use egress_common::abi::{
    event::{Event, VERSION, kind},
    family::{Family, V4},
};
use tracing::warn;

use super::pins::Pins;

/// Reads the events of a gateway.
pub struct Reader {
    pins: Pins,
    ring: Option<RingBuf<MapData>>,
}

impl Reader {
    /// Opens nothing yet: the map may not exist.
    #[must_use]
    pub const fn new(pins: Pins) -> Self {
        Self { pins, ring: None }
    }

    /// Logs what came since the last time.
    pub fn report(&mut self) {
        if self.ring.is_none() {
            self.ring = open(&self.pins).map_err(|error| warn!("events: {error:#}")).ok();
        }
        let Some(ring) = &mut self.ring else { return };
        while let Some(record) = ring.next() {
            if let Some(text) = describe(&record) {
                warn!("{text}");
            }
        }
    }
}

fn open(pins: &Pins) -> Result<RingBuf<MapData>> {
    let path = pins.map("EVENTS");
    let data = MapData::from_pin(&path).with_context(|| format!("open {}", path.display()))?;
    Map::RingBuf(data).try_into().context("map EVENTS")
}

fn describe(record: &[u8]) -> Option<String> {
    if record.len() < size_of::<Event>() {
        return None;
    }
    // SAFETY: long enough, and any bytes are an Event.
    let event: Event = unsafe { record.as_ptr().cast::<Event>().read_unaligned() };
    if event.version != VERSION {
        return None;
    }
    let ip = |bytes: [u8; 16]| -> IpAddr {
        if event.af == V4::AF {
            Ipv4Addr::new(bytes[0], bytes[1], bytes[2], bytes[3]).into()
        } else {
            Ipv6Addr::from(bytes).into()
        }
    };
    let (inside, remote) = (ip(event.inside), ip(event.remote));
    let towards = format!("{remote} port {} (protocol {})", event.dport, event.proto);
    match event.kind {
        kind::EXHAUSTED => Some(format!("no port left for {inside} to {towards}")),
        kind::LIMITED => Some(format!("{inside} has its share and gets no flow to {towards}")),
        _ => None,
    }
}
