use super::{wire::*, *};
use crate::{
    net::testing::{ETH0, NET1, desired, ip, ipv4_only, observed},
    spec::observed::Observed,
};

fn route(table: u32, destination: &str, via: &str, index: u32, metric: u32, protocol: u8) -> Route {
    let interface = if index == ETH0 { "eth0" } else { "net1" }.into();
    let hops = vec![Hop { via: Some(ip(via)), index, interface }];
    Route { table, destination: destination.parse().unwrap(), hops, metric, protocol }
}

fn changes(steps: Vec<Step>) -> Vec<(Change, Route)> {
    steps
        .into_iter()
        .filter_map(|s| match s.action {
            Some(Action::Route(change, route)) => Some((change, route)),
            _ => None,
        })
        .collect()
}

fn ours() -> Vec<Route> {
    vec![
        route(254, "0.0.0.0/0", "172.17.0.1", NET1, 0, PROTOCOL),
        route(254, "::/0", "fd00:172::1", NET1, 1024, PROTOCOL),
        route(1000, "0.0.0.0/0", "10.16.0.1", ETH0, 0, PROTOCOL),
        route(1000, "::/0", "fd00:10:16::1", ETH0, 1024, PROTOCOL),
    ]
}

#[test]
fn defaults_lead_in_by_table_1000_and_out_by_main() {
    let steps = default_steps(&desired(), &observed(), &[]);
    let fixes: Vec<&str> = steps.iter().map(|s| s.fix.as_str()).collect();
    assert_eq!(
        fixes,
        [
            "ip -4 route add default via 172.17.0.1 dev net1 proto 233",
            "ip -6 route add default via fd00:172::1 dev net1 proto 233",
            "ip -4 route add default via 10.16.0.1 dev eth0 table 1000 proto 233",
            "ip -6 route add default via fd00:10:16::1 dev eth0 table 1000 proto 233",
        ]
    );
    assert_eq!(steps[2].name, "route 0.0.0.0/0 table 1000");
    assert!(steps.iter().all(|s| !s.ok && s.required));
}

#[test]
fn what_is_set_is_not_set_again() {
    let steps = default_steps(&desired(), &observed(), &ours());
    assert_eq!(steps.len(), 4);
    assert!(steps.iter().all(|s| s.ok && s.action.is_none()));
}

#[test]
fn a_family_without_both_gateways_loses_our_routes() {
    let gone = changes(default_steps(&ipv4_only(), &observed(), &ours()));
    assert_eq!(
        gone.iter().map(|(c, r)| (*c, r.table)).collect::<Vec<_>>(),
        [(Change::Delete, 254), (Change::Delete, 1000)]
    );
    assert!(gone.iter().all(|(_, r)| Family::of(r.destination.addr()) == Family::V6));
}

#[test]
fn an_equal_route_of_the_cni_is_taken_as_it_is() {
    let found =
        [route(254, "0.0.0.0/0", "172.17.0.1", NET1, 100, 3), route(1000, "0.0.0.0/0", "10.16.0.1", ETH0, 0, 3)];
    assert!(default_steps(&ipv4_only(), &observed(), &found).iter().all(|s| s.ok && s.action.is_none()));
}

#[test]
fn a_default_route_of_others_is_left_alone_and_reported() {
    for metric in [0, 100] {
        let found = [route(254, "0.0.0.0/0", "10.16.0.1", ETH0, metric, 3)];
        let step = default_steps(&ipv4_only(), &observed(), &found).remove(0);
        assert!(!step.ok && step.action.is_none(), "{step:?}");
        assert!(step.detail.contains("`default via 10.16.0.1 dev eth0 proto 3` is in its place"), "{}", step.detail);
        assert_eq!(step.fix, "ip -4 route replace default via 172.17.0.1 dev net1 proto 233");
    }
}

