//! The flow table in plain memory, slot by slot as the kernel's preallocated map has it: a removed half's slot is the first to
//! be given to another.

use std::{collections::HashMap, vec::Vec};

use crate::{
    abi::{
        config::{Config, MAX_EGRESS, Timeouts},
        family::V4,
        flow::{FlowKey4, IN, OUT, Word},
    },
    nat::fair::{Account, Counts, Kind, Place},
};

/// One element.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Slot {
    pub(crate) nat_addr: [u8; 4],
    pub(crate) word: Word,
    pub(crate) last_seen: u32,
    pub(crate) created: u32,
}

/// The table and the memory of exhausted destinations.
#[derive(Debug)]
pub(crate) struct Table {
    pub(crate) index: HashMap<FlowKey4, usize>,
    pub(crate) slots: Vec<Slot>,
    free: Vec<usize>,
    /// Whether slots are given away again.
    pub(crate) reuse: bool,
    /// Room for halves.
    pub(crate) room: usize,
    pub(crate) exhausted: HashMap<FlowKey4, u64>,
    /// Flows that began, without those that ended.
    pub(crate) living: i64,
    /// Flows that got nothing because of their source's share.
    pub(crate) limited: u32,
    /// New flows that a source may open; none: any number.
    pub(crate) pace: Option<u32>,
}

impl Table {
    pub(crate) fn new(room: usize) -> Self {
        Self {
            index: HashMap::new(),
            slots: Vec::new(),
            free: Vec::new(),
            reuse: true,
            room,
            exhausted: HashMap::new(),
            living: 0,
            limited: 0,
            pace: None,
        }
    }

    pub(crate) fn find(&self, key: &FlowKey4) -> Option<Slot> {
        self.index.get(key).map(|slot| self.slots[*slot])
    }

    pub(crate) fn at(&mut self, key: &FlowKey4) -> Option<&mut Slot> {
        self.index.get(key).map(|slot| &mut self.slots[*slot])
    }

    /// False if there is no room.
    pub(crate) fn insert(&mut self, key: &FlowKey4, slot: Slot) -> bool {
        assert!(!self.index.contains_key(key), "the caller looks first");
        if self.index.len() >= self.room {
            return false;
        }
        let place = self.free.pop().unwrap_or_else(|| {
            self.slots.push(slot);
            self.slots.len() - 1
        });
        self.slots[place] = slot;
        self.index.insert(*key, place);
        true
    }

    pub(crate) fn remove(&mut self, key: &FlowKey4) {
        self.free.extend(self.index.remove(key).filter(|_| self.reuse));
    }

    /// Both halves of a flow as they stand after its handshake.
    pub(crate) fn put(&mut self, key: &FlowKey4, egress: ([u8; 4], u16), seen: (u8, u8), last: u32) {
        let slot = |nat_addr, port, seen, state| Slot {
            nat_addr,
            word: Word { port, seen, state },
            last_seen: last,
            created: last,
        };
        self.insert(&key.reply(egress.0, egress.1), slot(key.saddr, key.sport, seen.1, crate::abi::flow::state::REPLY));
        self.insert(key, slot(egress.0, egress.1, seen.0, 0));
        self.living += 1;
    }

    /// [`Self::check`], and that the account was told once of each flow that began and of each that ended.
    pub(crate) fn check_account(&self) {
        self.check();
        assert_eq!(self.living, self.index.keys().filter(|key| key.dir == OUT).count() as i64);
    }

    /// Every half lives, every forward half has its reply half, every reply half its forward half: then no two flows share a
    /// port, because a key has one entry.
    pub(crate) fn check(&self) {
        for (key, place) in &self.index {
            let slot = &self.slots[*place];
            assert!(slot.word.carries(key.dir), "{key:?} stays dying: {slot:?}");
            let twin = match key.dir {
                OUT => key.reply(slot.nat_addr, slot.word.port),
                _ => key.original(slot.nat_addr, slot.word.port),
            };
            let other = self.find(&twin).unwrap_or_else(|| panic!("{key:?} is alone: {slot:?}"));
            let (addr, port) = if key.dir == IN { (key.daddr, key.dport) } else { (key.saddr, key.sport) };
            assert_eq!((other.nat_addr, other.word.port), (addr, port), "{key:?} has a stranger's half");
        }
    }
}

/// Counts what stands in a table.
pub(crate) struct Scan<'a> {
    pub(crate) table: &'a Table,
    pub(crate) secret: &'a [u64; 2],
}

impl Counts for Scan<'_> {
    fn all(&self) -> i32 {
        self.table.index.keys().filter(|key| key.dir == OUT).count() as i32
    }

    fn at(&self, place: Place) -> i32 {
        let here = |key: &FlowKey4, slot: usize| {
            let account = Account::new(self.secret, key, &self.table.slots[slot].nat_addr);
            [Kind::Source, Kind::Group, Kind::Pair].iter().any(|kind| account.place(*kind) == place)
        };
        self.table.index.iter().filter(|(key, slot)| key.dir == OUT && here(key, **slot)).count() as i32
    }
}

/// Times that differ from each other.
pub(crate) const TIMEOUTS: Timeouts = Timeouts {
    tcp_opening: 240,
    tcp_established: 7440,
    tcp_half_closed: 300,
    tcp_closing: 241,
    udp_unreplied: 120,
    udp_replied: 180,
    icmp: 60,
    other: 90,
};

/// A configuration with the product's ranges and these egress addresses 172.17.0.x.
pub(crate) fn config(egress: &[u8]) -> Config {
    let mut egress4 = [[0; 4]; MAX_EGRESS];
    for (slot, last) in egress4.iter_mut().zip(egress) {
        *slot = [172, 17, 0, *last];
    }
    Config {
        port_key: [1, 2],
        internal_ifindex: 1,
        external_ifindex: 2,
        internal_mtu: 1400,
        external_mtu: 1500,
        capacity: 1 << 20,
        timeouts: TIMEOUTS,
        port_min: 1024,
        port_max: 57343,
        icmp_max: 49151,
        egress4_len: egress.len() as u32,
        egress4,
        ..Config::EMPTY
    }
}

/// An outbound TCP key of client `n`.
pub(crate) fn client(n: u8, sport: u16) -> FlowKey4 {
    FlowKey4 { saddr: [10, 16, 0, n], daddr: [1, 1, 1, 1], sport, dport: 443, proto: 6, dir: OUT, zone: 0 }
}

/// The family of all this.
pub(crate) type F = V4;
