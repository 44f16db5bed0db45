//! Bringing the policy maps in line: additions first, so that nothing that stays is ever missing.

use std::{
    collections::BTreeSet,
    hash::Hash,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use anyhow::{Context, Result};
use aya::{
    Pod,
    maps::{
        HashMap, MapData,
        lpm_trie::{Key, LpmTrie},
    },
};
use egress_common::abi::policy::local;
use ipnet::IpNet;

use super::tables::Tables;
use crate::spec::{desired::Desired, observed::Observed};

/// Writes `snat: false` CIDRs, selected Pods and own addresses.
pub fn sync(tables: &mut Tables, desired: &Desired, observed: &Observed) -> Result<()> {
    let (mut nets4, mut nets6) = (BTreeSet::new(), BTreeSet::new());
    for net in &desired.no_snat {
        match net.trunc() {
            IpNet::V4(net) => _ = nets4.insert((u32::from(net.prefix_len()), net.addr().octets())),
            IpNet::V6(net) => _ = nets6.insert((u32::from(net.prefix_len()), net.addr().octets())),
        }
    }
    sync_trie(&mut tables.no_snat4, &nets4).context("map NO_SNAT4")?;
    sync_trie(&mut tables.no_snat6, &nets6).context("map NO_SNAT6")?;
    let (selected4, selected6) = split(desired.selected.iter().map(|addr| (*addr, 1)));
    sync_hash(&mut tables.selected4, &selected4).context("map SELECTED4")?;
    sync_hash(&mut tables.selected6, &selected6).context("map SELECTED6")?;
    let own = observed.links.iter().flat_map(|link| {
        let flags = if link.name == desired.external.interface { local::EXTERNAL } else { 0 };
        link.addresses.iter().map(move |address| (address.net.addr(), flags))
    });
    let (local4, local6) = split(own);
    sync_hash(&mut tables.local4, &local4).context("map LOCAL4")?;
    sync_hash(&mut tables.local6, &local6).context("map LOCAL6")
}

type Entries<A> = BTreeSet<(A, u32)>;

fn split(addrs: impl Iterator<Item = (IpAddr, u32)>) -> (Entries<[u8; 4]>, Entries<[u8; 16]>) {
    let (mut v4, mut v6) = (BTreeSet::new(), BTreeSet::new());
    for (addr, value) in addrs {
        match addr {
            IpAddr::V4(addr) => _ = v4.insert((Ipv4Addr::octets(&addr), value)),
            IpAddr::V6(addr) => _ = v6.insert((Ipv6Addr::octets(&addr), value)),
        }
    }
    (v4, v6)
}

fn sync_hash<A: Pod + Ord + Hash>(map: &mut HashMap<MapData, A, u32>, wanted: &Entries<A>) -> Result<()> {
    let have: BTreeSet<(A, u32)> = map.iter().collect::<Result<_, _>>()?;
    for (addr, value) in wanted.difference(&have) {
        map.insert(addr, value, 0)?;
    }
    for (addr, _) in have.difference(wanted) {
        if !wanted.iter().any(|(kept, _)| kept == addr) {
            map.remove(addr)?;
        }
    }
    Ok(())
}

fn sync_trie<A: Pod + Ord>(map: &mut LpmTrie<MapData, A, u32>, wanted: &BTreeSet<(u32, A)>) -> Result<()> {
    let have: BTreeSet<(u32, A)> =
        map.keys().map(|key| key.map(|key| (key.prefix_len(), key.data()))).collect::<Result<_, _>>()?;
    for (len, addr) in wanted.difference(&have) {
        map.insert(&Key::new(*len, *addr), 1, 0)?;
    }
    for (len, addr) in have.difference(wanted) {
        map.remove(&Key::new(*len, *addr))?;
    }
    Ok(())
}
