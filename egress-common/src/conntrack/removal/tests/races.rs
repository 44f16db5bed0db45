//! A remover and packets of the same flow, in every order of their steps.

use std::{boxed::Box, sync::Mutex, vec, vec::Vec};

use proptest::prelude::*;

use super::super::*;
use crate::{
    nat::claim::open,
    testing::{
        actors::{Act, Cpu, interleavings, run},
        table::{TIMEOUTS, Table, client, config},
    },
};

type Key = FlowKey<[u8; 4]>;

const EGRESS: ([u8; 4], u16) = ([172, 17, 0, 11], 2000);

/// Seconds at which everything happens: the flow was last used at 100.
const NOW: u32 = 100 + 8000;

/// Steps of [`remove`], at most.
const REMOVER: usize = 8;
/// Steps of a packet, at most.
const PACKET: usize = 5;

fn boxed<'a>(act: impl FnOnce(&mut Cpu<'_, '_>) + Send + 'a) -> Act<'a> {
    Box::new(act)
}

/// One packet against one remover: either it counts as a miss or its flow is there afterwards, whole and alive.
fn packet_or_flow(seen: (u8, u8), inward: bool, shown: u8, why: Why<'static>) -> (u32, u32) {
    let key = client(9, 4000);
    let reply = key.reply(EGRESS.0, EGRESS.1);
    let (mut hits, mut removals) = (0, 0);
    for schedule in interleavings(REMOVER, PACKET) {
        let mut table = Table::new(8);
        table.put(&key, EGRESS, seen, 100);
        let (mut hit, mut outcome) = (None, Outcome::Absent);
        let own = if inward { &reply } else { &key };
        run(
            &mut table,
            &schedule,
            vec![boxed(|cpu| outcome = remove(cpu, &key, NOW, why)), boxed(|cpu| hit = cpu.touch(own, shown, NOW))],
        );
        table.check_account();
        let there = table.index.len();
        assert!([0, 2].contains(&there));
        assert_eq!(outcome == Outcome::Removed, there == 0, "{schedule:?}");
        if let Some(mapping) = hit {
            assert_eq!(mapping, if inward { (key.saddr, key.sport) } else { EGRESS }, "{schedule:?}");
            assert_eq!(there, 2, "the packet went by a flow that is gone: {schedule:?}");
            assert_eq!(table.find(own).unwrap().word.seen & shown, shown);
            hits += 1;
        }
        removals += u32::from(there == 0);
    }
    (hits, removals)
}

/// Both outcomes must have happened, or the schedules tested nothing.
fn both((hits, removals): (u32, u32)) {
    assert!(hits > 10 && removals > 10, "{hits} hits, {removals} removals");
}

#[test]
fn idle_flow_and_a_packet_from_inside() {
    both(packet_or_flow((seen::ACK, seen::ACK), false, seen::ACK, Why::Idle(&TIMEOUTS)));
}

#[test]
fn idle_flow_and_a_packet_from_outside() {
    both(packet_or_flow((seen::ACK, seen::ACK), true, seen::ACK, Why::Idle(&TIMEOUTS)));
}

/// The packet also changes the word, at any moment of the removal.
#[test]
fn idle_flow_and_its_end() {
    both(packet_or_flow((seen::ACK, seen::ACK), false, seen::ACK | seen::FIN, Why::Idle(&TIMEOUTS)));
    both(packet_or_flow((seen::ACK, seen::ACK), true, seen::RST, Why::Idle(&TIMEOUTS)));
}

#[test]
fn closed_flow_and_a_late_segment() {
    let closed = seen::ACK | seen::FIN;
    both(packet_or_flow((closed, closed), true, seen::ACK | seen::RST, Why::Reclaim));
}

/// A revoked flow goes whatever happens, and nothing of it stays.
#[test]
fn revoked_flow() {
    let key = client(9, 4000);
    for schedule in interleavings(REMOVER, PACKET) {
        let mut table = Table::new(8);
        table.put(&key, EGRESS, (seen::ACK, seen::ACK), 100);
        let mut outcome = Outcome::Absent;
        run(
            &mut table,
            &schedule,
            vec![
                boxed(|cpu| outcome = remove(cpu, &key, NOW, Why::Revoked)),
                boxed(|cpu| {
                    cpu.touch(&key, seen::ACK, NOW);
                }),
            ],
        );
        assert_eq!((outcome, table.index.len()), (Outcome::Removed, 0), "{schedule:?}");
    }
}

/// Two removers, one of which loses its CPU for so long that the other takes its marks over: the flow is told of once whoever
/// marked what.
#[test]
fn a_remover_that_was_overtaken() {
    let key = client(9, 4000);
    let mut overtaken = 0;
    for why in [Why::Revoked, Why::Idle(&TIMEOUTS)] {
        for schedule in interleavings(REMOVER - 2, REMOVER) {
            let mut table = Table::new(8);
            table.put(&key, EGRESS, (seen::ACK, seen::ACK), 100);
            let mut outcomes = [Outcome::Absent; 2];
            let [slow, fast] = &mut outcomes;
            run(
                &mut table,
                &schedule,
                vec![
                    boxed(|cpu| *slow = remove(cpu, &key, NOW, why)),
                    boxed(|cpu| *fast = remove(cpu, &key, NOW + ABANDONED_AFTER, why)),
                ],
            );
            table.check_account();
            assert_eq!(table.index.len(), 0, "{schedule:?}");
            overtaken += u32::from(outcomes == [Outcome::Kept, Outcome::Removed]);
        }
    }
    assert!(overtaken > 10, "{overtaken}");
}

