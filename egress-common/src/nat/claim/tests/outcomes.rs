//! What becomes of an attempt, with nobody else about.

use std::vec::Vec;

use super::super::*;
use crate::{
    abi::{
        config::flags,
        flow::{OUT, seen},
    },
    conntrack::removal::RECLAIM_AFTER,
    testing::{
        actors::alone,
        table::{Table, client, config},
    },
};

type Key = FlowKey<[u8; 4]>;
type Result4 = Result<Opened<V4>, Refused>;

const EGRESS: [u8; 4] = [172, 17, 0, 11];

fn attempt(table: &mut Table, config: &Config, key: &Key, now: u32) -> Result4 {
    alone(table, |cpu| open(cpu, config, key, seen::SYN, now))
}

fn narrow(min: u16, max: u16, egress: &[u8]) -> Config {
    Config { port_min: min, port_max: max, ..config(egress) }
}

#[test]
fn both_halves() {
    let (mut table, config) = (Table::new(8), config(&[11]));
    let flow = attempt(&mut table, &config, &client(9, 4000), 77).unwrap();
    table.check_account();
    assert_eq!((flow.nat_addr, flow.tries, flow.adopted), (EGRESS, 1, false));
    let out = table.find(&client(9, 4000)).unwrap();
    let back = table.find(&client(9, 4000).reply(EGRESS, flow.port)).unwrap();
    assert_eq!((out.word.seen, out.created, out.last_seen), (seen::SYN, 77, 77));
    assert_eq!((back.word.seen, back.created, back.last_seen), (0, 77, 77));
}

#[test]
fn kept_port_if_free() {
    let mut table = Table::new(8);
    let config = Config { flags: flags::PRESERVE_PORT, ..config(&[11]) };
    assert_eq!(attempt(&mut table, &config, &client(9, 4000), 0).unwrap().port, 4000);
    let second = attempt(&mut table, &config, &client(10, 4000), 0).unwrap();
    assert!(second.port != 4000 && second.tries == 2);
    assert_ne!(attempt(&mut table, &config, &client(9, 443), 0).unwrap().port, 443, "not in the range");
    table.check_account();
}

/// One port serves many destinations, and each protocol for itself.
#[test]
fn ports_are_per_destination() {
    let (mut table, config) = (Table::new(64), narrow(2000, 2000, &[11]));
    let base = client(9, 4000);
    for key in [
        base,
        Key { daddr: [1, 1, 1, 2], ..base },
        Key { dport: 80, ..base },
        Key { proto: 17, ..base },
        Key { proto: 17, saddr: [10, 16, 0, 10], dport: 53, ..base },
    ] {
        assert_eq!(attempt(&mut table, &config, &key, 0).unwrap().port, 2000);
    }
    assert_eq!(attempt(&mut table, &config, &client(10, 4000), 0).unwrap_err().reason, Drop::PortsExhausted);
    table.check_account();
}

#[test]
fn no_address() {
    let refused = attempt(&mut Table::new(8), &config(&[]), &client(9, 1), 0).unwrap_err();
    assert_eq!(refused, Refused { reason: Drop::NoEgressAddress, tries: 0, spent: false });
}

/// At whatever insert the table fills up, nothing of the flow stays.
#[test]
fn full_table() {
    let config = config(&[11]);
    for room in 0..6 {
        let mut table = Table::new(room);
        for n in 0..4 {
            let outcome = attempt(&mut table, &config, &client(n, 4000), 0);
            table.check_account();
            let fits = usize::from(n) * 2 + 2 <= room;
            assert_eq!(
                outcome.map(|_| ()),
                if fits { Ok(()) } else { Err(Refused { reason: Drop::TableFull, tries: 1, spent: false }) }
            );
        }
        assert_eq!(table.index.len(), room / 2 * 2);
    }
}

/// The source's own address first, then the next of its ranking; then the drop, remembered for both.
#[test]
fn exhaustion() {
    let (mut table, config) = (Table::new(1000), narrow(2000, 2002, &[11, 12, 13]));
    let key = |n| client(9, n);
    let flows: Vec<_> = (0..6).map(|n| attempt(&mut table, &config, &key(n), 0).unwrap()).collect();
    let (first, second) = (flows[0].nat_addr, flows[5].nat_addr);
    assert_ne!(first, second);
    assert!(
        flows[..3].iter().all(|flow| flow.nat_addr == first) && flows[3..].iter().all(|flow| flow.nat_addr == second)
    );
    assert_eq!(flows[3].tries, 3 + 1, "every port of the first address");
    table.check_account();

    table.exhausted.clear();
    let refused = attempt(&mut table, &config, &key(6), 0).unwrap_err();
    assert_eq!(refused, Refused { reason: Drop::PortsExhausted, tries: ADDRESSES * 3, spent: true });
    let remembered = [first, second].map(|egress| key(6).reply(egress, 0));
    assert!(table.exhausted.len() == 2 && remembered.iter().all(|reply| table.exhausted.contains_key(reply)));

    let again = attempt(&mut table, &config, &key(7), 0).unwrap_err();
    assert_eq!(again, Refused { reason: Drop::PortsExhausted, tries: 0, spent: false }, "found taken a moment ago");
    assert!(attempt(&mut table, &config, &Key { dport: 80, ..key(8) }, 0).is_ok(), "another destination has its ports");
    table.check_account();
}

