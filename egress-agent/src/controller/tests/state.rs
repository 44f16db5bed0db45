//! Which gateways a change concerns.

use std::collections::BTreeSet;

use k8s_openapi::api::{
    apps::v1::Deployment,
    core::v1::{ConfigMap, Namespace, Node, Pod},
};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::{
    controller::{Failure, Settings, mistakes, plan, state::State},
    k8s::{
        api::{NetworkAttachmentDefinition, Subnet, Vpc, VpcEgressGateway},
        watch::Watched,
    },
    spec::manifest::values,
};

fn put<K: Watched<State>>(state: &mut State, value: &Value) {
    read::<K>(value).put(state);
}

fn read<K: DeserializeOwned>(value: &Value) -> K {
    serde_json::from_value(value.clone()).unwrap()
}

fn gateway(name: &str, selector: &str) -> Value {
    json!({
        "metadata": {"namespace": "default", "name": name, "uid": format!("u-{name}"), "generation": 1},
        "spec": {"externalSubnet": "macvlan", "selectors": [{"podSelector": {"matchLabels": {"app": selector}}}]},
    })
}

fn client(app: &str) -> Value {
    json!({
        "metadata": {"namespace": "ns1", "name": "c", "labels": {"app": app}},
        "status": {"phase": "Running", "podIPs": [{"ip": "10.17.0.9"}]},
    })
}

/// The recorded cluster with two gateways, and nothing left to look at.
fn state() -> State {
    let mut state = State::new();
    for value in values(&super::text("base.yaml")).unwrap() {
        match value["kind"].as_str().unwrap() {
            "Vpc" => put::<Vpc>(&mut state, &value),
            "Subnet" => put::<Subnet>(&mut state, &value),
            "NetworkAttachmentDefinition" => put::<NetworkAttachmentDefinition>(&mut state, &value),
            _ => put::<Namespace>(&mut state, &value),
        }
    }
    put::<VpcEgressGateway>(&mut state, &gateway("a", "a"));
    put::<VpcEgressGateway>(&mut state, &gateway("b", "b"));
    assert_eq!(dirty(&mut state), ["default/a", "default/b"]);
    state
}

fn dirty(state: &mut State) -> Vec<String> {
    state.take_dirty().into_iter().collect()
}

#[test]
fn a_pod_concerns_the_gateways_that_have_it() {
    let mut state = state();
    put::<Pod>(&mut state, &client("a"));
    assert_eq!(dirty(&mut state), ["default/a"]);
    put::<Pod>(&mut state, &client("a"));
    assert_eq!(dirty(&mut state), [""; 0]);
    put::<Pod>(&mut state, &client("b"));
    assert_eq!(dirty(&mut state), ["default/a", "default/b"]);
    Pod::remove("ns1/c", &mut state);
    assert_eq!(dirty(&mut state), ["default/b"]);
}

#[test]
fn a_subnet_concerns_all_unless_only_its_counters_changed() {
    let mut state = state();
    let subnet = |cidr: &str, used: u32| {
        json!({
            "metadata": {"name": "subnet1"},
            "spec": {"protocol": "IPv4", "cidrBlock": cidr, "gateway": "10.17.0.1"},
            "status": {"v4usingIPs": used},
        })
    };
    put::<Subnet>(&mut state, &subnet("10.17.0.0/16", 7));
    assert_eq!(dirty(&mut state), [""; 0]);
    put::<Subnet>(&mut state, &subnet("10.17.0.0/17", 7));
    assert_eq!(dirty(&mut state), ["default/a", "default/b"]);
    Subnet::remove("subnet1", &mut state);
    assert_eq!(dirty(&mut state), ["default/a", "default/b"]);
}

#[test]
fn what_belongs_to_a_gateway_concerns_it_alone() {
    let mut state = state();
    let labels = json!({"app": "vpc-egress-gateway", "ovn.kubernetes.io/vpc-egress-gateway": "b"});
    let meta = json!({"namespace": "default", "name": "b", "labels": labels});
    put::<Deployment>(&mut state, &json!({"metadata": meta}));
    assert_eq!(dirty(&mut state), ["default/b"]);
    put::<ConfigMap>(&mut state, &json!({"metadata": meta}));
    assert_eq!(dirty(&mut state), ["default/b"]);
    put::<Pod>(&mut state, &json!({"metadata": meta}));
    assert_eq!(dirty(&mut state), ["default/b"]);
    Deployment::remove("default/b", &mut state);
    ConfigMap::remove("default/b", &mut state);
    Pod::remove("default/b", &mut state);
    assert_eq!(dirty(&mut state), ["default/b"]);
    let keys: BTreeSet<String> = Pod::keys(&state).into_iter().chain(Deployment::keys(&state)).collect();
    assert!(keys.is_empty());
}

