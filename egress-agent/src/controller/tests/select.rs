//! Which gateway has which Pod.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::core::v1::{Namespace, Pod};
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::{controller::select::Index, k8s::api::VpcEgressGateway};

fn gateway(name: &str, created: &str, selectors: Value) -> VpcEgressGateway {
    serde_json::from_value(json!({
        "apiVersion": "kubeovn.io/v1",
        "kind": "VpcEgressGateway",
        "metadata": {"namespace": "gw", "name": name, "creationTimestamp": created},
        "spec": {"externalSubnet": "e", "selectors": selectors},
    }))
    .unwrap()
}

fn pod(name: &str, labels: Value, ip: &str) -> Pod {
    serde_json::from_value(json!({
        "metadata": {"namespace": "ns", "name": name, "labels": labels},
        "status": {"phase": "Running", "podIPs": [{"ip": ip}]},
    }))
    .unwrap()
}

fn namespace(labels: Value) -> Namespace {
    serde_json::from_value(json!({"metadata": {"name": "ns", "labels": labels}})).unwrap()
}

fn changed(names: &[&str]) -> BTreeSet<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

const OLD: &str = "2026-01-01T00:00:00Z";
const NEW: &str = "2026-01-02T00:00:00Z";

#[test]
fn the_older_gateway_has_a_pod_that_two_select() {
    let mut index = Index::default();
    let web = json!([{"podSelector": {"matchLabels": {"app": "web"}}}]);
    index.gateway(&gateway("b", NEW, web.clone()));
    assert_eq!(index.pod(&pod("p", json!({"app": "web"}), "10.0.0.1")), changed(&["gw/b"]));
    assert_eq!(index.gateway(&gateway("c", OLD, web.clone())), changed(&["gw/b", "gw/c"]));
    assert_eq!(index.selected("gw/c").keys().collect::<Vec<_>>(), ["ns/p"]);
    assert_eq!(index.lost("gw/b"), BTreeMap::from([("ns/p".to_owned(), "gw/c".to_owned())]));
    assert!(index.selected("gw/b").is_empty() && index.lost("gw/c").is_empty());
    // Of the same age: by name.
    index.gateway(&gateway("a", OLD, web));
    assert_eq!(index.selected("gw/a").len(), 1);
    assert_eq!(index.without_gateway("gw/a"), changed(&["gw/a", "gw/b", "gw/c"]));
    assert_eq!(index.selected("gw/c").len(), 1);
}

#[test]
fn every_change_is_seen() {
    let mut index = Index::default();
    index.gateway(&gateway("a", OLD, json!([{"namespaceSelector": {"matchLabels": {"team": "x"}}}])));
    assert_eq!(index.pod(&pod("p", json!({}), "10.0.0.1")), changed(&[]));
    assert_eq!(index.namespace(&namespace(json!({"team": "x"}))), changed(&["gw/a"]));
    assert_eq!(index.namespace(&namespace(json!({"team": "x"}))), changed(&[]));
    assert_eq!(index.pod(&pod("p", json!({"other": "label"}), "10.0.0.1")), changed(&[]));
    assert_eq!(index.pod(&pod("p", json!({}), "10.0.0.2")), changed(&["gw/a"]));
    assert_eq!(index.selected("gw/a")["ns/p"], ["10.0.0.2".parse::<std::net::IpAddr>().unwrap()]);
    assert_eq!(index.namespace(&namespace(json!({}))), changed(&["gw/a"]));
    assert!(index.selected("gw/a").is_empty());
    index.namespace(&namespace(json!({"team": "x"})));
    assert_eq!(index.without_pod("ns/p"), changed(&["gw/a"]));
    assert_eq!(index.without_pod("ns/p"), changed(&[]));
}

#[test]
fn who_is_never_selected() {
    let mut index = Index::default();
    index.gateway(&gateway("a", OLD, json!([{}])));
    let own = pod("gw", json!({"ovn.kubernetes.io/vpc-egress-gateway": "a"}), "10.0.0.9");
    assert_eq!(index.pod(&own), changed(&[]));
    let mut other = pod("p", json!({}), "10.0.0.1");
    other.metadata.annotations = Some([("ovn.kubernetes.io/logical_router".to_owned(), "vpc1".to_owned())].into());
    assert_eq!(index.pod(&other), changed(&[]));
    let mut ended = pod("q", json!({}), "10.0.0.2");
    assert_eq!(index.pod(&ended), changed(&["gw/a"]));
    ended.status.as_mut().unwrap().phase = Some("Failed".to_owned());
    assert_eq!(index.pod(&ended), changed(&["gw/a"]));
    assert!(index.selected("gw/a").is_empty());
}

