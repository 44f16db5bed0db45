//! Maps that a build with another layout left, read by the names of their fields.

use std::{
    collections::HashMap,
    hash::Hash,
    os::fd::{AsFd, OwnedFd},
    path::PathBuf,
};

use anyhow::{Context, Result, ensure};
use aya::maps::MapInfo;
use egress_common::{
    abi::{
        config::flags,
        family::{Address, V4, V6},
        flow::{FlowKey, IN, OUT, Word, state},
        order::{Carried, Wide},
    },
    nat::port::TRIES,
};
use tracing::warn;

use super::{
    flows::{BATCH, Readable},
    import::Flows,
    layout::{self, Layout},
    pins::Pins,
    shortcuts::Totals,
    sys::{self, RawBatches, open_pin},
};

/// Maps of another layout that says what lies where in it.
pub struct Old {
    maps: PathBuf,
    layout: Layout,
}

/// What is kept of the configuration.
#[derive(Clone, Copy, Debug)]
pub struct Kept {
    /// See [`egress_common::abi::config::Config::netns_cookie`].
    pub netns_cookie: u64,
    /// See [`egress_common::abi::config::Config::port_key`].
    pub port_key: [u64; 2],
    /// See [`egress_common::abi::config::Config::clock_offset_ns`].
    pub clock_offset_ns: u64,
    /// See [`egress_common::abi::config::Config::flags`].
    pub flags: u32,
}

impl Old {
    /// All that were in use. Those of which nothing can be read are named in the log.
    pub fn find(pins: &Pins) -> Result<Vec<Self>> {
        let mut found = Vec::new();
        for maps in pins.other_maps().context("list the folders of maps")? {
            match layout::read(&maps)? {
                Some(layout) => found.push(Self { maps, layout }),
                None => warn!(
                    maps = %maps.display(),
                    "maps of another layout, which does not say what lies where: their flows cannot be carried over"
                ),
            }
        }
        found.retain(|old| old.kept().is_some());
        Ok(found)
    }

    fn map(&self, name: &str) -> Result<(OwnedFd, MapInfo)> {
        let path = self.maps.join(name);
        let context = || format!("open {}", path.display());
        Ok((open_pin(&path).with_context(context)?, MapInfo::from_pin(&path).with_context(context)?))
    }

    /// The slot in use, and its bytes.
    fn config(&self) -> Result<(u32, Vec<u8>)> {
        let mut active = [0; 4];
        sys::lookup(self.map("ACTIVE")?.0.as_fd(), 0, &mut active).context("read map ACTIVE")?;
        let slot = u32::from_ne_bytes(active);
        let (map, info) = self.map("CONFIG")?;
        let mut config = vec![0; info.value_size() as usize];
        sys::lookup(map.as_fd(), slot, &mut config).context("read map CONFIG")?;
        Ok((slot, config))
    }

    /// What is kept of its configuration, if it was ever in use.
    #[must_use]
    pub fn kept(&self) -> Option<Kept> {
        let (_, config) = self.config().ok()?;
        let field = |name| self.layout.field("CONFIG value", name, &config).map(number);
        let key = self.layout.field("CONFIG value", "port_key", &config)?.as_chunks::<8>().0;
        field("external_ifindex").filter(|index| *index != 0)?;
        Some(Kept {
            netns_cookie: field("netns_cookie")?,
            port_key: [key.first(), key.get(1)].map(|word| word.map_or(0, |word| u64::from_ne_bytes(*word))),
            clock_offset_ns: field("clock_offset_ns")?,
            flags: u32::try_from(field("flags")?).ok()?,
        })
    }

    /// Tells its programs to pass on what belongs to no flow of theirs.
    pub fn pass_on(&self) -> Result<()> {
        self.change(|config| self.add_flags(config, flags::YIELD))
    }

