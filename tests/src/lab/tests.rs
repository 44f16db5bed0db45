use super::addresses::{inside_networks, no_snat_networks};
use super::*;

fn text(config: &LabConfig) -> String {
    let steps = plan::plan(config, &|part| format!("lab-{part}"));
    steps.iter().map(|part| format!("# {}\n{}{}{}", part.part, part.links, part.v4, part.v6)).collect()
}

#[test]
fn seed_000s_gateway() {
    let plan = text(&LabConfig::default());
    for line in [
        "addr add 10.16.0.12/16 dev eth0",
        "addr add 172.17.0.11/16 dev net1",
        "addr add fd00:172:17::11/64 dev net1 nodad",
        "route add default via 172.17.0.1 dev net1",
        "route add 10.18.0.0/16 via 10.16.0.1 dev eth0",
        "addr add 10.17.0.9/16 dev eth0",
        "route add default via 10.17.0.1 dev eth0",
        "route add default via fd00:10:17::1 dev eth0",
    ] {
        assert!(plan.lines().any(|it| it == line), "{line} is not in\n{plan}");
    }
}

#[test]
fn one_family_leaves_no_trace_of_the_other() {
    assert!(!text(&LabConfig::default().families(&[Family::V4])).contains("fd00:"));
    assert!(!text(&LabConfig::default().families(&[Family::V6])).contains("10.16."));
}

#[test]
fn outside_knows_no_way_in_unless_asked() {
    let ways = |plan: &str| plan.lines().filter(|it| it.starts_with("route add 10.18.0.0/16 via 172.17.0.11")).count();
    assert_eq!(ways(&text(&LabConfig::default())), 0);
    assert_eq!(ways(&text(&LabConfig::default().return_routes(&no_snat_networks()))), 2);
}

#[test]
fn tx_is_switched_off_where_asked() {
    let off = |checksums| -> Vec<String> {
        let steps = plan::plan(&LabConfig::default().checksums(checksums), &str::to_owned);
        steps.into_iter().flat_map(|it| it.tx_off.into_iter().map(move |port| format!("{}/{port}", it.part))).collect()
    };
    assert!(off(RealChecksums::default()).is_empty());
    let receivers = off(RealChecksums::AT_RECEIVERS);
    assert!(receivers.contains(&"gw/net1".to_owned()) && receivers.contains(&"node/pod1".to_owned()));
    assert!(!receivers.contains(&"pod1/eth0".to_owned()));
    assert!(off(RealChecksums::EVERYWHERE).contains(&"pod1/eth0".to_owned()));
}

#[test]
fn twins_have_the_same_digits() {
    assert_eq!(Client::new("a", 17, 10).v6.to_string(), "fd00:10:17::a");
    assert!(inside_networks().iter().any(|it| it.to_string() == "fd00:10:18::/112"));
}
