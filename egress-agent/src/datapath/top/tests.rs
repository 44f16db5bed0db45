use egress_common::abi::{
    family::{Addr6, V4, V6},
    flow::{IN, Word, state},
};

use super::*;

fn config() -> Config {
    // SAFETY: integers and arrays of integers.
    let mut config: Config = unsafe { std::mem::zeroed() };
    (config.port_min, config.port_max, config.icmp_max) = (1024, 57343, 49_151);
    config
}

fn flow(source: u8, dport: u16, proto: u8, dir: u8, state: u8) -> (FlowKey<[u8; 4]>, FlowValue<V4>) {
    let key = FlowKey { saddr: [10, 0, 0, source], daddr: [1, 1, 1, 1], sport: 1, dport, proto, dir, zone: 0 };
    (key, FlowValue::new([172, 17, 0, 11], Word { port: 2000, seen: 0, state }, 0))
}

#[test]
fn the_largest_come_first_and_all_are_counted() {
    let mut tally = Tally::<V4>::default();
    let mut add = |times: u32, source, dport, proto| {
        for _ in 0..times {
            let (key, value) = flow(source, dport, proto, OUT, 0);
            tally.add(&key, &value);
        }
    };
    for source in 0..200 {
        add(u32::from(source) + 1, source, 443, 6);
    }
    add(500, 7, 53, 17);
    add(3, 8, 0, 1);
    add(9, 9, 0, 47);
    let dying = flow(250, 443, 6, OUT, state::DYING);
    tally.add(&dying.0, &dying.1);
    let reply = flow(251, 443, 6, IN, state::REPLY);
    tally.add(&reply.0, &reply.1);
    let mut six = Tally::<V6>::default();
    let key = FlowKey {
        saddr: Addr6::new([1; 16]),
        daddr: Addr6::new([2; 16]),
        sport: 1,
        dport: 443,
        proto: 6,
        dir: OUT,
        zone: 0,
    };
    (0..450).for_each(|_| six.add(&key, &FlowValue::new(Addr6::new([3; 16]), Word::default(), 0)));

    let mut top = Top::default();
    tally.rank(&config(), 2, &mut top);
    six.rank(&config(), 2, &mut top);
    assert_eq!((top.destinations.total, top.sources.total), (4, 201));
    let (tcp, udp) = (&top.destinations.largest[0], &top.destinations.largest[1]);
    assert_eq!((tcp.protocol.as_str(), tcp.remote_port, tcp.used, tcp.of), ("tcp", Some(443), 20_100, 56_320));
    assert_eq!((udp.protocol.as_str(), udp.remote_port, udp.used), ("udp", Some(53), 500));
    assert_eq!((tcp.egress, tcp.remote), ([172, 17, 0, 11].into(), [1, 1, 1, 1].into()));
    let sources: Vec<_> = top.sources.largest.iter().map(|it| (it.inside, it.flows)).collect();
    assert_eq!(sources, [([10, 0, 0, 7].into(), 508), ([1; 16].into(), 450)]);

    let mut all = Top::default();
    let (key, value) = flow(8, 0, 1, OUT, 0);
    let mut ping = Tally::<V4>::default();
    ping.add(&key, &value);
    ping.rank(&config(), 10, &mut all);
    let ping = &all.destinations.largest[0];
    assert_eq!((ping.protocol.as_str(), ping.remote_port, ping.used, ping.of), ("icmp", None, 1, 49_152));
}