    /// Leaves its programs the lower half of their ports for new flows; what they have now. None if they are not known to have a
    /// range that can be halved.
    pub fn narrow(&self) -> Result<Option<(u16, u16)>> {
        let (_, config) = self.config()?;
        let field = |name| self.layout.field("CONFIG value", name, &config).map(number);
        let port = |name| field(name).and_then(|port| u16::try_from(port).ok());
        let (Some(flags), Some(min), Some(max)) = (field("flags"), port("port_min"), port("port_max")) else {
            return Ok(None);
        };
        if flags & u64::from(flags::NARROWED) != 0 {
            return Ok(Some((min, max)));
        }
        if u32::from(max.saturating_sub(min)) < 2 * TRIES {
            return Ok(None);
        }
        let middle = u16::midpoint(min, max);
        self.change(|config| {
            self.set(config, "port_max", |_| middle.into())?;
            self.add_flags(config, flags::NARROWED)
        })?;
        Ok(Some((min, middle)))
    }

    fn add_flags(&self, config: &mut [u8], more: u32) -> Result<()> {
        self.set(config, "flags", |old| old | u64::from(more))
    }

    /// Changes a number in a configuration.
    fn set(&self, config: &mut [u8], name: &str, new: impl FnOnce(u64) -> u64) -> Result<()> {
        let place = self.layout.place("CONFIG value", name);
        let bytes = place.and_then(|place| config.get_mut(place));
        let bytes = bytes.with_context(|| format!("LAYOUT has no {name} of CONFIG"))?;
        let new = new(number(bytes)).to_ne_bytes();
        bytes.copy_from_slice(&new[..bytes.len()]);
        Ok(())
    }

    /// Changes its configuration: the slot that is not in use is written whole and then made the one in use.
    fn change(&self, edit: impl FnOnce(&mut [u8]) -> Result<()>) -> Result<()> {
        let (slot, mut config) = self.config()?;
        edit(&mut config)?;
        let new = 1 - slot.min(1);
        sys::update(self.map("CONFIG")?.0.as_fd(), new, &config).context("write map CONFIG")?;
        sys::update(self.map("ACTIVE")?.0.as_fd(), 0, &new.to_ne_bytes()).context("write map ACTIVE")
    }

    /// Its flows.
    pub fn flows(&self) -> Result<Flows> {
        Ok(Flows { v4: self.family::<V4>()?, v6: self.family::<V6>()? })
    }

    fn family<F>(&self) -> Result<Vec<Carried<F>>>
    where
        F: Readable,
        F::Addr: Address + Hash,
    {
        let (map, info) = self.map(F::MAP)?;
        let sizes = (info.key_size() as usize, info.value_size() as usize);
        let records = (format!("{} key", F::MAP), format!("{} value", F::MAP));
        let said = (self.layout.size(&records.0), self.layout.size(&records.1));
        ensure!(said == (Some(sizes.0), Some(sizes.1)), "LAYOUT does not speak of map {}: {said:?}", F::MAP);
        let (mut out, mut back) = (Vec::new(), HashMap::new());
        each(&map, F::MAP, sizes, |key, value| {
            let half = Half::<F>::read(&self.layout, &records, key, value)?;
            match half.key.dir {
                _ if half.word.dying() => {}
                OUT => out.push(half),
                IN => _ = back.insert(half.key, half),
                _ => {}
            }
            Some(())
        })?;
        // After the table: what it is told in between is missed, and found when all is read once more at the end.
        let untold = self.untold::<F>(&records.0)?;
        for half in out.iter_mut().chain(back.values_mut()) {
            let (packets, bytes) = untold.get(&half.key).copied().unwrap_or_default();
            (half.packets, half.bytes) = (half.packets + packets, half.bytes + bytes);
        }
        Ok(out.iter().map(|half| half.with(back.get(&half.key.reply(half.nat_addr, half.word.port)))).collect())
    }