#[test]
fn broken_selectors_leave_those_before_in_force() {
    let mut index = Index::default();
    index.gateway(&gateway("a", OLD, json!([{}])));
    index.pod(&pod("p", json!({}), "10.0.0.1"));
    let broken = json!([{"podSelector": {"matchExpressions": [{"key": "a", "operator": "Foo"}]}}]);
    assert_eq!(index.gateway(&gateway("a", OLD, broken)), changed(&[]));
    assert_eq!(index.selected("gw/a").len(), 1);
}

/// One step of a random history.
#[derive(Clone, Debug)]
enum Step {
    Gateway(u8, u8, u8),
    NoGateway(u8),
    Namespace(u8),
    Pod(u8, u8, u8),
    NoPod(u8),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        (0..4_u8, 0..3_u8, 0..4_u8).prop_map(|(name, age, what)| Step::Gateway(name, age, what)),
        (0..4_u8).prop_map(Step::NoGateway),
        (0..2_u8).prop_map(Step::Namespace),
        (0..4_u8, 0..3_u8, 0..3_u8).prop_map(|(name, label, ip)| Step::Pod(name, label, ip)),
        (0..4_u8).prop_map(Step::NoPod),
    ]
}

fn some_gateway(name: u8, age: u8, what: u8) -> VpcEgressGateway {
    let selectors = match what {
        0 => json!([{}]),
        1 => json!([{"podSelector": {"matchLabels": {"l": "1"}}}]),
        2 => json!([{"namespaceSelector": {"matchLabels": {"n": "1"}}}, {"podSelector": {"matchLabels": {"l": "2"}}}]),
        _ => json!([]),
    };
    gateway(&name.to_string(), &format!("2026-01-0{}T00:00:00Z", age + 1), selectors)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// After any history the index is what one made at once would be, and it named every gateway that changed.
    #[test]
    fn a_history_comes_to_its_end(steps in proptest::collection::vec(step(), 1..30)) {
        let mut index = Index::default();
        let (mut gateways, mut pods, mut space) = (BTreeMap::new(), BTreeMap::new(), json!({}));
        for step in steps {
            let before: Vec<_> = (0..4).map(|i| (index.selected(&format!("gw/{i}")), index.lost(&format!("gw/{i}")))).collect();
            let told = match step {
                Step::Gateway(name, age, what) => {
                    gateways.insert(name, some_gateway(name, age, what));
                    index.gateway(&gateways[&name])
                }
                Step::NoGateway(name) => {
                    gateways.remove(&name);
                    index.without_gateway(&format!("gw/{name}"))
                }
                Step::Namespace(label) => {
                    space = json!({"n": label.to_string()});
                    index.namespace(&namespace(space.clone()))
                }
                Step::Pod(name, label, ip) => {
                    pods.insert(name, pod(&name.to_string(), json!({"l": label.to_string()}), &format!("10.0.{name}.{ip}")));
                    index.pod(&pods[&name])
                }
                Step::NoPod(name) => {
                    pods.remove(&name);
                    index.without_pod(&format!("ns/{name}"))
                }
            };
            for (i, (selected, lost)) in before.iter().enumerate() {
                let key = format!("gw/{i}");
                let differs = *selected != index.selected(&key) || *lost != index.lost(&key);
                prop_assert!(!differs || told.contains(&key), "{key} changed, told {told:?}");
            }
        }
        let mut at_once = Index::default();
        at_once.namespace(&namespace(space));
        gateways.values().for_each(|gateway| drop(at_once.gateway(gateway)));
        pods.values().for_each(|pod| drop(at_once.pod(pod)));
        for i in 0..4 {
            let key = format!("gw/{i}");
            prop_assert_eq!(index.selected(&key), at_once.selected(&key));
            prop_assert_eq!(index.lost(&key), at_once.lost(&key));
        }
    }
}

#[test]
fn a_gateway_that_cannot_serve_comes_last() {
    let mut index = Index::default();
    index.gateway(&gateway("old", OLD, json!([{}])));
    index.gateway(&gateway("new", NEW, json!([{}])));
    index.pod(&pod("p", json!({}), "10.0.0.1"));
    assert_eq!(index.selected("gw/old").len(), 1);
    assert_eq!(index.serves("gw/old", false), changed(&["gw/new", "gw/old"]));
    assert_eq!((index.selected("gw/new").len(), index.lost("gw/old").len()), (1, 1));
    assert_eq!(index.serves("gw/old", false), changed(&[]));
    // It stays so when the gateway itself changes.
    index.gateway(&gateway(
        "old",
        OLD,
        json!([{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "ns"}}}]),
    ));
    assert_eq!(index.selected("gw/new").len(), 1);
    assert_eq!(index.serves("gw/old", true), changed(&["gw/new", "gw/old"]));
    assert_eq!(index.selected("gw/old").len(), 1);
}
