//! Seconds are read by each CPU for itself and wrap around.

use proptest::prelude::*;

use super::super::*;
use crate::testing::{
    actors::alone,
    table::{TIMEOUTS, Table, client},
};

const EGRESS: ([u8; 4], u16) = ([172, 17, 0, 11], 2000);

#[test]
fn later_of_two() {
    for (a, b, want) in [
        (1, 2, 2),
        (2, 1, 2),
        (7, 7, 7),
        (u32::MAX, 3, 3),
        (3, u32::MAX, 3),
        (u32::MAX - 1, u32::MAX, u32::MAX),
        (0x8000_0000, 0x7fff_ffff, 0x8000_0000),
    ] {
        assert_eq!(later(a, b), want, "{a} {b}");
    }
}

fn removed(closed: bool, last: u32, now: u32, why: Why<'_>) -> bool {
    let mut table = Table::new(8);
    let shown = if closed { seen::RST } else { seen::ACK };
    table.put(&client(9, 4000), EGRESS, (shown, shown), last);
    let outcome = alone(&mut table, |cpu| remove(cpu, &client(9, 4000), now, why));
    table.check();
    outcome == Outcome::Removed
}

proptest! {
    /// The age is what counts, wherever the clock stands.
    #[test]
    fn wraps(last: u32, idle in 0_u32..20_000) {
        let now = last.wrapping_add(idle);
        prop_assert_eq!(removed(false, last, now, Why::Idle(&TIMEOUTS)), idle >= TIMEOUTS.tcp_established);
        prop_assert_eq!(removed(true, last, now, Why::Reclaim), idle >= RECLAIM_AFTER);
    }

    /// A packet on another CPU may have seen the next second already. Its flow is not an age old, it is as young as can be.
    #[test]
    fn ahead(now: u32, ahead in 1_u32..1000) {
        let last = now.wrapping_add(ahead);
        prop_assert!(!removed(false, last, now, Why::Idle(&TIMEOUTS)));
        prop_assert!(!removed(true, last, now, Why::Reclaim));
        let mut table = Table::new(8);
        table.put(&client(9, 4000), EGRESS, (0, 0), last);
        table.remove(&client(9, 4000));
        let reply = client(9, 4000).reply(EGRESS.0, EGRESS.1);
        prop_assert_eq!(alone(&mut table, |cpu| remove_orphan(cpu, &reply, now)), Outcome::Kept);
    }
}