#[test]
fn a_foreign_default_of_a_higher_metric_does_not_matter_beside_ours() {
    let found = [route(254, "0.0.0.0/0", "10.16.0.1", ETH0, 100, 3), ours().remove(0)];
    assert!(default_steps(&ipv4_only(), &observed(), &found)[0].ok);
}

#[test]
fn multipath_routes_are_never_equal() {
    let mut both = route(254, "0.0.0.0/0", "172.17.0.1", NET1, 0, 3);
    both.hops.push(Hop { via: Some(ip("172.17.0.2")), ..both.hops[0].clone() });
    let step = default_steps(&ipv4_only(), &observed(), &[both]).remove(0);
    assert!(!step.ok && step.detail.contains("nexthop via 172.17.0.2 dev net1"), "{}", step.detail);
}

#[test]
fn our_route_follows_its_gateway_and_keeps_its_metric() {
    let mut desired = desired();
    desired.internal.gateway6 = Some("fd00:10:16::ff".parse().unwrap());
    assert_eq!(
        changes(default_steps(&desired, &observed(), &ours())),
        [(Change::Replace, route(1000, "::/0", "fd00:10:16::ff", ETH0, 1024, PROTOCOL))]
    );
}

#[test]
fn policy_routes_come_and_go_and_others_stay() {
    let stale = route(254, "10.19.0.0/16", "10.16.0.1", ETH0, 0, PROTOCOL);
    let foreign = route(254, "10.20.0.0/16", "10.16.0.1", ETH0, 0, 4);
    let mut found = ours();
    found.extend([stale.clone(), foreign]);
    assert_eq!(
        changes(policy_steps(&desired(), &observed(), &found)),
        [
            (Change::Add, route(254, "10.18.0.0/16", "10.16.0.1", ETH0, 0, PROTOCOL)),
            (Change::Add, route(254, "fd00:18::/48", "fd00:10:16::1", ETH0, 0, PROTOCOL)),
            (Change::Delete, stale),
        ]
    );
}

#[test]
fn a_policy_route_in_the_place_of_a_foreign_one_is_reported() {
    let found = [route(254, "10.18.0.0/16", "172.17.0.9", NET1, 0, 4)];
    let step = policy_steps(&ipv4_only(), &observed(), &found).remove(0);
    assert!(!step.ok && step.action.is_none() && step.detail.contains("172.17.0.9"), "{step:?}");
}

#[test]
fn a_policy_of_every_address_does_not_take_the_default_route() {
    let mut desired = ipv4_only();
    desired.routes = ["0.0.0.0/0", "10.18.7.7/16"].iter().map(|c| c.parse().unwrap()).collect();
    let steps = policy_steps(&desired, &observed(), &ours());
    assert!(steps[0].name == "route 0.0.0.0/0" && !steps[0].ok && steps[0].action.is_none());
    // Host bits are no part of a route.
    assert_eq!(changes(steps), [(Change::Add, route(254, "10.18.0.0/16", "10.16.0.1", ETH0, 0, PROTOCOL))]);
}

#[test]
fn without_the_interface_nothing_is_planned() {
    assert!(policy_steps(&desired(), &Observed::default(), &ours()).is_empty());
    assert!(default_steps(&desired(), &Observed::default(), &ours()).is_empty());
}

#[test]
fn what_is_sent_reads_back_as_the_same_route() {
    for wanted in ours() {
        let family = Family::of(wanted.destination.addr());
        assert_eq!(decode(family, &encode(&wanted), &observed()), Some(wanted));
    }
    let cidr = route(254, "10.18.0.0/16", "10.16.0.1", ETH0, 0, PROTOCOL);
    assert_eq!(decode(Family::V4, &encode(&cidr), &observed()), Some(cidr));
    let elsewhere = route(253, "10.18.0.0/16", "10.16.0.1", ETH0, 0, PROTOCOL);
    assert_eq!(decode(Family::V4, &encode(&elsewhere), &observed()), None);
}