/// A new connection on an ended one's ports, while a packet of the old one is on its way: what the old one had shown is
/// forgotten in any order, or the new one would count as closed.
#[test]
fn restart_and_a_late_segment() {
    let key = client(9, 4000);
    let reply = key.reply(EGRESS.0, EGRESS.1);
    for (own, shown) in [(&reply, seen::ACK), (&key, seen::ACK), (&reply, seen::SYN)] {
        for schedule in interleavings(4, PACKET) {
            let mut table = Table::new(8);
            table.put(&key, EGRESS, (seen::FIN, seen::FIN), 100);
            run(
                &mut table,
                &schedule,
                vec![
                    boxed(|cpu| restart(cpu, &key)),
                    boxed(|cpu| {
                        cpu.touch(own, shown, NOW).unwrap();
                    }),
                ],
            );
            table.check_account();
            let left = [key, reply].map(|key| table.find(&key).unwrap().word.seen & (seen::FIN | seen::RST));
            assert_eq!(left, [0, 0], "{schedule:?}");
        }
    }
}

/// The slot of a revoked flow is given to the next one at once. A packet that had found it before may take that one's place
/// (a few nanoseconds between two reads), but never its inside address for an egress address.
#[test]
fn a_slot_used_again() {
    let config = config(&[11]);
    let (key, next) = (client(9, 4000), client(10, 5000));
    let mut strangers = 0;
    for schedule in interleavings(REMOVER + 4, PACKET - 1) {
        let mut table = Table::new(8);
        table.put(&key, EGRESS, (seen::ACK, seen::ACK), 100);
        let mut hit = None;
        run(
            &mut table,
            &schedule,
            vec![
                boxed(|cpu| {
                    remove(cpu, &key, NOW, Why::Revoked);
                    open(cpu, &config, &next, seen::ACK, NOW).unwrap();
                }),
                boxed(|cpu| hit = cpu.touch(&key, seen::ACK, NOW)),
            ],
        );
        table.check_account();
        if let Some((addr, _)) = hit {
            assert_eq!(addr, EGRESS.0, "an inside address leaves: {schedule:?}");
        }
        strangers += u32::from(hit.is_some_and(|hit| hit != EGRESS));
    }
    assert!(strangers > 0, "the slot was never met again: the test tests nothing");
}

/// What an actor of the storm does with which flow.
#[derive(Clone, Copy, Debug)]
enum What {
    Out(u8),
    Back(u8),
    Idle,
    Reclaim,
    Restart,
    Orphan,
    Open,
}

fn what() -> impl Strategy<Value = What> {
    prop_oneof![
        any::<u8>().prop_map(|shown| What::Out(shown & 15)),
        any::<u8>().prop_map(|shown| What::Back(shown & 15)),
        Just(What::Idle),
        Just(What::Reclaim),
        Just(What::Restart),
        Just(What::Orphan),
        Just(What::Open),
    ]
}

fn act<'a>(what: What, key: &'a Key, now: u32, log: &'a Mutex<Vec<([u8; 4], u16)>>) -> Act<'a> {
    let reply = key.reply(EGRESS.0, EGRESS.1);
    boxed(move |cpu| match what {
        What::Out(shown) => {
            let hit = cpu.touch(key, shown, now);
            log.lock().unwrap().extend(hit);
        }
        What::Back(shown) => {
            let hit = cpu.touch(&reply, shown, now).map(|_| EGRESS);
            log.lock().unwrap().extend(hit);
        }
        What::Idle => drop(remove(cpu, key, now, Why::Idle(&TIMEOUTS)) == Outcome::Kept),
        What::Reclaim => drop(cpu.reclaim(&reply, now)),
        What::Restart => restart(cpu, key),
        What::Orphan => drop(remove_orphan(cpu, &reply, now) == Outcome::Kept),
        What::Open => drop(open(cpu, &config(&[11]), key, seen::SYN, now).is_ok()),
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    /// Up to four CPUs do anything to one flow. No half stays behind, none stays dying, no packet goes by a flow that is gone
    /// (unless it comes upon a slot used again: see above).
    #[test]
    fn storm(
        seen in (0_u8..16, 0_u8..16),
        what in proptest::collection::vec(what(), 2..5),
        schedule in proptest::collection::vec(0_u8..12, 0..60),
    ) {
        let key = client(9, 4000);
        let mut table = Table::new(64);
        table.reuse = false;
        table.put(&key, EGRESS, seen, 100);
        let log = Mutex::new(Vec::new());
        let actors = what.iter().map(|what| act(*what, &key, NOW, &log)).collect();
        run(&mut table, &schedule, actors);
        table.check_account();
        for mapping in log.into_inner().unwrap() {
            let out = table.find(&key);
            prop_assert_eq!(out.map(|half| (half.nat_addr, half.word.port)), Some(mapping));
        }
    }
}