#[test]
fn remembered_address_is_passed_over() {
    let (mut table, config) = (Table::new(64), config(&[11, 12]));
    let first = attempt(&mut table, &config, &client(9, 1), 0).unwrap().nat_addr;
    table.exhausted.insert(client(9, 2).reply(first, 0), 0);
    let flow = attempt(&mut table, &config, &client(9, 2), 0).unwrap();
    assert!(flow.nat_addr != first && flow.tries == 1);
}

/// A closed flow gives its port away, but not at once; a living one never does.
#[test]
fn reclaims() {
    let config = narrow(2000, 2000, &[11]);
    let ended = seen::ACK | seen::FIN;
    for (seen, idle, want) in [
        ((ended, ended), RECLAIM_AFTER, true),
        ((ended, ended), RECLAIM_AFTER - 1, false),
        ((seen::ACK, seen::RST), RECLAIM_AFTER, true),
        // Refused; and reset from outside in the midst, which may be forged.
        ((seen::SYN, seen::ACK | seen::RST), RECLAIM_AFTER, true),
        ((seen::ACK, seen::ACK | seen::RST), 100_000, false),
        ((seen::ACK, ended), 100_000, false),
        ((seen::ACK, seen::ACK), 100_000, false),
        ((seen::SYN, 0), 100_000, false),
    ] {
        let mut table = Table::new(8);
        table.put(&client(10, 1), (EGRESS, 2000), seen, 100);
        let outcome = attempt(&mut table, &config, &client(9, 4000), 100 + idle);
        assert_eq!(outcome.is_ok(), want, "{seen:?} after {idle}");
        table.check_account();
        assert_eq!(table.find(&client(10, 1)).is_some(), !want);
        assert_eq!(table.index.len(), 2);
    }
}

/// While another table may still have it, a closed flow's port is nobody else's; free ones are.
#[test]
fn holds_ports() {
    let config = Config { flags: flags::HOLD_PORTS, ..narrow(2000, 2001, &[11]) };
    let (ended, later) = (seen::ACK | seen::FIN, 100 + RECLAIM_AFTER);
    let mut table = Table::new(8);
    table.put(&client(10, 1), (EGRESS, 2000), (ended, ended), 100);
    assert_eq!(attempt(&mut table, &config, &client(9, 4000), later).unwrap().port, 2001);
    assert_eq!(attempt(&mut table, &config, &client(9, 4001), later).unwrap_err().reason, Drop::PortsExhausted);
    assert!(table.find(&client(10, 1)).is_some());
    table.check_account();
}

/// A new connection on the ports of one that ended, whose outside port another flow has by now: it gets another one.
#[test]
fn begins_anew_after_its_port_was_given_away() {
    let (mut table, config) = (Table::new(8), narrow(2000, 2001, &[11]));
    let (ended, later) = (seen::ACK | seen::FIN, 100 + RECLAIM_AFTER);
    table.put(&client(10, 1), (EGRESS, 2000), (ended, ended), 100);
    table.put(&client(11, 1), (EGRESS, 2001), (seen::ACK, seen::ACK), later);
    assert_eq!(attempt(&mut table, &config, &client(9, 4000), later).unwrap().port, 2000);
    assert_eq!(attempt(&mut table, &config, &client(10, 1), later).unwrap_err().reason, Drop::PortsExhausted);
    let wider = narrow(2000, 2002, &[11]);
    table.exhausted.clear();
    assert_eq!(attempt(&mut table, &wider, &client(10, 1), later).unwrap().port, 2002);
    assert_eq!(table.find(&client(10, 1)).unwrap().word.seen, seen::SYN);
    table.check_account();
}

/// Another CPU opened the flow since the packet was looked up.
#[test]
fn adopts() {
    let (mut table, config) = (Table::new(64), config(&[11]));
    table.put(&client(9, 4000), (EGRESS, 2000), (seen::SYN, 0), 0);
    let flow = attempt(&mut table, &config, &client(9, 4000), 0).unwrap();
    assert_eq!((flow.nat_addr, flow.port, flow.adopted), (EGRESS, 2000, true));
    assert_eq!(table.index.len(), 2);
    table.check_account();
}

