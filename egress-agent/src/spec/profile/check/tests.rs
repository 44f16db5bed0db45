use serde_json::{Value, json};

use super::*;
use crate::spec::{
    profile::{Datapath, Fairness, Forward, Midflow, PortSelection},
    report::Origin,
};

/// The profile with its errors and warnings.
fn check(spec: Value) -> (Profile, Vec<String>, Vec<String>) {
    let origin = Origin { source: "p.yaml".to_owned(), document: Some(1), item: None };
    let mut report = Report::default();
    let spec = serde_json::from_value(spec).unwrap();
    let profile = resolve("ns/p", &spec, &At::object(&origin, "EgressGatewayProfile", "ns/p"), &mut report);
    let cut = |text: String| text.strip_prefix("p.yaml, document 1, EgressGatewayProfile ns/p, ").unwrap().to_owned();
    let cut_all = |problems: Vec<crate::spec::Problem>| problems.iter().map(|p| cut(p.to_string())).collect();
    (profile, cut_all(report.errors), cut_all(report.warnings))
}

#[test]
fn an_empty_profile_has_the_defaults() {
    let (profile, errors, warnings) = check(json!({}));
    assert_eq!(profile, Profile { name: Some("ns/p".to_owned()), ..Profile::default() });
    assert_eq!((errors.len(), warnings.len()), (0, 0));
    assert_eq!((profile.port_range.min, profile.port_range.max), (1024, 57343));
    let want = [60, 7440, 7440, 240, 120, 300, 60, 600];
    let t = &profile.timeouts;
    let got = [
        t.tcp_opening,
        t.tcp_established,
        t.tcp_half_closed,
        t.tcp_closing,
        t.udp_unreplied,
        t.udp_replied,
        t.icmp,
        t.other,
    ];
    assert_eq!(got, want);
}

#[test]
fn every_field_is_taken() {
    let names =
        ["tcpOpening", "tcpEstablished", "tcpHalfClosed", "tcpClosing", "udpUnreplied", "udpReplied", "icmp", "other"];
    let timeouts: serde_json::Map<String, Value> =
        names.iter().zip(10_001..).map(|(name, n)| ((*name).to_owned(), json!(n))).collect();
    let (profile, errors, warnings) = check(json!({
        "timeouts": timeouts, "portRange": {"min": 2000, "max": 3000}, "portSelection": "preserve", "maxFlows": 65536,
        "midflow": "reset",
        "fairness": {"fromPercent": 60, "maxFlowsPerSource": 5000, "newFlowsPerSourcePerSecond": 700},
        "forward": "neigh", "datapath": "tc",
    }));
    assert_eq!((errors, warnings), (vec![], vec![]));
    let t = Timeouts {
        tcp_opening: 10_001,
        tcp_established: 10_002,
        tcp_half_closed: 10_003,
        tcp_closing: 10_004,
        udp_unreplied: 10_005,
        udp_replied: 10_006,
        icmp: 10_007,
        other: 10_008,
    };
    let want = Profile {
        name: Some("ns/p".to_owned()),
        timeouts: t,
        port_range: PortRange { min: 2000, max: 3000 },
        port_selection: PortSelection::Preserve,
        max_flows: Some(65536),
        midflow: Midflow::Reset,
        fairness: Fairness {
            from_percent: 60,
            max_flows_per_source: Some(5000),
            new_flows_per_source_per_second: Some(700),
        },
        forward: Forward::Neigh,
        datapath: Datapath::Tc,
    };
    assert_eq!(profile, want);
}

#[test]
fn snake_case_as_the_agent_prints_it() {
    let (profile, ..) =
        check(json!({"timeouts": {"tcp_established": 9000}, "max_flows": 1024, "port_selection": "preserve"}));
    assert_eq!((profile.timeouts.tcp_established, profile.max_flows), (9000, Some(1024)));
    let printed = serde_json::to_value(Profile::default()).unwrap();
    assert_eq!((&printed["timeouts"]["tcp_established"], &printed["forward"]), (&json!(7440), &json!("auto")));
}