    /// What its shortcuts carried and its table was not told.
    fn untold<F>(&self, keys: &str) -> Result<HashMap<FlowKey<F::Addr>, Totals>>
    where
        F: Readable,
        F::Addr: Hash,
    {
        let record = format!("{} value", F::SHORTCUTS);
        let mut untold = HashMap::new();
        // A build before there were any has none.
        let Some(size) = self.layout.size(&record) else { return Ok(untold) };
        let (map, info) = self.map(F::SHORTCUTS)?;
        ensure!(size == info.value_size() as usize, "LAYOUT does not speak of map {}", F::SHORTCUTS);
        each(&map, F::SHORTCUTS, (info.key_size() as usize, size), |_, slot| {
            let field = |name| self.layout.field(&record, name, slot);
            let packets = number(field("packets")?);
            // First, because nearly all of them hold nothing.
            if packets != 0 {
                let key = key_of::<F>(&self.layout, keys, field("key")?)?;
                untold.insert(key, (packets, number(field("bytes")?)));
            }
            Some(())
        })?;
        Ok(untold)
    }
}

/// Hands every entry of a map to `take`, which says `None` if the layout lacks a field of it.
fn each(
    map: &OwnedFd,
    name: &str,
    sizes: (usize, usize),
    mut take: impl FnMut(&[u8], &[u8]) -> Option<()>,
) -> Result<()> {
    let mut batches = RawBatches::new(map.as_fd(), sizes, BATCH);
    while let Some(mut batch) = batches.next_batch().with_context(|| format!("read map {name}"))? {
        let whole = batch.try_for_each(|(key, value)| take(key, value));
        whole.with_context(|| format!("LAYOUT lacks a field of map {name}"))?;
    }
    Ok(())
}

#[expect(clippy::cast_possible_truncation, reason = "fields of both layouts have the same meaning and range")]
fn key_of<F: Readable>(layout: &Layout, keys: &str, key: &[u8]) -> Option<FlowKey<F::Addr>> {
    let of = |name| layout.field(keys, name, key);
    Some(FlowKey {
        saddr: address(of("saddr")?)?,
        daddr: address(of("daddr")?)?,
        sport: number(of("sport")?) as u16,
        dport: number(of("dport")?) as u16,
        proto: number(of("proto")?) as u8,
        dir: number(of("dir")?) as u8,
        zone: of("zone").map_or(0, number) as u16,
    })
}

/// One entry.
struct Half<F: Readable> {
    key: FlowKey<F::Addr>,
    nat_addr: F::Addr,
    word: Word,
    last_seen: u32,
    created: u32,
    packets: u64,
    bytes: u64,
}

#[expect(clippy::cast_possible_truncation, reason = "fields of both layouts have the same meaning and range")]
impl<F: Readable> Half<F> {
    /// None if one of the fields lacks without which there is no flow. Others are as in a flow that begins.
    fn read(layout: &Layout, (keys, values): &(String, String), key: &[u8], value: &[u8]) -> Option<Self> {
        let has = |name| layout.field(values, name, value).map(number);
        Some(Self {
            key: key_of::<F>(layout, keys, key)?,
            nat_addr: address(layout.field(values, "nat_addr", value)?)?,
            word: Word {
                port: has("word.port")? as u16,
                seen: has("word.seen")? as u8,
                state: has("word.state")? as u8 & (state::DYING | state::REPLY),
            },
            last_seen: has("last_seen")? as u32,
            created: has("created").unwrap_or_default() as u32,
            packets: has("packets").unwrap_or_default(),
            bytes: has("bytes").unwrap_or_default(),
        })
    }

    fn with(&self, back: Option<&Self>) -> Carried<F> {
        Carried {
            key: self.key,
            nat_addr: self.nat_addr,
            port: self.word.port,
            seen: [self.word.seen, back.map_or(0, |back| back.word.seen)],
            created: self.created,
            last_seen: [self.last_seen, back.map_or(self.created, |back| back.last_seen)],
            packets: [self.packets, back.map_or(0, |back| back.packets)].map(Wide::from),
            bytes: [self.bytes, back.map_or(0, |back| back.bytes)].map(Wide::from),
        }
    }
}

/// An unsigned number of up to eight bytes.
fn number(bytes: &[u8]) -> u64 {
    bytes.iter().rev().fold(0, |number, byte| number << 8 | u64::from(*byte))
}

fn address<A: Address>(bytes: &[u8]) -> Option<A> {
    // SAFETY: an address is an array of bytes, and there are as many.
    (bytes.len() == size_of::<A>()).then(|| unsafe { bytes.as_ptr().cast::<A>().read_unaligned() })
}
