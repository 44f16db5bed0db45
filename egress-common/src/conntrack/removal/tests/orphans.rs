//! Halves without the other half.

use super::super::*;
use crate::{
    nat::claim::open,
    testing::{
        actors::{alone, interleavings, run},
        table::{TIMEOUTS, Table, client, config},
    },
};

const EGRESS: ([u8; 4], u16) = ([172, 17, 0, 11], 2000);

fn pair() -> (Table, FlowKey<[u8; 4]>, FlowKey<[u8; 4]>) {
    let mut table = Table::new(8);
    let key = client(9, 4000);
    table.put(&key, EGRESS, (seen::ACK, seen::ACK), 100);
    (table, key, key.reply(EGRESS.0, EGRESS.1))
}

#[test]
fn reply_half() {
    let (mut table, key, reply) = pair();
    assert_eq!(alone(&mut table, |cpu| remove_orphan(cpu, &reply, 99_999)), Outcome::Kept, "it has its forward half");
    table.remove(&key);
    assert_eq!(alone(&mut table, |cpu| remove_orphan(cpu, &reply, 99 + CLAIM_GRACE)), Outcome::Kept);
    assert_eq!(alone(&mut table, |cpu| remove_orphan(cpu, &reply, 100 + CLAIM_GRACE)), Outcome::Removed);
    table.check();
}

/// The forward half may have become another flow's, under the same key but another port.
#[test]
fn reply_half_of_an_earlier_mapping() {
    let (mut table, key, reply) = pair();
    table.at(&key).unwrap().word.port = 2001;
    assert_eq!(alone(&mut table, |cpu| remove_orphan(cpu, &reply, 100 + CLAIM_GRACE)), Outcome::Removed);
    assert!(table.find(&key).is_some());
}

#[test]
fn forward_half() {
    for why in [Why::Idle(&TIMEOUTS), Why::Reclaim, Why::Revoked] {
        let (mut table, key, reply) = pair();
        table.remove(&reply);
        assert_eq!(alone(&mut table, |cpu| remove(cpu, &key, 99 + CLAIM_GRACE, why)), Outcome::Kept);
        assert_eq!(alone(&mut table, |cpu| remove(cpu, &key, 100 + CLAIM_GRACE, why)), Outcome::Removed);
        table.check();
    }
}

/// The port may be another flow's by now: that one is not touched.
#[test]
fn forward_half_whose_port_is_taken() {
    let (mut table, key, reply) = pair();
    table.at(&reply).unwrap().nat_addr = [10, 16, 0, 10];
    assert_eq!(alone(&mut table, |cpu| remove(cpu, &key, 100 + CLAIM_GRACE, Why::Idle(&TIMEOUTS))), Outcome::Removed);
    assert!(table.find(&key).is_none() && table.find(&reply).is_some());
}

/// A claim in progress is not an orphan, at whatever moment the sweep comes by; `remove_orphan` can only know the reply keys
/// that the flow may have, so all candidates of a range of one port are one.
#[test]
fn a_claim_in_progress() {
    let config = crate::abi::config::Config { port_min: 2000, port_max: 2000, ..config(&[11]) };
    let key = client(9, 4000);
    for schedule in interleavings(4, 7) {
        let mut table = Table::new(8);
        run(
            &mut table,
            &schedule,
            std::vec![
                std::boxed::Box::new(|cpu: &mut _| {
                    open(cpu, &config, &key, seen::SYN, 100).unwrap();
                }),
                std::boxed::Box::new(|cpu: &mut _| {
                    let outcome = remove_orphan(cpu, &key.reply(EGRESS.0, EGRESS.1), 101);
                    assert_ne!(outcome, Outcome::Removed);
                }),
            ],
        );
        table.check();
        assert_eq!(table.index.len(), 2);
    }
}