#[test]
fn a_deployment_of_another_owner_is_not_taken_for_ours() {
    let mut state = state();
    let seen =
        |state: &State| state.with_input("default/a", &Settings::default(), "t", |input| input.deployments.len());
    let deployment = |uid: &str| {
        json!({"metadata": {"namespace": "default", "name": "a", "labels": {"ovn.kubernetes.io/vpc-egress-gateway": "a"},
            "ownerReferences": [{"apiVersion": "kubeovn.io/v1", "kind": "VpcEgressGateway", "name": "a", "uid": uid}]}})
    };
    put::<Deployment>(&mut state, &deployment("of-an-earlier-one"));
    assert_eq!(seen(&state), Some(0));
    put::<Deployment>(&mut state, &deployment("u-a"));
    assert_eq!(seen(&state), Some(1));
}

#[test]
fn a_write_that_failed_is_told_and_one_that_is_being_deleted_is_left_alone() {
    let mut state = state();
    // Not at once: it would be tried again without a pause.
    state.failed("default/a", Some(Failure { told: "Deployment: no".to_owned(), taken: false }));
    assert_eq!(dirty(&mut state), [""; 0]);
    let plan = state.with_input("default/a", &Settings::default(), "2026-11-27T01:00:00Z", plan).unwrap();
    let status = plan.status.unwrap();
    let ready = status.conditions.iter().find(|condition| condition.type_ == "Ready").unwrap();
    assert_eq!((ready.reason.as_str(), ready.message.as_str()), ("ReconcileWorkloadFailed", "Deployment: no"));
    state.failed("default/a", None);
    assert_eq!(dirty(&mut state), ["default/a"]);
    let mut going = gateway("a", "a");
    going["metadata"]["deletionTimestamp"] = json!("2026-11-27T01:00:00Z");
    put::<VpcEgressGateway>(&mut state, &going);
    assert!(state.with_input("default/a", &Settings::default(), "t", |_| ()).is_none());
}

fn named(name: &str, prefix: &str, created: &str) -> Value {
    let mut value = gateway(name, "none");
    value["spec"]["prefix"] = json!(prefix);
    value["metadata"]["creationTimestamp"] = json!(created);
    value
}

fn wrong(state: &State, key: &str) -> Option<String> {
    state.with_input(key, &Settings::default(), "t", |input| mistakes(input).err()).unwrap()
}

#[test]
fn of_two_gateways_whose_objects_would_have_one_name_the_older_has_it() {
    let mut state = state();
    put::<VpcEgressGateway>(&mut state, &named("x-y", "", "2026-01-02T00:00:00Z"));
    dirty(&mut state);
    assert_eq!(wrong(&state, "default/x-y"), None);
    put::<VpcEgressGateway>(&mut state, &named("y", "x-", "2026-01-01T00:00:00Z"));
    assert_eq!(dirty(&mut state), ["default/x-y", "default/y"]);
    let told = wrong(&state, "default/x-y").unwrap();
    assert!(
        told.starts_with("Deployment default/x-y would be that of VpcEgressGateway default/y, which is older"),
        "{told}"
    );
    assert_eq!(wrong(&state, "default/y"), None);
    // Whoever has made it has it.
    let label = json!({"ovn.kubernetes.io/vpc-egress-gateway": "x-y"});
    let owner = |name: &str, uid: &str| json!([{"apiVersion": "kubeovn.io/v1", "kind": "VpcEgressGateway", "name": name, "uid": uid}]);
    let meta =
        json!({"namespace": "default", "name": "x-y", "labels": label, "ownerReferences": owner("x-y", "u-x-y")});
    put::<Deployment>(&mut state, &json!({"metadata": meta}));
    assert_eq!(dirty(&mut state), ["default/x-y", "default/y"]);
    assert_eq!(wrong(&state, "default/x-y"), None);
    let told = wrong(&state, "default/y").unwrap();
    assert!(told.starts_with("Deployment default/x-y is there already and belongs to VpcEgressGateway x-y"), "{told}");
    VpcEgressGateway::remove("default/x-y", &mut state);
    assert_eq!(dirty(&mut state), ["default/y"]);
    Deployment::remove("default/x-y", &mut state);
    assert_eq!(dirty(&mut state), ["default/y"]);
    assert_eq!(wrong(&state, "default/y"), None);
}

