//! What the programs report through their ring buffer.

use anyhow::{Context, Result};
use aya::maps::{Map, MapData, MapInfo, RingBuf};
use egress_common::abi::event::Event;

use super::pins::{Pins, unlink};

/// Bytes of the ring buffer: a second of exhausted and limited sources, however many.
pub const RING: u32 = 256 << 10;

/// With the beginning and end of every flow: 30,000 records until the agent looks again.
pub const FLOW_RING: u32 = 4 << 20;

/// The records of a gateway.
pub struct Events(RingBuf<MapData>);

impl Events {
    /// Opens the ring buffer. One reader only: what it takes is gone.
    pub fn open(pins: &Pins) -> Result<Self> {
        let path = pins.map("EVENTS");
        let data = MapData::from_pin(&path).with_context(|| format!("open {}", path.display()))?;
        Ok(Self(Map::RingBuf(data).try_into().context("map EVENTS")?))
    }

    /// Takes at most so many records in the order in which they were made; how many. Those of a layout that this build does not
    /// know are left out.
    pub fn take(&mut self, most: usize, mut each: impl FnMut(&Event)) -> usize {
        for taken in 0..most {
            let Some(record) = self.0.next() else { return taken };
            if let Some(event) = Event::read(&record) {
                each(&event);
            }
        }
        most
    }
}

/// Takes a pinned ring buffer away that is smaller than `bytes`, so that loading makes another. Nothing of use is in it: whoever
/// wants a larger one begins with what the table holds.
pub fn make_room(pins: &Pins, bytes: u32) -> Result<()> {
    let path = pins.map("EVENTS");
    if path.exists() {
        let info = MapInfo::from_pin(&path).with_context(|| format!("read {}", path.display()))?;
        if info.max_entries() < bytes {
            unlink(&path)?;
        }
    }
    Ok(())
}
