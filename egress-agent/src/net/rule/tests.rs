use rtnetlink::packet_core::DefaultNla;

use super::*;
use crate::net::testing::{desired, ip, ipv4_only, observed};

fn all(desired: &Desired) -> Vec<Rule> {
    wanted(desired, &observed())
}

#[test]
fn rules_are_those_of_the_seed_for_every_own_address() {
    let text: Vec<String> = all(&desired()).iter().map(|r| format!("{} {r}", r.family.flag())).collect();
    assert_eq!(
        text,
        [
            "-4 priority 1001 iif eth0 lookup default protocol 233",
            "-4 priority 1002 iif net1 lookup 1000 protocol 233",
            "-4 priority 1003 from 10.16.0.12/32 iif lo lookup 1000 protocol 233",
            "-4 priority 1004 from 172.17.0.11/32 iif lo lookup default protocol 233",
            "-4 priority 1004 from 172.17.0.12/32 iif lo lookup default protocol 233",
            "-6 priority 1001 iif eth0 lookup default protocol 233",
            "-6 priority 1002 iif net1 lookup 1000 protocol 233",
            "-6 priority 1003 from fd00:10:16::c/128 iif lo lookup 1000 protocol 233",
            "-6 priority 1004 from fd00:172::11/128 iif lo lookup default protocol 233",
        ]
    );
}

#[test]
fn a_family_without_both_gateways_has_no_rules() {
    assert!(all(&ipv4_only()).iter().all(|r| r.family == Family::V4));
    let mut none = ipv4_only();
    none.internal.gateway4 = None;
    assert!(all(&none).is_empty());
}

#[test]
fn missing_rules_are_added_and_a_second_time_nothing_is() {
    let wanted = all(&desired());
    let first = steps(&wanted, &[]);
    assert!(first.iter().all(|s| matches!(s.action, Some(Action::Rule(Change::Add, _)))));
    assert_eq!(first[1].name, "rule 1002 IPv4 iif net1");
    assert_eq!(first[1].fix, "ip -4 rule add priority 1002 iif net1 lookup 1000 protocol 233");
    let second = steps(&wanted, &wanted);
    assert!(second.iter().all(|s| s.ok && s.action.is_none()) && second.len() == wanted.len());
}

#[test]
fn rules_of_the_init_container_are_taken_as_they_are() {
    let wanted = all(&ipv4_only());
    let found: Vec<Rule> = wanted.iter().map(|r| Rule { protocol: 3, ..r.clone() }).collect();
    assert!(steps(&wanted, &found).iter().all(|s| s.ok && s.action.is_none()));
    // Those that nobody wants any more stay too: they are not ours.
    assert!(steps(&[], &found).is_empty());
}

#[test]
fn only_our_own_leftovers_are_removed() {
    let wanted = all(&ipv4_only());
    let mut old = wanted[2].clone();
    old.source = Some(IpNet::from(ip("10.16.0.99")));
    let foreign = Rule { protocol: 3, ..old.clone() };
    let other_priority = Rule { priority: 900, ..old.clone() };
    let special = Rule { special: true, ..old.clone() };
    let found: Vec<Rule> = wanted.iter().cloned().chain([old.clone(), foreign, other_priority, special]).collect();
    let changes: Vec<Action> = steps(&wanted, &found).into_iter().filter_map(|s| s.action).collect();
    assert_eq!(changes, [Action::Rule(Change::Delete, old)]);
}

#[test]
fn our_rule_with_another_table_is_replaced_by_adding_first() {
    let wanted = all(&ipv4_only());
    let wrong = Rule { table: 99, ..wanted[1].clone() };
    let changes: Vec<Action> =
        steps(&wanted[1..2], std::slice::from_ref(&wrong)).into_iter().filter_map(|s| s.action).collect();
    assert_eq!(changes, [Action::Rule(Change::Add, wanted[1].clone()), Action::Rule(Change::Delete, wrong)]);
}

#[test]
fn a_foreign_rule_in_the_same_place_is_reported() {
    let wanted = all(&ipv4_only());
    let theirs = Rule { table: 99, protocol: 4, ..wanted[1].clone() };
    let step = &steps(&wanted[1..2], &[theirs])[0];
    assert!(!step.ok && step.action.is_none() && step.detail.contains("lookup 99"), "{step:?}");
    assert_eq!(step.fix, "ip -4 rule del priority 1002 iif net1 lookup 99 protocol 4");
}

#[test]
fn what_is_sent_reads_back_as_the_same_rule() {
    for rule in all(&desired()) {
        assert_eq!(decode(rule.family, &encode(&rule)), rule);
    }
}

#[test]
fn further_selectors_make_a_rule_special() {
    let rule = all(&ipv4_only()).remove(0);
    let with = |attribute| {
        let mut message = encode(&rule);
        message.attributes.push(attribute);
        decode(Family::V4, &message).special
    };
    assert!(!with(RuleAttribute::SuppressPrefixLen(u32::MAX)));
    assert!(with(RuleAttribute::SuppressPrefixLen(0)));
    assert!(with(RuleAttribute::FwMark(1)));
    assert!(with(RuleAttribute::Destination(ip("10.0.0.0"))));
    assert!(with(RuleAttribute::Other(DefaultNla::new(25, vec![1]))));
}