#[test]
fn an_object_without_an_owner_is_not_ours() {
    let mut state = state();
    let labels = json!({"ovn.kubernetes.io/vpc-egress-gateway": "a"});
    put::<ConfigMap>(&mut state, &json!({"metadata": {"namespace": "default", "name": "a-egress", "labels": labels}}));
    assert_eq!(dirty(&mut state), ["default/a"]);
    let told = wrong(&state, "default/a").unwrap();
    assert!(told.starts_with("ConfigMap default/a-egress is there already and has another owner"), "{told}");
    assert_eq!(state.with_input("default/a", &Settings::default(), "t", |input| input.config.is_some()), Some(false));
    ConfigMap::remove("default/a-egress", &mut state);
    assert_eq!((dirty(&mut state), wrong(&state, "default/a")), (vec!["default/a".to_owned()], None));
}

#[test]
fn a_pod_without_both_labels_is_no_gateways() {
    let mut state = state();
    let pod = |labels: Value| json!({"metadata": {"namespace": "default", "name": "p", "labels": labels}});
    let seen =
        |state: &State| state.with_input("default/a", &Settings::default(), "t", |input| input.pods.len()).unwrap();
    let both = json!({"app": "vpc-egress-gateway", "ovn.kubernetes.io/vpc-egress-gateway": "a"});
    put::<Pod>(&mut state, &pod(both.clone()));
    assert_eq!((dirty(&mut state), seen(&state)), (vec!["default/a".to_owned()], 1));
    for labels in [json!({}), json!({"ovn.kubernetes.io/vpc-egress-gateway": "a"})] {
        put::<Pod>(&mut state, &pod(labels));
        assert_eq!((dirty(&mut state), seen(&state)), (vec!["default/a".to_owned()], 0));
        put::<Pod>(&mut state, &pod(both.clone()));
        assert_eq!((dirty(&mut state), seen(&state)), (vec!["default/a".to_owned()], 1));
    }
}

#[test]
fn a_gateway_that_was_never_valid_has_no_pods_of_a_valid_one() {
    let mut state = state();
    let mut older = gateway("older", "b");
    older["metadata"]["creationTimestamp"] = json!("2020-01-01T00:00:00Z");
    older["spec"]["externalSubnet"] = json!("nope");
    let mut younger = gateway("b", "b");
    younger["metadata"]["creationTimestamp"] = json!("2026-01-01T00:00:00Z");
    put::<VpcEgressGateway>(&mut state, &younger);
    put::<VpcEgressGateway>(&mut state, &older);
    put::<Pod>(&mut state, &client("b"));
    assert_eq!(dirty(&mut state), ["default/b", "default/older"]);
    let has = |state: &State, key: &str| {
        state.with_input(key, &Settings::default(), "t", |input| input.selected.len()).unwrap()
    };
    assert_eq!((has(&state, "default/b"), has(&state, "default/older")), (1, 0));
    // Valid once, it has them, also when it is not valid any more but its last state runs.
    older["spec"]["externalSubnet"] = json!("macvlan");
    put::<VpcEgressGateway>(&mut state, &older);
    assert_eq!(dirty(&mut state), ["default/b", "default/older"]);
    assert_eq!((has(&state, "default/b"), has(&state, "default/older")), (0, 1));
    let owner = json!([{"apiVersion": "kubeovn.io/v1", "kind": "VpcEgressGateway", "name": "older", "uid": "u-older"}]);
    put::<ConfigMap>(
        &mut state,
        &json!({"metadata": {"namespace": "default", "name": "older-egress", "ownerReferences": owner}}),
    );
    older["spec"]["externalSubnet"] = json!("nope");
    put::<VpcEgressGateway>(&mut state, &older);
    dirty(&mut state);
    assert_eq!((has(&state, "default/b"), has(&state, "default/older")), (0, 1));
}

#[test]
fn a_node_concerns_the_gateways_that_have_pods_on_it() {
    let mut state = state();
    let labels = json!({"app": "vpc-egress-gateway", "ovn.kubernetes.io/vpc-egress-gateway": "a"});
    let pod = json!({"metadata": {"namespace": "default", "name": "p", "labels": labels}, "spec": {"nodeName": "node1", "containers": []}});
    put::<Pod>(&mut state, &pod);
    dirty(&mut state);
    let node = |ready: &str| {
        let conditions = json!([{"type": "MemoryPressure", "status": "False"}, {"type": "Ready", "status": ready, "lastHeartbeatTime": "2026-01-01T00:00:00Z"}]);
        json!({"metadata": {"name": "node1"}, "status": {"conditions": conditions}})
    };
    put::<Node>(&mut state, &node("True"));
    assert_eq!(dirty(&mut state), ["default/a"]);
    put::<Node>(&mut state, &node("True"));
    assert_eq!(dirty(&mut state), [""; 0]);
    put::<Node>(&mut state, &node("Unknown"));
    assert_eq!(dirty(&mut state), ["default/a"]);
    Node::remove("node1", &mut state);
    assert_eq!(dirty(&mut state), ["default/a"]);
}

