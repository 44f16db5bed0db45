//! A remover that never came to the end: the kernel may refuse to delete.

use super::super::*;
use crate::testing::{
    actors::alone,
    table::{TIMEOUTS, Table, client},
};

const EGRESS: ([u8; 4], u16) = ([172, 17, 0, 11], 2000);

/// A flow with these halves marked at `at`; it carried a packet in the second of the test, as a retrying client's does.
fn marked(halves: (bool, bool), at: u32) -> Table {
    let mut table = Table::new(8);
    table.put(&client(9, 4000), EGRESS, (seen::ACK, seen::ACK), at);
    let reply = client(9, 4000).reply(EGRESS.0, EGRESS.1);
    for (key, dying) in [(client(9, 4000), halves.0), (reply, halves.1)] {
        if dying {
            alone(&mut table, |cpu| {
                let half = cpu.get(&key).unwrap();
                assert!(mark(cpu, &key, &half, at));
            });
        }
    }
    table
}

#[test]
fn is_taken_over_after_a_while() {
    let key = client(9, 4000);
    for at in [0, 100, 127, 4_000_000_000, u32::MAX - 1] {
        for age in 0..300_u32 {
            let now = at.wrapping_add(age);
            let mut table = marked((true, true), at);
            table.at(&key).unwrap().last_seen = now;
            let outcome = alone(&mut table, |cpu| remove(cpu, &key, now, Why::Idle(&TIMEOUTS)));
            // Sixty-four seconds later a mark looks new for a while; the sweep after that sees it.
            let fresh = !(ABANDONED_AFTER..=63 - ABANDONED_AFTER).contains(&(age % 64));
            assert_eq!(outcome == Outcome::Kept, fresh, "{at} + {age}");
            assert_eq!(table.index.len(), if fresh { 2 } else { 0 });
        }
        let mut behind = marked((true, true), at);
        let outcome = alone(&mut behind, |cpu| remove(cpu, &key, at.wrapping_sub(1), Why::Idle(&TIMEOUTS)));
        assert_eq!(outcome, Outcome::Kept, "a CPU whose second began later made the mark just now");
    }
}

#[test]
fn with_one_half_marked_or_gone() {
    let key = client(9, 4000);
    let reply = key.reply(EGRESS.0, EGRESS.1);
    let mut forward = marked((true, false), 100);
    assert_eq!(alone(&mut forward, |cpu| remove(cpu, &key, 104, Why::Revoked)), Outcome::Removed);
    forward.check();
    let mut last = marked((true, false), 100);
    last.remove(&reply);
    assert_eq!(alone(&mut last, |cpu| remove(cpu, &key, 104, Why::Revoked)), Outcome::Removed);
    last.check();
    let mut orphan = marked((false, true), 100);
    orphan.remove(&key);
    assert_eq!(alone(&mut orphan, |cpu| remove_orphan(cpu, &reply, 102 + CLAIM_GRACE)), Outcome::Removed);
    orphan.check();
}

/// Who finds a fresh mark leaves it and what it belongs to alone.
#[test]
fn a_fresh_mark_is_somebody_elses() {
    let key = client(9, 4000);
    for halves in [(true, false), (false, true), (true, true)] {
        let mut table = marked(halves, 100);
        assert_eq!(alone(&mut table, |cpu| remove(cpu, &key, 101, Why::Revoked)), Outcome::Kept);
        let words = [key, key.reply(EGRESS.0, EGRESS.1)].map(|key| table.find(&key).unwrap().word.dying());
        assert_eq!(words, [halves.0, halves.1]);
    }
}

/// What packets wrote into the word while it was marked stays, and the mark goes all the same.
#[test]
fn revival_keeps_what_was_seen() {
    let key = client(9, 4000);
    let mut table = marked((true, true), 100);
    table.at(&key).unwrap().word.seen |= seen::FIN;
    alone(&mut table, |cpu| {
        revive(cpu, &key);
        revive(cpu, &key.reply(EGRESS.0, EGRESS.1));
    });
    table.check();
    assert_eq!(table.find(&key).unwrap().word.seen, seen::ACK | seen::FIN);
}