/// A flow that is being removed has to go first.
#[test]
fn busy() {
    let (mut table, config) = (Table::new(64), config(&[11]));
    table.put(&client(9, 4000), (EGRESS, 2000), (seen::SYN, 0), 0);
    table.at(&client(9, 4000)).unwrap().word.state = state::DYING;
    assert_eq!(attempt(&mut table, &config, &client(9, 4000), 0).unwrap_err().reason, Drop::FlowBusy);
    assert_eq!(table.index.len(), 2, "the claim was given back");
}

/// IPv6 and ICMP read their own part of the configuration.
#[test]
fn other_family_and_protocol() {
    let mut config = Config { icmp_max: 5, ..config(&[11]) };
    assert_eq!(V6::egress(&config).1, 0);
    (config.egress6_len, config.egress6[0], config.external_gateway6) = (1, Addr6::new([7; 16]), Addr6::new([8; 16]));
    assert_eq!(
        (V6::egress(&config).0[0], V6::gateways(&config)),
        (Addr6::new([7; 16]), (&Addr6::new([0; 16]), &Addr6::new([8; 16])))
    );
    let mut table = Table::new(64);
    for id in 0..6 {
        let key = Key { sport: id, dport: 0, proto: 1, ..client(9, 0) };
        assert!(attempt(&mut table, &config, &key, 0).unwrap().port <= 5);
    }
    assert!(table.index.keys().all(|key| key.dir == OUT || key.sport == 0));
    table.check_account();
}

/// From three quarters on a source that has most of a destination's ports gets only what is closed; others go on.
#[test]
fn a_source_keeps_to_its_share_of_ports() {
    let config = Config { fair_from: 75, ..narrow(2000, 2099, &[11]) };
    let mut table = Table::new(1000);
    let hog = |n| client(9, n);
    let mut opened = 0;
    for n in 0..200 {
        match attempt(&mut table, &config, &hog(n), u32::from(n)) {
            Ok(_) => opened += 1,
            Err(refused) => assert_eq!(refused.reason, Drop::SourceLimited),
        }
        // A vain search is remembered for a while, and for nobody else.
        if n == 100 {
            let again = attempt(&mut table, &config, &hog(n), u32::from(n)).unwrap_err();
            assert_eq!(again, Refused { reason: Drop::SourceLimited, tries: 0, spent: false });
        }
        table.exhausted.clear();
    }
    assert_eq!((opened, table.limited), (75, 200 - 75 + 1));
    for n in 0..12 {
        assert!(attempt(&mut table, &config, &client(10 + n, 4000), 500).is_ok(), "{n}");
    }
    assert!(attempt(&mut table, &config, &Key { dport: 80, ..hog(1) }, 500).is_ok(), "another destination");
    table.check_account();

    // A flow that is closed, its own or another's, may be taken over.
    let of_hog = |key: &Key| key.dir == OUT && key.saddr == hog(0).saddr && key.dport == hog(0).dport;
    let (key, slot) = table.index.iter().find(|(key, _)| of_hog(key)).unwrap();
    let (key, slot) = (*key, table.slots[*slot]);
    let reply = key.reply(slot.nat_addr, slot.word.port);
    table.at(&key).unwrap().word.seen = seen::RST;
    table.at(&reply).unwrap().word.seen = seen::RST;
    let taken = (0..100).find_map(|n| {
        table.exhausted.clear();
        attempt(&mut table, &config, &hog(300 + n), 1000 + u32::from(n)).ok()
    });
    assert_eq!(taken.unwrap().port, slot.word.port);
    assert!(table.find(&key).is_none());
    table.check_account();
}

#[test]
fn a_source_keeps_to_its_share_of_the_table() {
    let config = Config { fair_from: 75, capacity: 100, ..config(&[11]) };
    let mut table = Table::new(200);
    let opened = (0..200).filter(|n| attempt(&mut table, &config, &client(9, *n), 0).is_ok()).count();
    assert_eq!(opened, 75);
    assert!((0..12).all(|n| attempt(&mut table, &config, &client(10 + n, 1), 0).is_ok()));
    let refused = attempt(&mut table, &config, &client(9, 300), 0).unwrap_err();
    assert_eq!(refused, Refused { reason: Drop::SourceLimited, tries: 0, spent: false });
    table.check_account();
}

/// Charged once for a flow, at whatever address it gets its port.
#[test]
fn pace_counts_a_flow_once() {
    let config = Config { fair_from: 1, source_rate: 1, ..narrow(2000, 2002, &[11, 12]) };
    let mut table = Table::new(1000);
    assert!(attempt(&mut table, &config, &client(9, 1), 0).is_ok());
    table.pace = Some(0);
    assert_eq!(attempt(&mut table, &config, &client(9, 2), 0).unwrap_err().reason, Drop::SourceLimited);
    let own = table.find(&client(9, 1)).unwrap().nat_addr;
    table.exhausted.insert(client(9, 3).reply(own, 0), 0);
    assert!(attempt(&mut table, &config, &client(9, 3), 0).is_ok(), "the second address is not pressed");
}