#[test]
fn a_subnet_that_kube_ovn_refuses_is_refused() {
    let mut state = state();
    put::<VpcEgressGateway>(&mut state, &{
        let mut gateway = gateway("a", "a");
        gateway["spec"]["policies"] = json!([{"subnets": ["subnet1"]}]);
        gateway
    });
    let subnet = |status: &str| {
        json!({
            "metadata": {"name": "subnet1"},
            "spec": {"protocol": "IPv4", "cidrBlock": "10.17.0.0/16", "gateway": "10.17.0.1"},
            "status": {"conditions": [{"type": "Validated", "status": status, "reason": "ValidateLogicalSwitchFailed", "message": "it overlaps"}]},
        })
    };
    put::<Subnet>(&mut state, &subnet("True"));
    dirty(&mut state);
    assert_eq!(wrong(&state, "default/a"), None);
    put::<Subnet>(&mut state, &subnet("False"));
    assert_eq!(dirty(&mut state), ["default/a", "default/b"]);
    assert_eq!(
        wrong(&state, "default/a").unwrap(),
        "spec.policies[0].subnets[0]: Subnet subnet1 is not valid: it overlaps; correct it, or name another"
    );
}

/// An edit that concerns all gateways does not keep a Pod waiting.
#[test]
fn gateways_whose_pods_changed_come_first() {
    let mut state = state();
    state.all_again();
    put::<Pod>(&mut state, &client("b"));
    assert_eq!(state.take_some(0).into_iter().collect::<Vec<_>>(), ["default/b"]);
    assert!(state.is_dirty());
    assert_eq!(state.take_some(1).into_iter().collect::<Vec<_>>(), ["default/a"]);
    assert!(!state.is_dirty());
}

/// Whether a gateway is valid, and what is said about that.
fn said(state: &State, key: &str) -> (bool, String) {
    let plan = state.with_input(key, &Settings::default(), "t", plan).unwrap();
    let conditions = plan.status.unwrap().conditions;
    let validated = conditions.into_iter().find(|condition| condition.type_ == "Validated").unwrap();
    (validated.status == "True", validated.message)
}

#[test]
fn an_address_that_two_gateways_list_is_that_of_the_older_valid_one() {
    let mut state = state();
    let listing = |name: &str, created: &str, ips: &[&str]| {
        let mut value = named(name, "", created);
        value["spec"]["externalIPs"] = json!(ips);
        value
    };
    let right = (true, String::new());
    let shared = |other: &str| {
        let reason = "one Pod only can have it, and the other waits; list another in one of them";
        (true, format!("spec.externalIPs: 172.17.0.11 is listed by VpcEgressGateway default/{other}, too: {reason}"))
    };
    put::<VpcEgressGateway>(&mut state, &listing("y", "2026-01-02T00:00:00Z", &["172.17.0.12", "172.17.0.11"]));
    dirty(&mut state);
    assert_eq!(said(&state, "default/y"), right);
    let mut older = listing("x", "2026-01-01T00:00:00Z", &["172.17.0.11"]);
    put::<VpcEgressGateway>(&mut state, &older);
    assert_eq!(dirty(&mut state), ["default/x", "default/y"]);
    assert_eq!((said(&state, "default/x"), said(&state, "default/y")), (shared("y"), shared("x")));
    // Of another Subnet it is another address.
    older["spec"]["externalSubnet"] = json!("macvlan2");
    put::<VpcEgressGateway>(&mut state, &older);
    assert_eq!(
        (dirty(&mut state), said(&state, "default/y")),
        (vec!["default/x".to_owned(), "default/y".to_owned()], right.clone())
    );
    older["spec"]["externalSubnet"] = json!("macvlan");
    put::<VpcEgressGateway>(&mut state, &older);
    dirty(&mut state);
    assert_eq!(said(&state, "default/y"), shared("x"));
    VpcEgressGateway::remove("default/x", &mut state);
    assert_eq!((dirty(&mut state), said(&state, "default/y")), (vec!["default/y".to_owned()], right));
}

