use super::*;
use crate::net::testing::{ETH0, desired, ipv4_only, observed};

fn wanted4() -> Vec<Neighbour> {
    wanted(&ipv4_only(), &observed())
}

fn found(state: State, managed: bool, protocol: u8) -> Neighbour {
    Neighbour { state, managed, protocol, ..wanted4().remove(0) }
}

#[test]
fn both_gateways_of_both_families_are_wanted() {
    let all = wanted(&desired(), &observed());
    let text: Vec<String> = all.iter().map(|n| format!("{} {}", n.addr, n.interface)).collect();
    assert_eq!(text, ["10.16.0.1 eth0", "172.17.0.1 net1", "fd00:10:16::1 eth0", "fd00:172::1 net1"]);
    assert_eq!(wanted4().len(), 2);
}

#[test]
fn missing_and_plain_entries_become_managed() {
    for found in [vec![], vec![found(State::Known, false, 0)], vec![found(State::Failed, false, 0)]] {
        let step = &steps(&wanted4()[..1], &found)[0];
        assert!(matches!(step.action, Some(Action::Neighbour(Change::Add, _))), "{step:?}");
        assert_eq!(step.fix, "ip neigh replace 10.16.0.1 dev eth0 managed protocol 233");
    }
}

#[test]
fn managed_and_fixed_entries_are_left_alone() {
    for entry in [found(State::Known, true, PROTOCOL), found(State::Fixed, false, 4)] {
        let step = &steps(&wanted4()[..1], &[entry])[0];
        assert!(step.ok && step.action.is_none(), "{step:?}");
    }
}

#[test]
fn a_gateway_that_does_not_answer_is_a_fault_also_while_it_is_asked_again() {
    for state in [State::Failed, State::Asked] {
        let step = &steps(&wanted4()[..1], &[found(state, true, PROTOCOL)])[0];
        assert!(!step.ok && step.required && step.action.is_none(), "{step:?}");
    }
}

#[test]
fn the_same_address_on_another_interface_does_not_count() {
    let elsewhere = Neighbour { index: ETH0 + 7, ..found(State::Known, true, 0) };
    assert!(!steps(&wanted4()[..1], &[elsewhere])[0].ok);
}

#[test]
fn our_entries_go_with_their_gateway_and_no_others() {
    let old = Neighbour { addr: "10.16.0.254".parse().unwrap(), ..found(State::Known, true, PROTOCOL) };
    let foreign = Neighbour { protocol: 0, ..old.clone() };
    let plain = Neighbour { managed: false, ..old.clone() };
    let changes: Vec<Action> =
        steps(&[], &[old.clone(), foreign, plain]).into_iter().filter_map(|s| s.action).collect();
    assert_eq!(changes, [Action::Neighbour(Change::Delete, old)]);
}

#[test]
fn what_is_sent_says_neither_state_nor_address() {
    let message = encode(&wanted4()[0]);
    assert_eq!(message.header.state, NeighbourState::None);
    assert!(!message.attributes.iter().any(|a| matches!(a, NeighbourAttribute::LinkLayerAddress(_))));
    assert_eq!(decode(&message, &observed()), Some(wanted4().remove(0)));
}
