use egress_common::abi::{config::MAX_EGRESS, family::Addr6};

use super::*;

#[test]
fn only_used_entries_are_egress_addresses() {
    let (mut egress4, mut egress6) = ([[9, 9, 9, 9]; MAX_EGRESS], [Addr6::new([9; 16]); MAX_EGRESS]);
    (egress4[0], egress4[1], egress6[0]) = ([192, 0, 2, 1], [192, 0, 2, 2], Addr6::new([1; 16]));
    let config = Config { egress4_len: 2, egress6_len: 1, egress4, egress6, ..Config::EMPTY };
    let wanted = [IpAddr::from([192, 0, 2, 1]), IpAddr::from([192, 0, 2, 2]), IpAddr::from([1; 16])];
    assert_eq!(egress(&config), BTreeSet::from(wanted));
    assert!(egress(&Config::EMPTY).is_empty());
}

#[test]
fn nothing_in_mid_connection_is_refused_while_packets_are_passed_on() {
    for refusal in [flags::MIDFLOW_RESET, flags::MIDFLOW_DROP] {
        let config = Config { flags: refusal | flags::PRESERVE_PORT, ..Config::EMPTY };
        for bits in [flags::YIELD, flags::YIELD_NOT_SYN, YIELDING] {
            assert_eq!(passing_on(config, bits).flags, flags::PRESERVE_PORT | flags::HOLD_PORTS | bits);
        }
        assert_eq!(passing_on(config, 0).flags, config.flags);
    }
}
