use std::vec::Vec;

use super::*;
use crate::{
    abi::{family::V4, flow::seen, order::Wide},
    conntrack::removal::{self, Why},
    nat::claim::open,
    testing::{
        actors::{Cpu, alone, interleavings, run},
        table::{F, Table, client, config},
    },
};

type Key = FlowKey<[u8; 4]>;

const EGRESS: [u8; 4] = [172, 17, 0, 11];

impl Import<F> for Cpu<'_, '_> {
    fn insert_part(&mut self, key: &Key, part: &Part<F>) -> Insert {
        self.insert_new(key, part.nat_addr, part.word, part.last_seen)
    }

    fn join(&mut self, key: &Key, part: &Part<F>, _add: bool) {
        self.step(|table| {
            if let Some(slot) = table.at(key) {
                slot.word.seen |= part.word.seen;
                slot.last_seen = slot.last_seen.max(part.last_seen);
            }
        });
    }

    fn cut(&mut self, key: &Key) {
        removal::remove(self, key, 100, Why::Revoked);
    }
}

fn flow(key: Key, port: u16) -> Carried<V4> {
    Carried {
        key,
        nat_addr: EGRESS,
        port,
        seen: [seen::SYN | seen::ACK, seen::ACK],
        created: 50,
        last_seen: [90, 91],
        packets: [Wide::from(7), Wide::from(8)],
        bytes: [Wide::from(1 << 40), Wide::default()],
    }
}

#[test]
fn wide() {
    for number in [0, 1, u64::from(u32::MAX), 1 << 40, u64::MAX] {
        assert_eq!(Wide::from(number).get(), number);
    }
}

#[test]
fn new_then_known() {
    let mut table = Table::new(8);
    let carried = flow(client(9, 4000), 40_000);
    assert_eq!(alone(&mut table, |cpu| take(cpu, &carried, false)), Taken::New);
    table.check_account();
    let back = table.find(&carried.key.reply(EGRESS, 40_000)).unwrap();
    assert_eq!((back.nat_addr, back.word.port, back.word.seen, back.last_seen), ([10, 16, 0, 9], 4000, seen::ACK, 91));
    let later = Carried { seen: [seen::FIN, seen::SYN], last_seen: [95, 60], ..carried };
    assert_eq!(alone(&mut table, |cpu| take(cpu, &later, false)), Taken::Known);
    table.check_account();
    let (out, back) = (table.find(&carried.key).unwrap(), table.find(&carried.key.reply(EGRESS, 40_000)).unwrap());
    assert_eq!((out.word.seen, back.word.seen), (seen::SYN | seen::ACK | seen::FIN, seen::ACK | seen::SYN));
    assert_eq!((out.last_seen, back.last_seen), (95, 91));
}

/// The server knows the mapping that is carried, not the one that was chosen here in the meantime.
#[test]
fn the_carried_mapping_replaces_one_of_ours() {
    let (mut table, config) = (Table::new(8), config(&[11]));
    let key = client(9, 4000);
    let ours = alone(&mut table, |cpu| open(cpu, &config, &key, seen::ACK, 99)).unwrap();
    let port = if ours.port == 40_000 { 40_001 } else { 40_000 };
    assert_eq!(alone(&mut table, |cpu| take(cpu, &flow(key, port), false)), Taken::New);
    table.check_account();
    assert_eq!(table.find(&key).unwrap().word.port, port);
    assert!(table.find(&key.reply(EGRESS, ours.port)).is_none());
}

/// The other table knows best whose a port is: it gave the holder's away, or the holder got it here a moment ago.
#[test]
fn who_holds_its_port_is_cut() {
    let mut table = Table::new(8);
    table.put(&client(10, 4000), (EGRESS, 40_000), (seen::ACK, seen::ACK), 99);
    assert_eq!(alone(&mut table, |cpu| take(cpu, &flow(client(9, 4000), 40_000), false)), Taken::New);
    table.check_account();
    assert!(table.find(&client(10, 4000)).is_none());
    assert_eq!(table.find(&client(9, 4000)).unwrap().word.port, 40_000);
}

/// It has ended, and its port or its key was given to another flow here.
#[test]
fn what_has_ended_cuts_nothing() {
    let ended = |key| Carried { seen: [seen::ACK | seen::FIN; 2], ..flow(key, 40_000) };
    let mut table = Table::new(8);
    table.put(&client(10, 4000), (EGRESS, 40_000), (seen::ACK, seen::ACK), 99);
    table.put(&client(9, 5000), (EGRESS, 50_000), (seen::ACK, seen::ACK), 99);
    for key in [client(9, 4000), client(9, 5000)] {
        assert_eq!(alone(&mut table, |cpu| take(cpu, &ended(key), false)), Taken::Known);
    }
    table.check_account();
    assert_eq!(table.find(&client(10, 4000)).unwrap().word.port, 40_000);
    assert_eq!(table.find(&client(9, 5000)).unwrap().word.port, 50_000);
    assert!(table.find(&client(9, 4000)).is_none());
}

/// A half that somebody is removing at this moment is left to that one.
#[test]
fn what_is_being_removed_is_refused() {
    let mut table = Table::new(8);
    table.put(&client(10, 4000), (EGRESS, 40_000), (seen::ACK, seen::ACK), 99);
    for key in [client(10, 4000), client(10, 4000).reply(EGRESS, 40_000)] {
        table.at(&key).unwrap().word.state |= state::DYING | (100 % 64);
    }
    for key in [client(10, 4000), client(9, 4000)] {
        assert_eq!(alone(&mut table, |cpu| take(cpu, &flow(key, 40_000), false)), Taken::Refused);
    }
    assert!(table.find(&client(9, 4000)).is_none());
}

/// At whatever insert the table fills up, nothing of the flow stays.
#[test]
fn full() {
    for room in 0..2 {
        let mut table = Table::new(room);
        assert_eq!(alone(&mut table, |cpu| take(cpu, &flow(client(9, 4000), 40_000), false)), Taken::Full);
        assert!(table.index.is_empty());
        table.check_account();
    }
}

/// Half a flow is made whole.
#[test]
fn a_lost_reply_half_comes_back() {
    let mut table = Table::new(8);
    let carried = flow(client(9, 4000), 40_000);
    alone(&mut table, |cpu| take(cpu, &carried, false));
    table.remove(&carried.key.reply(EGRESS, 40_000));
    assert_eq!(alone(&mut table, |cpu| take(cpu, &carried, false)), Taken::Known);
    table.check_account();
}

/// While a packet opens the same flow on another CPU, in every order: pairs stay pairs, and the account is right.
#[test]
fn races_with_an_opening() {
    let config = config(&[11]);
    let key = client(9, 4000);
    let schedules: Vec<_> = interleavings(6, 6);
    for schedule in schedules {
        let mut table = Table::new(8);
        run(
            &mut table,
            &schedule,
            std::vec![
                std::boxed::Box::new(|cpu: &mut Cpu<'_, '_>| _ = take(cpu, &flow(key, 40_000), false)),
                std::boxed::Box::new(|cpu: &mut Cpu<'_, '_>| _ = open(cpu, &config, &key, seen::ACK, 100)),
            ],
        );
        table.check_account();
    }
}
