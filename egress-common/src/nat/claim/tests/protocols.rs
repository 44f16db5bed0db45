//! Protocols that are not claimed like TCP.

use super::super::*;
use crate::{
    abi::flow::{OUT, seen},
    packet::header::proto,
    testing::{
        actors::alone,
        protocols::GRE,
        table::{Table, client, config},
    },
};

type Key = FlowKey<[u8; 4]>;

fn attempt(table: &mut Table, config: &Config, key: &Key, now: u32) -> Result<Opened<V4>, Refused> {
    let outcome = alone(table, |cpu| open(cpu, config, key, seen::ACK, now));
    table.check();
    outcome
}

/// A host's packets of a protocol without ports.
fn bare(n: u8, number: u8) -> Key {
    Key { sport: 0, dport: 0, proto: number, ..client(n, 0) }
}

/// One inside host per protocol, egress address and remote: answers tell no more apart.
#[test]
fn bare_protocols_share_nothing() {
    for number in [GRE, 50, 4, 41] {
        let (mut table, config) = (Table::new(64), config(&[11, 12]));
        let first = attempt(&mut table, &config, &bare(9, number), 0).unwrap();
        assert_eq!((first.port, first.tries), (0, 1));
        assert!(attempt(&mut table, &config, &bare(9, number), 0).unwrap().adopted, "the same host again");

        let second = attempt(&mut table, &config, &bare(10, number), 0).unwrap();
        assert_eq!(second.port, 0);
        assert_ne!(second.nat_addr, first.nat_addr);

        table.exhausted.clear();
        let third = attempt(&mut table, &config, &bare(13, number), 0).unwrap_err();
        assert_eq!(third, Refused { reason: Drop::PortsExhausted, tries: ADDRESSES, spent: true });
        let again = attempt(&mut table, &config, &bare(13, number), 0).unwrap_err();
        assert_eq!(again, Refused { reason: Drop::PortsExhausted, tries: 0, spent: false }, "found taken a moment ago");
        assert_eq!(table.index.len(), 4);

        let elsewhere = Key { daddr: [1, 1, 1, 2], ..bare(13, number) };
        assert!(attempt(&mut table, &config, &elsewhere, 0).is_ok(), "another remote");
        let other = Key { proto: number + 1, ..bare(13, number) };
        assert!(attempt(&mut table, &config, &other, 0).is_ok(), "another protocol");
    }
}

#[test]
fn bare_with_one_address() {
    let (mut table, config) = (Table::new(64), config(&[11]));
    assert!(attempt(&mut table, &config, &bare(9, GRE), 0).is_ok());
    let second = attempt(&mut table, &config, &bare(10, GRE), 0).unwrap_err();
    assert_eq!(second, Refused { reason: Drop::PortsExhausted, tries: 1, spent: true });
}

/// However long ago the first host spoke: only what expires makes room, since no packet says that it ended.
#[test]
fn bare_is_not_reclaimed() {
    let (mut table, config) = (Table::new(64), config(&[11]));
    assert!(attempt(&mut table, &config, &bare(9, GRE), 0).is_ok());
    assert_eq!(attempt(&mut table, &config, &bare(10, GRE), 100_000).unwrap_err().reason, Drop::PortsExhausted);
    let gone = bare(9, GRE);
    table.remove(&gone.reply([172, 17, 0, 11], 0));
    table.remove(&gone);
    table.exhausted.clear();
    assert!(attempt(&mut table, &config, &bare(10, GRE), 100_000).is_ok());
}

/// Its own port where it is free, else another one.
#[test]
fn sctp() {
    let (mut table, config) = (Table::new(64), config(&[11]));
    let key = |n| Key { proto: proto::SCTP, ..client(n, 4000) };
    assert_eq!(attempt(&mut table, &config, &key(9), 0).unwrap().port, 4000);
    let second = attempt(&mut table, &config, &key(10), 0).unwrap();
    assert!(second.port != 4000 && second.tries == 2);
    let privileged = Key { sport: 80, ..key(9) };
    assert!(attempt(&mut table, &config, &privileged, 0).unwrap().port >= 1024, "not in the range");
}

/// Queries of one identifier and different types are different flows; each type has all identifiers.
#[test]
fn icmp_queries() {
    let (mut table, config) = (Table::new(64), Config { icmp_max: 0, ..config(&[11]) });
    for asked in [0, 13, 15, 17] {
        let key = |n| Key { sport: 7, dport: asked, proto: proto::ICMP, ..client(n, 0) };
        assert_eq!(attempt(&mut table, &config, &key(9), 0).unwrap().port, 0);
        assert_eq!(attempt(&mut table, &config, &key(10), 0).unwrap_err().reason, Drop::PortsExhausted);
    }
    assert_eq!(table.index.keys().filter(|key| key.dir == OUT).count(), 4);
}
