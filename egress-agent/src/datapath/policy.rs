//! Bringing the policy maps in line: additions first, so that nothing that stays is ever missing.

use std::{
    collections::BTreeMap,
    hash::Hash,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use anyhow::{Context, Result, ensure};
use aya::{
    Pod,
    maps::{
        HashMap, MapData,
        lpm_trie::{Key, LpmTrie},
    },
};
use egress_common::abi::policy::{MAX_LOCAL, MAX_PODS, MAX_PREFIXES, local};
use ipnet::IpNet;

use super::tables::Tables;
use crate::spec::{desired::Desired, observed::Observed};

/// What the maps of one family shall hold.
#[derive(Debug)]
struct Wanted<A> {
    no_snat: BTreeMap<(u32, A), u32>,
    selected: BTreeMap<A, u32>,
    local: BTreeMap<A, u32>,
}

impl<A> Wanted<A> {
    fn fits(&self, family: &str) -> Result<()> {
        for (what, have, room) in [
            ("snat: false CIDRs", self.no_snat.len(), MAX_PREFIXES),
            ("addresses of selected Pods", self.selected.len(), MAX_PODS),
            ("own addresses", self.local.len(), MAX_LOCAL),
        ] {
            ensure!(have <= room, "{have} {family} {what}: a gateway has room for {room}");
        }
        Ok(())
    }
}

/// What both families' maps shall hold; made before anything is changed, so that what does not fit changes nothing.
#[derive(Debug)]
pub struct Policy {
    v4: Wanted<[u8; 4]>,
    v6: Wanted<[u8; 16]>,
}

/// Works out `snat: false` CIDRs, selected Pods and own addresses.
pub fn plan(desired: &Desired, observed: &Observed) -> Result<Policy> {
    let (mut nets4, mut nets6) = (BTreeMap::new(), BTreeMap::new());
    for net in &desired.no_snat {
        match net.trunc() {
            IpNet::V4(net) => _ = nets4.insert((u32::from(net.prefix_len()), net.addr().octets()), 1),
            IpNet::V6(net) => _ = nets6.insert((u32::from(net.prefix_len()), net.addr().octets()), 1),
        }
    }
    let (selected4, selected6) = split(desired.selected.iter().map(|addr| (*addr, 1)));
    let (local4, local6) = split(observed.links.iter().flat_map(|link| {
        let flags = if link.name == desired.external.interface { local::EXTERNAL } else { 0 };
        let own = link.addresses.iter().map(move |address| (address.net.addr(), flags));
        own.chain(link.addresses.iter().filter_map(|address| Some((broadcast(address.net)?, 0))))
    }));
    let policy = Policy {
        v4: Wanted { no_snat: nets4, selected: selected4, local: local4 },
        v6: Wanted { no_snat: nets6, selected: selected6, local: local6 },
    };
    policy.v4.fits("IPv4")?;
    policy.v6.fits("IPv6")?;
    Ok(policy)
}

/// The broadcast address of an interface's network: for the gateway itself as well, never to be forwarded (RFC 2644), but no
/// packet may leave from it. `bpf_fib_lookup` does not tell it from an address without a route.
fn broadcast(net: IpNet) -> Option<IpAddr> {
    match net {
        IpNet::V4(net) if net.prefix_len() < 31 => Some(net.broadcast().into()),
        _ => None,
    }
}

/// Splits by family; an address that comes twice has both flags.
fn split(addrs: impl Iterator<Item = (IpAddr, u32)>) -> (BTreeMap<[u8; 4], u32>, BTreeMap<[u8; 16], u32>) {
    let (mut v4, mut v6) = (BTreeMap::new(), BTreeMap::new());
    for (addr, flags) in addrs {
        match addr {
            IpAddr::V4(addr) => *v4.entry(Ipv4Addr::octets(&addr)).or_default() |= flags,
            IpAddr::V6(addr) => *v6.entry(Ipv6Addr::octets(&addr)).or_default() |= flags,
        }
    }
    (v4, v6)
}

/// Writes the difference. A new selected Pod is known before a new `snat: false` CIDR could let its packets out as they are.
pub fn sync(tables: &mut Tables, policy: &Policy) -> Result<()> {
    hash(&mut tables.local4, &policy.v4.local).context("map LOCAL4")?;
    hash(&mut tables.local6, &policy.v6.local).context("map LOCAL6")?;
    add(&mut tables.selected4, &policy.v4.selected).context("map SELECTED4")?;
    add(&mut tables.selected6, &policy.v6.selected).context("map SELECTED6")?;
    trie(&mut tables.no_snat4, &policy.v4.no_snat).context("map NO_SNAT4")?;
    trie(&mut tables.no_snat6, &policy.v6.no_snat).context("map NO_SNAT6")?;
    hash(&mut tables.selected4, &policy.v4.selected).context("map SELECTED4")?;
    hash(&mut tables.selected6, &policy.v6.selected).context("map SELECTED6")
}

type Held<A> = BTreeMap<A, u32>;

/// Adds what lacks; what the map held before.
fn add<A: Pod + Ord + Hash>(map: &mut HashMap<MapData, A, u32>, wanted: &Held<A>) -> Result<Held<A>> {
    let have: Held<A> = map.iter().collect::<Result<_, _>>()?;
    for (addr, value) in wanted.iter().filter(|(addr, value)| have.get(*addr) != Some(value)) {
        map.insert(addr, value, 0)?;
    }
    Ok(have)
}

fn hash<A: Pod + Ord + Hash>(map: &mut HashMap<MapData, A, u32>, wanted: &Held<A>) -> Result<()> {
    for addr in add(map, wanted)?.keys().filter(|addr| !wanted.contains_key(*addr)) {
        map.remove(addr)?;
    }
    Ok(())
}

fn trie<A: Pod + Ord>(map: &mut LpmTrie<MapData, A, u32>, wanted: &BTreeMap<(u32, A), u32>) -> Result<()> {
    let have: BTreeMap<(u32, A), ()> =
        map.keys().map(|key| key.map(|key| ((key.prefix_len(), key.data()), ()))).collect::<Result<_, _>>()?;
    for ((len, addr), value) in wanted.iter().filter(|(key, _)| !have.contains_key(*key)) {
        map.insert(&Key::new(*len, *addr), value, 0)?;
    }
    for (len, addr) in have.keys().filter(|key| !wanted.contains_key(*key)) {
        map.remove(&Key::new(*len, *addr))?;
    }
    Ok(())
}