#[test]
fn refused() {
    for (spec, want) in [
        (json!({"timeouts": {"icmp": 0}}), "spec.timeouts.icmp: 0 seconds cannot be; write 1 to 2592000"),
        (json!({"timeouts": {"other": -1}}), "spec.timeouts.other: -1 seconds cannot be; write 1 to 2592000"),
        (
            json!({"timeouts": {"tcpClosing": 2_592_001}}),
            "spec.timeouts.tcpClosing: 2592001 seconds cannot be; write 1 to 2592000",
        ),
        (json!({"portRange": {"min": 0}}), "spec.portRange.min: 0 is no port; write 1 to 65535"),
        (json!({"portRange": {"max": 70_000}}), "spec.portRange.max: 70000 is no port; write 1 to 65535"),
        (json!({"portRange": {"min": 3, "max": 2}}), "spec.portRange: 3 to 2 is empty; min must not be above max"),
        (json!({"portRange": {"min": 60_000}}), "spec.portRange: 60000 to 57343 is empty; min must not be above max"),
        (json!({"portSelection": "fast"}), "spec.portSelection: \"fast\" is unknown; write random or preserve"),
        (json!({"maxFlows": 0}), "spec.maxFlows: 0 flows cannot be; write a power of two from 1 to 1073741824"),
        (
            json!({"maxFlows": 1_u64 << 31}),
            "spec.maxFlows: 2147483648 flows cannot be; write a power of two from 1 to 1073741824",
        ),
        (json!({"midflow": "rst"}), "spec.midflow: \"rst\" is unknown; write takeover, reset or drop"),
        (json!({"fairness": {"fromPercent": 0}}), "spec.fairness.fromPercent: 0 per cent cannot be; write 1 to 100"),
        (
            json!({"fairness": {"fromPercent": 101}}),
            "spec.fairness.fromPercent: 101 per cent cannot be; write 1 to 100",
        ),
        (
            json!({"fairness": {"maxFlowsPerSource": 0}}),
            "spec.fairness.maxFlowsPerSource: 0 flows cannot be; write 1 to 1073741824",
        ),
        (
            json!({"fairness": {"newFlowsPerSourcePerSecond": -1}}),
            "spec.fairness.newFlowsPerSourcePerSecond: -1 flows per second cannot be; write 1 to 1000000",
        ),
        (json!({"forward": "xdp"}), "spec.forward: \"xdp\" is unknown; write auto, peer, neigh or stack"),
        (json!({"datapath": "ebpf"}), "spec.datapath: \"ebpf\" is unknown; write auto, tc or xdp"),
    ] {
        assert_eq!(check(spec.clone()).1, [want], "{spec}");
    }
}

#[test]
fn told() {
    for (spec, want) in [
        (
            json!({"timeouts": {"tcpEstablished": 7439}}),
            "spec.timeouts.tcpEstablished: 7439 seconds is short: RFC 5382 REQ-5 asks for at least 7440",
        ),
        (
            json!({"timeouts": {"icmp": 5}}),
            "spec.timeouts.icmp: 5 seconds is short: RFC 5508 REQ-2 asks for at least 60",
        ),
        (
            json!({"fairness": {"fromPercent": 100, "maxFlowsPerSource": 5}}),
            "spec.fairness.fromPercent: 100 limits nobody, whatever the other numbers say",
        ),
        (
            json!({"forward": "stack", "datapath": "xdp"}),
            "spec.datapath: xdp does nothing with forward: stack, where the kernel routes",
        ),
        (json!({"maxFlows": 16_385}), "spec.maxFlows: 16385 is no power of two; 32768 is taken"),
        (
            json!({"portRange": {"max": 65_535}}),
            "spec.portRange.max: ports above 57343 are the gateway's own connections'; replies to those may get lost",
        ),
    ] {
        let (_, errors, warnings) = check(spec.clone());
        assert_eq!((errors, warnings), (vec![], vec![want.to_owned()]), "{spec}");
    }
}