#[test]
fn an_address_in_two_subnets_of_one_network_is_told_to_both() {
    let mut state = state();
    let listing = |name: &str, subnet: &str| {
        let mut value = gateway(name, "none");
        value["spec"]["externalSubnet"] = json!(subnet);
        value["spec"]["externalIPs"] = json!(["172.17.0.11"]);
        value
    };
    let attach = |state: &mut State, config: Value| {
        let spec = json!({"config": config.to_string()});
        let meta = json!({"namespace": "default", "name": "twin"});
        put::<NetworkAttachmentDefinition>(state, &json!({"metadata": meta, "spec": spec}));
    };
    let subnet = |state: &mut State, provider: &str, cidr: &str| {
        let spec = json!({"protocol": "IPv4", "provider": provider, "cidrBlock": cidr, "gateway": "172.17.0.1"});
        put::<Subnet>(state, &json!({"metadata": {"name": "macvlan2"}, "spec": spec}));
    };
    attach(&mut state, json!({"type": "macvlan", "master": "eth1"}));
    subnet(&mut state, "twin.default", "172.17.0.0/24");
    put::<VpcEgressGateway>(&mut state, &listing("x", "macvlan"));
    put::<VpcEgressGateway>(&mut state, &listing("y", "macvlan2"));
    let shared = |other: &str, subnet: &str| {
        let reason = format!(
            "spec.externalIPs: 172.17.0.11 is listed by VpcEgressGateway default/{other}, too, and is also in its Subnet {subnet}: \
             if that is the same network, two Pods have one address there; list another in one of them"
        );
        (true, reason)
    };
    let told = (shared("y", "macvlan2"), shared("x", "macvlan"));
    let right = (true, String::new());
    let both = |state: &State| (said(state, "default/x"), said(state, "default/y"));
    assert_eq!(both(&state), told);
    // Another interface of the nodes, or another VLAN of it, is another network.
    for (config, same) in [
        (json!({"type": "macvlan", "master": "eth2"}), false),
        (json!({"plugins": [{"type": "macvlan", "master": "eth1"}]}), true),
        (json!({"type": "vlan", "master": "eth1", "vlanId": 7}), false),
        // One that names no interface says nothing.
        (json!({"type": "bridge"}), true),
    ] {
        dirty(&mut state);
        attach(&mut state, config.clone());
        assert_eq!(dirty(&mut state).len(), 4);
        let want = if same { told.clone() } else { (right.clone(), right.clone()) };
        assert_eq!(both(&state), want, "{config}");
    }
    // An overlay is on no wire, and another CIDR does not have the address.
    for (provider, cidr) in [("twin.default.ovn", "172.17.0.0/24"), ("twin.default", "172.17.1.0/24")] {
        subnet(&mut state, provider, cidr);
        assert_eq!(said(&state, "default/x"), right);
    }
}

#[test]
fn an_address_inside_that_two_gateways_list_is_told_to_both() {
    let mut state = state();
    let listing = |name: &str, vpc: &str, subnet: &str| {
        let mut value = gateway(name, "none");
        let spec = value["spec"].as_object_mut().unwrap();
        spec.extend([("vpc".to_owned(), json!(vpc)), ("internalSubnet".to_owned(), json!(subnet))]);
        spec.insert("internalIPs".to_owned(), json!(["10.16.0.77"]));
        value
    };
    // The same CIDR in another Vpc.
    put::<Vpc>(
        &mut state,
        &json!({"metadata": {"name": "vpc2"}, "spec": {}, "status": {"defaultLogicalSwitch": "twin"}}),
    );
    let twin = json!({"vpc": "vpc2", "protocol": "IPv4", "cidrBlock": "10.16.0.0/16", "gateway": "10.16.0.1"});
    put::<Subnet>(&mut state, &json!({"metadata": {"name": "twin"}, "spec": twin}));
    put::<VpcEgressGateway>(&mut state, &listing("x", "", "ovn-default"));
    put::<VpcEgressGateway>(&mut state, &listing("y", "vpc2", ""));
    dirty(&mut state);
    let right = (true, String::new());
    assert_eq!((said(&state, "default/x"), said(&state, "default/y")), (right.clone(), right.clone()));
    // The default of the default Vpc is the Subnet that x names.
    put::<VpcEgressGateway>(&mut state, &listing("y", "", ""));
    assert_eq!(dirty(&mut state), ["default/x", "default/y"]);
    let shared = |other: &str| {
        let reason = "one Pod only can have it, and the other waits; list another in one of them";
        (true, format!("spec.internalIPs: 10.16.0.77 is listed by VpcEgressGateway default/{other}, too: {reason}"))
    };
    assert_eq!((said(&state, "default/x"), said(&state, "default/y")), (shared("y"), shared("x")));
    put::<VpcEgressGateway>(&mut state, &listing("y", "vpc2", "twin"));
    assert_eq!((dirty(&mut state).len(), said(&state, "default/x")), (2, right));
}
