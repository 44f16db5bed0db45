//! Many CPUs at one table: every forward half has exactly its reply half, and no reply half serves two.

use std::{boxed::Box, sync::Mutex, vec, vec::Vec};

use proptest::prelude::*;

use super::super::*;
use crate::{
    abi::flow::{OUT, seen},
    conntrack::removal::{Why, remove},
    testing::{
        actors::{Act, Cpu, interleavings, run},
        table::{TIMEOUTS, Table, client, config},
    },
};

type Key = FlowKey<[u8; 4]>;

fn boxed<'a>(act: impl FnOnce(&mut Cpu<'_, '_>) + Send + 'a) -> Act<'a> {
    Box::new(act)
}

/// Two packets of a new flow on two CPUs, in every order of their steps, also in two different seconds and with room for one
/// claim only: both get the one mapping or are dropped, and one mapping is there.
#[test]
fn two_cpus_one_flow() {
    let config = config(&[11, 12]);
    let key = client(9, 4000);
    let mut adopted = 0;
    for (room, second) in [(64, 0), (64, 1), (3, 0), (2, 0)] {
        for schedule in [interleavings(7, 4), interleavings(4, 7)].concat() {
            let mut table = Table::new(room);
            let mut outcomes = [None, None];
            let [a, b] = &mut outcomes;
            run(
                &mut table,
                &schedule,
                vec![
                    boxed(|cpu| *a = Some(open(cpu, &config, &key, seen::SYN, 100))),
                    boxed(|cpu| *b = Some(open(cpu, &config, &key, seen::SYN, 100 + second))),
                ],
            );
            table.check_account();
            let mapping = table.find(&key).map(|half| (half.nat_addr, half.word.port));
            for flow in outcomes.into_iter().flatten() {
                match flow {
                    Ok(flow) => {
                        assert_eq!(Some((flow.nat_addr, flow.port)), mapping, "{schedule:?}");
                        adopted += u32::from(flow.adopted);
                    }
                    Err(refused) => assert_eq!((refused.reason, room < 4), (Drop::TableFull, true)),
                }
            }
            assert!(mapping.is_some() || room == 2, "with room for three halves one of the two succeeds");
        }
    }
    assert!(adopted > 100, "the race was lost {adopted} times only");
}

/// Two flows that want the same port: never both get it.
#[test]
fn two_flows_one_port() {
    let config = Config { port_min: 2000, port_max: 2001, ..config(&[11]) };
    let keys = [client(9, 4000), client(10, 4000)];
    for schedule in interleavings(6, 6) {
        let mut table = Table::new(64);
        let ports = Mutex::new(Vec::new());
        let actors = keys
            .iter()
            .map(|key| {
                let (ports, config) = (&ports, &config);
                boxed(move |cpu| {
                    let flow = open(cpu, config, key, seen::SYN, 100).unwrap();
                    ports.lock().unwrap().push(flow.port);
                })
            })
            .collect();
        run(&mut table, &schedule, actors);
        table.check_account();
        let mut ports = ports.into_inner().unwrap();
        ports.sort_unstable();
        assert_eq!(ports, [2000, 2001], "{schedule:?}");
    }
}

/// What one CPU does: for which of eight flows, when.
#[derive(Clone, Copy, Debug)]
enum What {
    Open,
    Touch(u8),
    Expire,
    Revoke,
}

fn what() -> impl Strategy<Value = (What, usize, u32)> {
    let what = prop_oneof![
        3 => Just(What::Open),
        2 => (0_u8..16).prop_map(What::Touch),
        1 => Just(What::Expire),
        1 => Just(What::Revoke),
    ];
    (what, 0_usize..8, 9000_u32..9002)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    /// Four CPUs, each with several packets or removals one after the other, on few ports and little room, some flows there
    /// already, some of them closed.
    #[test]
    fn any_mix(
        before in proptest::collection::vec((0_usize..8, 0_u8..16, 0_u8..16), 0..4),
        cpus in proptest::collection::vec(proptest::collection::vec(what(), 1..4), 2..5),
        schedule in proptest::collection::vec(any::<u8>(), 0..120),
        room in prop_oneof![Just(64_usize), 2_usize..12],
        addresses in 1_usize..3,
        span in 0_u16..4,
    ) {
        let config = Config { port_min: 2000, port_max: 2000 + span, ..config(&[11, 12][..addresses]) };
        let keys: Vec<Key> = (0..8).map(|n| client(9 + n / 4, 4000 + u16::from(n % 4))).collect();
        let mut table = Table::new(64);
        for (n, (key, out, back)) in before.into_iter().enumerate() {
            if table.find(&keys[key]).is_none() {
                table.put(&keys[key], ([172, 17, 0, 11], 2000 + n as u16), (out, back), 100);
            }
        }
        table.room = table.index.len() + room;
        let actors = cpus
            .iter()
            .map(|acts| {
                let (keys, config) = (&keys, &config);
                boxed(move |cpu| {
                    for (what, key, now) in acts {
                        let (key, now) = (&keys[*key], *now);
                        match what {
                            What::Open => drop(open(cpu, config, key, seen::SYN, now).is_ok()),
                            What::Touch(shown) => drop(cpu.touch(key, *shown, now)),
                            What::Expire => drop(remove(cpu, key, now, Why::Idle(&TIMEOUTS))),
                            What::Revoke => drop(remove(cpu, key, now, Why::Revoked)),
                        }
                    }
                })
            })
            .collect();
        run(&mut table, &schedule, actors);
        table.check_account();
        let flows = table.index.keys().filter(|key| key.dir == OUT).count();
        prop_assert_eq!(flows * 2, table.index.len());
    }
}
