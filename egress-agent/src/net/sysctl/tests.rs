use super::*;
use crate::net::testing::{desired, ipv4_only};

fn paths(desired: &Desired) -> Vec<String> {
    wanted(desired).into_iter().map(|s| format!("{}={}", s.path, s.value)).collect()
}

#[test]
fn a_dual_stack_gateway_needs_both_families() {
    assert_eq!(
        paths(&desired()),
        [
            "net/ipv4/ip_forward=1",
            "net/ipv4/conf/eth0/forwarding=1",
            "net/ipv4/conf/net1/forwarding=1",
            "net/ipv6/conf/all/forwarding=1",
            "net/ipv6/conf/eth0/forwarding=1",
            "net/ipv6/conf/net1/forwarding=1",
            "net/ipv4/conf/all/rp_filter=0",
            "net/ipv4/conf/eth0/rp_filter=0",
            "net/ipv4/conf/net1/rp_filter=0",
            "net/ipv4/conf/eth0/accept_local=1",
            "net/ipv4/conf/net1/accept_local=1",
            "net/ipv4/ip_local_port_range=57344 65535",
        ]
    );
}

#[test]
fn ipv6_may_be_off_where_it_is_not_used() {
    assert!(paths(&ipv4_only()).iter().all(|p| !p.contains("ipv6")));
}

#[test]
fn interface_names_with_dots_stay_one_part_of_the_path() {
    let mut desired = ipv4_only();
    desired.internal.interface = "eth0.10".into();
    let step = wanted(&desired).into_iter().find(|s| s.path.contains("accept_local")).unwrap().step(&Values::new());
    assert_eq!(step.fix, "sysctl -w net/ipv4/conf/eth0.10/accept_local=1");
}

#[test]
fn values_are_compared_as_numbers_and_a_narrower_port_range_will_do() {
    let with = |value: &str| Sysctl { path: "p".into(), value: value.into(), reason: "", required: true };
    assert!(with("1").holds("1") && !with("1").holds("0") && !with("0").holds("2") && !with("1").holds(""));
    let ports = with("57344 65535");
    assert!(ports.holds("57344\t65535") && ports.holds("60000 61000"));
    assert!(!ports.holds("32768 60999") && !ports.holds("57343 65535") && !ports.holds("57344"));
}

#[test]
fn a_step_says_what_is_and_what_is_wanted() {
    let range = || wanted(&ipv4_only()).into_iter().find(|s| !s.required).unwrap();
    let found = |value: &str| Values::from([("net/ipv4/ip_local_port_range".into(), Ok(value.to_owned()))]);
    let step = range().step(&found("32768 60999"));
    assert!(!step.ok && step.action.is_some() && step.detail.starts_with("is 32768 60999, wanted 57344 65535: "));
    assert_eq!(step.fix, "sysctl -w 'net/ipv4/ip_local_port_range=57344 65535'");
    let step = range().step(&found("57344 65535"));
    assert!(step.ok && step.action.is_none(), "{step:?}");
    let step = range().step(&Values::from([(range().path, Err("No such file or directory".to_owned()))]));
    assert!(!step.ok && step.detail.starts_with("No such file or directory; wanted"), "{}", step.detail);
}

#[test]
fn reading_joins_columns_and_errors_name_the_path() {
    let range = read("net/ipv4/ip_local_port_range").unwrap();
    assert_eq!(range.split(' ').count(), 2, "{range:?}");
    let err = read("net/ipv4/conf/no-such-interface/rp_filter").unwrap_err();
    assert!(err.to_string().contains("/proc/sys/net/ipv4/conf/no-such-interface/rp_filter"), "{err}");
    let err = write("net/ipv4/conf/no-such-interface/rp_filter", "0").unwrap_err();
    assert!(err.is(nix::errno::Errno::ENOENT), "{err}");
}
