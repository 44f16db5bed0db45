use super::*;
use crate::net::{
    Action,
    neigh::State,
    testing::{desired, ipv4_only, observed},
};

fn settled(desired: &Desired) -> Current {
    let mut current = Current {
        rules: rule::wanted(desired, &observed()),
        neighbours: neigh::wanted(desired, &observed()),
        ..Current::default()
    };
    for sysctl in sysctl::wanted(desired) {
        current.sysctls.insert(sysctl.path, Ok(sysctl.value));
    }
    for step in route::default_steps(desired, &observed(), &[]) {
        if let Some(Action::Route(_, route)) = step.action {
            current.routes.push(route);
        }
    }
    current.neighbours.iter_mut().for_each(|n| n.state = State::Known);
    current
}

#[test]
fn a_fresh_namespace_needs_everything_and_a_prepared_one_nothing() {
    let steps = plan(&desired(), &observed(), &Current::default());
    assert!(steps.iter().skip(2).all(|s| !s.ok && s.action.is_some()), "{steps:#?}");
    assert_eq!(steps.len(), 2 + 12 + 4 + 9 + 4);
    let steps = plan(&desired(), &observed(), &settled(&desired()));
    assert!(steps.iter().all(|s| s.ok && s.action.is_none()), "{steps:#?}");
}

#[test]
fn what_turns_forwarding_on_is_known() {
    let on = |current: &Current| -> Vec<String> {
        let steps = plan(&desired(), &observed(), current).into_iter();
        steps.filter(Step::turns_forwarding_on).map(|step| step.name).collect()
    };
    assert!(on(&settled(&desired())).is_empty());
    let wanted =
        ["v4/ip_forward", "v4/conf/eth0/forwarding", "v4/conf/net1/forwarding"].map(|it| format!("sysctl net/ip{it}"));
    let v6 = ["all", "eth0", "net1"].map(|it| format!("sysctl net/ipv6/conf/{it}/forwarding"));
    assert_eq!(on(&Current::default()), [wanted, v6].concat());
}

#[test]
fn step_names_are_unique() {
    let steps = plan(&desired(), &observed(), &Current::default());
    let names: std::collections::BTreeSet<&str> = steps.iter().map(|s| s.name.as_str()).collect();
    assert_eq!(names.len(), steps.len());
}

#[test]
fn every_step_that_does_not_hold_says_what_to_do() {
    for step in plan(&desired(), &observed(), &Current::default()).iter().filter(|s| !s.ok) {
        assert!(!step.fix.is_empty() && !step.detail.is_empty(), "{step:?}");
    }
}

#[test]
fn the_way_back_stands_before_the_rule_that_uses_it() {
    let steps = plan(&ipv4_only(), &observed(), &Current::default());
    let at = |name: &str| steps.iter().position(|s| s.name == name).unwrap();
    assert!(at("route 0.0.0.0/0 table 1000") < at("rule 1002 IPv4 iif net1"));
}

#[test]
fn missing_and_downed_interfaces_are_named() {
    let mut observed = observed();
    observed.links.retain(|l| l.name != "net1");
    observed.links.iter_mut().for_each(|l| l.up = false);
    // What was set before stays as it is.
    let steps = plan(&ipv4_only(), &observed, &settled(&desired()));
    assert_eq!((steps[0].name.as_str(), steps[0].detail.as_str()), ("interface eth0", "is down"));
    assert_eq!((steps[1].name.as_str(), steps[1].detail.as_str()), ("interface net1", "does not exist"));
    assert!(steps.len() == 2 && steps.iter().all(|s| !s.ok && s.action.is_none()));
}
