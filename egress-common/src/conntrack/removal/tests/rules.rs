//! When a flow ends, with nobody else about.

use super::super::*;
use crate::{
    conntrack::state::State,
    packet::header::proto,
    testing::{
        actors::alone,
        table::{TIMEOUTS, Table, client},
    },
};

const EGRESS: ([u8; 4], u16) = ([172, 17, 0, 11], 2000);

fn after(seen: (u8, u8), protocol: u8, idle: u32, why: Why<'static>) -> (Outcome, usize) {
    let mut table = Table::new(8);
    let key = FlowKey { proto: protocol, ..client(9, 4000) };
    table.put(&key, EGRESS, seen, 100);
    let outcome = alone(&mut table, |cpu| remove(cpu, &key, 100 + idle, why));
    table.check();
    (outcome, table.index.len())
}

#[test]
fn idle_flows_end_on_the_second() {
    use seen::{ACK, FIN, RST, SYN};
    for (protocol, seen) in [
        (proto::TCP, (SYN, 0)),
        (proto::TCP, (SYN | ACK, SYN | ACK)),
        (proto::TCP, (SYN | ACK | FIN, ACK)),
        (proto::TCP, (ACK | FIN, ACK | FIN)),
        (proto::TCP, (ACK, ACK | RST)),
        (proto::UDP, (ACK, 0)),
        (proto::UDP, (ACK, ACK)),
        (proto::ICMP, (ACK, ACK)),
        (132, (ACK, ACK)),
    ] {
        let timeout = State::of(protocol, seen.0, seen.1).timeout(protocol, &TIMEOUTS);
        assert_eq!(after(seen, protocol, timeout - 1, Why::Idle(&TIMEOUTS)), (Outcome::Kept, 2), "{protocol} {seen:?}");
        assert_eq!(after(seen, protocol, timeout, Why::Idle(&TIMEOUTS)), (Outcome::Removed, 0), "{protocol} {seen:?}");
        assert_eq!(after(seen, protocol, 0, Why::Revoked), (Outcome::Removed, 0));
    }
}

/// The allocator takes only what is closed, and not at once.
#[test]
fn reclaim() {
    for out in 0..16 {
        for back in 0..16 {
            let closed = State::of(proto::TCP, out, back) == State::Closed && State::over(out, back);
            for idle in [0, RECLAIM_AFTER - 1, RECLAIM_AFTER, 100_000] {
                let want = if closed && idle >= RECLAIM_AFTER { Outcome::Removed } else { Outcome::Kept };
                assert_eq!(after((out, back), proto::TCP, idle, Why::Reclaim).0, want, "{out} {back} {idle}");
            }
            assert_eq!(after((out, back), proto::UDP, 100_000, Why::Reclaim).0, Outcome::Kept);
        }
    }
}

/// Traffic of either direction keeps the flow.
#[test]
fn the_later_half_counts() {
    let key = client(9, 4000);
    for (half, other) in [(key, key.reply(EGRESS.0, EGRESS.1)), (key.reply(EGRESS.0, EGRESS.1), key)] {
        let mut table = Table::new(8);
        table.put(&key, EGRESS, (seen::ACK, seen::ACK), 100);
        table.at(&half).unwrap().last_seen = 5000;
        let now = 5000 + TIMEOUTS.tcp_established;
        let early = alone(&mut table, |cpu| remove(cpu, &key, now - 1, Why::Idle(&TIMEOUTS)));
        assert_eq!((early, table.find(&other).is_some()), (Outcome::Kept, true));
        assert_eq!(alone(&mut table, |cpu| remove(cpu, &key, now, Why::Idle(&TIMEOUTS))), Outcome::Removed);
        table.check();
    }
}

#[test]
fn absent() {
    let mut table = Table::new(8);
    assert_eq!(alone(&mut table, |cpu| remove(cpu, &client(9, 1), 0, Why::Revoked)), Outcome::Absent);
    let reply = client(9, 1).reply(EGRESS.0, 1);
    assert_eq!(alone(&mut table, |cpu| remove_orphan(cpu, &reply, 0)), Outcome::Absent);
}

/// A new connection on the ports of an ended one begins like any other; a SYN on a living one changes nothing.
#[test]
fn restarts() {
    use seen::{ACK, FIN, RST, SYN};
    let key = client(9, 4000);
    let reply = key.reply(EGRESS.0, EGRESS.1);
    for out in 0..16 {
        for back in 0..16 {
            let mut table = Table::new(8);
            table.put(&key, EGRESS, (out | SYN, back), 100);
            alone(&mut table, |cpu| restart(cpu, &key));
            table.check();
            let now = [key, reply].map(|key| table.find(&key).unwrap().word);
            assert_eq!(now.map(|word| word.port), [EGRESS.1, key.sport]);
            let want = if (out | back) & (FIN | RST) != 0 { [SYN, 0] } else { [out | SYN, back] };
            assert_eq!(now.map(|word| word.seen), want);
            assert_eq!(
                State::of(proto::TCP, now[0].seen, now[1].seen) == State::Established,
                out & back & ACK != 0 && (out | back) & (FIN | RST) == 0
            );
        }
    }
}
