use egress_common::abi::event::{SIZE, VERSION};

use super::*;

/// 1000 s of the datapath's clock are noon.
fn clock() -> Clock {
    Clock { datapath_ns: 1_000_000_000_000, wall: "2026-03-01T12:00:00Z".parse().unwrap() }
}

fn event(kind: u16, proto: u8) -> Event {
    let address = |last| {
        let mut bytes = [0; 16];
        bytes[..4].copy_from_slice(&[10, 0, 0, last]);
        bytes
    };
    Event {
        version: VERSION,
        size: SIZE as u16,
        kind,
        proto,
        af: V4::AF,
        boot_id: [7; 16],
        at_ns: 998_500_000_000,
        inside: address(1),
        egress: address(2),
        remote: address(3),
        inside_port: 11,
        egress_port: 12,
        remote_port: 13,
        why: why::IDLE,
        pad: 0,
        began: 940,
        pad2: 0,
        out_packets: 21,
        out_bytes: 22,
        in_packets: 23,
        in_bytes: 24,
    }
}

fn json(line: &Line) -> String {
    serde_json::to_string(line).unwrap()
}

#[test]
fn flows_are_told_whole() {
    let start = Line::of(&event(kind::FLOW_START, 6), &clock()).unwrap();
    let who = r#""protocol":"tcp","inside":"10.0.0.1","inside_port":11,"egress":"10.0.0.2","egress_port":12,"remote":"10.0.0.3","remote_port":13"#;
    assert_eq!(json(&start), format!(r#"{{"time":"2026-03-01T11:59:58.500Z","event":"start",{who}}}"#));
    let end = Line::of(&event(kind::FLOW_END, 6), &clock()).unwrap();
    let rest =
        r#""began":"2026-03-01T11:59:00.000Z","reason":"idle","packets":{"out":21,"in":23},"bytes":{"out":22,"in":24}"#;
    assert_eq!(json(&end), format!(r#"{{"time":"2026-03-01T11:59:58.500Z","event":"end",{who},{rest}}}"#));
}

/// An identifier stands in both own ports, and a protocol without ports has none.
#[test]
fn ports_are_those_of_the_protocol() {
    let ports = |proto| {
        let who = Line::of(&event(kind::FLOW_START, proto), &clock()).unwrap().who.unwrap();
        (who.protocol, who.inside_port, who.egress_port, who.remote_port)
    };
    assert_eq!(ports(1), ("icmp".into(), Some(11), Some(12), None));
    assert_eq!(ports(47), ("gre".into(), None, None, None));
}

#[test]
fn what_is_refused_has_no_egress_address() {
    for (kind, name, said) in [
        (kind::EXHAUSTED, "exhausted", "no port left for 10.0.0.1 to 10.0.0.3 port 13 (protocol 17)"),
        (
            kind::LIMITED,
            "limited",
            "source_limited (spec.fairness), no new flow for 10.0.0.1 to 10.0.0.3 port 13 (protocol 17)",
        ),
    ] {
        let line = Line::of(&event(kind, 17), &clock()).unwrap();
        assert_eq!(line.event, name);
        assert!(!json(&line).contains("egress") && !json(&line).contains("packets"), "{}", json(&line));
        assert_eq!(warning(&event(kind, 17)).unwrap(), said);
    }
    assert_eq!(warning(&event(kind::FLOW_END, 17)), None);
    assert_eq!(Line::of(&event(99, 17), &clock()), None);
}

/// A record may be younger than the look at the clock.
#[test]
fn times_before_and_after() {
    assert_eq!(clock().wall(1_000_250_000_000), "2026-03-01T12:00:00.250Z");
    assert_eq!(clock().seconds(0), "2026-03-01T11:43:20.000Z");
}

#[test]
fn the_table_is_told_with_its_end() {
    let key = FlowKey { saddr: [10, 0, 0, 1], daddr: [10, 0, 0, 3], sport: 11, dport: 13, proto: 17, dir: 0, zone: 0 };
    let word = egress_common::abi::flow::Word { port: 12, seen: 8, state: 0 };
    let line = Line::found::<V4>(&key, &FlowValue::new([10, 0, 0, 2], word, 940), &clock());
    assert!(json(&line).starts_with(r#"{"time":"2026-03-01T11:59:00.000Z","event":"start","protocol":"udp""#));
    assert!(json(&line).contains(r#""egress_port":12"#) && json(&line).ends_with(r#""from_table":true}"#));
    let end = Line::table(&clock(), 999_000_000_000, 5);
    assert_eq!(
        json(&end),
        r#"{"time":"2026-03-01T12:00:00.000Z","event":"table","count":5,"since":"2026-03-01T11:59:59.000Z"}"#
    );
}
